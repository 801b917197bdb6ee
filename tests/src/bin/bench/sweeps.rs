//! How long each question of a sweep takes on a database with the application's tables and indexes, and many rows in each. The
//! plans behind the times are checked by the tests of `catchup`.

use std::time::Instant;

use serde::Serialize;
use strum::IntoEnumIterator as _;
use tests::Database;
use tests::million::{Question, ROWS, fill, middle};
use uuid::Uuid;

use crate::options::Common;

/// A page is asked for so many times; the median counts.
const TIMES: usize = 5;

/// What each question of a sweep takes for a page: milliseconds, and what it finds
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rows in each table [default: 1000000; with --short, 20000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..))]
    rows: Option<u32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Row {
    question: &'static str,
    page: &'static str,
    found: usize,
    first_ms: f64,
    median_ms: f64,
}

/// Measures them; no aim is missed, for there is none.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let rows = options.common.number(options.rows, 20_000, ROWS);
    let measured = tokio::runtime::Runtime::new()?.block_on(measure(rows))?;
    if options.common.json {
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(false);
    }
    println!("{rows} rows in each table");
    println!("{:<20} {:<7} {:>6} {:>9} {:>10}", "question", "page", "found", "first ms", "median ms");
    for Row { question, page, found, first_ms, median_ms } in measured {
        println!("{question:<20} {page:<7} {found:>6} {first_ms:>9.1} {median_ms:>10.1}");
    }
    Ok(false)
}

async fn measure(rows: u32) -> anyhow::Result<Vec<Row>> {
    let database = Database::new().await;
    fill(&database, rows).await;
    let mut measured = Vec::new();
    for question in Question::iter() {
        for (page, after) in [("first", Uuid::nil()), ("middle", middle(rows))] {
            let mut times = Vec::new();
            let mut found = 0;
            for _ in 0..TIMES {
                let begun = Instant::now();
                found = question.ask(&database.db, after).await?;
                times.push(begun.elapsed().as_secs_f64() * 1_000.0);
            }
            let first_ms = times[0];
            times.sort_by(f64::total_cmp);
            measured.push(Row {
                question: question.name(),
                page,
                found,
                first_ms,
                median_ms: times[TIMES / 2],
            });
        }
    }
    Ok(measured)
}
