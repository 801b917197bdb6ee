//! How long rows of our tables in the schema `jobs` are kept.

use shared::queue::{Aged, Personal, Retention};

const STEP: i64 = 5_000;

pub(crate) const RETENTION: Retention = Retention {
    users: "users",
    aged: &[
        Aged { table: "notification_deliveries", time: "claimed_at", days: 400 },
        // Google has forgotten them, too.
        Aged { table: "push_channels", time: "ends_at", days: 0 },
    ],
    personal: &[
        Personal { table: "calendar_event_copies", step: STEP },
        Personal { table: "calendar_positions", step: STEP },
        Personal { table: "calendar_sync_runs", step: STEP },
        Personal { table: "calendar_sync_state", step: STEP },
        // Rows of other tables stand behind each, as many as an address book has.
        Personal { table: "contacts_sync_runs", step: 10 },
        Personal { table: "next_meetings", step: STEP },
        Personal { table: "notification_deliveries", step: STEP },
        Personal { table: "push_channels", step: STEP },
        Personal { table: "sync_locks", step: STEP },
        Personal { table: "unlisted_calendars", step: STEP },
    ],
};
