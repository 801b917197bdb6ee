//! `local-cloud life`: weeks among people, with a verdict on every message.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::Args;
use google_stand_in::{Clock, SeedOptions};
use local_cloud::console::Console;
use local_cloud::functions::built_programs;
use local_cloud::life::{Course, life};
use local_cloud::seed::Variety;
use local_cloud::simulated_time::SimulatedTime;
use local_cloud::stack::{LocalCloud, Options, Servers};
use local_cloud::verify::Difference;
use serde_json::json;

use crate::up::{at_least_one, print_differences};
use crate::{FAILED, SIGNALLED, UNUSABLE, stop_requested};

/// The queues' backoffs, which are minutes in production, and address books, which say nothing here, are kept short.
const SHORTER_BACKOFF: u32 = 10;
const MAX_CONTACTS: u64 = 20;

#[derive(Args)]
pub(crate) struct Life {
    /// Days that are lived through.
    #[arg(long, default_value_t = 90, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// People.
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = at_least_one)]
    people: usize,
    /// The same seed gives the same lives.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// How long it may take.
    #[arg(long = "time-limit", default_value_t = 36_000, value_name = "SECONDS")]
    time_limit_seconds: u64,
}

impl Life {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut time = SimulatedTime::enter()?;
        let programs = built_programs()?;
        let logs = programs.join("local-cloud-logs");
        std::fs::create_dir_all(&logs).context("cannot make a folder for the logs")?;
        let mut console = Console::take_over(&logs.join("local-cloud.log"))?;
        let options = Options {
            postgres: None,
            redis: None,
            existing: None,
            world: SeedOptions {
                seed: self.seed,
                users: self.people,
                max_contacts: MAX_CONTACTS,
                usual_only: true,
                ..SeedOptions::default()
            },
            variety: Variety::Plain,
            backoff_divisor: SHORTER_BACKOFF,
            debounce_divisor: 1,
            lease_divisor: 1,
            programs: Some(programs),
            logs,
        };
        let result = tokio::select! {
            result = self.live(&options, &mut time, &mut console) => result,
            signal = stop_requested() => Ok(ExitCode::from(SIGNALLED + signal?)),
        };
        console.say("stopped");
        result.or_else(|error| {
            console.say(&format!("local-cloud: {error:#}"));
            Ok(ExitCode::from(UNUSABLE))
        })
    }

    async fn live(
        &self,
        options: &Options,
        time: &mut SimulatedTime,
        console: &mut Console,
    ) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let course = Course { days: self.days, seed: self.seed };
        let now = Clock::system().now();
        time.jump(course.begin(now) - now)?;
        console.say(&format!("{} people live for {} days (seed {})", self.people, self.days, self.seed));
        let mut cloud = LocalCloud::start(options, Servers::start(options).await?).await?;
        let time_limit = Duration::from_secs(self.time_limit_seconds);
        let tell = |now: DateTime<Utc>, found: &[Difference]| {
            console.say(&now.format("%a %F").to_string());
            for problem in found {
                console.say(&problem.to_string());
            }
        };
        let result = life(&mut cloud, time, course, time_limit, tell).await;
        let (table, problems) = match result {
            Ok(result) => result,
            Err(error) => {
                // What happened to a server or function explains what followed from it.
                let error = cloud.check().await.err().unwrap_or(error);
                console.say(&format!("failed: {error:#}"));
                return Ok(ExitCode::from(FAILED));
            }
        };
        let (seconds, messages) = (started.elapsed().as_secs_f64(), cloud.inbox().messages().len());
        if self.json {
            println!(
                "{}",
                json!({ "success": problems.is_empty(), "people": self.people, "days": self.days, "seed": self.seed,
                        "seconds": seconds, "messages": messages, "kinds": table, "problems": problems })
            );
        } else {
            print!("{table}");
            print_differences(&problems);
            let verdict = if problems.is_empty() { "success" } else { "FAILED" };
            println!(
                "{verdict}: {} people, {} days, {messages} messages, {} problems, {seconds:.1} s",
                self.people,
                self.days,
                problems.len()
            );
        }
        Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}
