//! Structured logs as Cloud Logging reads them: one JSON object a line on standard output.
//!
//! Source of the special names: <https://cloud.google.com/logging/docs/structured-logging>.

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::{EventCode, Scope, chain};
use crate::clock::Clock;
use crate::config::{Config, InvalidConfig, variables};

/// Set by [`start`], to the project whose traces entries belong to, if it is known: a library that was not asked to log is
/// silent.
static STARTED: OnceLock<Option<String>> = OnceLock::new();

/// Sends log entries at or above `LOG_LEVEL`, and the places of panics, to standard output. A second call in one process changes nothing.
pub fn start(config: &mut Config) -> Result<(), InvalidConfig> {
    let level: LevelFilter = config.required(&variables::LOG_LEVEL)?;
    let _started_before = STARTED.set(config.optional(&variables::GCP_PROJECT_ID)?);
    // What a panic says may quote what a job held; where it happened is enough to find it.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        write("ERROR", "panic", Place { event: EventCode::Panic, place });
    }));
    let _already_started = tracing_subscriber::registry().with(CloudLogging.with_filter(level)).try_init();
    Ok(())
}

#[derive(Serialize)]
struct Entry<'a, T> {
    severity: &'static str,
    time: String,
    message: &'a str,
    #[serde(rename = "logging.googleapis.com/trace", skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(rename = "logging.googleapis.com/labels", skip_serializing_if = "Option::is_none")]
    labels: Option<Labels>,
    #[serde(flatten)]
    fields: T,
}

#[derive(Serialize)]
struct Place {
    event: EventCode,
    place: String,
}

#[derive(Serialize)]
struct Labels {
    queue: &'static str,
}

/// Writes one entry, labelled with the task that the calling code runs for.
pub(super) fn write(severity: &'static str, message: &str, fields: impl Serialize) {
    let Some(project) = STARTED.get() else { return };
    let scope = Scope::current();
    let entry = Entry {
        severity,
        time: Clock::system().now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        message,
        trace: scope.as_ref().and_then(|scope| trace(project.as_deref(), scope.trace()?)),
        labels: scope.map(|scope| Labels { queue: scope.queue }),
        fields,
    };
    let Ok(mut line) = serde_json::to_vec(&entry) else { return };
    line.push(b'\n');
    // There is no one left to notify when standard output is gone.
    let _lost = std::io::stdout().lock().write_all(&line);
}

/// The trace of a W3C traceparent (`version-traceid-spanid-flags`), as Cloud Logging finds it: with its project.
fn trace(project: Option<&str>, traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    Some(project.map_or_else(|| id.to_owned(), |project| format!("projects/{project}/traces/{id}")))
}

struct CloudLogging;

impl<S: Subscriber> Layer<S> for CloudLogging {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let severity = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        write(severity, &fields.message, &fields.values);
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    values: Map<String, Value>,
}

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.values.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.insert(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.insert(field, chain(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_named_with_its_project() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace(Some("example"), traceparent), Some(format!("projects/example/traces/{id}")));
        assert_eq!(trace(None, traceparent).as_deref(), Some(id));
        assert_eq!(trace(Some("example"), "malformed"), None);
    }
}
