//! Metrics for Prometheus. Names and units follow its conventions, and no label names a user or a room.
//!
//! Each server has one instance, which is passed to every part that counts. It is served at `/metrics` on the admin
//! listener. config/grafana.json and config/alerts.yaml use it.

pub(crate) mod classic;
pub(crate) mod format;
pub(crate) mod hooks;
pub(crate) mod label_values;
pub(crate) mod outbound;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use handlers::Code;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use self::format::MetricsFormat;
use self::outbound::OutboundCounters;
pub(crate) use self::outbound::OutboundMetrics;

/// The counters of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    limits: Family<BoundLabel, Counter>,
    frames: Family<FrameLabels, Counter>,
    seconds: Family<ActionLabel, Histogram, fn() -> Histogram>,
    connects: Family<OutcomeLabel, Counter>,
    faults: Family<PlaceLabel, Counter>,
    reloads: Family<OutcomeLabel, Counter>,
    sockets: Gauge,
    connections: Gauge,
    batches: Histogram,
    commits: Histogram,
    heartbeat: Gauge<f64, std::sync::atomic::AtomicU64>,
    feed_lag: Histogram,
    write_queue: Gauge,
    receipts: Gauge,
    marks: Gauge,
    outbound: OutboundCounters,
    hooks: hooks::WebhookCounters,
}

/// Values that are looked up at each scrape, because keeping them up to date all the time would cost more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    /// The age of the last heartbeat that was received; none if none was.
    pub(crate) heartbeat: Option<Duration>,
    /// Messages that wait for the database.
    pub(crate) write_queue: usize,
    /// Members whose receipt markers wait for the database.
    pub(crate) receipts: usize,
    /// Connections that are not WebSockets.
    pub(crate) connections: usize,
    /// Receipt markers in memory that may be missing from members' documents.
    pub(crate) marks: usize,
    /// Log lines that were dropped since the start.
    pub(crate) log_dropped: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BoundLabel {
    bound: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FrameLabels {
    action: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabel {
    action: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaceLabel {
    place: &'static str,
}

/// Returns a histogram from 0.25 ms to 8 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates the metrics with nothing counted.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("parlor");
        let mut metrics = Self {
            outbound: OutboundCounters::registered(&mut registry),
            hooks: hooks::WebhookCounters::registered(&mut registry),
            registry,
            limits: Family::default(),
            frames: Family::default(),
            seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            connects: Family::default(),
            faults: Family::default(),
            reloads: Family::default(),
            sockets: Gauge::default(),
            connections: Gauge::default(),
            batches: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            commits: seconds(),
            heartbeat: Gauge::default(),
            feed_lag: seconds(),
            write_queue: Gauge::default(),
            receipts: Gauge::default(),
            marks: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("limits_hit", "How often a bound was hit, by its name", metrics.limits.clone());
        registry.register("frames", "Frames of clients, by action and outcome", metrics.frames.clone());
        registry.register_with_unit(
            "action_duration",
            "From a frame to the end of its action",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("connects", "Connects: open, or why they were refused", metrics.connects.clone());
        registry.register("faults", "Errors that no client receives, by place", metrics.faults.clone());
        registry.register("reloads", "Configurations read again: ok, or refused", metrics.reloads.clone());
        registry.register("sockets", "Sockets that are open", metrics.sockets.clone());
        registry.register("connections", "Connections that are no sockets", metrics.connections.clone());
        registry.register(
            "write_batch_messages",
            "Messages in one write to the database",
            metrics.batches.clone(),
        );
        registry.register_with_unit(
            "commit_duration",
            "How long one write of messages took, majority included",
            Unit::Seconds,
            metrics.commits.clone(),
        );
        registry.register_with_unit(
            "heartbeat_age",
            "How long ago a heartbeat came through the change stream; -1 if never",
            Unit::Seconds,
            metrics.heartbeat.clone(),
        );
        registry.register_with_unit(
            "feed_lag",
            "From a change of a room, by the database's clock, to its taking from the change stream",
            Unit::Seconds,
            metrics.feed_lag.clone(),
        );
        registry.register("write_queue", "Messages that wait for the database", metrics.write_queue.clone());
        registry.register(
            "receipts_waiting",
            "Members whose marks wait for the database",
            metrics.receipts.clone(),
        );
        registry.register(
            "marks_kept",
            "Marks in memory: those not folded yet, and those folded in the last half minute",
            metrics.marks.clone(),
        );
        for place in label_values::FAULTS {
            metrics.faults.get_or_create(&PlaceLabel { place }).inc_by(0);
        }
        for bound in label_values::BOUNDS {
            metrics.limits.get_or_create(&BoundLabel { bound }).inc_by(0);
        }
        for outcome in label_values::RELOADS {
            metrics.reloads.get_or_create(&OutcomeLabel { outcome }).inc_by(0);
        }
        metrics
    }

    /// Counts a bound that was hit.
    pub(crate) fn bound_hit(&self, bound: &'static str) {
        self.limits.get_or_create(&BoundLabel { bound }).inc();
    }

    /// Counts a finished frame. An action that doesn't exist counts as "".
    pub(crate) fn action(&self, action: &Arc<str>, outcome: Result<(), Code>, took: Duration) {
        let outcome = outcome.map_or_else(Code::as_str, |()| "ok");
        self.frames.get_or_create(&FrameLabels { action: action.clone(), outcome }).inc();
        self.seconds.get_or_create(&ActionLabel { action: action.clone() }).observe(took.as_secs_f64());
    }

    /// Counts a connect by its outcome.
    pub(crate) fn connect(&self, outcome: &'static str) {
        self.connects.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a reload of the configuration by its outcome.
    pub(crate) fn reload(&self, outcome: &'static str) {
        self.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts an open socket until the returned value is dropped.
    pub(crate) fn socket(&self) -> OpenSocket {
        self.sockets.inc();
        OpenSocket(self.sockets.clone())
    }

    /// Counts an error that no client receives, by its place.
    pub(crate) fn count_fault(&self, place: &'static str) {
        self.faults.get_or_create(&PlaceLabel { place }).inc();
    }

    /// Records the size of a batch of messages.
    pub(crate) fn batch(&self, messages: usize) {
        #[expect(clippy::cast_precision_loss, reason = "limits.batch is far below 2^53")]
        self.batches.observe(messages as f64);
    }

    /// Records how long an attempt to write a batch took.
    pub(crate) fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// Records how late a change came through the change stream.
    pub(crate) fn lag(&self, lag: Duration) {
        self.feed_lag.observe(lag.as_secs_f64());
    }

    /// Returns all metrics in this format.
    pub(crate) fn render(&self, now: Gauges, format: MetricsFormat) -> String {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.heartbeat.set(now.heartbeat.map_or(-1.0, |age| age.as_secs_f64()));
        self.write_queue.set(whole(now.write_queue));
        self.receipts.set(whole(now.receipts));
        self.connections.set(whole(now.connections));
        self.marks.set(whole(now.marks));
        let dropped = self.limits.get_or_create(&BoundLabel { bound: "log_queue_lines" });
        dropped.inner().fetch_max(now.log_dropped, Ordering::Relaxed);
        let mut page = String::new();
        // Writing to a String can't fail.
        let _ = text::encode(&mut page, &self.registry);
        match format {
            MetricsFormat::OpenMetrics => page,
            MetricsFormat::Classic => classic::from_openmetrics(&page),
        }
    }
}

/// Counts one open socket until it is dropped.
pub(crate) struct OpenSocket(Gauge);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}
