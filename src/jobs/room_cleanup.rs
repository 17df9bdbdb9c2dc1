//! The task of a server that removes what is left of deleted rooms: its own, and those that a server left that is
//! gone. Rooms are taken one at a time, so that it costs the database no more than one batch at once.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::app::state::Server;

/// Wakes the task before its time.
#[derive(Debug, Default)]
pub(crate) struct Sweeper(Notify);

impl Sweeper {
    /// A room was deleted.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// Sweeps when woken and every `rooms.sweep_seconds`, for ever.
pub(crate) async fn run(server: Arc<Server>) {
    loop {
        let config = server.config.load_full();
        let swept = server.store.sweep(config.limits.batch, config.action_over()).await;
        let swept = swept.unwrap_or_else(|error| {
            server.metrics.fault("sweep");
            tracing::warn!(%error, "removing what is left of a deleted room failed; it is tried again");
            false
        });
        if !swept {
            let _ = tokio::time::timeout(config.rooms.sweep, server.sweeper.0.notified()).await;
        }
    }
}
