//! The queues, one row for each: what each does, what waits in it, and what has failed.

use std::collections::BTreeMap;

use anyhow::bail;
use catchup::queues;
use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use serde::Serialize;
use shared::db::dead_letters::DeadLetters;
use shared::db::operator_actions::Hold;
use shared::queue::Queue;

use super::alerts::Alerts;
use super::cloud_monitoring::WINDOW_MINUTES;
use super::cloud_tasks::Waiting;
use super::numbers::{self, Numbers};
use super::{Asked, Operations, Source, holds};
use crate::names::WEBHOOKS;
use crate::queue::Found;

/// The state of the system.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    pub(crate) sources: Vec<Asked>,
    pub(crate) alerts: Alerts,
    pub(crate) queues: Vec<Row>,
    pub(crate) webhooks: PublicService,
}

/// The service without a queue, which anybody may call. What is not known is not there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublicService {
    pub(crate) served_by: Option<String>,
    /// Its requests.
    pub(crate) numbers: Option<Numbers>,
}

/// What the processes on this machine have counted since they started.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// By queue, or by service if it has none.
    pub(crate) numbers: BTreeMap<&'static str, Numbers>,
    /// Those that do not respond.
    pub(crate) silent: Vec<&'static str>,
}

/// One queue. What is not known is not there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) queue: &'static str,
    /// `running`, `paused`, `disabled`, or `missing` where Cloud Tasks has no such queue.
    pub(crate) state: Option<String>,
    /// Why it is not running, or why none of its tasks reaches its function.
    pub(crate) why: Option<String>,
    /// Where its tasks go; none when each task says so itself.
    pub(crate) served_by: Option<String>,
    /// Those in flight included.
    pub(crate) tasks: Option<usize>,
    /// There are more tasks than were counted, and what is said of them is about those.
    pub(crate) is_cut: bool,
    pub(crate) in_flight: Option<usize>,
    /// Since when the oldest task waits whose time has come.
    pub(crate) oldest_due: Option<DateTime<Utc>>,
    pub(crate) max_per_second: Option<f64>,
    /// Since the function's process started, or of the last hour.
    pub(crate) numbers: Option<Numbers>,
    /// Those that were not replayed.
    pub(crate) dead_letters: Option<i64>,
}

impl Operations {
    /// Asks every source for what it knows of the queues.
    pub(crate) async fn overview(&self) -> Overview {
        let all: Vec<_> = queues::all().collect();
        let mut webhooks = PublicService { served_by: self.functions.webhooks.clone(), numbers: None };
        // At the same time, also those that are one source: each may take until its timeout.
        let ((queues, mut sources), (alerts, alerting)) =
            tokio::join!(self.rows(&all, Some(&mut webhooks)), self.alerts());
        sources.extend(alerting);
        Overview { sources, alerts, queues, webhooks }
    }

    /// The same of one queue, and what is to be said of the sources.
    pub(crate) async fn row(&self, queue: Queue) -> (Option<Row>, Vec<Asked>) {
        let (rows, sources) = self.rows(&[queue], None).await;
        (rows.into_iter().next(), sources)
    }

    async fn rows(
        &self,
        queues: &[Queue],
        mut webhooks: Option<&mut PublicService>,
    ) -> (Vec<Row>, Vec<Asked>) {
        let ((found, cloud_tasks), (dead_letters, postgres), of_project, holds) = tokio::join!(
            self.ask(Source::CloudTasks, self.found_queues(queues)),
            self.ask(Source::Postgres, self.open_dead_letters()),
            // Boxed: it holds several calls.
            Box::pin(self.numbers_of_project()),
            self.holds(),
        );
        // Without Postgres, that it is unavailable is said once.
        let holds = holds.unwrap_or_default();
        let mut rows: Vec<Row> = queues.iter().map(|queue| row(*queue, found.as_ref(), &holds)).collect();
        if let Some(dead_letters) = dead_letters {
            for row in &mut rows {
                row.dead_letters = Some(dead_letters.get(row.queue).copied().unwrap_or_default());
            }
        }
        let metrics = if let Some((numbers, asked)) = of_project {
            if let Some(numbers) = numbers {
                add_numbers(numbers, &mut rows, webhooks.as_deref_mut());
            }
            asked
        } else {
            self.ask(Source::Metrics, read_numbers(&mut rows, webhooks)).await.1
        };
        for (row, waiting) in rows.iter_mut().zip(found.into_iter().flat_map(|found| found.waiting)) {
            row.tasks = waiting.as_ref().map(|waiting| waiting.tasks);
            row.in_flight = waiting.as_ref().map(|waiting| waiting.in_flight);
            row.is_cut = waiting.as_ref().is_some_and(|waiting| waiting.is_cut);
            row.oldest_due = waiting.and_then(|waiting| waiting.oldest_due);
        }
        (rows, vec![cloud_tasks, postgres, metrics])
    }

    /// What the processes on this machine have counted since they started.
    pub(crate) async fn counted(&self) -> anyhow::Result<Totals> {
        let found = self.cloud_tasks()?.queues().await?;
        let functions = queues::all().filter_map(|queue| {
            let address = found.get(&queue.cloud_name())?.address()?;
            Some((queue.name(), numbers::page_of(&address)?))
        });
        let webhooks = self.functions.webhooks.as_deref().and_then(numbers::page_of);
        let pages = functions.chain(webhooks.map(|page| (WEBHOOKS, page)));
        let read = join_all(pages.map(async |(name, page)| (name, numbers::read(page).await)));
        let mut counted = Totals::default();
        for (name, numbers) in read.await {
            match numbers {
                Ok(numbers) => drop(counted.numbers.insert(name, numbers)),
                Err(_) => counted.silent.push(name),
            }
        }
        Ok(counted)
    }

    /// All queues, and what waits in these.
    async fn found_queues(&self, of: &[Queue]) -> anyhow::Result<FoundQueues> {
        let tasks = self.cloud_tasks()?;
        let queues = tasks.queues().await?;
        let now = self.clock.now();
        let waiting = of.iter().map(async |queue| {
            if queues.contains_key(&queue.cloud_name()) {
                tasks.waiting(*queue, now).await.map(Some)
            } else {
                Ok(None)
            }
        });
        let waiting = join_all(waiting).await.into_iter().collect::<anyhow::Result<_>>()?;
        Ok(FoundQueues { queues, waiting })
    }

    /// What Cloud Monitoring says; none on a machine whose functions are asked themselves.
    async fn numbers_of_project(&self) -> Option<(Option<BTreeMap<String, Numbers>>, Asked)> {
        let monitoring = match self.cloud_monitoring() {
            Ok(None) => return None,
            Ok(Some(monitoring)) => Ok(monitoring.numbers()),
            Err(problem) => Err(problem),
        };
        Some(self.ask(Source::CloudMonitoring, async { monitoring?.await }).await)
    }

    async fn open_dead_letters(&self) -> anyhow::Result<BTreeMap<String, i64>> {
        let counts = DeadLetters::from(self.database()?).open_by_function().await?;
        Ok(counts.into_iter().map(|open| (open.function, open.count)).collect())
    }
}

/// What Cloud Tasks says.
struct FoundQueues {
    queues: BTreeMap<String, Found>,
    /// In the order in which they were asked for; none of a queue that is not there.
    waiting: Vec<Option<Waiting>>,
}

fn row(queue: Queue, found: Option<&FoundQueues>, holds: &BTreeMap<String, Hold>) -> Row {
    let mut row = Row {
        queue: queue.name(),
        state: None,
        why: None,
        served_by: None,
        tasks: None,
        is_cut: false,
        in_flight: None,
        oldest_due: None,
        max_per_second: None,
        numbers: None,
        dead_letters: None,
    };
    let Some(found) = found else { return row };
    let Some(found) = found.queues.get(&queue.cloud_name()) else {
        row.state = Some("missing".to_owned());
        row.why =
            Some(format!("Cloud Tasks has no queue {}; terraform apply creates it", queue.cloud_name()));
        return row;
    };
    row.served_by = found.address();
    row.state = Some(found.state.to_ascii_lowercase());
    row.max_per_second = Some(found.rate_limits.max_dispatches_per_second);
    row.why = if found.is_paused() {
        Some(holds::why_paused(holds, queue))
    } else if row.served_by.is_none() {
        Some("its tasks go where each of them says: it is not taken over".to_owned())
    } else {
        None
    };
    row
}

fn add_numbers(
    mut numbers: BTreeMap<String, Numbers>,
    rows: &mut [Row],
    webhooks: Option<&mut PublicService>,
) {
    // What is not counted there did not happen.
    let none = || Numbers { window_minutes: Some(WINDOW_MINUTES), ..Numbers::default() };
    for row in rows {
        row.numbers = Some(numbers.remove(row.queue).unwrap_or_else(none));
    }
    if let Some(webhooks) = webhooks {
        webhooks.numbers = Some(numbers.remove(WEBHOOKS).unwrap_or_else(none).of_public());
    }
}

/// Numbers of the processes that serve the queues, and of the one that anybody may call.
async fn read_numbers(rows: &mut [Row], webhooks: Option<&mut PublicService>) -> anyhow::Result<()> {
    let functions = rows.iter_mut().map(|row| (row.queue, row.served_by.as_deref(), &mut row.numbers));
    let public = webhooks.map(|it| (WEBHOOKS, it.served_by.as_deref(), &mut it.numbers));
    let page =
        |(name, address, numbers): (_, Option<&str>, _)| Some((name, numbers::page_of(address?)?, numbers));
    let pages: Vec<_> = functions.chain(public).filter_map(page).collect();
    if pages.is_empty() {
        bail!("no process on this machine serves what is asked for");
    }
    let read =
        pages.into_iter().map(async |(name, page, place): (_, _, &mut Option<Numbers>)| match numbers::read(
            page,
        )
        .await
        {
            Ok(numbers) => {
                *place = Some(if name == WEBHOOKS { numbers.of_public() } else { numbers });
                None
            }
            Err(error) => Some(format!("{name} {error:#}")),
        });
    let failed: Vec<_> = join_all(read).await.into_iter().flatten().collect();
    if failed.is_empty() { Ok(()) } else { bail!(failed.join("; ")) }
}
