//! Where accepted messages are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stand_in::Clock;

use crate::fault::{Fault, Kind, strike};

/// How a message reaches its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A text message.
    Sms,
    /// E-mail.
    Email,
}

/// By whom it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Twilio's Messages.
    Twilio,
    /// `SendGrid`'s Mail Send.
    SendGrid,
    /// The SMTP server.
    Smtp,
}

impl Via {
    /// What it carries.
    #[must_use]
    pub const fn channel(self) -> Channel {
        match self {
            Self::Twilio => Channel::Sms,
            Self::SendGrid | Self::Smtp => Channel::Email,
        }
    }
}

/// A message that was accepted for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// SMS or e-mail.
    pub channel: Channel,
    /// Who accepted it.
    pub via: Via,
    /// E.164, or an e-mail address.
    pub to: String,
    /// Likewise.
    pub from: String,
    /// Of an e-mail.
    pub subject: Option<String>,
    /// The body, or an e-mail's plain part.
    pub text: Option<String>,
    /// An e-mail's HTML part.
    pub html: Option<String>,
    /// Of an e-mail: the headers that its sender wrote, in their order.
    pub headers: Vec<(String, String)>,
    /// The id that was returned to the caller; the same for all recipients of one e-mail.
    pub provider_id: String,
    /// The sender's own id: `SendGrid`'s `custom_args.message_id`, or the header `Message-ID`.
    pub our_id: Option<String>,
    /// Where what became of a text message is to be reported.
    pub status_callback: Option<String>,
    /// When it was accepted.
    pub received_at: DateTime<Utc>,
}

/// An inbox with its faults. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    dropped: Vec<Message>,
    faults: Vec<Fault>,
    requests: [u64; 2],
    /// Who replied STOP, and to whom `SendGrid` sends nothing any more.
    left: BTreeSet<String>,
    /// Texts that the account may send on one day.
    max_texts_per_day: Option<usize>,
}

impl Inbox {
    /// An empty inbox that takes the time from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default() }
    }

    /// All accepted messages, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.lock().messages.clone()
    }

    /// Those after the first `count`, oldest first.
    #[must_use]
    pub fn messages_after(&self, count: usize) -> Vec<Message> {
        self.lock().messages.get(count..).unwrap_or_default().to_vec()
    }

    /// Those to this number or address.
    #[must_use]
    pub fn messages_to(&self, to: &str) -> Vec<Message> {
        self.lock().messages.iter().filter(|message| message.to == to).cloned().collect()
    }

    /// Throws all messages away.
    pub fn clear(&self) {
        self.lock().messages.clear();
    }

    /// How many requests to send came in on a channel, refused and failed ones included.
    #[must_use]
    pub fn requests(&self, channel: Channel) -> u64 {
        self.lock().requests[channel as usize]
    }

    /// Lets something go wrong.
    pub fn fault(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// The faults that are still to strike.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.lock().faults.clone()
    }

    /// Lets all go well again.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// This number replies STOP, or this address is on a suppression list: Twilio refuses it, and `SendGrid` accepts and drops
    /// what is sent there.
    pub fn suppress(&self, to: impl Into<String>) {
        self.lock().left.insert(to.into());
    }

    /// This number replies START, or the address is taken from the list.
    pub fn restore(&self, to: &str) {
        self.lock().left.remove(to);
    }

    /// What `SendGrid` accepted and then dropped, after the first `count`, oldest first.
    #[must_use]
    pub fn dropped_after(&self, count: usize) -> Vec<Message> {
        self.lock().dropped.get(count..).unwrap_or_default().to_vec()
    }

    /// The account may send so many texts a day, by UTC; without this, any number.
    pub fn cap_texts(&self, per_day: usize) {
        self.lock().max_texts_per_day = Some(per_day);
    }

    /// Whether the account has sent as many texts today as it may.
    pub(crate) fn has_reached_cap(&self) -> bool {
        let today = self.now().date_naive();
        let state = self.lock();
        let is_of_today = |it: &&Message| it.channel == Channel::Sms && it.received_at.date_naive() == today;
        state.max_texts_per_day.is_some_and(|max| state.messages.iter().filter(is_of_today).count() >= max)
    }

    pub(crate) fn is_suppressed(&self, to: &str) -> bool {
        self.lock().left.contains(to)
    }

    /// Counts a request to send, and says what goes wrong with it.
    pub(crate) fn receive(&self, channel: Channel, recipients: &[&str]) -> Option<Kind> {
        let mut state = self.lock();
        state.requests[channel as usize] += 1;
        strike(&mut state.faults, channel, recipients)
    }

    pub(crate) fn accept(&self, messages: impl IntoIterator<Item = Message>) {
        self.lock().messages.extend(messages);
    }

    /// Accepts them, and drops those to addresses that are on a suppression list.
    pub(crate) fn accept_unless_suppressed(&self, messages: impl IntoIterator<Item = Message>) {
        // What makes them may look into the inbox.
        let messages: Vec<_> = messages.into_iter().collect();
        let mut state = self.lock();
        let (dropped, accepted): (Vec<_>, Vec<_>) =
            messages.into_iter().partition(|message| state.left.contains(&message.to));
        state.messages.extend(accepted);
        state.dropped.extend(dropped);
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one push or one assignment: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
