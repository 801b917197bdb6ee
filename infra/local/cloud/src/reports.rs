//! What became of messages, as Twilio and `SendGrid` report it: signed, late, twice, and in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use messaging_stand_in::{Callback, Channel, Config, Inbox, Message};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::environment::Environment;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);

/// How a vendor reports.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Of a hundred messages so many do not arrive, for a reason that passes.
    failing_percent: u32,
    /// Of a hundred reports so many come twice.
    repeated_percent: u32,
    /// How late a report may be.
    max_delay_minutes: i64,
}

/// Every message arrives, and that is reported immediately.
pub const PROMPT: Manner = Manner { failing_percent: 0, repeated_percent: 0, max_delay_minutes: 0 };
/// As in a vendor's worse weeks.
pub const CARELESS: Manner = Manner { failing_percent: 3, repeated_percent: 20, max_delay_minutes: 24 * 60 };

/// Twilio's code of a phone that could not be reached, and of a number without texts.
const UNREACHABLE: u32 = 30003;
const LANDLINE: u32 = 30006;

/// Reports that are still to be delivered.
#[derive(Debug)]
pub struct Reports {
    manner: Manner,
    vendor: Config,
    events_url: String,
    http: reqwest::Client,
    rng: StdRng,
    /// Messages of the inbox that were looked at.
    seen: usize,
    /// Likewise, of those that were dropped.
    seen_dropped: usize,
    /// By their time, and by a number where two have the same.
    due: BTreeMap<(DateTime<Utc>, usize), Report>,
    count: usize,
    landlines: BTreeSet<String>,
    /// Messages that did not arrive, by the vendor's id.
    failed: BTreeSet<String>,
}

#[derive(Debug, Clone)]
enum Report {
    Twilio(Callback),
    /// Signed when it is delivered.
    SendGrid(Value),
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Delivered,
    Failed,
    Bounced,
}

impl Reports {
    /// To the service `webhooks` of a function's environment; the same seed reports the same.
    pub(crate) fn new(environment: &Environment, manner: Manner, seed: u64) -> anyhow::Result<Self> {
        Ok(Self {
            manner,
            vendor: Config::default(),
            events_url: format!("{}{}", webhooks_url(environment)?, webhooks::sendgrid::PATH),
            http: shared::http::client(CONNECT_TIMEOUT, TIMEOUT),
            rng: StdRng::seed_from_u64(seed),
            seen: 0,
            seen_dropped: 0,
            due: BTreeMap::new(),
            count: 0,
            landlines: BTreeSet::new(),
            failed: BTreeSet::new(),
        })
    }

    /// No text arrives at this number.
    pub(crate) fn is_landline(&mut self, number: &str) {
        self.landlines.insert(number.to_owned());
    }

    /// Whether that message did not arrive.
    pub(crate) fn has_failed(&self, provider_id: &str) -> bool {
        self.failed.contains(provider_id)
    }

    /// Delivers what is due at that time, and returns the messages that came since the last look, of which will be reported.
    pub async fn look(&mut self, inbox: &Inbox, now: DateTime<Utc>) -> anyhow::Result<Vec<Message>> {
        let messages = inbox.messages_after(self.seen);
        self.seen += messages.len();
        for message in &messages {
            self.plan(message);
        }
        let dropped = inbox.dropped_after(self.seen_dropped);
        self.seen_dropped += dropped.len();
        for message in &dropped {
            self.failed.insert(message.provider_id.clone());
            self.report(message, of_dropped(message));
        }
        self.deliver(now).await?;
        Ok(messages)
    }

    /// Looks a last time, and delivers all that is left, whatever time it is.
    pub async fn finish(&mut self, inbox: &Inbox) -> anyhow::Result<()> {
        self.look(inbox, DateTime::<Utc>::MAX_UTC).await.map(drop)
    }

    /// What the ledger says in the end of a message that was taken.
    pub(crate) fn ledger_state(&self, provider_id: &str) -> &'static str {
        if self.has_failed(provider_id) { "failed" } else { "delivered" }
    }

    fn plan(&mut self, message: &Message) {
        let status = if self.landlines.contains(&message.to) {
            Status::Bounced
        } else if self.rng.random_range(0..100) < self.manner.failing_percent {
            Status::Failed
        } else {
            Status::Delivered
        };
        if status != Status::Delivered {
            self.failed.insert(message.provider_id.clone());
        }
        let reports = match message.channel {
            Channel::Sms => self.of_text(message, status),
            Channel::Email => of_mail(message, status),
        };
        self.report(message, reports);
    }

    /// They come late, and some twice.
    fn report(&mut self, message: &Message, reports: Vec<Report>) {
        for report in reports {
            let times = if self.rng.random_range(0..100) < self.manner.repeated_percent { 2 } else { 1 };
            for _ in 0..times {
                let delay = TimeDelta::minutes(self.rng.random_range(0..=self.manner.max_delay_minutes));
                self.count += 1;
                self.due.insert((message.received_at + delay, self.count), report.clone());
            }
        }
    }

    fn of_text(&self, message: &Message, status: Status) -> Vec<Report> {
        let Some(url) = &message.status_callback else { return Vec::new() };
        let report = |name, code| {
            Report::Twilio(Callback::twilio_status(&self.vendor, url, &message.provider_id, name, code))
        };
        let end = match status {
            Status::Delivered => report("delivered", None),
            Status::Failed => report("undelivered", Some(UNREACHABLE)),
            Status::Bounced => report("undelivered", Some(LANDLINE)),
        };
        vec![report("sent", None), end]
    }

    /// Delivers what is due at that time.
    async fn deliver(&mut self, now: DateTime<Utc>) -> anyhow::Result<()> {
        let later = self.due.split_off(&(now, usize::MAX));
        for ((at, _), report) in std::mem::replace(&mut self.due, later) {
            let callback = match report {
                Report::Twilio(callback) => callback,
                Report::SendGrid(events) => Callback::sendgrid(&self.events_url, &events, at.timestamp()),
            };
            post(&self.http, callback).await?;
        }
        Ok(())
    }
}

fn of_mail(message: &Message, status: Status) -> Vec<Report> {
    let end = match status {
        Status::Delivered => json!({ "event": "delivered", "response": "250 OK" }),
        Status::Failed => json!({ "event": "bounce", "type": "blocked", "reason": "452 Too many messages" }),
        Status::Bounced => json!({ "event": "bounce", "type": "bounce", "status": "5.1.1" }),
    };
    vec![event(message, json!({ "event": "processed" })), event(message, end)]
}

/// `SendGrid` drops what is sent to those who unsubscribed there.
fn of_dropped(message: &Message) -> Vec<Report> {
    vec![event(message, json!({ "event": "dropped", "reason": "Unsubscribed Address" }))]
}

fn event(message: &Message, mut event: Value) -> Report {
    event["message_id"] = json!(message.our_id);
    event["sg_message_id"] = json!(format!("{}.recvd-1", message.provider_id));
    event["sg_event_id"] = json!(Uuid::new_v4().simple().to_string());
    event["email"] = json!(message.to);
    event["timestamp"] = json!(message.received_at.timestamp());
    Report::SendGrid(json!([event]))
}

/// Where the links of messages lead, and where vendors report.
pub(crate) fn webhooks_url(environment: &Environment) -> anyhow::Result<&str> {
    let url = environment.get(catchup::variables::WEBHOOKS_URL.name);
    url.map(String::as_str).context("nothing receives what vendors report")
}

/// Sends a callback, which must be accepted.
pub(crate) async fn post(http: &reqwest::Client, callback: Callback) -> anyhow::Result<()> {
    let Callback { url, headers, body } = callback;
    let request =
        headers.into_iter().fold(http.post(url), |request, (name, value)| request.header(name, value));
    let response = request.body(body).send().await.context("webhooks does not answer")?;
    let status = response.status();
    ensure!(status.is_success(), "webhooks answered {status} to a signed report");
    Ok(())
}
