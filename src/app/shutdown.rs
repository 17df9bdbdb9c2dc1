//! The shutdown of a server: finishes and answers the started actions, then closes each socket with a close code.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use salvo::server::ServerHandle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::actions::dispatcher::InFlightCalls;
use crate::config::live::LiveConfig;
use crate::lifecycle::Lifecycle;
use crate::protocol::close::Close;
use crate::realtime::heartbeat::Heartbeat;
use crate::realtime::sessions::Sessions;
use crate::store::{Receipts, Store, StoreError};
use crate::webhooks::RunningWebhooks;

/// The time at the end of `shutdown.drain_seconds` that is reserved for closing the sockets: 4 s, but at most a
/// quarter of `drain_seconds`. Without this reserve, actions that wait for a slow database could use up all the time.
/// Closing one socket takes at most 4 s, twice the `CLOSE_TIMEOUT` of `ws::close`.
const CLOSE_GRACE: Duration = Duration::from_secs(4);

/// The parts of the server that a shutdown waits for or closes.
pub(crate) struct ShutdownSequence {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) under_way: InFlightCalls,
    pub(crate) outboxes: Sessions,
    pub(crate) hooks: Arc<ArcSwap<RunningWebhooks>>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) receipts: Receipts,
    pub(crate) store: Store,
}

impl ShutdownSequence {
    /// Stops accepting sockets and frames, and finishes the started actions. Returns when all sockets are closed, or
    /// after `shutdown.drain_seconds`.
    pub(crate) async fn drain(self, handle: ServerHandle, accepting: JoinHandle<std::io::Result<()>>) {
        let time = self.config.load().shutdown.drain;
        let deadline = Instant::now() + time;
        let close_at = deadline - CLOSE_GRACE.min(time / 4);
        tracing::info!(seconds = time.as_secs(), "shutting down: finishing the started actions");
        self.lifecycle.start_draining();
        handle.stop_graceful(Some(time));
        self.outboxes.wake();
        self.under_way.tracker.close();
        if tokio::time::timeout_at(close_at, self.finish()).await.is_err() {
            tracing::warn!("some actions did not finish in time; closing the sockets");
        }
        self.under_way.overdue.cancel();
        self.outboxes.close(Close::GoingAway);
        let closed = async { tokio::join!(self.lifecycle.finished(), accepting) };
        if tokio::time::timeout_at(deadline, closed).await.is_err() {
            tracing::warn!("could not close every connection in time; dropping the rest");
        }
        self.hooks.load().end().await;
    }

    /// Waits until every started action has ended and the change stream has delivered the events of these actions.
    /// Then closes all sockets, after their answers are sent, and waits until all receipts are written.
    async fn finish(&self) {
        self.under_way.tracker.wait().await;
        if let Err(error) = self.heartbeat.wait_for_round_trip(&self.store).await {
            tracing::warn!(%error, "could not wait for the last events");
        }
        self.outboxes.close(Close::GoingAway);
        self.lifecycle.finished().await;
        self.receipts.wait_until_written().await;
        if let Err(error) = self.fold_receipts().await {
            tracing::info!(%error, "could not fold the last receipts; another server folds them");
        }
    }

    /// Folds the server's last receipts: adds them to the members' documents. A server can fold only receipts that it
    /// has received from the change stream. This also applies to receipts that the server itself has written. Therefore
    /// the function first waits until the change stream has delivered them.
    async fn fold_receipts(&self) -> Result<(), StoreError> {
        self.heartbeat.wait_for_round_trip(&self.store).await?;
        self.store.fold().await
    }
}
