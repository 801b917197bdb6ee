-- The application keeps one row for an event that two calendars of a user hold. The row belongs to the calendar that
-- was synced last; here stand the others. When the row's calendar loses the event, these are asked again.
CREATE TABLE jobs.calendar_event_copies (
    user_id uuid NOT NULL,
    google_event_id text NOT NULL,
    calendar_id text NOT NULL,
    PRIMARY KEY (user_id, google_event_id, calendar_id)
);
