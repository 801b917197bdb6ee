//! How users are reached, and when their weekly batch is.

use catchup::google::TokenCipher;
use catchup::notify::{Channel, quiet_hours};
use chrono::{DateTime, Datelike, Days, DurationRound as _, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use google_stand_in::User;
use secrecy::SecretString;
use sqlx::PgConnection;
use uuid::Uuid;

/// The sweep of a quarter hour finds the batches that are due at its beginning.
const QUARTER: TimeDelta = TimeDelta::minutes(15);
/// What is due now may run so much later.
const LATENESS: TimeDelta = TimeDelta::hours(1);
/// Of these it is day in one at every time.
const DAYTIME: [&str; 4] = ["Asia/Kolkata", "Europe/Lisbon", "America/Los_Angeles", "Pacific/Auckland"];
/// The other batches are a day later, at this time.
const NOT_YET: (u32, u32) = (18, 7);

/// How one user is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Whether the user wants e-mail.
    pub email: bool,
    /// The verified number, for a user who wants text messages.
    pub number: Option<String>,
    /// Weekday of the batch, 0 is Sunday.
    pub day: u32,
    /// Time of the batch.
    pub time: NaiveTime,
    /// The zone of that time.
    pub zone: Tz,
    stored: Option<Stored>,
    /// The number in the database, and whether it is verified.
    known_number: Option<(String, bool)>,
}

/// Whether texts go out there now and for some time.
fn is_day(at: DateTime<Utc>, zone: Tz) -> bool {
    [at - LATENESS, at, at + LATENESS]
        .into_iter()
        .all(|moment| quiet_hours::end(Channel::Sms, moment, zone, None) == moment)
}

/// The row of `notification_preferences`.
#[derive(Debug, Clone)]
struct Stored {
    sms: bool,
    zone: Option<&'static str>,
}

impl Reach {
    /// A user without preferences and without a number: Sunday at nine, and no channel.
    pub(super) fn unknown(user: &User) -> Self {
        let time = NaiveTime::from_hms_opt(9, 0, 0).unwrap_or_default();
        Self {
            email: false,
            number: None,
            day: 0,
            time,
            zone: user.time_zone,
            stored: None,
            known_number: None,
        }
    }

    /// By the user's place in the world. `is_free`: nothing else is sent to the user, so that no limit is met; for whom a reminder
    /// may be due it is day, so that nothing waits for the morning.
    pub(super) fn plan(user: &User, place: usize, at: DateTime<Utc>, is_free: bool) -> Self {
        let number = format!("+442079{place:06}");
        let mut reach = Self::unknown(user);
        if place % 5 != 4 || !is_free {
            let sms = place % 7 != 1;
            let daytime = DAYTIME.into_iter().find(|name| name.parse().is_ok_and(|zone| is_day(at, zone)));
            let zone = match place % 5 {
                _ if !is_free => daytime,
                0 => daytime,
                1 => None,
                2 => Some("UTC"),
                _ => Some("Mars/Olympus"),
            };
            // The default of the column says nothing, and an unknown zone is UTC.
            reach.zone = match zone {
                Some("UTC") | None => user.time_zone,
                Some(name) => name.parse().unwrap_or(Tz::UTC),
            };
            let local = at.duration_trunc(QUARTER).unwrap_or(at).with_timezone(&reach.zone);
            let is_due = is_free && place % 3 != 2 && is_day(at, reach.zone);
            let date = if is_due { local.date_naive() } else { local.date_naive() + Days::new(1) };
            let (hour, minute) = if is_due { (local.hour(), local.minute()) } else { NOT_YET };
            reach.day = date.weekday().num_days_from_sunday();
            reach.time = NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or_default();
            reach.email = place.is_multiple_of(2);
            reach.stored = Some(Stored { sms, zone });
        }
        let is_verified = place % 4 != 3;
        let wants_sms = reach.stored.as_ref().is_none_or(|stored| stored.sms);
        reach.number = (is_verified && wants_sms).then(|| number.clone());
        reach.known_number = Some((number, is_verified));
        reach
    }

    /// The zone whose hours count for meetings: where the user's own is the default UTC, that of the preferences.
    #[must_use]
    pub fn home(&self, user: &User) -> Tz {
        if user.time_zone == Tz::UTC { self.zone } else { user.time_zone }
    }

    /// When a batch is due after `from` and up to `until`.
    #[must_use]
    pub fn batches(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        batches((self.day, self.time, self.zone), from, until)
    }

    pub(super) async fn insert(
        &self,
        db: &mut PgConnection,
        user: &User,
        cipher: &TokenCipher,
    ) -> sqlx::Result<()> {
        if let Some(stored) = &self.stored {
            let weekly = (self.day, self.time);
            insert_preferences(db, user.id, [stored.sms, self.email], weekly, stored.zone).await?;
        }
        if let Some((number, is_verified)) = &self.known_number {
            insert_number(db, user.id, cipher, number, *is_verified).await?;
        }
        Ok(())
    }
}

/// When a batch of that weekday, time and zone is due after `from` and up to `until`, found by looking at the wall clock every
/// minute.
pub(crate) fn batches(
    (day, time, zone): (u32, NaiveTime, Tz),
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let is_past = |moment: DateTime<Utc>| {
        let local = moment.with_timezone(&zone);
        (local.weekday().num_days_from_sunday() == day && local.time() >= time).then(|| local.date_naive())
    };
    let whole =
        |moment: DateTime<Utc>| moment.with_second(0).and_then(|m| m.with_nanosecond(0)).unwrap_or(moment);
    let mut last = is_past(from);
    let mut batches = Vec::new();
    let mut minute = whole(from) + TimeDelta::minutes(1);
    while minute <= until {
        let date = is_past(minute);
        if date.is_some() && date != last {
            batches.push(minute);
        }
        last = date.or(last);
        minute += TimeDelta::minutes(1);
    }
    batches
}

/// The row of `notification_preferences`; `wants` is texts and e-mail.
pub(crate) async fn insert_preferences(
    db: &mut PgConnection,
    user: Uuid,
    wants: [bool; 2],
    (day, time): (u32, NaiveTime),
    zone: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO notification_preferences
            (user_id, sms_enabled, email_enabled, batch_day, batch_time, timezone)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(user)
    .bind(wants[0])
    .bind(wants[1])
    .bind(day.cast_signed())
    .bind(time.format("%H:%M").to_string())
    .bind(zone)
    .execute(db)
    .await?;
    Ok(())
}

/// The row of `user_phone_numbers`.
pub(crate) async fn insert_number(
    db: &mut PgConnection,
    user: Uuid,
    cipher: &TokenCipher,
    number: &str,
    is_verified: bool,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO user_phone_numbers (user_id, phone_number, encrypted_phone_number, verified)
         VALUES ($1, $2, $3, $4)",
    )
    .bind(user)
    .bind(number)
    .bind(cipher.encrypt(&SecretString::from(number.to_owned())))
    .bind(is_verified)
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use google_stand_in::{Clock, Integration, SeedOptions, World};

    use super::super::hours::Hours;
    use super::super::meetings::{self, OwnAvailability, SuggestionState};
    use super::super::{Start, Variety, busy, contacts, notices, works};
    use super::*;

    #[test]
    fn at_every_hour_a_batch_is_due_that_has_a_channel_and_a_contact_who_is_due_at_a_free_time() {
        for (seed, users) in [(1, 12), (1, 20), (7, 16)] {
            for hour in 0..24 {
                let at = DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(hour * 60 + 37);
                let clock = Clock::new(move || at);
                let world = World::seeded(SeedOptions {
                    seed,
                    users,
                    max_contacts: 20,
                    clock,
                    ..SeedOptions::default()
                });
                let until = at.duration_trunc(QUARTER).unwrap();
                let has_suggestion = |user: &User, place: usize, reach: &Reach| {
                    let contacts = contacts::plan(&world.people(user.id).unwrap());
                    let hours = Hours::new(OwnAvailability::plan(place), reach.home(user));
                    let busy = busy(&world, user.id).unwrap();
                    let is_overdue =
                        |id| contacts.iter().any(|contact| contact.id == id && contact.is_overdue);
                    let suggestions = meetings::plan(&contacts, place, at, &busy, &hours);
                    suggestions.iter().any(|it| {
                        it.state == SuggestionState::Pending
                            && is_overdue(it.contact)
                            && meetings::is_free((it.start, it.end), &busy, &hours)
                    })
                };
                let is_sent = |(place, user): &(usize, User)| {
                    let reach = Reach::plan(user, *place, at, notices::plan(user, *place, at).is_empty());
                    let is_due = !reach.batches(until - QUARTER * 2, until).is_empty();
                    let is_known = Start::of(*place, Variety::Varied) == Start::Due
                        && Integration::ALL.into_iter().all(|of| user.grant(of).is_some_and(works));
                    let is_reached = reach.email || reach.number.is_some();
                    is_due && is_known && is_reached && has_suggestion(user, *place, &reach)
                };
                let sent = world.users().into_iter().enumerate().filter(is_sent).count();
                assert!(sent > 0, "seed {seed}, {users} users, {hour}:37 UTC");
            }
        }
    }
}
