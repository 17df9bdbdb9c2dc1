//! What is counted of requests to the application's own servers, by the section that configures each.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, seconds};

/// The counters of all receivers.
#[derive(Debug)]
pub(super) struct Outbound {
    requests: Family<Request, Counter>,
    seconds: Family<Receiver, Histogram, fn() -> Histogram>,
    open: Family<Receiver, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    receiver: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Receiver {
    receiver: Arc<str>,
}

impl Outbound {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let outbound = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            open: Family::default(),
        };
        registry.register(
            "outbound_requests",
            "Requests to functions and hooks, by outcome",
            outbound.requests.clone(),
        );
        registry.register_with_unit(
            "outbound_duration",
            "From a request to a function or hook to the end of its answer",
            Unit::Seconds,
            outbound.seconds.clone(),
        );
        registry.register(
            "outbound_breaker_open",
            "1 while a function or hook is left alone after repeated failures",
            outbound.open.clone(),
        );
        outbound
    }
}

/// The counters of one receiver.
#[derive(Debug)]
pub(crate) struct OutboundMetrics {
    metrics: Arc<Metrics>,
    receiver: Receiver,
}

impl Metrics {
    /// The counters of the receiver that is configured in this section.
    pub(crate) fn outbound(self: &Arc<Self>, section: &str) -> OutboundMetrics {
        let receiver = Receiver { receiver: section.into() };
        self.outbound.open.get_or_create(&receiver).set(0);
        OutboundMetrics { metrics: self.clone(), receiver }
    }
}

impl OutboundMetrics {
    /// The section that configures it.
    pub(crate) fn receiver(&self) -> &str {
        &self.receiver.receiver
    }

    /// A request ended, or could not be made.
    pub(crate) fn posted(&self, outcome: &'static str, took: Duration) {
        let outbound = &self.metrics.outbound;
        let receiver = self.receiver.receiver.clone();
        outbound.requests.get_or_create(&Request { receiver, outcome }).inc();
        outbound.seconds.get_or_create(&self.receiver).observe(took.as_secs_f64());
    }

    /// One of its bounds was hit.
    pub(crate) fn limit(&self, bound: &'static str) {
        self.metrics.limit(bound);
    }

    /// It is left alone from now on, or no more.
    pub(crate) fn breaker(&self, open: bool) {
        self.metrics.outbound.open.get_or_create(&self.receiver).set(open.into());
    }
}
