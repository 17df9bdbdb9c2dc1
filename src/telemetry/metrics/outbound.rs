//! Metrics of requests to receivers. A receiver is a server of the application: a function or a hook. The label
//! `receiver` is the configuration section of the function or hook.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::register::{register, register_seconds};
use super::{Metrics, seconds};

/// The counters of all receivers.
#[derive(Debug)]
pub(super) struct OutboundCounters {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<ReceiverLabel, Histogram, fn() -> Histogram>,
    open: Family<ReceiverLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    receiver: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceiverLabel {
    receiver: Arc<str>,
}

impl OutboundCounters {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let durations = Family::new_with_constructor(seconds as fn() -> Histogram);
        let (requests, open) = (Family::default(), Family::default());
        Self {
            requests: register(
                registry,
                "outbound_requests",
                "Requests to functions and hooks, by outcome",
                requests,
            ),
            seconds: register_seconds(
                registry,
                "outbound_duration",
                "From a request to a function or hook to the end of its answer",
                durations,
            ),
            open: register(
                registry,
                "outbound_breaker_open",
                "1 while a function or hook is left alone after repeated failures",
                open,
            ),
        }
    }
}

/// The counters of one receiver.
#[derive(Debug)]
pub(crate) struct OutboundMetrics {
    metrics: Arc<Metrics>,
    receiver: ReceiverLabel,
    /// Whether this value has set the gauge to 1. During a reload, an old and a new value exist for the same section. A
    /// value that has not set the gauge to 1 must not reset the gauge when the value is dropped.
    open: AtomicBool,
}

impl Metrics {
    /// Returns the counters of the receiver that is configured in this section.
    pub(crate) fn outbound(self: &Arc<Self>, section: &str) -> OutboundMetrics {
        let receiver = ReceiverLabel { receiver: section.into() };
        // Creates the gauge, or keeps it if it exists.
        drop(self.outbound.open.get_or_create(&receiver));
        OutboundMetrics { metrics: self.clone(), receiver, open: AtomicBool::new(false) }
    }
}

impl OutboundMetrics {
    /// Returns the section that configures the receiver.
    pub(crate) fn receiver(&self) -> &str {
        &self.receiver.receiver
    }

    /// Counts a request by its outcome, and records its duration. Also counts a request that Parlor did not send, for
    /// example because the circuit breaker is open.
    pub(crate) fn posted(&self, outcome: &'static str, took: Duration) {
        let outbound = &self.metrics.outbound;
        let receiver = self.receiver.receiver.clone();
        outbound.requests.get_or_create(&RequestLabels { receiver, outcome }).inc();
        outbound.seconds.get_or_create(&self.receiver).observe(took.as_secs_f64());
    }

    /// Counts that a request to this receiver hit a bound.
    pub(crate) fn bound_hit(&self, bound: &'static str) {
        self.metrics.bound_hit(bound);
    }

    /// Sets whether the receiver's circuit breaker is open. An open breaker means that Parlor sends no requests to the
    /// receiver after too many failures.
    pub(crate) fn breaker(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
        self.metrics.outbound.open.get_or_create(&self.receiver).set(open.into());
    }
}

impl Drop for OutboundMetrics {
    fn drop(&mut self) {
        if *self.open.get_mut() {
            self.breaker(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaker_metric_is_reset_when_its_receiver_is_dropped() {
        let metrics = Arc::new(Metrics::new());
        let section = ReceiverLabel { receiver: "functions.test".into() };
        let open = || metrics.outbound.open.get_or_create(&section).get();
        let one = metrics.outbound("functions.test");
        one.breaker(true);
        // A reload prepares a second value for the section, and then drops it.
        drop(metrics.outbound("functions.test"));
        assert_eq!(open(), 1);
        let other = metrics.outbound("functions.test");
        drop(one);
        assert_eq!(open(), 0);
        drop(other);
    }
}
