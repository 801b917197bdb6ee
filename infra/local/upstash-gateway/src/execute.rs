//! Carries out commands: checks, translates, sends, bills, and puts the replies back into the client's order.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Value;

use crate::auth::Access;
use crate::backend::{Backend, BackendError, Capabilities, Wire, error_text};
use crate::billing::{Billing, calls_between, command_stats};
use crate::command::Command;
use crate::conditional;
use crate::failure::Failure;
use crate::policy;
use crate::reply::{Reply, Rule};
use crate::script::Scripts;

/// Stands for every name that Redis does not know, so that clients cannot fill the bill with inventions.
const UNKNOWN: &str = "UNKNOWN";

/// How many entries `count_script_calls` adds around a script: one `INFO` on either side.
const INFO_AROUND: usize = 2;

/// Replies, and whether anything may have been written.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub(crate) replies: T,
    pub(crate) wrote: bool,
}

/// Runs commands for all requests.
#[derive(Debug)]
pub(crate) struct Executor {
    backend: Backend,
    scripts: Scripts,
    billing: Arc<Billing>,
    count_script_calls: bool,
}

/// One command, ready to be sent.
struct Plan {
    name: String,
    wire: Wire,
    rule: Rule,
    writes: bool,
    /// The calls inside are to be counted.
    counted: bool,
}

impl Executor {
    pub(crate) fn new(backend: Backend, billing: Arc<Billing>, count_script_calls: bool) -> Self {
        Self { backend, scripts: Scripts::default(), billing, count_script_calls }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn billing(&self) -> &Billing {
        &self.billing
    }

    /// Runs commands one after the other; others' may come between. Each has its own reply, a refused one too.
    pub(crate) async fn pipeline(
        &self,
        commands: Vec<Command>,
        access: Access,
    ) -> Result<Done<Vec<Reply>>, BackendError> {
        let link = self.backend.link().await?;
        let mut plans: Vec<_> =
            commands.into_iter().map(|command| self.plan(command, access, link.server())).collect();
        let mut wires = Vec::with_capacity(plans.len());
        for plan in plans.iter_mut().flatten() {
            let wire = std::mem::take(&mut plan.wire);
            if plan.counted {
                // A transaction, so that nobody else's calls fall between the two readings.
                wires.extend([word("MULTI"), info(), wire, info(), word("EXEC")]);
            } else {
                wires.push(wire);
            }
        }
        let wrote = plans.iter().flatten().any(|plan| plan.writes);
        let mut values = if wires.is_empty() { Vec::new() } else { link.run(&wires).await? }.into_iter();
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
        Ok(Done { replies: replies.collect(), wrote })
    }

    /// Runs commands as one transaction.
    pub(crate) async fn transaction(
        &self,
        commands: Vec<Command>,
        access: Access,
    ) -> Result<Done<Vec<Reply>>, Failure> {
        let link = self.backend.link().await?;
        let mut plans = commands
            .into_iter()
            .map(|command| self.plan(command, access, link.server()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::Refused)?;
        let mut wires = vec![word("MULTI")];
        for plan in &mut plans {
            let wire = std::mem::take(&mut plan.wire);
            if plan.counted {
                wires.extend([info(), wire, info()]);
            } else {
                wires.push(wire);
            }
        }
        wires.push(word("EXEC"));
        let wrote = plans.iter().any(|plan| plan.writes);
        let mut values = transaction_results(link.run(&wires).await?).map_err(Failure::Refused)?.into_iter();
        let replies = plans.into_iter().map(|plan| {
            let value = if plan.counted { self.take_counted(&plan.name, &mut values) } else { values.next() };
            self.settle(plan, value.ok_or_else(missing))
        });
        Ok(Done { replies: replies.collect(), wrote })
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
        Ok(Plan { name, wire, rule, writes, counted })
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

/// The results of a transaction, from the replies to `MULTI`, each queued command and `EXEC`; `Err` is the reason why
/// it was discarded, the first command's rather than the general one of `EXEC`.
fn transaction_results(mut replies: Vec<Value>) -> Result<Vec<Value>, String> {
    let outcome = replies.pop();
    if let Some(Value::ServerError(error)) =
        replies.iter().find(|reply| matches!(reply, Value::ServerError(_)))
    {
        return Err(error_text(error));
    }
    match outcome {
        Some(Value::Array(results)) => Ok(results),
        Some(Value::ServerError(error)) => Err(error_text(&error)),
        _ => Err(missing()),
    }
}

fn stats(info: Value) -> BTreeMap<String, u64> {
    match info {
        Value::BulkString(text) => command_stats(&text),
        _ => BTreeMap::new(),
    }
}

fn word(word: &str) -> Wire {
    vec![word.into()]
}

fn info() -> Wire {
    vec![b"INFO".to_vec(), b"commandstats".to_vec()]
}

fn missing() -> String {
    "ERR Redis sent an answer that does not fit the commands".to_owned()
}
