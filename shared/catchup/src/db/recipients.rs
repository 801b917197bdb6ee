//! Who gets messages: addresses, numbers and preferences of users, and of which lists they opted out.

use std::fmt;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use shared::db::Error;
use uuid::Uuid;

use super::deliveries::Channel;
use super::opt_outs::List;

/// How long an address or a number is suppressed after a message to it failed for good: then it is tried once more.
const SUPPRESSED_FOR: TimeDelta = TimeDelta::days(90);

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
    /// The lists that the user opted out of, each as `sms:ideas`.
    pub opted_out: Vec<String>,
    /// The channels of whose address or number a message failed for good.
    pub suppressed: Vec<String>,
    /// A text message was sent to this number before, and did not fail.
    pub was_texted: bool,
}

impl Contactable {
    /// The time of the day that the user chose for batches, if it is one.
    #[must_use]
    pub fn chosen_time(&self) -> Option<NaiveTime> {
        NaiveTime::parse_from_str(self.batch_time.as_deref()?, "%H:%M").ok()
    }

    /// The channels by which the user gets messages of a list, e-mail first.
    ///
    /// Reminders go out by e-mail whatever the preferences say of batches: the account depends on them. Who chose only texts, and
    /// has a number that takes none, gets ideas by e-mail.
    #[must_use]
    pub fn channels(&self, list: List) -> Vec<(Channel, &str)> {
        let has_opted_out = |channel: Channel| {
            let list: &str = list.into();
            self.opted_out.iter().any(|opt_out| opt_out.split_once(':') == Some((channel.as_str(), list)))
        };
        let is_suppressed =
            |channel: Channel| self.suppressed.iter().any(|suppressed| suppressed == channel.as_str());
        let phone = self.phone.as_deref().filter(|_| !has_opted_out(Channel::Sms));
        let wants_email = match list {
            List::Ideas => self.email_enabled || (phone.is_some() && is_suppressed(Channel::Sms)),
            List::Account => true,
        };
        let email = (wants_email && !is_suppressed(Channel::Email) && !has_opted_out(Channel::Email))
            .then_some((Channel::Email, self.email.as_str()));
        let text = phone.filter(|_| !is_suppressed(Channel::Sms)).map(|number| (Channel::Sms, number));
        [email, text].into_iter().flatten().collect()
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
    ///
    /// An opt-out ends when the application, where it is shown, says that it is wanted again.
    pub async fn contactable(&self, user_id: Uuid, now: DateTime<Utc>) -> Result<Option<Contactable>, Error> {
        let contactable = sqlx::query_as!(
            Contactable,
            r#"
            WITH person AS (
                SELECT u.id, u.name, u.email, p.batch_time,
                    COALESCE(NULLIF(u.timezone, 'UTC'), NULLIF(p.timezone, 'UTC'), jobs.calendar_zone(u.id), u.timezone)
                        AS timezone, p.timezone AS preferred_timezone,
                    p.email_enabled, p.sms_enabled,
                    (
                        SELECT phone_number FROM user_phone_numbers n
                        WHERE n.user_id = u.id AND n.verified AND COALESCE(p.sms_enabled, true)
                        ORDER BY n.created_at DESC, n.id LIMIT 1
                    ) AS phone
                FROM users u
                LEFT JOIN notification_preferences p ON p.user_id = u.id
                WHERE u.id = $1
            ), failed AS (
                SELECT DISTINCT address_hash FROM jobs.notification_deliveries
                WHERE user_id = $1 AND claimed_at > $2
                  AND (state = 'bounced' OR (state = 'refused' AND refusal <> '21610'))
            )
            SELECT name, email, COALESCE(email_enabled, false) AS "email_enabled!", phone, batch_time,
                preferred_timezone, timezone,
                ARRAY(
                    SELECT channel || ':' || list FROM jobs.opt_outs o
                    WHERE o.user_id = $1 AND NOT (
                        is_shown AND COALESCE(CASE channel WHEN 'sms' THEN sms_enabled ELSE email_enabled END, false)
                    )
                ) AS "opted_out!",
                ARRAY(
                    SELECT channel FROM (VALUES ('email', email), ('sms', phone)) AS reached (channel, address)
                    WHERE sha256(convert_to(address, 'UTF8')) IN (SELECT address_hash FROM failed)
                ) AS "suppressed!",
                EXISTS (
                    SELECT FROM jobs.notification_deliveries d
                    WHERE d.user_id = $1 AND d.channel = 'sms' AND d.state IN ('sent', 'delivered')
                      AND d.address_hash = sha256(convert_to(phone, 'UTF8'))
                ) AS "was_texted!"
            FROM person
            "#,
            user_id,
            now - SUPPRESSED_FOR,
        )
        .fetch_optional(self.0.statement())
        .await?;
        Ok(contactable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Contactable {
        Contactable {
            name: None,
            email: "ana@example.org".to_owned(),
            email_enabled: true,
            phone: Some("+4915112345678".to_owned()),
            batch_time: None,
            preferred_timezone: None,
            timezone: None,
            opted_out: Vec::new(),
            suppressed: Vec::new(),
            was_texted: false,
        }
    }

    #[track_caller]
    fn check(person: &Contactable, ideas: &str, account: &str) {
        let names = |list| {
            let channels = person.channels(list).into_iter();
            channels.map(|(channel, _)| channel.as_str()).collect::<Vec<_>>().join("+")
        };
        assert_eq!([names(List::Ideas), names(List::Account)], [ideas, account]);
    }

    #[test]
    fn opting_out_of_one_list_or_channel_leaves_the_other() {
        let without = |lists: &[&str]| Contactable {
            opted_out: lists.iter().map(ToString::to_string).collect(),
            ..person()
        };
        check(&person(), "email+sms", "email+sms");
        check(&without(&["email:ideas"]), "sms", "email+sms");
        check(&without(&["email:account"]), "email+sms", "sms");
        check(&without(&["sms:ideas", "sms:account"]), "email", "email");
        check(&without(&["sms:ideas", "sms:account", "email:ideas", "email:account"]), "", "");
    }

    #[test]
    fn a_number_or_an_address_that_is_suppressed_gets_nothing_and_the_other_channel_is_used() {
        let suppressed = |channel: Channel| vec![channel.as_str().to_owned()];
        check(&Contactable { suppressed: suppressed(Channel::Email), ..person() }, "sms", "sms");
        check(&Contactable { suppressed: suppressed(Channel::Sms), ..person() }, "email", "email");
        let texts = Contactable { email_enabled: false, ..person() };
        check(&texts, "sms", "email+sms");
        check(&Contactable { suppressed: suppressed(Channel::Sms), ..texts.clone() }, "email", "email");
        // STOP is a word, and no failure.
        let opted_out = vec!["sms:ideas".to_owned(), "sms:account".to_owned()];
        check(&Contactable { suppressed: suppressed(Channel::Sms), opted_out, ..texts.clone() }, "", "email");
        check(&Contactable { phone: None, ..texts }, "", "email");
    }
}
