//! Metrics for Prometheus. Names and units follow the conventions of Prometheus. No label has the id of a user or a
//! room.
//!
//! Each server has one [`Metrics`] value, which is passed to every part of the server that counts events. The admin
//! listener serves the metrics at `/metrics`. The dashboard config/grafana.json and the alerts in config/alerts.yaml
//! use these metrics.

pub(crate) mod classic;
pub(crate) mod format;
pub(crate) mod functions;
pub(crate) mod hooks;
pub(crate) mod label_values;
pub(crate) mod outbound;
mod register;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use handlers::Code;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::format::MetricsFormat;
use self::outbound::OutboundCounters;
pub(crate) use self::outbound::OutboundMetrics;
use self::register::{register, register_seconds};

/// All metrics of one server.
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
    functions: functions::FunctionCounters,
}

/// Values that the server computes only when Prometheus requests the metrics. An update at every change would cost
/// more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauges {
    /// The age of the last heartbeat that this server received. None if no heartbeat was received yet.
    pub(crate) heartbeat: Option<Duration>,
    /// The number of messages that wait to be written to the database.
    pub(crate) write_queue: usize,
    /// The number of members whose receipt markers wait to be written to the database.
    pub(crate) receipts: usize,
    /// The number of connections that are not WebSockets.
    pub(crate) connections: usize,
    /// The number of receipt markers in memory that the members' documents may not contain yet.
    pub(crate) marks: usize,
    /// The number of log lines that were dropped since the server's start.
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

/// Returns a histogram of durations from 0.25 ms to 8 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates the metrics. All counters are 0.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("parlor");
        let all = &mut registry;
        let durations = Family::new_with_constructor(seconds as fn() -> Histogram);
        let batches = Histogram::new(exponential_buckets(1.0, 2.0, 12));
        let metrics = Self {
            outbound: OutboundCounters::registered(all),
            hooks: hooks::WebhookCounters::registered(all),
            functions: functions::FunctionCounters::registered(all),
            limits: register(all, "limits_hit", "How often a bound was hit, by its name", Family::default()),
            frames: register(all, "frames", "Frames of clients, by action and outcome", Family::default()),
            seconds: register_seconds(
                all,
                "action_duration",
                "From a frame to the end of its action",
                durations,
            ),
            connects: register(
                all,
                "connects",
                "Connects: open, or why they were refused",
                Family::default(),
            ),
            faults: register(all, "faults", "Errors that no client receives, by place", Family::default()),
            reloads: register(all, "reloads", "Configurations read again: ok, or refused", Family::default()),
            sockets: register(all, "sockets", "Sockets that are open", Gauge::default()),
            connections: register(all, "connections", "Connections that are no sockets", Gauge::default()),
            batches: register(all, "write_batch_messages", "Messages in one write to the database", batches),
            commits: register_seconds(
                all,
                "commit_duration",
                "How long one write of messages took, majority included",
                seconds(),
            ),
            heartbeat: register_seconds(
                all,
                "heartbeat_age",
                "How long ago a heartbeat came through the change stream; -1 if never",
                Gauge::default(),
            ),
            feed_lag: register_seconds(
                all,
                "feed_lag",
                "From a change of a room, by the database's clock, to its taking from the change stream",
                seconds(),
            ),
            write_queue: register(
                all,
                "write_queue",
                "Messages that wait for the database",
                Gauge::default(),
            ),
            receipts: register(
                all,
                "receipts_waiting",
                "Members whose marks wait for the database",
                Gauge::default(),
            ),
            marks: register(
                all,
                "marks_kept",
                "Marks in memory: those not folded yet, and those folded in the last half minute",
                Gauge::default(),
            ),
            registry,
        };
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

    /// Counts that this bound was hit.
    pub(crate) fn bound_hit(&self, bound: &'static str) {
        self.limits.get_or_create(&BoundLabel { bound }).inc();
    }

    /// Counts a frame whose action has ended, by action and outcome. Also records the time from the frame's arrival to
    /// the action's end. For a frame with an unknown action, `action` is empty.
    pub(crate) fn action(&self, action: &Arc<str>, outcome: Result<(), Code>, took: Duration) {
        let outcome = outcome.map_or_else(Code::as_str, |()| "ok");
        self.frames.get_or_create(&FrameLabels { action: action.clone(), outcome }).inc();
        self.seconds.get_or_create(&ActionLabel { action: action.clone() }).observe(took.as_secs_f64());
    }

    /// Counts an attempt to connect by its outcome.
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

    /// Records the duration of one attempt to write a batch of messages.
    pub(crate) fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// Records the time from a change of a room until this server received it from the change stream.
    pub(crate) fn lag(&self, lag: Duration) {
        self.feed_lag.observe(lag.as_secs_f64());
    }

    /// Returns the page of all metrics in this format. `now` has the current values of [`Gauges`].
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

/// Counts one open socket in the gauge until this value is dropped.
pub(crate) struct OpenSocket(Gauge);

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.dec();
    }
}
