//! Who gets messages: addresses, numbers and preferences of users.

use std::fmt;

use chrono::NaiveTime;
use shared::db::Error;
use uuid::Uuid;

/// How a user is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Contactable {
    /// Name of the account.
    pub name: Option<String>,
    /// E-mail address of the account.
    pub email: String,
    /// Whether the user wants e-mail.
    pub email_enabled: bool,
    /// The verified number, if there is one and the user wants text messages: E.164.
    pub phone: Option<String>,
    /// The time of the day that the user chose for batches, `HH:MM`.
    pub batch_time: Option<String>,
    /// IANA name of the zone of the preferences; the default `UTC` is no choice.
    pub preferred_timezone: Option<String>,
    /// IANA name of the user's zone.
    pub timezone: Option<String>,
}

impl Contactable {
    /// The time of the day that the user chose for batches, if it is one.
    #[must_use]
    pub fn chosen_time(&self) -> Option<NaiveTime> {
        NaiveTime::parse_from_str(self.batch_time.as_deref()?, "%H:%M").ok()
    }
}

impl fmt::Debug for Contactable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contactable").finish_non_exhaustive()
    }
}

handle! {
    /// Who gets messages: addresses, numbers and preferences of users.
    Recipients
}

impl Recipients {
    /// How a user is reached; `None` when there is no such user. Without preferences: by text message only.
    pub async fn contactable(&self, user_id: Uuid) -> Result<Option<Contactable>, Error> {
        let contactable = sqlx::query_as!(
            Contactable,
            r#"
            SELECT u.name, u.email, COALESCE(p.email_enabled, false) AS "email_enabled!",
                (
                    SELECT phone_number FROM user_phone_numbers n
                    WHERE n.user_id = u.id AND n.verified AND COALESCE(p.sms_enabled, true)
                    ORDER BY n.created_at DESC, n.id LIMIT 1
                ) AS phone,
                p.batch_time, p.timezone AS preferred_timezone, u.timezone
            FROM users u
            LEFT JOIN notification_preferences p ON p.user_id = u.id
            WHERE u.id = $1
            "#,
            user_id,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(contactable)
    }
}
