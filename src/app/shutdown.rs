//! The way out of a server: what has been begun is finished and told, then each socket is told why it is closed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use salvo::server::ServerHandle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::state::Server;
use crate::actions::dispatcher::UnderWay;
use crate::protocol::close::Close;
use crate::store::StoreError;

/// What is kept of the time for the end, at most a quarter of it, to tell each socket why it is closed: the
/// database may have taken all the rest. As long as one close may take.
const GOODBYE: Duration = Duration::from_secs(4);

/// No socket and no frame is taken any more; returns when all are closed, within `shutdown.drain_seconds`.
pub(crate) async fn drain(
    server: &Server,
    handlers: UnderWay,
    handle: ServerHandle,
    accepting: JoinHandle<std::io::Result<()>>,
) {
    let time = server.config.load().shutdown.drain;
    let deadline = Instant::now() + time;
    let goodbye = deadline - GOODBYE.min(time / 4);
    tracing::info!(seconds = time.as_secs(), "going away: finishing what is being done");
    server.draining.store(true, Ordering::SeqCst);
    handle.stop_graceful(Some(time));
    server.outboxes.wake();
    handlers.tracker.close();
    if tokio::time::timeout_at(goodbye, drained(server, &handlers.tracker)).await.is_err() {
        tracing::warn!("not everything was finished in time");
    }
    handlers.overdue.cancel();
    server.outboxes.close(Close::GoingAway);
    server.tracker.close();
    let closed = async { tokio::join!(server.tracker.wait(), accepting) };
    if tokio::time::timeout_at(deadline, closed).await.is_err() {
        tracing::warn!("not every connection was closed in time");
    }
    server.hooks.load().end().await;
}

/// What is being done is done, its senders have heard of it, and all receipts are written.
async fn drained(server: &Server, handlers: &TaskTracker) {
    handlers.wait().await;
    if let Err(error) = server.pulse.fence(&server.store).await {
        tracing::warn!(%error, "the last events could not be waited for");
    }
    server.outboxes.close(Close::GoingAway);
    server.tracker.close();
    server.tracker.wait().await;
    server.receipts.settled().await;
    if let Err(error) = fold_what_is_left(server).await {
        tracing::info!(%error, "receipts are left to be folded by another server");
    }
}

/// Folds the receipts that this server has written last, once it has heard of them.
async fn fold_what_is_left(server: &Server) -> Result<(), StoreError> {
    server.pulse.fence(&server.store).await?;
    server.store.fold().await
}
