//! What people do about what they get, and what else happens in their lives.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use catchup::links::Link;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use google_stand_in::{Attendee, Event, Integration, ResponseStatus, World};
use messaging_stand_in::{Callback, Channel, Config, Inbox};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::links::Found;
use super::memory::{Meeting, Memory, Word};
use super::people::{Kind, Person};
use super::record::Announced;
use crate::reports;
use crate::verify::frequency;

/// Where travellers go, one after the other.
const JOURNEY: [Tz; 4] = [Tz::Asia__Tokyo, Tz::Europe__Lisbon, Tz::Pacific__Auckland, Tz::America__Denver];
const STAY: TimeDelta = TimeDelta::days(14);
/// A button is pressed so often, with so much time between, when the service answers that it cannot now.
const PRESSES: u32 = 3;
const BETWEEN_PRESSES: Duration = Duration::from_secs(2);

/// Something that a person does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// In the application, perhaps with the reason.
    Dismiss { suggestion: Uuid, contact: Uuid, preset: Option<&'static str> },
    /// In the application.
    Snooze { suggestion: Uuid, contact: Uuid, days: i64 },
    /// In the application, which takes it for an interaction at that moment.
    Accept { suggestion: Uuid, contact: Uuid },
    /// Enters the meeting in the calendar.
    Enter { contact: Uuid, start: DateTime<Utc> },
    /// Enters a meeting with a contact of whom a suggestion is to be announced.
    EnterAnother,
    /// Presses the button of a link.
    Press { found: Found, contact: Option<Uuid> },
    /// A text to our number.
    Text(&'static str),
    /// Unsubscribes at the provider, which drops what is sent from then on.
    UnsubscribeAtProvider,
    /// Switches e-mail on in the application, and at the provider.
    SwitchEmailOn,
    /// Archives a contact in the application.
    Archive,
    /// Wants no suggestions for so many days.
    Pause { days: i64 },
    /// Lives in another zone.
    Move(Tz),
    /// Takes the calendar back at Google.
    Revoke,
    /// Connects the calendar again.
    Connect,
}

/// What will happen in a person's life, whatever they get.
pub(crate) fn plan_life(person: &Person, memory: &mut Memory, begin: DateTime<Utc>, days: i64) {
    let day = |day: i64| begin + TimeDelta::days(day) + TimeDelta::hours(11);
    match person.kind {
        Kind::Settled => (0..days / 28).for_each(|month| memory.plan(day(month * 28 + 10), Deed::Archive)),
        Kind::Meets => (0..days / 7).for_each(|week| memory.plan(day(week * 7 + 5), Deed::EnterAnother)),
        Kind::Pauses => memory.plan(day(days / 4), Deed::Pause { days: 14 }),
        Kind::Travels => {
            for (stay, zone) in JOURNEY.iter().cycle().enumerate().take_while(|(stay, _)| *stay < 26) {
                let at = begin + STAY * i32::try_from(stay + 1).unwrap_or(1);
                memory.plan(at, Deed::Move(*zone));
            }
        }
        Kind::Revokes => {
            memory.plan(day(days / 4), Deed::Revoke);
            memory.plan(day(days / 2), Deed::Connect);
        }
        Kind::Leaves => {
            if !person.place.is_multiple_of(3) {
                memory.plan(day(days / 3), Deed::Text("STOP"));
            }
            if person.place % 3 == 1 {
                memory.plan(day(days * 2 / 3), Deed::Text("Start"));
            }
            if person.place.is_multiple_of(3) {
                memory.plan(day(days * 2 / 3), Deed::SwitchEmailOn);
            }
        }
        Kind::New
        | Kind::Ignores
        | Kind::Dismisses
        | Kind::Snoozes
        | Kind::Unreached
        | Kind::Landline
        | Kind::Fickle => {}
    }
}

/// What a person will do about a digest.
pub(crate) fn plan_reaction(
    person: &Person,
    memory: &mut Memory,
    (at, digest): (DateTime<Utc>, &[Announced]),
    links: &[Found],
    rng: &mut StdRng,
) {
    const PRESETS: [Option<&str>; 4] =
        [None, Some("timing_off"), Some("not_relevant"), Some("already_in_touch")];
    let press = |link, announced: &Announced| {
        let found = links.iter().find(|found| found.link == link)?;
        Some(Deed::Press { found: found.clone(), contact: Some(announced.contact) })
    };
    let soon = |hours| at + TimeDelta::hours(hours);
    for (place, one) in digest.iter().enumerate() {
        let Announced { suggestion, contact, start, end, .. } = *one;
        let is_first = place == 0;
        match person.kind {
            Kind::Settled | Kind::Revokes if is_first => {
                if let Some(deed) = press(Link::WeMet { suggestion }, one) {
                    memory.plan(end + TimeDelta::hours(3), deed);
                }
            }
            Kind::New | Kind::Landline if is_first => {
                if let Some(deed) = press(Link::NotNow { suggestion }, one) {
                    memory.plan(soon(5), deed);
                }
            }
            Kind::Dismisses => {
                let preset = PRESETS.choose(rng).copied().flatten();
                memory.plan(soon(6), Deed::Dismiss { suggestion, contact, preset });
            }
            Kind::Snoozes => {
                let days = [3, 7, 14][(place + memory.digests.len()) % 3];
                memory.plan(soon(1), Deed::Snooze { suggestion, contact, days });
            }
            Kind::Meets | Kind::Pauses | Kind::Travels if is_first => {
                memory.plan(soon(1), Deed::Accept { suggestion, contact });
                if person.kind == Kind::Meets {
                    memory.plan(soon(2), Deed::Enter { contact, start });
                }
            }
            Kind::Leaves
                if is_first && person.place.is_multiple_of(3) && memory.left(Channel::Email).is_none() =>
            {
                let found = links.iter().find(|found| matches!(found.link, Link::Unsubscribe { .. }));
                if memory.digests.len() >= 3 && person.place % 6 == 3 {
                    memory.plan(soon(1), Deed::UnsubscribeAtProvider);
                } else if let Some(found) = found.filter(|_| memory.digests.len() >= 3) {
                    memory.plan(soon(1), Deed::Press { found: found.clone(), contact: None });
                } else {
                    memory.plan(soon(1), Deed::Accept { suggestion, contact });
                }
            }
            Kind::Leaves if is_first => memory.plan(soon(1), Deed::Accept { suggestion, contact }),
            Kind::Fickle => {
                for _ in 0..rng.random_range(0..=3) {
                    let deed = match rng.random_range(0..9) {
                        0 => Some(Deed::Accept { suggestion, contact }),
                        1 => Some(Deed::Dismiss { suggestion, contact, preset: None }),
                        2 | 3 => Some(Deed::Snooze { suggestion, contact, days: 7 }),
                        4 => press(Link::WeMet { suggestion }, one),
                        5 => press(Link::NotNow { suggestion }, one),
                        6 => Some(Deed::Text("STOP")),
                        7 => Some(Deed::Text("START")),
                        _ => press(Link::Never { suggestion }, one),
                    };
                    let later = TimeDelta::minutes(rng.random_range(1..72 * 60));
                    if let Some(deed) = deed {
                        memory.plan(at + later, deed);
                    }
                }
            }
            Kind::Settled
            | Kind::Revokes
            | Kind::New
            | Kind::Landline
            | Kind::Meets
            | Kind::Pauses
            | Kind::Travels
            | Kind::Leaves
            | Kind::Ignores
            | Kind::Unreached => {}
        }
    }
}

/// The world in which something is done.
pub(crate) struct Stage<'a> {
    pub(crate) db: &'a mut PgConnection,
    pub(crate) world: &'a World,
    pub(crate) inbox: &'a Inbox,
    pub(crate) http: &'a reqwest::Client,
    pub(crate) webhooks: &'a str,
    pub(crate) now: DateTime<Utc>,
}

impl Stage<'_> {
    /// Does it, as the application would, and remembers what follows from it.
    pub(crate) async fn perform(
        &mut self,
        person: &mut Person,
        memory: &mut Memory,
        deed: Deed,
    ) -> anyhow::Result<()> {
        let now = self.now;
        match deed {
            Deed::Dismiss { suggestion, contact, preset } => {
                self.dismiss(person, memory, (suggestion, contact), preset).await?;
            }
            Deed::Snooze { suggestion, contact, days } => {
                let until = now + TimeDelta::days(days);
                if !self.say(suggestion, "snoozed", Some(until)).await? {
                    return Ok(());
                }
                memory.say(suggestion, contact, Word::Snoozed { until });
            }
            Deed::Accept { suggestion, contact } => {
                self.accept(person, memory, (suggestion, contact)).await?;
            }
            Deed::Enter { contact, start } => self.enter(person, memory, contact, start).await?,
            Deed::EnterAnother => {
                let pending: Option<Uuid> = sqlx::query_scalar(
                    "SELECT s.contact_id FROM suggestions s JOIN contacts c ON c.id = s.contact_id
                     WHERE s.user_id = $1 AND s.status = 'pending' AND c.email IS NOT NULL AND NOT EXISTS (
                        SELECT FROM jobs.notification_deliveries d WHERE d.subject = 'suggestion:' || s.id
                     ) ORDER BY s.priority DESC, s.id LIMIT 1",
                )
                .bind(person.id)
                .fetch_optional(&mut *self.db)
                .await?;
                if let Some(contact) = pending {
                    self.enter(person, memory, contact, now + TimeDelta::days(4)).await?;
                }
            }
            Deed::Press { found, contact } => self.press(person, memory, &found, contact).await?,
            Deed::Text(body) => self.text(person, memory, body).await?,
            Deed::UnsubscribeAtProvider => {
                self.inbox.suppress(&person.address);
                memory.leave(Channel::Email, Some(now));
            }
            Deed::SwitchEmailOn => {
                self.inbox.restore(&person.address);
                sqlx::query("UPDATE notification_preferences SET email_enabled = true WHERE user_id = $1")
                    .bind(person.id)
                    .execute(&mut *self.db)
                    .await?;
                memory.leave(Channel::Email, None);
            }
            Deed::Archive => {
                sqlx::query(
                    "UPDATE contacts SET archived = true, archived_at = $2 WHERE id = (
                        SELECT id FROM contacts WHERE user_id = $1 AND archived IS NOT TRUE
                        ORDER BY last_contact_date LIMIT 1
                     )",
                )
                .bind(person.id)
                .bind(now)
                .execute(&mut *self.db)
                .await?;
            }
            Deed::Pause { days } => {
                let end = now + TimeDelta::days(days);
                sqlx::query(
                    "INSERT INTO suggestion_pauses (user_id, pause_start, pause_end) VALUES ($1, $2, $3)",
                )
                .bind(person.id)
                .bind(now)
                .bind(end)
                .execute(&mut *self.db)
                .await?;
                memory.paused = Some([now, end]);
            }
            Deed::Move(zone) => {
                sqlx::query(
                    "WITH moved AS (UPDATE users SET timezone = $2 WHERE id = $1)
                     UPDATE notification_preferences SET timezone = $2 WHERE user_id = $1",
                )
                .bind(person.id)
                .bind(zone.name())
                .execute(&mut *self.db)
                .await?;
                person.zone = zone;
                memory.moved_at = Some(now);
            }
            Deed::Revoke => {
                self.world.revoke_grant(person.id, Integration::GoogleCalendar)?;
                memory.calendar_lost = Some(now);
            }
            Deed::Connect => {
                self.world.restore_grant(person.id, Integration::GoogleCalendar)?;
                self.connect(person.id).await?;
                memory.calendar_lost = None;
                memory.calendar_found = Some(now);
            }
        }
        memory.deeds += 1;
        Ok(())
    }

    async fn dismiss(
        &mut self,
        person: &Person,
        memory: &mut Memory,
        (suggestion, contact): (Uuid, Uuid),
        preset: Option<&'static str>,
    ) -> anyhow::Result<()> {
        let now = self.now;
        if !self.say(suggestion, "dismissed", None).await? {
            return Ok(());
        }
        if let Some(preset) = preset {
            sqlx::query(
                "INSERT INTO suggestion_feedback (suggestion_id, user_id, preset) VALUES ($1, $2, $3)",
            )
            .bind(suggestion)
            .bind(person.id)
            .bind(preset)
            .execute(&mut *self.db)
            .await?;
        }
        let frequency = self.frequency(contact).await?;
        memory.say(suggestion, contact, Word::Dismissed);
        let wait = match preset {
            Some("already_in_touch") => {
                memory.in_touch.insert(contact, now);
                return Ok(());
            }
            Some("timing_off") => TimeDelta::days(7),
            Some("not_relevant") => frequency * 2,
            _ => frequency.max(TimeDelta::days(7)),
        };
        memory.cooling.insert(contact, now + wait);
        Ok(())
    }

    async fn accept(
        &mut self,
        person: &Person,
        memory: &mut Memory,
        (suggestion, contact): (Uuid, Uuid),
    ) -> anyhow::Result<()> {
        let now = self.now;
        if !self.say(suggestion, "accepted", None).await? {
            return Ok(());
        }
        sqlx::query(
            "WITH met AS (
                INSERT INTO interaction_logs (user_id, contact_id, date, type, suggestion_id)
                VALUES ($1, $2, $3, 'hangout', $4)
             ) UPDATE contacts SET last_contact_date = $3 WHERE id = $2",
        )
        .bind(person.id)
        .bind(contact)
        .bind(now)
        .bind(suggestion)
        .execute(&mut *self.db)
        .await?;
        memory.say(suggestion, contact, Word::Accepted);
        Ok(())
    }

    async fn text(&mut self, person: &Person, memory: &mut Memory, body: &str) -> anyhow::Result<()> {
        let now = self.now;
        let Some(number) = &person.number else { return Ok(()) };
        let url = format!("{}{}", self.webhooks, webhooks::twilio::INCOMING_PATH);
        let sid = format!("SM{}", Uuid::new_v4().simple());
        let callback = Callback::twilio_incoming(&Config::default(), &url, &sid, number, body);
        reports::post(self.http, callback).await?;
        if body.eq_ignore_ascii_case("stop") {
            self.inbox.suppress(number);
            memory.leave(Channel::Sms, Some(now));
        } else {
            self.inbox.restore(number);
            memory.leave(Channel::Sms, None);
        }
        Ok(())
    }

    /// What the application writes when a person says something about a suggestion that is open or was dismissed; `false`
    /// where its page has no such button.
    async fn say(
        &mut self,
        suggestion: Uuid,
        status: &str,
        until: Option<DateTime<Utc>>,
    ) -> sqlx::Result<bool> {
        let said = sqlx::query(
            "UPDATE suggestions SET status = $2::suggestion_status, snoozed_until = $3
             WHERE id = $1 AND status IN ('pending', 'snoozed')",
        )
        .bind(suggestion)
        .bind(status)
        .bind(until)
        .execute(&mut *self.db)
        .await?;
        Ok(said.rows_affected() > 0)
    }

    async fn frequency(&mut self, contact: Uuid) -> sqlx::Result<TimeDelta> {
        let name: Option<String> =
            sqlx::query_scalar("SELECT frequency_preference::text FROM contacts WHERE id = $1")
                .bind(contact)
                .fetch_one(&mut *self.db)
                .await?;
        Ok(frequency(name.as_deref()))
    }

    async fn enter(
        &mut self,
        person: &Person,
        memory: &mut Memory,
        contact: Uuid,
        start: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let (name, email): (String, Option<String>) =
            sqlx::query_as("SELECT name, email FROM contacts WHERE id = $1")
                .bind(contact)
                .fetch_one(&mut *self.db)
                .await?;
        // Without an address, no guest is invited.
        let Some(email) = email else { return Ok(()) };
        let guest = |email: String, is_self| Attendee {
            email,
            display_name: None,
            response_status: ResponseStatus::Accepted,
            is_self,
            organizer: is_self,
        };
        let mut event = Event::timed(&name, start, TimeDelta::hours(1));
        event.attendees = vec![guest(person.address.clone(), true), guest(email, false)];
        self.world.add_event(person.id, "primary", event)?;
        memory.meetings.push(Meeting { contact, start, entered_at: self.now });
        Ok(())
    }

    /// A person who looks at a page and presses its button.
    async fn press(
        &mut self,
        person: &Person,
        memory: &mut Memory,
        Found { link, url }: &Found,
        contact: Option<Uuid>,
    ) -> anyhow::Result<()> {
        let mut presses = 0;
        loop {
            let response = self.http.post(url).send().await.context("webhooks does not answer")?;
            presses += 1;
            // A page that says "try again" is tried again.
            if presses == PRESSES || !response.status().is_server_error() {
                ensure!(response.status().is_success(), "{link:?} was answered with {}", response.status());
                break;
            }
            tokio::time::sleep(BETWEEN_PRESSES).await;
        }
        let now = self.now;
        match (*link, contact) {
            (Link::Unsubscribe { .. }, _) => memory.leave(Channel::Email, Some(now)),
            (Link::WeMet { suggestion }, Some(contact)) => {
                memory.say(suggestion, contact, self.closed(suggestion).await?);
            }
            (Link::Never { suggestion }, Some(contact)) => {
                memory.say(suggestion, contact, self.closed(suggestion).await?);
                memory.never.insert(contact);
            }
            (Link::NotNow { suggestion }, Some(contact)) => {
                memory.never.remove(&contact);
                if self.closed(suggestion).await? == Word::Accepted {
                    return Ok(());
                }
                // Another one that is open for the contact is snoozed instead.
                let snoozed: Option<Uuid> = sqlx::query_scalar(
                    "SELECT id FROM suggestions WHERE user_id = $1 AND contact_id = $2 AND status = 'snoozed'",
                )
                .bind(person.id)
                .bind(contact)
                .fetch_optional(&mut *self.db)
                .await?;
                let snoozed = snoozed.context("what was snoozed is not")?;
                memory.say(snoozed, contact, Word::Snoozed { until: now + TimeDelta::days(7) });
            }
            (Link::WeMet { .. } | Link::NotNow { .. } | Link::Never { .. }, None)
            | (Link::StillUseful { .. }, _) => {}
        }
        Ok(())
    }

    /// How a link leaves a suggestion that it closes: an appointment stays one.
    async fn closed(&mut self, suggestion: Uuid) -> sqlx::Result<Word> {
        let is_accepted = sqlx::query_scalar("SELECT status = 'accepted' FROM suggestions WHERE id = $1")
            .bind(suggestion)
            .fetch_one(&mut *self.db)
            .await?;
        Ok(if is_accepted { Word::Accepted } else { Word::Dismissed })
    }

    /// What the application writes when a person connects a calendar again.
    async fn connect(&mut self, user: Uuid) -> sqlx::Result<()> {
        for statement in [
            "UPDATE token_health SET status = 'valid', error_message = NULL, last_checked = now() AT TIME ZONE 'UTC'
             WHERE user_id = $1 AND integration_type = 'google_calendar'",
            "UPDATE oauth_tokens SET expires_at = now() - interval '1 minute'
             WHERE user_id = $1 AND provider = 'google_calendar'",
            "UPDATE token_health_notifications SET resolved_at = now() AT TIME ZONE 'UTC'
             WHERE user_id = $1 AND integration_type = 'google_calendar' AND resolved_at IS NULL",
            "UPDATE sync_schedule SET next_sync_at = now() AT TIME ZONE 'UTC'
             WHERE user_id = $1 AND integration_type = 'google_calendar'",
        ] {
            sqlx::query(statement).bind(user).execute(&mut *self.db).await?;
        }
        Ok(())
    }
}

/// Whether a deed is the user's word on suggestions, by which silence ends.
pub(crate) const fn is_act(deed: &Deed) -> bool {
    match deed {
        Deed::Dismiss { .. } | Deed::Snooze { .. } | Deed::Accept { .. } => true,
        Deed::Press { found, .. } => !matches!(found.link, Link::Unsubscribe { .. }),
        Deed::Enter { .. }
        | Deed::EnterAnother
        | Deed::Text(_)
        | Deed::UnsubscribeAtProvider
        | Deed::SwitchEmailOn
        | Deed::Archive
        | Deed::Pause { .. }
        | Deed::Move(_)
        | Deed::Revoke
        | Deed::Connect => false,
    }
}
