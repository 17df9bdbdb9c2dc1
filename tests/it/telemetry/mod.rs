//! Logs, metrics, traces, and the dashboards and alerts that read them.

mod dashboards;
mod limit_counters;
mod logs;
#[cfg(feature = "otlp")]
mod traces;
