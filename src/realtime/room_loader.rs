//! Loads the state of rooms for inbox connections (Level 3 sockets).
//!
//! An inbox connection joins its rooms without loading their states. When the first change of a room arrives, the
//! loader reads the room's state as of the time just before that change. The loader also reads the state when a client
//! opens a socket for only this room. Changes wait in the [`hub`](crate::realtime::hub) until the state is loaded. If a
//! room has dropped message texts to save memory, the loader reads these texts again when they are needed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::hub::{Hub, RoomLoadRequest};
use crate::protocol::close::Close;
use crate::retry::{self, AttemptError};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// The time limit of a load, including its time in the queue. A client's cursor has a
/// [settled](crate::protocol::cursor) time, and all changes up to the settled time count as sent. The settled time lies
/// ten seconds before the latest event, which is longer than this limit. Therefore a change that still waits for the
/// load is later than the settled time, and a client that resumes receives this change.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The mean pause before another attempt after a failed read.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The maximum number of rooms that are read concurrently.
const AT_ONCE: usize = 32;

/// Loads the states of rooms, [`AT_ONCE`] concurrently.
pub(crate) struct RoomLoader {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
}

impl RoomLoader {
    /// Executes the load requests of the hub. Returns when the hub is dropped.
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
