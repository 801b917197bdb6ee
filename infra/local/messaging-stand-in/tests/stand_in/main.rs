//! The stand-in over real sockets.

mod sendgrid;
mod site;
mod smtp;
mod twilio;
