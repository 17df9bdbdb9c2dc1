//! Logs and traces. Logs go to stderr, as text or JSON. Traces go to a collector, with the feature `otlp`.
//!
//! Neither contains a token or a message's text, at any level: see [`is_discreet`].
//!
//! A separate thread writes to stderr, from a queue, so that logging never waits for the reader of stderr.

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

/// Starts logging. Keep the returned guard until the end: dropping it sends the remaining traces and writes the
/// remaining lines, for two seconds at most.
///
/// # Errors
/// The configured filter or the collector's URL is invalid, or logging is already set up.
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

/// Returns the operator's filter, limited to what [`is_discreet`].
///
/// The hint keeps the operator's level as that of the whole filter. Without a hint every `trace!` of the libraries below
/// reached the filter. tungstenite has several for each frame, and they took 7% of the processor time of a busy server.
fn filter(directives: &str) -> Result<impl Filter<Registry> + Send + Sync + 'static, ParseError> {
    let discreet = filter_fn(is_discreet).with_max_level_hint(LevelFilter::TRACE);
    Ok(EnvFilter::try_new(directives)?.and(discreet))
}

/// Returns a panic's text up to the first value that it quotes. For example, the panic for a text cut in the middle of
/// a character quotes the whole text.
pub fn discreet(panic: &str) -> &str {
    panic.split(['`', '"', '\'']).next().unwrap_or_default()
}

/// The targets of this code's own log lines. They contain ids and outcomes, never a text or a token.
const OWN_TARGETS: &[&str] = &["parlor", "parlor_handlers", "handlers"];

/// Returns whether a line or a span may be logged, regardless of the operator's filter. Libraries may log anything at
/// their finer levels: frames, request heads with tokens, database commands with users' texts. At info and above they
/// log only what happens to them.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let of = metadata.target().split("::").next().unwrap_or_default();
    OWN_TARGETS.contains(&of) || *metadata.level() <= Level::INFO
}

/// How long the last lines may wait for the reader of stderr.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Keeps the log open. The last line is about the traces, if they could not be sent.
pub struct LogGuard {
    traces: Option<TraceExporter>,
    written: Option<WorkerGuard>,
    dropped: DroppedLines,
}

impl LogGuard {
    /// Returns the count of dropped lines, for the server's metrics.
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.traces = None;
        let written = self.written.take();
        // If the queue is full, the library prints to stdout, which may block if nobody reads it.
        for_at_most(LAST_LINES, move || drop(written));
    }
}

/// Runs work that may block on a separate thread, and waits for it no longer than `limit`. If no thread can be started,
/// the work is not done.
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

/// Counts the lines that were dropped because `log.queue_lines` others were waiting.
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
    /// There is nothing to open.
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
        // An endpoint that is set in code is used unchanged (OTLP specification, "Endpoint URLs for OTLP/HTTP").
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
            // Only Parlor's own spans: those of libraries may contain anything.
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
