//! How long rows of our tables in the schema `jobs` are kept.

use shared::queue::{Aged, Personal, Retention};

const STEP: i64 = 5_000;

pub(crate) const RETENTION: Retention = Retention {
    users: "users",
    aged: &[
        // Longer than a suggestion is looked back at.
        Aged { table: "ended_suggestions", time: "ended_at", days: 760 },
        // What ended without a success: the user disconnected, or is gone.
        Aged { table: "google_waits", time: "until", days: 30 },
        // As long as messages: a START that is repeated a year later lifts no STOP.
        Aged { table: "handled_callbacks", time: "handled_at", days: 400 },
        Aged { table: "notification_deliveries", time: "claimed_at", days: 400 },
        // Google has forgotten them, too.
        Aged { table: "push_channels", time: "ends_at", days: 0 },
        Aged { table: "refusal_alarms", time: "raised_at", days: 90 },
        Aged { table: "refused_tokens", time: "refused_at", days: 7 },
    ],
    personal: &[
        Personal { table: "calendar_event_copies", step: STEP },
        Personal { table: "calendar_positions", step: STEP },
        Personal { table: "calendar_sync_runs", step: STEP },
        Personal { table: "calendar_sync_state", step: STEP },
        Personal { table: "contacts_sync_candidates", step: STEP },
        // Each row names the people of a page.
        Personal { table: "contacts_sync_pages", step: 100 },
        // Of revisions before contacts_sync_state. Rows of other tables belong to each, as many as an address book has.
        Personal { table: "contacts_sync_runs", step: 10 },
        Personal { table: "contacts_sync_state", step: STEP },
        Personal { table: "ended_suggestions", step: STEP },
        Personal { table: "excluded_contacts", step: STEP },
        Personal { table: "google_waits", step: STEP },
        Personal { table: "last_acts", step: STEP },
        Personal { table: "next_meetings", step: STEP },
        Personal { table: "notification_deliveries", step: STEP },
        Personal { table: "opt_outs", step: STEP },
        Personal { table: "push_channels", step: STEP },
        Personal { table: "refused_tokens", step: STEP },
        Personal { table: "sync_locks", step: STEP },
        Personal { table: "unlisted_calendars", step: STEP },
    ],
};
