//! Reads the state of rooms in which something happens while only sockets of all of a user's rooms are in them.
//!
//! Such a socket reads nothing of a room when it joins it. What the room's events are made of is read once one is due,
//! as it was just before; until then what happens waits in the [`hub`](crate::realtime::hub).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::hub::{Hub, RoomLoadRequest};
use crate::protocol::close::Close;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// How long a room may take to be read, its turn included. Less than what a cursor takes for
/// [settled](crate::protocol::cursor): what waits here is told before it counts as told.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before a read that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Rooms that are read at the same time.
const AT_ONCE: usize = 32;

pub(crate) struct RoomLoader {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
}

impl RoomLoader {
    /// Reads what is wanted.
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
        let end = request.since + PATIENCE;
        let error = loop {
            match tokio::time::timeout_at(end, self.store.snapshot_at(request.room, request.at)).await {
                Ok(Ok(snapshot)) => return self.hub.room_loaded_for_all(request, &snapshot),
                Ok(Err(error)) if Instant::now() >= end => break error.to_string(),
                Ok(Err(_)) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(_) => break format!("it took longer than {PATIENCE:?}"),
            }
        };
        self.metrics.fault("open_room");
        tracing::error!(%error, room = %request.room, "a room can't be read; its sockets are to come back");
        self.hub.close_generation(request, Close::GoingAway);
    }
}
