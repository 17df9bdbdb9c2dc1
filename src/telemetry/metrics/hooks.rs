//! Metrics of webhooks. The label `hook` is the hook's name; for a file that is a hook, also the file's name, such as
//! `after_send:audit`. The metrics of their HTTP requests are in [`outbound`](super::outbound).

use std::borrow::Cow;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::register::{register, register_seconds};

#[derive(Debug)]
pub(super) struct WebhookCounters {
    events: Family<EventLabels, Counter>,
    lag: Family<HookLabel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    held: Family<HookLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    hook: Cow<'static, str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabel {
    hook: Cow<'static, str>,
}

impl WebhookCounters {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let (events, lag, held) = (Family::default(), Family::default(), Family::default());
        Self {
            events: register(registry, "hook_events", "Requests to hooks, by outcome", events),
            lag: register_seconds(
                registry,
                "hook_lag",
                "Age of the oldest event that a hook has not received yet, on the server that tells it",
                lag,
            ),
            held: register(
                registry,
                "hook_lease_held",
                "1 on the server that tells a hook what happened",
                held,
            ),
        }
    }
}

impl Metrics {
    /// Counts an outcome of an event or a check of this hook, for example `told`, `retried` or `rejected`.
    pub(crate) fn hook(&self, hook: impl Into<Cow<'static, str>>, outcome: &'static str) {
        self.hooks.events.get_or_create(&EventLabels { hook: hook.into(), outcome }).inc();
    }

    /// Creates the hook's counter of set-aside events (events that Parlor no longer delivers after too many failed
    /// tries). The counter starts at 0, so that an alert sees its first rise.
    pub(crate) fn hook_begins(&self, hook: impl Into<Cow<'static, str>>) {
        drop(self.hooks.events.get_or_create(&EventLabels { hook: hook.into(), outcome: "set_aside" }));
    }

    /// Sets the age of the oldest event that the hook's receiver has not accepted yet.
    pub(crate) fn hook_lag(&self, hook: impl Into<Cow<'static, str>>, lag: Duration) {
        self.hooks.lag.get_or_create(&HookLabel { hook: hook.into() }).set(lag.as_secs_f64());
    }

    /// Sets whether this server holds the hook's lease (the exclusive right to deliver). Also sets the age of the
    /// oldest undelivered event to 0.
    pub(crate) fn hook_lease(&self, hook: impl Into<Cow<'static, str>>, held: bool) {
        let hook = hook.into();
        self.hooks.held.get_or_create(&HookLabel { hook: hook.clone() }).set(held.into());
        self.hook_lag(hook, Duration::ZERO);
    }
}
