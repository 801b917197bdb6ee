//! Messages of sample data.

use catchup::db::token_health::NoticeKind;
use catchup::links::{Link, Links};
use catchup::notify::message::{Acts, Email, Frame, Notification, Sms, StillUseful, Suggestion, TokenNotice};
use catchup::notify::zone::ReaderClock;
use catchup::payload::Integration;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use clap::ValueEnum;
use shared::config::Config;
use uuid::Uuid;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// The suggestions of one batch.
    Digest,
    /// A token that does not work any more.
    Reminder,
    /// A token that ends soon.
    ExpiryReminder,
    /// Whether more suggestions are wanted.
    Question,
}

/// A message in both forms.
pub(super) struct Sample {
    pub(super) email: Email,
    pub(super) sms: Sms,
}

/// Who reads it.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) zone: Tz,
    pub(super) is_first_text: bool,
}

/// Where the sample's reader lives, unless another zone is asked for.
pub(super) const ZONE: Tz = Tz::America__New_York;

/// The message of that kind, about so many suggestions if it is a digest.
pub(super) fn message(kind: Kind, reader: &Reader, suggestions: usize) -> Sample {
    let frame = frame(reader);
    match kind {
        Kind::Digest => {
            let suggestions: Vec<_> =
                PEOPLE.iter().take(suggestions).map(|it| suggestion(it, reader.zone)).collect();
            of(&suggestions, &frame)
        }
        Kind::Reminder => of(&[notice(NoticeKind::TokenInvalid, now() - TimeDelta::days(7))], &frame),
        Kind::ExpiryReminder => {
            of(&[notice(NoticeKind::TokenExpiringSoon, now() + TimeDelta::hours(30))], &frame)
        }
        Kind::Question => of(
            &[StillUseful {
                last_suggestion_id: Uuid::nil(),
                yes_url: links().url(Link::StillUseful { suggestion: Uuid::nil() }),
            }],
            &frame,
        ),
    }
}

const APPLICATION: &str = "https://app.catchup.example";
const WEBHOOKS: &str = "https://hooks.catchup.example";

/// Contacts, why they are suggested, and when: days ahead, and the local hour.
type Person = (&'static [&'static str], &'static str, u32, u32);

const PEOPLE: [Person; 3] = [
    (
        &["Alexandra Konstantinopoulou-Featherstonehaugh"],
        "Alexandra Konstantinopoulou-Featherstonehaugh · monthly · last 12 October",
        2,
        18,
    ),
    (&["Ben O’Neill", "Zoë Müller"], "Ben O’Neill · quarterly · last 3 August", 5, 19),
    (&["Mei 陈"], "Keep in touch with Mei 陈?", 9, 11),
];

/// As long as those that people get, signed with a key of zeros.
fn links() -> Links {
    let pairs = [("WEBHOOKS_URL", WEBHOOKS.to_owned()), ("LINK_SIGNING_KEYS", "0".repeat(64))];
    Links::from_config(&mut Config::from_pairs(pairs)).expect("an address and a key are all that links need")
}

/// A Friday morning.
fn now() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_770_000)
}

fn frame(reader: &Reader) -> Frame {
    Frame {
        name: Some(reader.name.clone()),
        clock: ReaderClock::new(reader.zone, None),
        now: now(),
        suggestions_url: format!("{APPLICATION}/app"),
        preferences_url: format!("{APPLICATION}/app?view=preferences"),
        unsubscribe_url: Some(links().url(Link::Unsubscribe { message: Uuid::nil() })),
        postal_address: Some("CatchUp, 1 Sample Street, Springfield, IL 62701, USA".to_owned()),
        is_first_text: reader.is_first_text,
        takes_replies: true,
    }
}

fn suggestion((contacts, reasoning, days, hour): &Person, zone: Tz) -> Suggestion {
    let day = now().with_timezone(&zone).date_naive() + TimeDelta::days((*days).into());
    let local = day.and_hms_opt(*hour, 0, 0).unwrap_or_default();
    let start = zone.from_local_datetime(&local).earliest().map_or(now(), |it| it.to_utc());
    let (links, suggestion) = (links(), Uuid::nil());
    let acts = Acts {
        met_url: links.url(Link::WeMet { suggestion }),
        not_now_url: links.url(Link::NotNow { suggestion }),
        never_url: links.url(Link::Never { suggestion }),
    };
    Suggestion {
        id: Uuid::nil(),
        contacts: contacts.iter().map(ToString::to_string).collect(),
        start,
        end: start + TimeDelta::hours(1),
        reasoning: (*reasoning).to_owned(),
        acts: Some(acts),
    }
}

fn notice(kind: NoticeKind, at: DateTime<Utc>) -> TokenNotice {
    TokenNotice { id: Uuid::nil(), integration: Integration::GoogleCalendar, kind, at: Some(at) }
}

fn of<N: Notification>(notifications: &[N], frame: &Frame) -> Sample {
    let notifications: Vec<_> = notifications.iter().collect();
    Sample { email: N::email(&notifications, frame), sms: N::sms(&notifications, frame) }
}
