//! A stand-in for Twilio's Messages, `SendGrid`'s Mail Send and an SMTP server: all messages land in one inbox that a
//! person can look at, and faults come on demand. It binds loopback only, and the vendors' own client libraries work
//! against it.
//!
//! - [`Inbox`] is where accepted messages are. Tests look into it and say what is to go wrong.
//! - [`serve`] answers Twilio's and `SendGrid`'s calls and shows the inbox at `/`; [`serve_smtp`] speaks SMTP.
//! - [`Fault`]s say what is to go wrong, for which recipient and how often.
//!
//! The SMTP server is part of this crate, and no program next to it, so that faults and inbox are the same for all three:
//! a crate parses its commands and another its messages, and [`serve_smtp`] is the order of RFC 5321 between them.

mod address;
mod callbacks;
mod course;
mod fault;
mod inbox;
mod mail;
mod page;
mod segments;
mod sendgrid;
mod serve;
mod smtp;
mod twilio;

pub use callbacks::{Callback, SENDGRID_PUBLIC_KEY};
pub use fault::{Fault, Kind};
pub use inbox::{Channel, Inbox, Message, Via};
pub use segments::{Alphabet, segments};
pub use serve::{Config, serve};
pub use smtp::serve_smtp;
pub use stand_in::{Clock, Times};
