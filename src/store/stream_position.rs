//! The position of this server's change stream, and waiting until it reaches a cluster time.
//!
//! This server learns raised receipt markers only from the stream. A socket need not wait: it gets later markers as
//! events. A caller that reads once and gets no events waits until the stream has reached the snapshot time of its
//! documents. Usually it already has. If the stream is idle, one waiting caller writes a document for all of them, so
//! that the stream advances.

use std::time::Duration;

use bson::{Document, Timestamp, doc};
use tokio::sync::{Mutex, watch};

use super::{Store, StoreError};

/// How long a caller waits for events that may already be in transit.
const ON_ITS_WAY: Duration = Duration::from_millis(3);

/// The maximum wait. A stream that is further behind is broken or nearly so. The result is then of the stream's
/// position.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The position of the stream.
pub(crate) struct StreamPosition {
    time: watch::Sender<Timestamp>,
    /// Held by the one caller that makes the stream advance.
    turn: Mutex<()>,
}

impl Default for StreamPosition {
    fn default() -> Self {
        Self { time: watch::Sender::new(Timestamp { time: 0, increment: 0 }), turn: Mutex::default() }
    }
}

impl StreamPosition {
    /// Records that everything up to this commit time was received.
    pub(crate) fn advance_to(&self, time: Timestamp) {
        self.time.send_if_modified(|last| std::mem::replace(last, time.max(*last)) < time);
    }

    fn last(&self) -> Timestamp {
        *self.time.borrow()
    }

    /// Returns the time up to which all markers are known, but no later than `time`.
    pub(super) fn capped_at(&self, time: Timestamp) -> Timestamp {
        self.last().min(time)
    }

    async fn wait_for(&self, time: Timestamp) {
        // The sender is in `self`, so it can't be closed.
        let _ = self.time.subscribe().wait_for(|last| *last >= time).await;
    }
}

impl Store {
    /// Waits until the stream has reached a time. Returns the time up to which all markers are known, but no later
    /// than that.
    ///
    /// If no stream is read, as by a command, it doesn't wait.
    pub(super) async fn wait_until_reached(&self, to: Timestamp) -> Timestamp {
        let reached = &*self.reached;
        if reached.last().time > 0 && reached.last() < to {
            let waited = async {
                if tokio::time::timeout(ON_ITS_WAY, reached.wait_for(to)).await.is_ok() {
                    return;
                }
                let _turn = reached.turn.lock().await;
                if reached.last() < to
                    && let Err(error) = self.nudge().await
                {
                    tracing::warn!(%error, "could not write to advance the change stream; waiting for it");
                }
                reached.wait_for(to).await;
            };
            if tokio::time::timeout(TIMEOUT, waited).await.is_err() {
                tracing::debug!("the change stream is behind; using the receipt markers of its position");
            }
        }
        reached.capped_at(to)
    }

    /// Writes a document, so that the stream advances.
    async fn nudge(&self) -> Result<(), StoreError> {
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let (filter, update) = (doc! { "_id": self.peers.server() }, doc! { "$inc": { "nudges": 1_i64 } });
        self.run_detached(async move { Ok(heartbeats.update_one(filter, update).await.map(|_| ())?) }).await
    }
}
