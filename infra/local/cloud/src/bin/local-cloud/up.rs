//! `local-cloud up`: the whole system, once, for days, or until it is stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use catchup::queues;
use catchup::variables::{
    APP_BASE_URL, APP_PREFERENCES_URL, APP_SUGGESTIONS_URL, ENCRYPTION_KEY, GOOGLE_API_URL, GOOGLE_CLIENT_ID,
    GOOGLE_CLIENT_SECRET, GOOGLE_TOKEN_URL,
};
use clap::Args;
use google_stand_in::SeedOptions;
use local_cloud::console::Console;
use local_cloud::days;
use local_cloud::days::Course;
use local_cloud::functions::{built_programs, program};
use local_cloud::once::{Progress, once};
use local_cloud::operator;
use local_cloud::report::Report;
use local_cloud::reports::PROMPT;
use local_cloud::seed::Variety;
use local_cloud::simulated_time::SimulatedTime;
use local_cloud::stack::{Existing, LocalCloud, Options, Servers, without_password};
use local_cloud::verify::Difference;
use serde_json::json;
use shared::config::{Config, Variable};
use tokio::time::{interval, sleep_until};
use url::Url;

use crate::{
    FAILED, POSTGRES_SCHEMES, PostgresServer, SIGNALLED, UNUSABLE, read_postgres_url, read_redis_url,
    read_url, stop_requested,
};

/// With a database of the application, these variables of the functions are those of `local-cloud`, where they are set.
const GIVEN_ADDRESSES: [&Variable; 7] = [
    &APP_BASE_URL,
    &APP_PREFERENCES_URL,
    &APP_SUGGESTIONS_URL,
    &GOOGLE_API_URL,
    &GOOGLE_CLIENT_ID,
    &GOOGLE_CLIENT_SECRET,
    &GOOGLE_TOKEN_URL,
];
/// Differences that are printed one by one.
const SHOWN_DIFFERENCES: usize = 40;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Up {
    /// Run every schedule once, wait for the queues, compare Postgres with Google's world, print a table and stop.
    /// In simulated time, if libfaketime is installed and neither --json nor a server or program of others is given.
    /// Exit code: 0 success, 1 failure, 2 something is missing or misconfigured.
    #[arg(long)]
    once: bool,
    /// Run so many days in simulated time, in a world that changes, with private servers; then as with --once.
    #[arg(long, value_name = "N", conflicts_with = "once", value_parser = clap::value_parser!(u32).range(1..))]
    days: Option<u32>,
    /// With --days: let so many calls to Google fail per hour.
    #[arg(long, default_value_t = 0, value_name = "N")]
    faults: u32,
    /// With --once or --days: print the result as JSON.
    #[arg(long)]
    json: bool,
    /// With --once: after the result, continue until Ctrl-C.
    #[arg(long, requires = "once")]
    keep: bool,
    /// Users of the world.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = at_least_one)]
    users: usize,
    /// The same seed gives the same world.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// People in the largest address book.
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    max_contacts: u64,
    /// Divide the queues' backoffs (minutes, in production) and debounce windows (half a minute and more) by this, so that
    /// no run waits for them. In simulated time, only backoffs.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shorten_backoff: u32,
    /// With --once or --days: how long the queues may take to become empty.
    #[arg(long = "time-limit", default_value_t = 600, value_name = "SECONDS")]
    time_limit_seconds: u64,
    /// A database of the application, or a copy of one: the schema `jobs` is added to it, nothing is seeded, and it is left as it is
    /// then. Needs `ENCRYPTION_KEY`; Google and the application's pages are where the variables of the functions say, else a
    /// stand-in. Messages go to the inbox.
    #[arg(long, value_name = "URL", conflicts_with_all = ["once", "days", "users", "seed", "max_contacts"])]
    database: Option<String>,
    #[command(flatten)]
    postgres: PostgresServer,
    /// Redis of which an empty database is used, and emptied at the end; without it, a private server is started.
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis: Option<String>,
    /// Folder of the functions' programs [default: that of this program].
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Folder for logs [default: local-cloud-logs, next to the programs].
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
}

pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("an empty world proves nothing".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("a number is needed".to_owned()),
    }
}

impl Up {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut time = self.is_simulated().then(SimulatedTime::enter).transpose()?;
        let options = self.options()?;
        std::fs::create_dir_all(&options.logs).context("cannot make a folder for the logs")?;
        let mut console = Console::take_over(&options.logs.join("local-cloud.log"))?;
        let result = tokio::select! {
            result = self.work(&options, time.as_mut(), &mut console) => result,
            signal = stop_requested() => {
                let interrupted = ExitCode::from(SIGNALLED + signal?);
                Ok(if (self.once && !self.keep) || self.days.is_some() { interrupted } else { ExitCode::SUCCESS })
            }
        };
        // Everything has ended by now, with the future that owned it.
        console.say("stopped");
        match result {
            Err(error) => {
                console.say(&format!("local-cloud: {error:#}"));
                Ok(ExitCode::from(UNUSABLE))
            }
            ok => ok,
        }
    }

    /// Whether time is simulated: always for days; with --once where that is possible and changes nothing but the time that
    /// it takes. A server or program that others provide lives in the machine's time, and libfaketime costs CPU, which the
    /// JSON reports.
    fn is_simulated(&self) -> bool {
        let is_all_ours = self.postgres.url.is_none() && self.redis.is_none() && self.programs.is_none();
        self.days.is_some() || (self.once && is_all_ours && !self.json && SimulatedTime::is_available())
    }

    fn options(&self) -> anyhow::Result<Options> {
        let programs = self.programs.clone().map_or_else(built_programs, Ok)?;
        let logs = self.logs.clone().unwrap_or_else(|| programs.join("local-cloud-logs"));
        Ok(Options {
            // A server that others started does not live in simulated time.
            postgres: read_postgres_url(self.postgres.url.as_ref())?.filter(|_| self.days.is_none()),
            redis: read_redis_url(self.redis.as_ref())?.filter(|_| self.days.is_none()),
            existing: self.existing()?,
            world: SeedOptions {
                seed: self.seed,
                users: if self.database.is_some() { 0 } else { self.users },
                max_contacts: self.max_contacts,
                ..SeedOptions::default()
            },
            variety: Variety::Varied,
            backoff_divisor: self.shorten_backoff,
            debounce_divisor: if self.is_simulated() { 1 } else { self.shorten_backoff },
            lease_divisor: 1,
            programs: Some(programs),
            logs,
        })
    }

    /// It stops by itself, after a comparison.
    fn is_checked(&self) -> bool {
        (self.once && !self.keep) || self.days.is_some()
    }

    fn existing(&self) -> anyhow::Result<Option<Existing>> {
        let Some(database) = read_url("--database", POSTGRES_SCHEMES, self.database.as_ref())? else {
            return Ok(None);
        };
        let mut config = Config::from_process();
        let mut variable = |variable: &'static Variable| {
            Some((variable.name, config.optional::<String>(variable).ok().flatten()?))
        };
        let (_, encryption_key) = variable(&ENCRYPTION_KEY).context(
            "--database needs ENCRYPTION_KEY, with which the application encrypted the tokens in it",
        )?;
        let environment = GIVEN_ADDRESSES.into_iter().filter_map(variable).collect();
        Ok(Some(Existing { database, encryption_key, environment }))
    }

    /// Errors are what keeps the system from starting; what goes wrong later is a failure.
    async fn work(
        &self,
        options: &Options,
        time: Option<&mut SimulatedTime>,
        console: &mut Console,
    ) -> anyhow::Result<ExitCode> {
        let operators = match &options.programs {
            Some(programs) if !self.is_checked() => operator::Console::reserve(programs)?,
            _ => None,
        };
        if let Some(operators) = &operators {
            console.say(&format!("console: {}", operators.url()));
        }
        console.say(&summary(options));
        console.say("starting Postgres and Redis");
        let servers = Servers::start(options).await?;
        console.say(&match &options.existing {
            Some(existing) => {
                let names: Vec<_> = existing.environment.keys().copied().collect();
                let given = if names.is_empty() { "no address".to_owned() } else { names.join(", ") };
                format!("starting the functions, with {given} of yours")
            }
            None => format!("seeding {} users and starting the functions", self.users),
        });
        let mut cloud = LocalCloud::start(options, servers).await?;
        let width = cloud.addresses().iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, address) in cloud.addresses() {
            console.say(&format!("  {name:<width$}  {address}"));
        }
        let _console = match &operators {
            Some(operators) => Some(operators.start(cloud.environment(), &options.logs).await?),
            None => None,
        };
        if !self.is_checked() {
            let path = operator::write_environment(cloud.environment(), &options.logs)?;
            console.say(&format!(
                "for scripts/ops in another terminal: source {}; infra/docs/try-it.md says what to try",
                path.display()
            ));
        }
        let result = match (time, self.days) {
            (Some(time), Some(days)) => self.days(&mut cloud, time, days, console).await,
            (time, _) if self.once => self.once(&mut cloud, time, console).await,
            _ => run_until_stopped(&mut cloud, console).await,
        };
        let code = match result {
            Ok(code) => code,
            Err(error) => {
                // What happened to a server or function explains what followed from it.
                let error = cloud.check().await.err().unwrap_or(error);
                console.say(&format!("failed: {error:#}"));
                ExitCode::from(FAILED)
            }
        };
        if self.keep {
            console.say("Ctrl-C stops everything");
            let mut look = interval(PROGRESS_EVERY);
            loop {
                look.tick().await;
                if let Err(error) = cloud.check().await {
                    console.say(&format!("failed: {error:#}"));
                    return Ok(ExitCode::from(FAILED));
                }
            }
        }
        Ok(code)
    }

    async fn once(
        &self,
        cloud: &mut LocalCloud,
        time: Option<&mut SimulatedTime>,
        console: &mut Console,
    ) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let time_limit = Duration::from_secs(self.time_limit_seconds);
        let mut differences = once(cloud, time, time_limit, |progress| match progress {
            Progress::Schedules(queue) => console.say(&format!("running the schedules of {}", queue.name())),
            Progress::Queues(status) => console.progress(status),
            Progress::Comparing => console.say("comparing Postgres, Google's world and the inbox"),
            Progress::Changing(users) => console.say(&format!("{users} users enter an event")),
        })
        .await?;
        let seconds = started.elapsed().as_secs_f64();
        let over_budget = Report::of(&cloud.lines(), &BTreeMap::new()).over_redis_budget();
        differences.extend(over_budget.into_iter().map(|what| Difference { user: None, what }));
        self.report(cloud, &differences, seconds).await
    }

    async fn days(
        &self,
        cloud: &mut LocalCloud,
        time: &mut SimulatedTime,
        days: u32,
        console: &mut Console,
    ) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let time_limit = Duration::from_secs(self.time_limit_seconds);
        let course = Course { days, faults: self.faults, seed: self.seed };
        let differences = days::days(cloud, time, course, time_limit, |progress| match progress {
            days::Progress::Now(now) => console.say(&now.format("%a %F %H:%M UTC").to_string()),
            days::Progress::Comparing => console.say("comparing Postgres, Google's world and the inbox"),
        })
        .await?;
        self.report(cloud, &differences, started.elapsed().as_secs_f64()).await
    }

    /// Prints what happened, and whether it is a success.
    async fn report(
        &self,
        cloud: &LocalCloud,
        differences: &[Difference],
        seconds: f64,
    ) -> anyhow::Result<ExitCode> {
        let mut report = Report::of(&cloud.lines(), &cloud.consumption());
        if let Some(days) = self.days {
            report = report.with_google_calls(&cloud.world().total_calls(), self.users, days);
        }
        let held: Vec<_> = cloud.held().await?.into_iter().filter(|(_, tasks)| *tasks > 0).collect();
        let right = differences.is_empty() && report.failures() == 0;
        if self.json {
            let held: serde_json::Map<_, _> =
                held.iter().map(|(queue, tasks)| (queue.name().to_owned(), json!(tasks))).collect();
            let queues = serde_json::to_value(&report)?;
            println!(
                "{}",
                json!({ "success": right, "seconds": seconds, "queues": queues["queues"], "googleCalls": queues["googleCalls"], "held": held, "messages": cloud.inbox().messages().len(), "differences": differences })
            );
        } else {
            print!("{report}");
            for (queue, tasks) in held {
                println!("{:<24} {tasks:>6} tasks wait for a function that is not here", queue.name());
            }
            print_differences(differences);
            let verdict = if right { "success" } else { "FAILED" };
            let messages = cloud.inbox().messages().len();
            println!(
                "{verdict}: {} users, {messages} messages, {} differences, {seconds:.1} s",
                self.users,
                differences.len()
            );
        }
        Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}

/// What runs, and where.
fn summary(options: &Options) -> String {
    let programs = options.programs.iter();
    let functions: usize = programs
        .map(|folder| queues::all().filter(|queue| program(folder, queue.name()).is_some()).count())
        .sum();
    let server = |given: &Option<Url>| given.as_ref().map_or_else(|| "private".to_owned(), without_password);
    format!(
        "local cloud on 127.0.0.1: {functions} functions, {} users (seed {}), Cloud Tasks, Google, Twilio and SendGrid as \
         stand-ins; Postgres: {}; Redis: {}; logs: {}",
        options.world.users,
        options.world.seed,
        server(&options.postgres),
        server(&options.redis),
        options.logs.display(),
    )
}

pub(crate) fn print_differences(differences: &[Difference]) {
    for difference in differences.iter().take(SHOWN_DIFFERENCES) {
        println!("{difference}");
    }
    if differences.len() > SHOWN_DIFFERENCES {
        println!("… and {} more differences", differences.len() - SHOWN_DIFFERENCES);
    }
}

/// Runs every schedule immediately and then at its period, until it is stopped.
async fn run_until_stopped(cloud: &mut LocalCloud, console: &mut Console) -> anyhow::Result<ExitCode> {
    console.say("Ctrl-C stops everything");
    let now = tokio::time::Instant::now();
    let mut due: Vec<_> = queues::all()
        .filter(|queue| cloud.serves(*queue))
        .flat_map(|queue| queue.policy().schedules.iter().map(move |schedule| (now, queue, schedule)))
        .collect();
    let mut look = interval(PROGRESS_EVERY);
    let mut reports = cloud.reports(PROMPT, 0)?;
    loop {
        due.sort_by_key(|(at, ..)| *at);
        let (next, queue, schedule) = due.first().copied().context("no function here has a schedule")?;
        tokio::select! {
            () = sleep_until(next) => {
                cloud.run_schedule(queue, schedule).await?;
                due[0].0 = next + Duration::from_secs(schedule.period_seconds.into());
            }
            _ = look.tick() => {
                cloud.check().await?;
                if let Some(reports) = &mut reports {
                    reports.look(cloud.inbox(), cloud.world().now()).await?;
                }
                console.progress(cloud.queue_status().await?);
            }
        }
    }
}
