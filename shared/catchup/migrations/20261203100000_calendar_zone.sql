-- The zone of users who set none: that of most of their primary calendar's events.
CREATE FUNCTION jobs.calendar_zone(whose uuid) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT mode() WITHIN GROUP (ORDER BY e.timezone)::text
    FROM google_calendars c
    JOIN calendar_events e ON e.user_id = c.user_id AND e.calendar_id = c.calendar_id
    WHERE c.user_id = whose AND c.is_primary
$$;
