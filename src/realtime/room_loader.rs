//! Loads the state of rooms in which something happens while only inbox connections are in them.
//!
//! An inbox connection loads no room when it joins it. The state that a room's events need is loaded once the first
//! event is due, as it was just before. Until then changes wait in the [`hub`](crate::realtime::hub).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::hub::{Hub, RoomLoadRequest};
use crate::protocol::close::Close;
use crate::retry::{self, AttemptError};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// How long a load may take, including its time in the queue. It is shorter than the time after which a cursor counts
/// as [settled](crate::protocol::cursor): a change that waits here is sent before that.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before another try after a failed read.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Rooms that are read concurrently.
const AT_ONCE: usize = 32;

pub(crate) struct RoomLoader {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
}

impl RoomLoader {
    /// Serves load requests.
    pub(crate) async fn run(self, mut wanted: mpsc::UnboundedReceiver<RoomLoadRequest>) {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let this = Arc::new(self);
        while let Some(room) = wanted.recv().await {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let this = this.clone();
            tokio::spawn(async move {
                this.load(room).await;
                drop(permit);
            });
        }
    }

    async fn load(&self, request: RoomLoadRequest) {
        let end = request.since + TIMEOUT;
        let read = || async {
            match tokio::time::timeout_at(end, self.store.snapshot_at(request.room, request.at)).await {
                Ok(Ok(snapshot)) => Ok(snapshot),
                Ok(Err(error)) => Err(AttemptError::Retry(error.to_string())),
                Err(_) => Err(AttemptError::Final(format!("it took longer than {TIMEOUT:?}"))),
            }
        };
        let error = match retry::until(end, RETRY_PAUSE, read).await {
            Ok(snapshot) => return self.hub.room_loaded_for_all(request, &snapshot),
            Err(error) => error,
        };
        self.metrics.count_fault("open_room");
        tracing::error!(%error, room = %request.room, "could not load a room; disconnecting its sockets so that they reconnect");
        self.hub.close_generation(request, Close::GoingAway);
    }
}
