//! Why an operator changes something, which is recorded with the change.

use clap::Args;
use shared::db::operator_actions::Via;

use crate::operations::actions::Request;

/// What every command takes that changes something.
#[derive(Args)]
pub(crate) struct Reason {
    /// Why; it is recorded.
    #[arg(long, default_value = "", value_name = "TEXT")]
    why: String,
}

impl Reason {
    /// What is recorded.
    pub(crate) fn request(&self) -> Request<'_> {
        Request { via: Via::CommandLine, why: &self.why }
    }
}
