//! Helper functions that register one metric each.

use prometheus_client::registry::{Metric, Registry, Unit};

/// Registers a metric under `parlor_<name>`, and returns the metric. `help` is its description in the output of
/// `/metrics`.
pub(super) fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a metric in seconds, and returns the metric. The name gets the suffix `_seconds` in the output of
/// `/metrics`.
pub(super) fn register_seconds<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}
