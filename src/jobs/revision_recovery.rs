//! Applies edits and deletions that a dead server recorded but did not apply. A server first records each edit or
//! deletion in the room's journal (a list in the room's document), and then applies the edit or deletion to the message
//! ([`revisions`](crate::store::messages::revisions)).
//!
//! All servers search the journals. A live server applies its own edits long before the next search. So if two
//! successive searches find the same edit, the server that recorded the edit is dead. Any server may then apply the
//! edit. If two servers apply the same edit, the second server changes nothing. This job never compares the clocks of
//! two servers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// The interval between two searches. A shorter interval would cost more: each search also reads the index entries of
/// all edits and deletions of the last five minutes. The database keeps old index entries for five minutes
/// (`minSnapshotHistoryWindowInSeconds`).
const INTERVAL: Duration = Duration::from_secs(5);

/// Searches the journals every [`INTERVAL`], and applies the edits and deletions of dead servers. Never returns.
pub(crate) async fn run(store: Store, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = HashSet::new();
    loop {
        ticks.tick().await;
        seen = store.apply_left_revisions(&seen).await.unwrap_or_else(|error| {
            metrics.count_fault("leftovers");
            tracing::warn!(%error, "could not finish the edits or deletions that a dead server left; trying again");
            HashSet::new()
        });
    }
}
