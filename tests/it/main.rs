//! What the system promises, shown on real servers.

mod amnesia;
mod attempts;
mod bad_input;
mod callbacks;
mod configuration;
mod deliveries;
mod end_to_end;
mod endings;
mod handover;
mod identity;
mod interleavings;
mod observability;
mod outage_hours;
mod outages;
mod payloads;
mod platform;
mod producer;
mod real_faults;
mod webhooks;
mod words;
mod year;
