//! A stand-in for Google: token endpoint, Calendar v3 and People v1 over a seeded world that changes over time, with
//! faults on demand. It binds loopback only, and the vendors' own client libraries work against it.
//!
//! - [`World`] is what Google knows: users, grants, calendars, address books. Tests change it and look into it.
//! - [`serve`] answers Google's calls from a world, and the operator's on `/admin`.
//! - [`Fault`]s say what is to go wrong, for whom, in which call and how often.

mod account;
mod address_book;
mod admin;
mod calendar;
mod calendar_list;
mod call;
mod change;
mod dice;
mod event;
mod event_list;
mod fault;
mod grants;
mod group_list;
mod opaque;
mod people_list;
mod person;
mod person_wire;
mod push;
mod query;
mod refusal;
mod request_context;
mod seed;
mod seed_calendar;
mod seed_person;
mod series;
mod serve;
mod state;
mod tick;
mod token_endpoint;
mod watch;
mod words;
mod world;

pub use account::{Grant, GrantState, Integration, User};
pub use calendar::Calendar;
pub use call::{Call, CallCounts};
pub use event::{Attendee, Event, EventStatus, EventTime, Recurrence, ResponseStatus};
pub use fault::{Fault, FaultKind};
pub use person::{Address, ContactGroup, GroupType, Labelled, Organization, Person, PersonName};
pub use push::Channel;
pub use seed::{HUGE_BOOK, SeedOptions};
pub use serve::{Config, serve};
pub use stand_in::{Clock, Times};
pub use state::Unknown;
pub use tick::Change;
pub use world::World;
