//! Carries out commands: checks, translates, sends, bills, and puts the replies back into the client's order.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Value;

use crate::auth::Access;
use crate::backend::{BackendError, Capabilities, Link, Wire, missing, transaction_results, words};
use crate::billing::{Billing, calls_between, command_stats};
use crate::command::Command;
use crate::conditional;
use crate::failure::Failure;
use crate::policy;
use crate::primary::{Memory, Primary, Target};
use crate::reply::{Reply, Rule};
use crate::script::Scripts;
use crate::unkindness::Unkindness;

/// Stands for every name that Redis does not know, so that clients cannot fill the bill with inventions.
const UNKNOWN: &str = "UNKNOWN";

/// How many entries `count_script_calls` adds around a script: one `INFO` on either side.
const INFO_AROUND: usize = 2;

/// Replies, and the sync token that goes with them.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) replies: Vec<Reply>,
    pub(crate) sync_token: String,
}

/// Runs commands for all requests.
#[derive(Debug)]
pub(crate) struct Executor {
    primary: Arc<Primary>,
    scripts: Scripts,
    billing: Arc<Billing>,
    unkindness: Arc<Unkindness>,
    count_script_calls: bool,
}

/// One command, ready to be sent.
struct Plan {
    name: String,
    wire: Wire,
    rule: Rule,
    writes: bool,
    scripted: bool,
    /// The calls inside are to be counted.
    counted: bool,
}

impl Executor {
    pub(crate) fn new(
        primary: Arc<Primary>,
        billing: Arc<Billing>,
        unkindness: Arc<Unkindness>,
        count_script_calls: bool,
    ) -> Self {
        Self { primary, scripts: Scripts::default(), billing, unkindness, count_script_calls }
    }

    pub(crate) fn primary(&self) -> &Primary {
        &self.primary
    }

    pub(crate) fn unkindness(&self) -> &Unkindness {
        &self.unkindness
    }

    /// Refuses everything once the quota is used up.
    pub(crate) fn check_quota(&self) -> Result<(), Failure> {
        let Some(limit) = self.unkindness.settings().quota else { return Ok(()) };
        let usage = self.billing.billed();
        if usage < limit {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "ERR max requests limit exceeded. Limit: {limit}, Usage: {usage}. See https://upstash.com/docs/redis/troubleshooting/max_requests_limit for details"
        )))
    }

    pub(crate) fn billing(&self) -> &Billing {
        &self.billing
    }

    /// Runs commands one after the other; others' may come between. Each has its own reply, a refused one too.
    pub(crate) async fn pipeline(
        &self,
        commands: Vec<Command>,
        access: Access,
        sync_token: Option<&[u8]>,
    ) -> Result<Done, BackendError> {
        let link = self.primary.backend().link().await?;
        let mut plans: Vec<_> =
            commands.into_iter().map(|command| self.plan(command, access, link.server())).collect();
        let memory = self.evict(&link, plans.iter().flatten().count()).await?;
        let target = target(plans.iter().flatten(), memory);
        let mut wires = Vec::with_capacity(plans.len());
        for plan in plans.iter_mut().flatten() {
            let wire = std::mem::take(&mut plan.wire);
            if plan.counted {
                // A transaction, so that no other client's calls fall between the two readings.
                wires.extend([words(["MULTI"]), info(), wire, info(), words(["EXEC"])]);
            } else {
                wires.push(wire);
            }
        }
        let (values, position) = self.primary.run(&link, &wires, target, memory, sync_token).await?;
        let mut values = values.into_iter();
        let replies = plans.into_iter().map(|plan| {
            let plan = plan?;
            let value = if plan.counted {
                let group: Vec<_> = values.by_ref().take(INFO_AROUND + 3).collect();
                match transaction_results(group) {
                    Ok(results) => self.take_counted(&plan.name, &mut results.into_iter()),
                    Err(message) => return self.settle(plan, Err(message)),
                }
            } else {
                values.next()
            };
            self.settle(plan, value.ok_or_else(missing))
        });
        Ok(self.done(replies.collect(), position))
    }

    /// Runs commands as one transaction.
    pub(crate) async fn transaction(&self, commands: Vec<Command>, access: Access) -> Result<Done, Failure> {
        let link = self.primary.backend().link().await?;
        let mut plans = commands
            .into_iter()
            .map(|command| self.plan(command, access, link.server()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::Refused)?;
        let memory = self.evict(&link, plans.len()).await?;
        let target = match target(plans.iter(), memory) {
            Target::Replica => Target::Primary,
            target => target,
        };
        let mut wires = vec![words(["MULTI"])];
        for plan in &mut plans {
            let wire = std::mem::take(&mut plan.wire);
            if plan.counted {
                wires.extend([info(), wire, info()]);
            } else {
                wires.push(wire);
            }
        }
        wires.push(words(["EXEC"]));
        let (values, position) = self.primary.run(&link, &wires, target, memory, None).await?;
        let mut values = transaction_results(values).map_err(Failure::Refused)?.into_iter();
        let replies = plans.into_iter().map(|plan| {
            let value = if plan.counted { self.take_counted(&plan.name, &mut values) } else { values.next() };
            self.settle(plan, value.ok_or_else(missing))
        });
        Ok(self.done(replies.collect(), position))
    }

    fn plan(&self, command: Command, access: Access, server: &Capabilities) -> Result<Plan, String> {
        policy::check(&command, access, server)?;
        let name = command.name();
        let scripted =
            matches!(name.as_str(), "EVAL" | "EVAL_RO" | "EVALSHA" | "EVALSHA_RO" | "FCALL" | "FCALL_RO");
        let (wire, rule) = if scripted || name == "SCRIPT" {
            self.scripts.translate(&name, command)
        } else if server.has_conditions() {
            (command.into_parts(), Rule::AsIs)
        } else {
            conditional::emulate(&name, command)?
        };
        let writes = server.writes(&name) || matches!(name.as_str(), "EVAL" | "EVALSHA" | "FCALL" | "DELEX");
        let emulated = matches!(name.as_str(), "DELEX" | "DIGEST");
        let counted = scripted && self.count_script_calls;
        let name = if emulated || server.knows(&name) { name } else { UNKNOWN.to_owned() };
        Ok(Plan { name, wire, rule, writes, scripted, counted })
    }

    fn done(&self, replies: Vec<Reply>, position: u64) -> Done {
        Done { replies, sync_token: self.primary.sync_tokens().token(position) }
    }

    /// Lets each of so many commands evict a key with the probability that is set; how long writes are remembered.
    async fn evict(&self, link: &Link, commands: usize) -> Result<Memory, BackendError> {
        let settings = self.unkindness.settings();
        if settings.eviction > 0.0 {
            for _ in (0..commands).filter(|_| rand::random::<f64>() < settings.eviction) {
                self.primary.evict_any(link, settings.memory).await?;
            }
        }
        Ok(settings.memory)
    }

    /// Bills a command that Redis has answered.
    fn settle(&self, plan: Plan, value: Result<Value, String>) -> Reply {
        self.billing.command(&plan.name);
        plan.rule.apply(value?)
    }

    /// Takes a script's reply from between its two readings and bills what grew.
    fn take_counted(&self, name: &str, values: &mut impl Iterator<Item = Value>) -> Option<Value> {
        let before = stats(values.next()?);
        let reply = values.next()?;
        let after = stats(values.next()?);
        self.billing.script_calls(calls_between(&before, &after, name));
        Some(reply)
    }
}

/// What commands are for, while they still have their wires.
fn target<'a>(plans: impl Iterator<Item = &'a Plan> + Clone, memory: Memory) -> Target {
    if plans.clone().any(|plan| plan.writes) {
        let remembered = plans.filter(|plan| plan.writes && !memory.is_off());
        Target::Write(remembered.map(|plan| plan.wire.clone()).collect())
    } else if plans.clone().any(|plan| plan.scripted) {
        Target::Primary
    } else {
        Target::Replica
    }
}

fn stats(info: Value) -> BTreeMap<String, u64> {
    match info {
        Value::BulkString(text) => command_stats(&text),
        _ => BTreeMap::new(),
    }
}

fn info() -> Wire {
    words(["INFO", "commandstats"])
}
