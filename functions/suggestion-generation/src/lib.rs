//! Suggests whom to meet in the free time of the next weeks: a sweep finds the users with a calendar, and one task per user
//! fills up that user's suggestions ([`Planner::fill_up`]).

use catchup::db::suggestions::Suggestions;
use catchup::payload;
use catchup::suggestions::Planner;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{Payload, Position, Target};
use shared::queue::Queue;
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use uuid::Uuid;

const QUEUE: Queue = <payload::SuggestionGeneration as Payload>::QUEUE;

/// Makes suggestions, and finds the users to make them for.
pub struct SuggestionGeneration {
    planner: Planner,
    suggestions: Suggestions,
    sweeps: Sweeps,
    tasks: Tasks,
}

impl Job for SuggestionGeneration {
    type Payload = payload::SuggestionGeneration;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (planner, suggestions) = (Planner::new(setup), Suggestions::new(setup));
        let (sweeps, tasks) = (setup.sweeps(), setup.tasks());
        Ok(Self { planner: planner?, suggestions: suggestions?, sweeps: sweeps?, tasks: tasks? })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.0 {
            Target::Sweep(position) => self.sweep(&position, context).await,
            Target::User(user) => {
                let run = self.generate(user.user_id, context);
                sweep::user_task(&self.sweeps, QUEUE, user.swept(), context, run).await
            }
        }
    }
}

impl SuggestionGeneration {
    async fn sweep(&self, position: &Position, context: &Context) -> Result<Outcome, Failure> {
        let sweep = Sweep::of(position, context);
        if !sweep.begin(&self.sweeps, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        let page = self.suggestions.calendar_users(sweep.after, sweep::PAGE).await?;
        sweep.fan_out(&self.sweeps, &self.tasks, page, payload::SuggestionGeneration).await
    }

    async fn generate(&self, user_id: Uuid, context: &Context) -> Result<Outcome, Failure> {
        let changes = self.planner.fill_up(user_id, context.now()).await?;
        Ok(changes.map_or(Outcome::Skipped("unknown_user"), Outcome::done))
    }
}
