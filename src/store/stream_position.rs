//! How far the change stream has come on this server, and waiting until it has come to a moment.
//!
//! Marks that were raised are known here by the stream alone. A socket needs no more: what comes later it is told. Whoever
//! asks once, and is told nothing later, waits until the stream has come to the moment that the documents were read as of:
//! mostly it has. On a stream on which nothing happens something is made to happen then, by one for all who wait.

use std::time::Duration;

use bson::{Document, Timestamp, doc};
use tokio::sync::{Mutex, watch};

use super::{Store, StoreError};

/// How long is waited for what may be on its way already.
const ON_ITS_WAY: Duration = Duration::from_millis(3);

/// How long is waited in all. A stream that is further behind than that is broken, or as good as: what is said then is as of
/// where it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far the stream has come.
pub(crate) struct Reached {
    time: watch::Sender<Timestamp>,
    /// One at a time makes something happen.
    turn: Mutex<()>,
}

impl Default for Reached {
    fn default() -> Self {
        Self { time: watch::Sender::new(Timestamp { time: 0, increment: 0 }), turn: Mutex::default() }
    }
}

impl Reached {
    /// All that was committed up to then has been taken.
    pub(crate) fn saw(&self, time: Timestamp) {
        self.time.send_if_modified(|last| std::mem::replace(last, time.max(*last)) < time);
    }

    fn last(&self) -> Timestamp {
        *self.time.borrow()
    }

    /// Up to when all marks are known, and no later than a moment.
    pub(super) fn by(&self, time: Timestamp) -> Timestamp {
        self.last().min(time)
    }

    async fn until(&self, time: Timestamp) {
        // The sender is ours: it can't be gone.
        let _ = self.time.subscribe().wait_for(|last| *last >= time).await;
    }
}

impl Store {
    /// Waits until the stream has come to a moment. Gives up to when all marks are known, and no later than that moment.
    ///
    /// Where no stream is read, as where a store stands alone, nothing is waited for.
    pub(super) async fn caught_up(&self, to: Timestamp) -> Timestamp {
        let reached = &*self.reached;
        if reached.last().time > 0 && reached.last() < to {
            let waited = async {
                if tokio::time::timeout(ON_ITS_WAY, reached.until(to)).await.is_ok() {
                    return;
                }
                let _turn = reached.turn.lock().await;
                if reached.last() < to
                    && let Err(error) = self.nudge().await
                {
                    tracing::warn!(%error, "the change stream can't be made to move");
                }
                reached.until(to).await;
            };
            if tokio::time::timeout(PATIENCE, waited).await.is_err() {
                tracing::debug!("the change stream is behind: marks are shown as of where it is");
            }
        }
        reached.by(to)
    }

    /// Makes something happen in the stream.
    async fn nudge(&self) -> Result<(), StoreError> {
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let (filter, update) = (doc! { "_id": self.peers.server() }, doc! { "$inc": { "nudges": 1_i64 } });
        self.bounded(async move { Ok(heartbeats.update_one(filter, update).await.map(|_| ())?) }).await
    }
}
