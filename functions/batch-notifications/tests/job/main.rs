//! The sweep and its tasks: over real servers and the stand-ins for Twilio and `SendGrid`.

mod batch;
mod fixture;
mod outage;
mod simulation;
mod sweep;
