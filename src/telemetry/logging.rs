//! What is logged, and what is traced: for people or for programs, on stderr and, with the feature `otlp`, at a collector.
//!
//! Neither holds a token or a message's text, at any level: see [`is_discreet`].
//!
//! A thread of its own writes to stderr, from a queue: who logs never waits for whoever reads it.

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{Config, LogFormat};

#[cfg(feature = "otlp")]
use opentelemetry_sdk::trace::SdkTracerProvider;

type Error = Box<dyn std::error::Error>;

/// Begins to log. What is given back is to be kept until the end: dropped, it sends the traces that are left and writes the
/// lines that are, for two seconds at most.
///
/// # Errors
/// The configured filter is none, the collector's URL is none, or something logs already.
pub fn init(config: &Config) -> Result<Log, Error> {
    let filter = EnvFilter::try_new(&config.log.filter)?.and(filter_fn(is_discreet));
    let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(config.log.queue_lines);
    let (queue, written) = queue.thread_name("log").finish(io::stderr());
    let dropped = Dropped(Some(queue.error_counter()));
    let lines = tracing_subscriber::fmt::layer().with_writer(queue);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log.format {
        LogFormat::Json => lines.json().with_filter(filter).boxed(),
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed(),
    };
    let traces = Traces::open(config)?;
    traces.init(lines)?;
    Ok(Log { traces: Some(traces), written: Some(written), dropped })
}

/// A panic's text up to the first value that it quotes: where a text is cut in the middle of a character, say, the whole text
/// stands there.
pub fn discreet(panic: &str) -> &str {
    panic.split(['`', '"', '\'']).next().unwrap_or_default()
}

/// Where this code logs, and what it promises there: ids and outcomes, never a text or a token.
const OWN_TARGETS: &[&str] = &["parlor", "parlor_handlers", "handlers"];

/// Whether a line or a span may be logged, whatever the operator's filter says. The libraries below may log anything at
/// their finer levels: frames, heads with tokens, commands to the database with what people write. At info and above
/// they say what happens to them, and no more.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let of = metadata.target().split("::").next().unwrap_or_default();
    OWN_TARGETS.contains(&of) || *metadata.level() <= Level::INFO
}

/// How long the last lines may wait for whoever reads stderr.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The log, for as long as it is to be written. What the traces have to say at their end is its last line.
pub struct Log {
    traces: Option<Traces>,
    written: Option<WorkerGuard>,
    dropped: Dropped,
}

impl Log {
    /// For the server's metrics.
    pub fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.traces = None;
        let written = self.written.take();
        // Where its queue is full the library says so on stdout, which may be what nobody reads.
        for_at_most(LAST_LINES, move || drop(written));
    }
}

/// Does what may wait for somebody, on a thread of its own, and waits for it no longer than this. Where there is no thread to
/// be had it isn't done.
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

/// The lines that found `log.queue_lines` others waiting and were not written.
#[derive(Clone, Debug, Default)]
pub struct Dropped(Option<ErrorCounter>);

impl Dropped {
    /// How many there were.
    pub(crate) fn lines(&self) -> u64 {
        self.0.as_ref().map_or(0, |counter| u64::try_from(counter.dropped_lines()).unwrap_or(u64::MAX))
    }
}

/// The way to the collector, where there is one.
struct Traces {
    #[cfg(feature = "otlp")]
    provider: Option<SdkTracerProvider>,
}

#[cfg(not(feature = "otlp"))]
impl Traces {
    /// There is nothing to open.
    #[expect(clippy::unnecessary_wraps, reason = "with the feature it may fail")]
    fn open(_: &Config) -> Result<Self, Error> {
        Ok(Self {})
    }

    #[expect(clippy::unused_self, reason = "with the feature it has a provider")]
    fn init(&self, lines: Box<dyn Layer<Registry> + Send + Sync>) -> Result<(), TryInitError> {
        Registry::default().with(lines).try_init()
    }
}

#[cfg(feature = "otlp")]
impl Traces {
    fn open(config: &Config) -> Result<Self, Error> {
        use opentelemetry_otlp::{SpanExporter, WithExportConfig};
        use opentelemetry_sdk::Resource;

        let Some(base) = &config.traces.otlp else { return Ok(Self { provider: None }) };
        // A URL that is set by hand is taken as it is (OTLP specification, "Endpoint URLs for OTLP/HTTP").
        let url = format!("{}/v1/traces", base.trim_end_matches('/'));
        let exporter = SpanExporter::builder().with_http().with_endpoint(url).build()?;
        let resource = Resource::builder().with_service_name("parlor").build();
        let provider =
            SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        Ok(Self { provider: Some(provider) })
    }

    fn init(&self, lines: Box<dyn Layer<Registry> + Send + Sync>) -> Result<(), TryInitError> {
        use opentelemetry::trace::TracerProvider;
        use tracing::level_filters::LevelFilter;
        use tracing_subscriber::filter::Targets;

        let spans = self.provider.as_ref().map(|provider| {
            // Ours alone: those of the libraries below may hold anything.
            let ours = Targets::new().with_target("parlor", LevelFilter::DEBUG);
            tracing_opentelemetry::layer().with_tracer(provider.tracer("parlor")).with_filter(ours)
        });
        Registry::default().with(lines).with(spans).try_init()
    }
}

#[cfg(feature = "otlp")]
impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.provider.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
