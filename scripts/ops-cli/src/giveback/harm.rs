//! What the application's own jobs do to what is open, and how they read tasks of ours.

use anyhow::ensure;
use catchup::db::handover::OpenWork;
use catchup::queues;

/// What a give-back costs.
pub(super) struct Harm {
    /// What the old job does.
    pub(super) what: &'static str,
    /// What that means for people, and until when.
    cost: &'static str,
    /// To how many of what.
    count: fn(&OpenWork) -> (i64, &'static str),
}

impl Harm {
    /// `None` for a queue that can be given back at any time.
    pub(super) fn of(function: &str) -> Option<Self> {
        let channels = |open: &OpenWork| (open.channels, "push channels");
        let suggestions = |open: &OpenWork| (open.suggestions, "open suggestions");
        let tokens = |open: &OpenWork| (open.calendar_tokens, "calendar tokens");
        let harms: [(_, Self); 5] = [
            (
                queues::WEBHOOK_HEALTH_CHECK,
                Self {
                    what: "deletes every push channel of ours",
                    cost: "changes in calendars are seen only by the daily sync, until webhook-renewal is ours and has opened \
                           channels again",
                    count: channels,
                },
            ),
            (
                queues::WEBHOOK_RENEWAL,
                Self {
                    what: "cannot renew a push channel",
                    cost: "channels end within seven days, and changes in calendars are seen only by the daily sync then",
                    count: channels,
                },
            ),
            (
                queues::BATCH_NOTIFICATIONS,
                Self {
                    what: "sends every pending suggestion again, and to the contact instead of the user",
                    cost: "people who do not use CatchUp get messages that are not for them; nothing takes that back",
                    count: suggestions,
                },
            ),
            (
                queues::SUGGESTION_GENERATION,
                Self {
                    what: "makes a second open suggestion per contact",
                    cost: "users see contacts twice, until they dismiss one of each two",
                    count: suggestions,
                },
            ),
            (
                queues::TOKEN_REFRESH,
                Self {
                    what: "marks every calendar token that is valid or expires soon as revoked",
                    cost: "the application asks these people to connect again, until token-refresh is ours and has tried their \
                           tokens, at its next sweep",
                    count: tokens,
                },
            ),
        ];
        harms.into_iter().find(|(queue, _)| queue.name() == function).map(|(_, harm)| harm)
    }

    /// An error unless nothing is open, or the operator accepts the harm; what is not known may be much.
    pub(super) fn accept(
        &self,
        open: Result<&OpenWork, &anyhow::Error>,
        is_forced: bool,
    ) -> anyhow::Result<()> {
        let extent = match open.map(self.count) {
            Ok((0, _)) => return Ok(()),
            Ok((count, of)) => format!("{count} {of}"),
            Err(error) => format!("how many are open is not known, {error:#}"),
        };
        let Self { what, cost, .. } = self;
        ensure!(is_forced, "the old job {what}: {extent}. Cost: {cost}. --force gives it back all the same");
        eprintln!("forced: the old job {what}: {extent}. Cost: {cost}");
        Ok(())
    }
}

/// Whether the old job ignores whom a task names: each of ours would be a whole sweep. The application itself creates none in
/// these queues.
pub(super) fn takes_users_for_sweeps(function: &str) -> bool {
    [
        queues::TOKEN_REFRESH,
        queues::SUGGESTION_GENERATION,
        queues::WEBHOOK_RENEWAL,
        queues::NOTIFICATION_REMINDER,
        queues::TOKEN_HEALTH_REMINDER,
    ]
    .iter()
    .any(|queue| queue.name() == function)
}

#[cfg(test)]
mod tests {
    use shared::queue::Queue;

    use super::*;

    #[test]
    fn what_is_open_keeps_a_queue_here_unless_the_operator_accepts_what_it_costs() {
        let nothing = OpenWork { channels: 0, suggestions: 0, calendar_tokens: 0 };
        let much = OpenWork { channels: 7, suggestions: 7, calendar_tokens: 7 };
        let unknown = anyhow::anyhow!("Postgres is down");
        let harmful: Vec<_> =
            queues::all().map(Queue::name).filter(|function| Harm::of(function).is_some()).collect();
        assert_eq!(
            harmful,
            [
                "token-refresh",
                "webhook-renewal",
                "batch-notifications",
                "suggestion-generation",
                "webhook-health-check"
            ]
        );
        for harm in harmful.iter().filter_map(|function| Harm::of(function)) {
            harm.accept(Ok(&nothing), false).unwrap();
            for (open, extent) in [(Ok(&much), "7 "), (Err(&unknown), "is not known, Postgres is down")] {
                harm.accept(open, true).unwrap();
                let refusal = harm.accept(open, false).unwrap_err().to_string();
                for said in [harm.what, extent, harm.cost] {
                    assert!(refusal.contains(said), "{refusal}");
                }
            }
        }
    }
}
