//! Finishes what a server that is gone has left half done: edits and deletes that were noted and not carried out.
//!
//! All servers look, and what is done can be repeated and taken by several. A server that is alive is done with its own
//! long before the next look: so what is there at two looks has been left, whoever left it, and by nobody's clock.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Between two looks. Each passes over what was noted and done in the last five minutes, which the database's index keeps
/// that long (`minSnapshotHistoryWindowInSeconds`).
const INTERVAL: Duration = Duration::from_secs(5);

/// Looks every so often, for ever.
pub(crate) async fn run(store: Store, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = HashSet::new();
    loop {
        ticks.tick().await;
        seen = store.carry_out_what_was_left(&seen).await.unwrap_or_else(|error| {
            metrics.fault("leftovers");
            tracing::warn!(%error, "finishing what another server left failed; trying again");
            HashSet::new()
        });
    }
}
