//! Counts what Upstash would bill.
//!
//! One command is one, each item of a pipeline or transaction is one; a script is one, plus one for each call inside it
//! when the gateway is configured to look (see [`crate::Config::count_script_calls`]). Refused requests, and commands that
//! Redis never answered, cost nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Running counts; share it in an `Arc`.
#[derive(Debug, Default)]
pub struct Billing {
    bill: Mutex<Bill>,
}

/// Counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bill {
    /// Everything: the sum of both maps.
    pub billed: u64,
    /// Commands that clients sent, by upper-case name; names that Redis does not know stand under `UNKNOWN`.
    pub commands: BTreeMap<String, u64>,
    /// Calls inside scripts, by upper-case name.
    pub script_calls: BTreeMap<String, u64>,
}

impl Billing {
    /// The counts since the start or the last reset.
    #[must_use]
    pub fn bill(&self) -> Bill {
        self.lock().clone()
    }

    /// The counts so far, starting again from zero.
    pub fn reset(&self) -> Bill {
        std::mem::take(&mut *self.lock())
    }

    pub(crate) fn billed(&self) -> u64 {
        self.lock().billed
    }

    pub(crate) fn command(&self, name: &str) {
        let mut bill = self.lock();
        bill.billed += 1;
        *bill.commands.entry(name.to_owned()).or_default() += 1;
    }

    pub(crate) fn script_calls(&self, calls: BTreeMap<String, u64>) {
        let mut bill = self.lock();
        for (name, count) in calls {
            bill.billed += count;
            *bill.script_calls.entry(name).or_default() += count;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Bill> {
        // Nothing panics between the updates of one count, and a count is no reason to stop serving.
        self.bill.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `INFO commandstats` as calls by upper-case name.
pub(crate) fn command_stats(info: &[u8]) -> BTreeMap<String, u64> {
    String::from_utf8_lossy(info)
        .lines()
        .filter_map(|line| {
            let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(':')?;
            let calls = stats.split(',').find_map(|stat| stat.strip_prefix("calls="))?;
            Some((name.to_uppercase(), calls.parse().ok()?))
        })
        .collect()
}

/// The calls a script made, from the statistics around it: what grew, less the script itself and the first `INFO`.
pub(crate) fn calls_between(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    script: &str,
) -> BTreeMap<String, u64> {
    after
        .iter()
        .map(|(name, calls)| {
            let own = u64::from(name == script) + u64::from(name == "INFO");
            (name.clone(), calls.saturating_sub(before.get(name).copied().unwrap_or(0) + own))
        })
        .filter(|(_, calls)| *calls > 0)
        .collect()
}
