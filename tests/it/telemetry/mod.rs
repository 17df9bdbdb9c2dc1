//! Tests of logs, metrics and traces, and of the dashboard and the alerts that use the metrics.

mod dashboards;
mod limit_counters;
mod logs;
mod refused_connects;
#[cfg(feature = "otlp")]
mod traces;
