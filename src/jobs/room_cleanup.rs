//! Removes the messages and members of deleted rooms. A request only marks a room as deleted. This job then removes the
//! room's messages and members in batches. If a server dies during a clean-up, another server continues. Each server
//! cleans one room at a time, to keep the load on the database low.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::live::LiveConfig;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Wakes the clean-up job before its next interval.
#[derive(Clone, Debug, Default)]
pub(crate) struct CleanupTrigger(Arc<Notify>);

impl CleanupTrigger {
    /// Wakes the job, because a room was deleted.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// The background job that cleans up deleted rooms.
pub(crate) struct RoomCleanup {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) trigger: CleanupTrigger,
}

impl RoomCleanup {
    /// Cleans up deleted rooms when triggered, and every `rooms.sweep_seconds`. Never returns.
    pub(crate) async fn run(self) {
        loop {
            let config = self.config.load_full();
            let swept = self.store.sweep(config.limits.batch, config.longest_action()).await;
            let swept = swept.unwrap_or_else(|error| {
                self.metrics.count_fault("sweep");
                tracing::warn!(%error, "could not remove the rest of a deleted room; trying again");
                false
            });
            if !swept {
                let _ = tokio::time::timeout(config.rooms.sweep, self.trigger.0.notified()).await;
            }
        }
    }
}
