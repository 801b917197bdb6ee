//! Keeps the users' OAuth tokens usable: a daily sweep finds those that are due, and one task per user renews them.

use catchup::db::oauth_tokens::OauthTokens;
use catchup::db::refused_tokens::RefusedTokens;
use catchup::db::users::Users;
use catchup::google::{TokenError, Tokens};
use catchup::payload::{self, Integration, TokenChoice};
use serde::Serialize;
use shared::config::InvalidConfig;
use shared::db::sweeps::Sweeps;
use shared::job::{Context, Failure, Job, Outcome, Setup};
use shared::payload::{Payload, Position, Target, UserTask};
use shared::queue::Queue;
use shared::sweep::{self, Sweep};
use shared::tasks::Tasks;
use strum::IntoEnumIterator as _;
use uuid::Uuid;

const QUEUE: Queue = <payload::TokenRefresh as Payload>::QUEUE;

/// A sweep with a larger share of failed tokens than this is remarkable.
const HIGH_FAILURE_RATE: f64 = 0.1;

/// Renews tokens, and finds those that are due.
pub struct TokenRefresh {
    users: Users,
    stored: OauthTokens,
    sweeps: Sweeps,
    tasks: Tasks,
    tokens: Tokens,
    refused: RefusedTokens,
}

/// How a sweep, and a task that it created, end while Google refuses the tokens of many users: no one else is asked.
const MANY_REFUSED: Outcome = Outcome::Skipped("many_refused");

/// What became of one user's tokens.
#[derive(Debug, Default, Serialize)]
struct Refreshed {
    refreshed: u64,
    failed: u64,
}

impl Job for TokenRefresh {
    type Payload = payload::TokenRefresh;

    fn new(setup: &mut Setup) -> Result<Self, InvalidConfig> {
        let (users, stored, sweeps) = (Users::new(setup), OauthTokens::new(setup), setup.sweeps());
        let (tasks, tokens, refused) = (setup.tasks(), Tokens::new(setup), RefusedTokens::new(setup));
        Ok(Self {
            users: users?,
            stored: stored?,
            sweeps: sweeps?,
            tasks: tasks?,
            tokens: tokens?,
            refused: refused?,
        })
    }

    async fn run(&self, payload: Self::Payload, context: &Context) -> Result<Outcome, Failure> {
        match payload.0 {
            Target::Sweep(position) => self.sweep(&position, context).await,
            Target::User(user) => {
                let run = self.refresh(&user, context);
                sweep::user_task(&self.sweeps, QUEUE, user.swept(), context, run).await
            }
        }
    }
}

impl TokenRefresh {
    async fn sweep(&self, position: &Position, context: &Context) -> Result<Outcome, Failure> {
        let sweep = Sweep::of(position, context);
        if !sweep.begin(&self.sweeps, QUEUE).await? {
            return Ok(sweep::SUPERSEDED);
        }
        if self.refused.is_alarm_raised(context.now()).await? {
            return Ok(MANY_REFUSED);
        }
        let due = self.stored.due(context.now(), sweep.after, sweep::PAGE).await?;
        // The task does not depend on when the sweep runs: it reads for itself which tokens are due.
        sweep.fan_out(&self.sweeps, &self.tasks, due, payload::TokenRefresh).await
    }

    async fn refresh(&self, user: &UserTask<TokenChoice>, context: &Context) -> Result<Outcome, Failure> {
        let user_id = user.user_id;
        if !self.users.exists(user_id).await? {
            return Ok(Outcome::Skipped("unknown_user"));
        }
        // A task that names a user for a person's sake always asks Google.
        if user.sweep_id.is_some() && self.refused.is_alarm_raised(context.now()).await? {
            return Ok(MANY_REFUSED);
        }
        let integrations = match user.details.integration_type {
            Some(integration) => vec![integration],
            None if user.sweep_id.is_some() => self.stored.working_integrations(user_id).await?,
            None => Integration::iter().collect(),
        };
        let mut done = Refreshed::default();
        let (mut failed, mut suspected_until, mut many_refused) = (None, None, false);
        for integration in integrations {
            match self.tokens.refresh(user_id, integration).await {
                Ok(_) => done.refreshed += 1,
                Err(TokenError::Revoked | TokenError::MissingScope) => done.failed += 1,
                Err(TokenError::Suspected { until }) => suspected_until = suspected_until.max(Some(until)),
                Err(TokenError::ManyRefused) => many_refused = true,
                Err(TokenError::NotConnected) => {}
                Err(error) => {
                    log_failure(user_id, integration, &error);
                    done.failed += 1;
                    failed = Some(error);
                }
            }
        }
        if many_refused && failed.is_none() {
            return Ok(MANY_REFUSED);
        }
        if let (Some(until), None) = (suspected_until, &failed) {
            return Ok(Outcome::Snooze(until));
        }
        // A task that is rescheduled counts when it ends.
        let failed = failed.map(Failure::from);
        let is_rescheduled = failed.as_ref().is_some_and(|failure| !context.is_final(failure));
        if let (Some(sweep_id), false) = (&user.sweep_id, is_rescheduled) {
            let now = context.now();
            self.sweeps
                .add_result(QUEUE, sweep_id, done.refreshed, done.failed, HIGH_FAILURE_RATE, now)
                .await?;
        }
        match failed {
            Some(failure) => Err(failure),
            None if done.refreshed + done.failed == 0 => Ok(Outcome::Skipped("not_connected")),
            None => Ok(Outcome::done(done)),
        }
    }
}

/// Of several failures the task reports one; each is logged.
fn log_failure(user_id: Uuid, integration: Integration, error: &TokenError) {
    tracing::warn!(
        %user_id,
        integration = integration.as_str(),
        error = error as &dyn std::error::Error,
        "a token was not refreshed"
    );
}
