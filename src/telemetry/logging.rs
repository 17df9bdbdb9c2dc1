//! Logs and traces. Logs go to stderr, as text or JSON. Traces go to a collector, with the feature `otlp`.
//!
//! Logs and traces contain no token and no text of a message, at any level: see [`is_discreet`].
//!
//! A separate thread takes the lines from a queue and writes them to stderr. So logging never waits for the process
//! that reads stderr.

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, ParseError, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{Config, LogFormat};

#[cfg(feature = "otlp")]
use opentelemetry_sdk::trace::SdkTracerProvider;

type LogError = Box<dyn std::error::Error>;

/// Starts logging. The caller keeps the returned guard until the process ends. When the caller drops the guard, the
/// guard sends the remaining traces. It then writes the remaining log lines, for two seconds at most.
///
/// # Errors
/// Fails if the configured filter or the collector's URL is invalid, or if logging is already set up.
pub fn init(config: &Config) -> Result<LogGuard, LogError> {
    let filter = filter(&config.log.filter)?;
    let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(config.log.queue_lines);
    let (queue, written) = queue.thread_name("log").finish(io::stderr());
    let dropped = DroppedLines(Some(queue.error_counter()));
    let lines = tracing_subscriber::fmt::layer().with_writer(queue);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log.format {
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed(),
    };
    let traces = TraceExporter::open(config)?;
    traces.init(lines)?;
    Ok(LogGuard { traces: Some(traces), written: Some(written), dropped })
}

/// Returns the operator's filter, limited to the lines and spans for which [`is_discreet`] returns true. A span is a
/// named period of work in a trace.
///
/// The level hint tells the `tracing` library that [`is_discreet`] alone would pass all levels. So the combined filter
/// keeps the maximum level of the operator's filter, and the library skips calls above this level early. Without the
/// hint, every `trace!` of the libraries reached the filter. The WebSocket library tungstenite has several `trace!`
/// calls for each frame. These calls took 7% of the processor time of a busy server.
fn filter(directives: &str) -> Result<impl Filter<Registry> + Send + Sync + 'static, ParseError> {
    let discreet = filter_fn(is_discreet).with_max_level_hint(LevelFilter::TRACE);
    Ok(EnvFilter::try_new(directives)?.and(discreet))
}

/// Returns the message of a panic up to the first quotation mark or backtick, because a quoted value may be
/// confidential. For example, Rust panics when code cuts a text in the middle of a character. The message of this panic
/// quotes the whole text.
pub fn discreet(panic: &str) -> &str {
    panic.split(['`', '"', '\'']).next().unwrap_or_default()
}

/// The targets (the crate names) of Parlor's own log lines. These lines contain ids and outcomes, but no message text
/// and no token.
const OWN_TARGETS: &[&str] = &["parlor", "parlor_handlers", "handlers"];

/// Returns whether a line or a span may be logged at all. The operator's filter can't permit a line that this function
/// refuses. At the levels debug and trace, libraries may log frames, request heads with tokens, and database commands
/// with users' texts. At info and above, libraries log only events of their own work.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let of = metadata.target().split("::").next().unwrap_or_default();
    OWN_TARGETS.contains(&of) || *metadata.level() <= Level::INFO
}

/// The maximum time that the process waits at its end until the last lines are written to stderr.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Keeps the log open until this guard is dropped. If the last traces can't be sent, the last log line says so.
pub struct LogGuard {
    traces: Option<TraceExporter>,
    written: Option<WorkerGuard>,
    dropped: DroppedLines,
}

impl LogGuard {
    /// Returns the counter of dropped lines, for the server's metrics.
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.traces = None;
        let written = self.written.take();
        // If the queue is full, the library prints an error to stdout. This print may block if no process reads stdout.
        // Therefore the drop of `written` has a time limit.
        for_at_most(LAST_LINES, move || drop(written));
    }
}

/// Runs `work`, which may block, on a separate thread. Waits until `work` has ended, but no longer than `limit`. If no
/// thread can be started, `work` does not run.
pub fn for_at_most(limit: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, waits) = mpsc::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        work();
        let _ = done.send(());
    });
    if thread.is_ok() {
        let _ = waits.recv_timeout(limit);
    }
}

/// Counts the log lines that were dropped because `log.queue_lines` lines were already waiting.
#[derive(Clone, Debug, Default)]
pub struct DroppedLines(Option<ErrorCounter>);

impl DroppedLines {
    /// Returns the number of dropped lines.
    pub(crate) fn lines(&self) -> u64 {
        self.0.as_ref().map_or(0, |counter| u64::try_from(counter.dropped_lines()).unwrap_or(u64::MAX))
    }
}

/// The connection to the trace collector, if there is one.
struct TraceExporter {
    #[cfg(feature = "otlp")]
    provider: Option<SdkTracerProvider>,
}

#[cfg(not(feature = "otlp"))]
impl TraceExporter {
    /// Opens nothing, because this build has no collector (feature `otlp`).
    #[expect(clippy::unnecessary_wraps, reason = "with the feature it may fail")]
    fn open(_: &Config) -> Result<Self, LogError> {
        Ok(Self {})
    }

    #[expect(clippy::unused_self, reason = "with the feature it has a provider")]
    fn init(&self, lines: Box<dyn Layer<Registry> + Send + Sync>) -> Result<(), TryInitError> {
        Registry::default().with(lines).try_init()
    }
}

#[cfg(feature = "otlp")]
impl TraceExporter {
    fn open(config: &Config) -> Result<Self, LogError> {
        use opentelemetry_otlp::{SpanExporter, WithExportConfig};
        use opentelemetry_sdk::Resource;

        let Some(base) = &config.traces.otlp else { return Ok(Self { provider: None }) };
        // The library uses an endpoint that is set in code unchanged, so the path is appended here (OTLP specification,
        // "Endpoint URLs for OTLP/HTTP").
        let url = format!("{}/v1/traces", base.trim_end_matches('/'));
        let exporter = SpanExporter::builder().with_http().with_endpoint(url).build()?;
        let resource = Resource::builder().with_service_name("parlor").build();
        let provider =
            SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        Ok(Self { provider: Some(provider) })
    }

    fn init(&self, lines: Box<dyn Layer<Registry> + Send + Sync>) -> Result<(), TryInitError> {
        use opentelemetry::trace::TracerProvider;
        use tracing_subscriber::filter::Targets;

        let spans = self.provider.as_ref().map(|provider| {
            // Only Parlor's own spans are sent, because spans of libraries may contain tokens or texts.
            let ours = Targets::new().with_target("parlor", LevelFilter::DEBUG);
            tracing_opentelemetry::layer().with_tracer(provider.tracer("parlor")).with_filter(ours)
        });
        Registry::default().with(lines).with(spans).try_init()
    }
}

#[cfg(feature = "otlp")]
impl Drop for TraceExporter {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.provider.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "could not send the last traces");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_passes_on_the_level_of_its_directives() {
        assert_eq!(filter("warn").unwrap().max_level_hint(), Some(LevelFilter::WARN));
        assert_eq!(filter("info,parlor=debug").unwrap().max_level_hint(), Some(LevelFilter::DEBUG));
    }

    #[test]
    fn panic_text_ends_before_what_it_quotes() {
        let text = "a confidential text: é".to_owned();
        let panicked = std::panic::catch_unwind(|| text[..text.len() - 1].len()).unwrap_err();
        let said = panicked.downcast_ref::<String>().unwrap();
        assert!(said.contains("confidential"), "{said}");
        assert!(discreet(said).contains("char boundary") && !discreet(said).contains("confidential"));
        assert_eq!(discreet("index out of bounds"), "index out of bounds");
    }
}
