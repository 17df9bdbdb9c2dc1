//! Finishes edits and deletes that a crashed server noted but did not apply.
//!
//! All servers search. The work can be repeated, also by several servers concurrently. A live server applies its own
//! revisions long before the next search. So a revision that two searches find has been left, by any server, and no
//! clock is compared.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Interval between two searches. Each one passes over all revisions that were noted and applied in the last five
/// minutes: the database keeps their index entries that long (`minSnapshotHistoryWindowInSeconds`).
const INTERVAL: Duration = Duration::from_secs(5);

/// Searches every [`INTERVAL`]. Never returns.
pub(crate) async fn run(store: Store, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = HashSet::new();
    loop {
        ticks.tick().await;
        seen = store.apply_left_revisions(&seen).await.unwrap_or_else(|error| {
            metrics.count_fault("leftovers");
            tracing::warn!(%error, "could not finish the revisions that another server left; trying again");
            HashSet::new()
        });
    }
}
