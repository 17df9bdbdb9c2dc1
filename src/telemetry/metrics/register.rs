//! Registers metrics one by one.

use prometheus_client::registry::{Metric, Registry, Unit};

/// Registers a metric, and returns it.
pub(super) fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a metric of seconds, and returns it. The name gets the suffix `_seconds` in the output of `/metrics`.
pub(super) fn register_seconds<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}
