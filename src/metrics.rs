//! What is counted. Names follow the conventions of Prometheus; one instance a server, handed to whoever counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use handlers::Code;

/// The counters of one server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By bound's name in `[limits]`: how often it was hit.
    limits: Labelled,
    /// By action and outcome.
    actions: Labelled,
    /// By how a connect ended: `open`, or the close code.
    connects: Labelled,
    /// By where: faults that no client is told of.
    faults: Labelled,
    batches: AtomicU64,
    batched: AtomicU64,
    commit_us: AtomicU64,
}

type Labels = (&'static str, &'static str);

#[derive(Debug, Default)]
struct Labelled(Mutex<BTreeMap<Labels, u64>>);

impl Labelled {
    fn count(&self, labels: Labels) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(labels).or_default() += 1;
    }
}

impl Metrics {
    /// A bound was hit.
    pub(crate) fn limit(&self, bound: &'static str) {
        self.limits.count((bound, ""));
    }

    /// An action ended.
    pub(crate) fn action(&self, action: &'static str, outcome: Result<(), Code>) {
        self.actions.count((action, outcome.map_or_else(Code::as_str, |()| "ok")));
    }

    /// A connect was let in, or refused with a code.
    pub(crate) fn connect(&self, outcome: &'static str) {
        self.connects.count((outcome, ""));
    }

    /// Something went wrong that no client is told of.
    pub(crate) fn fault(&self, place: &'static str) {
        self.faults.count((place, ""));
    }

    /// The writer took a batch of messages.
    pub(crate) fn batch(&self, messages: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.batched.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// An attempt at a batch took so long.
    pub(crate) fn committed(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commit_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Everything in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, labels: &str, value: f64| {
            // Writing to a String can't fail.
            let _ = writeln!(text, "parlor_{name}{labels} {value}");
        };
        for (name, labelled, keys) in [
            ("limits_hit_total", &self.limits, ["bound", ""]),
            ("actions_total", &self.actions, ["action", "outcome"]),
            ("connects_total", &self.connects, ["outcome", ""]),
            ("faults_total", &self.faults, ["place", ""]),
        ] {
            for ((first, second), count) in &*labelled.0.lock().unwrap_or_else(PoisonError::into_inner) {
                let labels = match keys[1] {
                    "" => format!("{{{}=\"{first}\"}}", keys[0]),
                    key => format!("{{{}=\"{first}\",{key}=\"{second}\"}}", keys[0]),
                };
                #[expect(clippy::cast_precision_loss, reason = "a count past 2^53 is out of reach")]
                line(name, &labels, *count as f64);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a count past 2^53 is out of reach")]
        for (name, value, scale) in [
            ("write_batches_total", &self.batches, 1.0),
            ("written_messages_total", &self.batched, 1.0),
            ("commit_seconds_total", &self.commit_us, 1e6),
        ] {
            line(name, "", value.load(Ordering::Relaxed) as f64 / scale);
        }
        text
    }
}
