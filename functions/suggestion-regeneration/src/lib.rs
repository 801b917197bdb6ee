//! Looks at one user's suggestions again after the calendar changed, or because the user asks
//! ([`Planner::replan`]). Events are read from the table and not from the cache: what changed is what counts.

use catchup::payload;
use catchup::suggestions::Planner;
use shared::config::InvalidConfig;
use shared::job::{Context, Failure, Job, Outcome, Setup};

/// Looks at suggestions again.
pub struct SuggestionRegeneration {
    planner: Planner,
}

impl Job for SuggestionRegeneration {
    type Payload = payload::SuggestionRegeneration;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        Ok(Self { planner: Planner::new(setup)? })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        let changes = self.planner.replan(payload.user_id, context.now()).await?;
        Ok(changes.map_or(Outcome::Skipped("unknown_user"), Outcome::done))
    }
}
