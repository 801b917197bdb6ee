-- The tables of the running application, as its own migrations leave them: only for the local stack and the tests.
-- In production they exist, and nothing here or elsewhere in this repository creates, alters or drops them.
-- `application.tsv` says the same in a form that a test compares with a fresh database.
-- `timestamp` without time zone holds UTC.

CREATE TYPE frequency_option AS ENUM ('daily', 'weekly', 'biweekly', 'monthly', 'quarterly', 'yearly', 'flexible', 'na');
CREATE TYPE interaction_type AS ENUM ('hangout', 'call', 'text', 'calendar_event');
CREATE TYPE suggestion_status AS ENUM ('pending', 'accepted', 'dismissed', 'snoozed');
CREATE TYPE tag_source AS ENUM ('voice_memo', 'manual', 'notification_reply', 'ai_edit');
CREATE TYPE trigger_type AS ENUM ('shared_activity', 'timebound');

CREATE TABLE users (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    email varchar(255) NOT NULL UNIQUE,
    password_hash varchar(255),
    role varchar(50) NOT NULL DEFAULT 'user',
    name varchar(255),
    timezone varchar(100) DEFAULT 'UTC',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    is_test_user boolean DEFAULT false,
    onboarding_completed boolean DEFAULT false,
    last_calendar_sync timestamptz,
    google_id varchar(255) UNIQUE,
    auth_provider varchar(50) DEFAULT 'email',
    profile_picture_url text,
    is_admin boolean DEFAULT false,
    admin_promoted_at timestamp,
    admin_promoted_by varchar(255),
    CHECK (password_hash IS NOT NULL OR google_id IS NOT NULL)
);

CREATE TABLE oauth_tokens (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    provider varchar(50) NOT NULL,
    access_token text NOT NULL,
    refresh_token text,
    token_type varchar(50),
    expires_at timestamptz,
    scope text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    email varchar(255),
    UNIQUE (user_id, provider)
);

CREATE TABLE token_health (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    integration_type varchar(50) NOT NULL CHECK (integration_type IN ('google_contacts', 'google_calendar')),
    status varchar(20) NOT NULL CHECK (status IN ('valid', 'expiring_soon', 'expired', 'revoked', 'unknown')),
    last_checked timestamp NOT NULL DEFAULT timezone('UTC', now()),
    expiry_date timestamp,
    error_message text,
    created_at timestamp DEFAULT timezone('UTC', now()),
    updated_at timestamp DEFAULT timezone('UTC', now()),
    UNIQUE (user_id, integration_type)
);

CREATE TABLE token_health_notifications (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    integration_type varchar(50) NOT NULL CHECK (integration_type IN ('google_contacts', 'google_calendar')),
    notification_type varchar(50) NOT NULL CHECK (notification_type IN ('token_invalid', 'token_expiring_soon')),
    message text NOT NULL,
    re_auth_link text NOT NULL,
    resolved_at timestamp,
    reminder_sent_at timestamp,
    created_at timestamp DEFAULT timezone('UTC', now()),
    updated_at timestamp DEFAULT timezone('UTC', now())
);

CREATE TABLE circuit_breaker_state (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    integration_type varchar(50) NOT NULL CHECK (integration_type IN ('google_contacts', 'google_calendar')),
    state varchar(20) NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    failure_count integer NOT NULL DEFAULT 0,
    last_failure_at timestamp,
    last_failure_reason text,
    opened_at timestamp,
    next_retry_at timestamp,
    created_at timestamp DEFAULT timezone('UTC', now()),
    updated_at timestamp DEFAULT timezone('UTC', now()),
    UNIQUE (user_id, integration_type)
);

CREATE TABLE sync_schedule (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    integration_type varchar(50) NOT NULL CHECK (integration_type IN ('google_contacts', 'google_calendar')),
    current_frequency_ms bigint NOT NULL,
    default_frequency_ms bigint NOT NULL,
    min_frequency_ms bigint NOT NULL,
    max_frequency_ms bigint NOT NULL,
    consecutive_no_changes integer NOT NULL DEFAULT 0,
    last_sync_at timestamp,
    next_sync_at timestamp NOT NULL,
    created_at timestamp DEFAULT timezone('UTC', now()),
    updated_at timestamp DEFAULT timezone('UTC', now()),
    onboarding_until timestamp,
    UNIQUE (user_id, integration_type)
);

CREATE TABLE sync_metrics (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    integration_type varchar(50) NOT NULL CHECK (integration_type IN ('google_contacts', 'google_calendar')),
    sync_type varchar(20) NOT NULL CHECK (sync_type IN ('full', 'incremental', 'webhook_triggered', 'manual')),
    result varchar(20) NOT NULL CHECK (result IN ('success', 'failure', 'skipped')),
    skip_reason varchar(50),
    duration_ms integer,
    items_processed integer,
    api_calls_made integer,
    api_calls_saved integer,
    error_message text,
    created_at timestamp DEFAULT timezone('UTC', now())
);

CREATE TABLE google_calendars (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    calendar_id varchar(255) NOT NULL,
    name varchar(255) NOT NULL,
    description text,
    selected boolean DEFAULT false,
    is_primary boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    UNIQUE (user_id, calendar_id)
);

CREATE TABLE calendar_events (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    google_event_id varchar(255) NOT NULL,
    calendar_id varchar(255) NOT NULL,
    summary varchar(500),
    description text,
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL,
    timezone varchar(100) NOT NULL,
    is_all_day boolean DEFAULT false,
    is_busy boolean DEFAULT true,
    location varchar(500),
    synced_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    attendees jsonb,
    UNIQUE (user_id, google_event_id)
);

-- The application has this index next to the constraint of the same columns.
CREATE UNIQUE INDEX calendar_events_user_google_event ON calendar_events (user_id, google_event_id);

CREATE TABLE calendar_webhook_subscriptions (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE UNIQUE,
    channel_id varchar(255) NOT NULL UNIQUE,
    resource_id varchar(255) NOT NULL,
    resource_uri text NOT NULL,
    expiration timestamp NOT NULL,
    token varchar(255) NOT NULL,
    created_at timestamp DEFAULT timezone('UTC', now()),
    updated_at timestamp DEFAULT timezone('UTC', now())
);

CREATE TABLE webhook_notifications (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    channel_id varchar(255) NOT NULL,
    resource_id varchar(255) NOT NULL,
    resource_state varchar(50) NOT NULL,
    result varchar(20) NOT NULL CHECK (result IN ('success', 'failure', 'ignored')),
    error_message text,
    created_at timestamp DEFAULT timezone('UTC', now())
);

CREATE TABLE google_contacts_sync_state (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE UNIQUE,
    sync_token text,
    last_full_sync_at timestamptz,
    last_incremental_sync_at timestamptz,
    total_contacts_synced integer DEFAULT 0,
    last_sync_status varchar(50) DEFAULT 'pending',
    last_sync_error text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE groups (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    is_default boolean DEFAULT false,
    is_promoted_from_tag boolean DEFAULT false,
    archived boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    UNIQUE (user_id, name)
);

CREATE TABLE contacts (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    phone varchar(50),
    email varchar(255),
    linked_in varchar(255),
    instagram varchar(255),
    x_handle varchar(255),
    other_social_media jsonb,
    location varchar(255),
    timezone varchar(100),
    custom_notes text,
    last_contact_date timestamptz,
    frequency_preference frequency_option,
    archived boolean DEFAULT false,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    source varchar(50) DEFAULT 'manual',
    google_resource_name varchar(255),
    google_etag varchar(255),
    last_synced_at timestamptz,
    dunbar_circle varchar(20) CHECK (dunbar_circle IN ('inner', 'close', 'active', 'casual')),
    circle_assigned_at timestamptz,
    circle_confidence numeric CHECK (circle_confidence >= 0 AND circle_confidence <= 1),
    ai_suggested_circle varchar(20) CHECK (ai_suggested_circle IN ('inner', 'close', 'active', 'casual')),
    circle varchar(20) GENERATED ALWAYS AS (dunbar_circle) STORED,
    circle_assigned_by varchar(10) DEFAULT 'user',
    archived_at timestamptz
);

CREATE UNIQUE INDEX contacts_user_google_resource ON contacts (user_id, google_resource_name)
    WHERE google_resource_name IS NOT NULL;

CREATE TABLE contact_groups (
    contact_id uuid NOT NULL REFERENCES contacts ON DELETE CASCADE,
    group_id uuid NOT NULL REFERENCES groups ON DELETE CASCADE,
    created_at timestamptz DEFAULT now(),
    PRIMARY KEY (contact_id, group_id)
);

CREATE TABLE contact_google_memberships (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    contact_id uuid NOT NULL REFERENCES contacts ON DELETE CASCADE,
    google_group_resource_name varchar(255) NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    UNIQUE (contact_id, google_group_resource_name)
);

CREATE TABLE google_contact_groups (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    catchup_group_id uuid REFERENCES groups ON DELETE SET NULL,
    google_resource_name varchar(255) NOT NULL,
    google_name varchar(255) NOT NULL,
    google_etag varchar(255),
    google_group_type varchar(50) DEFAULT 'USER_CONTACT_GROUP',
    member_count integer DEFAULT 0,
    last_synced_at timestamptz,
    sync_enabled boolean DEFAULT true,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    mapping_status varchar(50) DEFAULT 'pending',
    suggested_action varchar(50),
    suggested_group_id uuid REFERENCES groups ON DELETE SET NULL,
    suggested_group_name varchar(255),
    confidence_score numeric,
    suggestion_reason text,
    excluded_members text[] DEFAULT '{}',
    reviewed_at timestamptz,
    UNIQUE (user_id, google_resource_name)
);

CREATE TABLE suggestions (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    contact_id uuid NOT NULL REFERENCES contacts ON DELETE CASCADE,
    trigger_type trigger_type NOT NULL,
    proposed_timeslot_start timestamptz NOT NULL,
    proposed_timeslot_end timestamptz NOT NULL,
    proposed_timeslot_timezone varchar(100) NOT NULL,
    reasoning text NOT NULL,
    status suggestion_status NOT NULL DEFAULT 'pending',
    dismissal_reason text,
    calendar_event_id varchar(255),
    snoozed_until timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    type varchar(20) NOT NULL DEFAULT 'individual' CHECK (type IN ('individual', 'group')),
    shared_context jsonb,
    priority integer NOT NULL DEFAULT 0
);

CREATE TABLE suggestion_contacts (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    suggestion_id uuid NOT NULL REFERENCES suggestions ON DELETE CASCADE,
    contact_id uuid NOT NULL REFERENCES contacts ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (suggestion_id, contact_id)
);

CREATE TABLE availability_params (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE UNIQUE,
    manual_time_blocks jsonb,
    commute_windows jsonb,
    nighttime_start varchar(5),
    nighttime_end varchar(5),
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE notification_preferences (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE UNIQUE,
    sms_enabled boolean DEFAULT true,
    email_enabled boolean DEFAULT false,
    batch_day integer DEFAULT 0 CHECK (batch_day >= 0 AND batch_day <= 6),
    batch_time varchar(5) DEFAULT '09:00',
    timezone varchar(100) DEFAULT 'UTC',
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);

CREATE TABLE user_phone_numbers (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    phone_number varchar(20) NOT NULL UNIQUE,
    encrypted_phone_number text NOT NULL,
    verified boolean DEFAULT false,
    verification_code varchar(6),
    verification_expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE interaction_logs (
    id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    contact_id uuid NOT NULL REFERENCES contacts ON DELETE CASCADE,
    date timestamptz NOT NULL,
    type interaction_type NOT NULL,
    notes text,
    suggestion_id uuid REFERENCES suggestions ON DELETE SET NULL,
    created_at timestamptz DEFAULT now()
);

-- `updated_at` with time zone is kept by triggers; without, by the writer of the row.
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END
$$;

DO $$
DECLARE
    kept text;
BEGIN
    FOR kept IN
        SELECT table_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND column_name = 'updated_at' AND data_type = 'timestamp with time zone'
    LOOP
        EXECUTE format(
            'CREATE TRIGGER touch_updated_at BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION touch_updated_at()', kept
        );
    END LOOP;
END
$$;

-- The other indexes, as `application-indexes.txt` lists them with those of keys: an index that is not there is not there in
-- production, and no statement of ours may count on it.
CREATE INDEX ON availability_params (user_id);
CREATE INDEX ON calendar_events (calendar_id);
CREATE INDEX ON calendar_events (google_event_id);
CREATE INDEX ON calendar_events (user_id, calendar_id);
CREATE INDEX ON calendar_events (user_id, start_time, end_time);
CREATE INDEX ON calendar_events (user_id, synced_at DESC);
CREATE INDEX ON calendar_webhook_subscriptions (channel_id);
CREATE INDEX ON calendar_webhook_subscriptions (expiration);
CREATE INDEX ON calendar_webhook_subscriptions (user_id);
CREATE INDEX ON circuit_breaker_state (next_retry_at) WHERE ((state)::text = 'open'::text);
CREATE INDEX ON circuit_breaker_state (state);
CREATE INDEX ON circuit_breaker_state (user_id, integration_type);
CREATE INDEX ON contact_google_memberships (contact_id);
CREATE INDEX ON contact_google_memberships (google_group_resource_name);
CREATE INDEX ON contact_google_memberships (user_id);
CREATE INDEX ON contact_groups (contact_id);
CREATE INDEX ON contact_groups (group_id);
CREATE INDEX ON contacts (archived);
CREATE INDEX ON contacts (circle_assigned_at) WHERE (circle_assigned_at IS NOT NULL);
CREATE INDEX ON contacts (created_at);
CREATE INDEX ON contacts (google_resource_name);
CREATE INDEX ON contacts (last_contact_date);
CREATE INDEX ON contacts (source);
CREATE INDEX ON contacts (user_id);
CREATE INDEX ON contacts (user_id, archived);
CREATE INDEX ON contacts (user_id, archived, last_contact_date);
CREATE INDEX ON contacts (user_id, circle) WHERE (circle IS NOT NULL);
CREATE INDEX ON contacts (user_id, dunbar_circle) WHERE (dunbar_circle IS NOT NULL);
CREATE INDEX ON contacts (user_id, last_contact_date);
CREATE INDEX ON google_calendars (calendar_id);
CREATE INDEX ON google_calendars (selected);
CREATE INDEX ON google_calendars (user_id);
CREATE INDEX ON google_calendars (user_id, selected) WHERE (selected = true);
CREATE INDEX ON google_contact_groups (catchup_group_id);
CREATE INDEX ON google_contact_groups (google_resource_name);
CREATE INDEX ON google_contact_groups (mapping_status);
CREATE INDEX ON google_contact_groups (sync_enabled);
CREATE INDEX ON google_contact_groups (user_id);
CREATE INDEX ON google_contact_groups (user_id, mapping_status);
CREATE INDEX ON google_contact_groups USING gin (excluded_members);
CREATE INDEX ON google_contacts_sync_state (last_sync_status);
CREATE INDEX ON google_contacts_sync_state (user_id);
CREATE INDEX ON groups (archived);
CREATE INDEX ON groups (user_id);
CREATE INDEX ON groups (user_id, archived);
CREATE INDEX ON interaction_logs (contact_id);
CREATE INDEX ON interaction_logs (contact_id, date DESC);
CREATE INDEX ON interaction_logs (created_at);
CREATE INDEX ON interaction_logs (date);
CREATE INDEX ON interaction_logs (suggestion_id);
CREATE INDEX ON interaction_logs (user_id);
CREATE INDEX ON interaction_logs (user_id, date DESC);
CREATE INDEX ON notification_preferences (user_id);
CREATE INDEX ON oauth_tokens (email);
CREATE INDEX ON oauth_tokens (expires_at);
CREATE INDEX ON oauth_tokens (provider);
CREATE INDEX ON oauth_tokens (user_id);
CREATE INDEX ON suggestion_contacts (contact_id);
CREATE INDEX ON suggestion_contacts (suggestion_id);
CREATE INDEX ON suggestions (contact_id);
CREATE INDEX ON suggestions (created_at);
CREATE INDEX ON suggestions (priority);
CREATE INDEX ON suggestions (snoozed_until);
CREATE INDEX ON suggestions (status);
CREATE INDEX ON suggestions (status, snoozed_until) WHERE (status = 'snoozed'::suggestion_status);
CREATE INDEX ON suggestions (trigger_type);
CREATE INDEX ON suggestions (type);
CREATE INDEX ON suggestions (user_id);
CREATE INDEX ON suggestions (user_id, status);
CREATE INDEX ON suggestions (user_id, status, created_at DESC);
CREATE INDEX ON sync_metrics (created_at);
CREATE INDEX ON sync_metrics (result);
CREATE INDEX ON sync_metrics (user_id, integration_type);
CREATE INDEX ON sync_schedule (next_sync_at, integration_type);
CREATE INDEX ON sync_schedule (user_id, integration_type);
CREATE INDEX ON token_health_notifications (created_at) WHERE ((resolved_at IS NULL) AND (reminder_sent_at IS NULL));
CREATE INDEX ON token_health_notifications (user_id);
CREATE INDEX ON token_health_notifications (user_id, integration_type);
CREATE INDEX ON token_health_notifications (user_id, integration_type) WHERE (resolved_at IS NULL);
CREATE INDEX ON token_health (expiry_date) WHERE ((status)::text = 'expiring_soon'::text);
CREATE INDEX ON token_health (status);
CREATE INDEX ON token_health (user_id, integration_type);
CREATE INDEX ON user_phone_numbers (phone_number);
CREATE INDEX ON user_phone_numbers (phone_number, verified) WHERE (verified = true);
CREATE INDEX ON user_phone_numbers (user_id);
CREATE INDEX ON user_phone_numbers (verified);
CREATE INDEX ON users (auth_provider);
CREATE INDEX ON users (email);
CREATE INDEX ON users (google_id);
CREATE INDEX ON users (is_admin) WHERE (is_admin = true);
CREATE INDEX ON users (is_test_user);
CREATE INDEX ON users (name);
CREATE INDEX ON users (role);
CREATE INDEX ON users (timezone);
CREATE INDEX ON webhook_notifications (created_at);
CREATE INDEX ON webhook_notifications (result);
CREATE INDEX ON webhook_notifications (user_id);
