//! Reads the state of rooms in which something happens while only sockets of all of a user's rooms are in them.
//!
//! Such a socket reads nothing of a room when it joins it. What the room's events are made of is read once one is due,
//! as it was just before; until then what happens waits in the [`hub`](crate::hub).

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::close::Close;
use crate::hub::{Hub, Wanted};
use crate::metrics::Metrics;
use crate::store::Store;

/// Rooms that are read at the same time.
const AT_ONCE: usize = 32;

pub(crate) struct Opener {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Opener {
    /// Reads what is wanted until `stop`.
    pub(crate) async fn run(self, mut wanted: mpsc::UnboundedReceiver<Wanted>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let this = Arc::new(self);
        while let Some(Some(room)) = stop.run_until_cancelled(wanted.recv()).await {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let this = this.clone();
            tokio::spawn(async move {
                this.open(room).await;
                drop(place);
            });
        }
    }

    async fn open(&self, wanted: Wanted) {
        match self.store.snapshot_at(wanted.room, wanted.at).await {
            Ok(snapshot) => self.hub.opened_for_all(wanted, &snapshot),
            Err(error) => {
                self.metrics.fault("open_room");
                tracing::error!(%error, room = %wanted.room, "a room can't be read; its sockets are to come back");
                self.hub.close(wanted.room, Close::GoingAway);
            }
        }
    }
}
