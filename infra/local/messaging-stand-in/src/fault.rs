//! Faults on demand, per channel and per recipient.

use serde::{Deserialize, Serialize};
use stand_in::Times;

use crate::inbox::Channel;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// The vendor refuses: an HTTP status with Twilio's error code, or SMTP's reply code to RCPT. Nothing is accepted.
    Status {
        /// HTTP status from 400, or SMTP reply code from 400.
        status: u16,
        /// Twilio's error code, such as 21610; of SMTP the enhanced status code without its dots, such as 571. 0 is none.
        #[serde(default)]
        code: u32,
    },
    /// As [`Kind::Status`], and over SMTP only when the whole mail was received.
    StatusAfterData {
        /// HTTP status from 400, or SMTP reply code from 400.
        status: u16,
        /// Likewise.
        #[serde(default)]
        code: u32,
    },
    /// The connection is reset, and nothing is accepted.
    Reset,
    /// The right answer, late; accepted at the end of the wait, also when the caller has gone.
    Slow {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// Accepted, then the connection is reset without an answer.
    ResetAfterAccept,
    /// Accepted, and the answer comes late.
    AcceptThenSlow {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// Accepted, and a gateway in between answers this status.
    AcceptThenStatus {
        /// HTTP status from 500, or SMTP reply code.
        status: u16,
    },
    /// Accepted, and the response is a success with a malformed body.
    AcceptThenGarbage,
}

/// Something that is to go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Of which channel.
    pub channel: Channel,
    /// For which recipient, as the caller writes it; `None` for all.
    #[serde(default)]
    pub to: Option<String>,
    /// What happens.
    #[serde(flatten)]
    pub kind: Kind,
    /// How often.
    #[serde(default)]
    pub times: Times,
}

impl Fault {
    /// A fault that strikes the channel's next message.
    #[must_use]
    pub const fn new(channel: Channel, kind: Kind) -> Self {
        Self { channel, to: None, kind, times: Times::Count(1) }
    }

    /// Only for this recipient.
    #[must_use]
    pub fn to(self, to: impl Into<String>) -> Self {
        Self { to: Some(to.into()), ..self }
    }

    /// This many times.
    #[must_use]
    pub fn times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    fn concerns(&self, channel: Channel, recipients: &[&str]) -> bool {
        self.channel == channel && self.to.as_deref().is_none_or(|to| recipients.contains(&to))
    }
}

/// The fault that strikes this message, if any; the first one armed wins, and what is used up is dropped.
pub(crate) fn strike(faults: &mut Vec<Fault>, channel: Channel, recipients: &[&str]) -> Option<Kind> {
    let place = faults.iter().position(|fault| fault.concerns(channel, recipients))?;
    let kind = faults[place].kind;
    if !faults[place].times.spend() {
        faults.remove(place);
    }
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_applies_to_its_recipient_as_often_as_declared() {
        let fault = Fault::new(Channel::Sms, Kind::Reset).to("+1").times(Times::Count(2));
        let mut faults = vec![fault];
        let mut strikes = |channel, to| strike(&mut faults, channel, &[to]).is_some();
        assert!(!strikes(Channel::Email, "+1"));
        assert!(!strikes(Channel::Sms, "+2"));
        assert_eq!([0; 3].map(|_| strikes(Channel::Sms, "+1")), [true, true, false]);
    }

    #[test]
    fn fault_is_read_from_flat_json() {
        let json =
            r#"{"channel": "sms", "kind": "status", "status": 400, "code": 21610, "times": "forever"}"#;
        let expected =
            Fault::new(Channel::Sms, Kind::Status { status: 400, code: 21610 }).times(Times::Forever);
        assert_eq!(serde_json::from_str::<Fault>(json).expect("json"), expected);
    }
}
