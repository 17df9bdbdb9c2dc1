//! The position of this server's change stream, and the wait until the stream reaches a cluster time (a time of
//! MongoDB's logical clock).
//!
//! This server receives receipt markers only from the change stream. A read for a socket does not wait for the stream,
//! because the socket receives later markers as events. A caller that reads only once, for example the HTTP API, must
//! wait for the stream. The wait ends when the stream has reached the snapshot time of the documents that the caller
//! read. Usually the stream has reached that time already. Without changes in the database, the stream does not
//! advance. Then one of the waiting callers writes a document, and this write advances the stream for all waiting
//! callers.

use std::time::Duration;

use bson::{Document, Timestamp, doc};
use tokio::sync::{Mutex, watch};

use super::{Store, StoreError};
use crate::model::cluster_time;

/// A caller first waits this long for events that the database has already sent. If the stream has not reached the
/// caller's time after this wait, the caller writes a document to advance the stream.
const ON_ITS_WAY: Duration = Duration::from_millis(3);

/// The longest wait of a caller. After this time, the caller treats the stream as broken, and uses the markers up to
/// the stream's position.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The cluster time that the stream has reached.
pub(crate) struct StreamPosition {
    time: watch::Sender<Timestamp>,
    /// Locked by the one caller that writes a document to advance the stream.
    turn: Mutex<()>,
}

impl Default for StreamPosition {
    fn default() -> Self {
        Self { time: watch::Sender::new(cluster_time::ZERO), turn: Mutex::default() }
    }
}

impl StreamPosition {
    /// Records that this server has received all changes up to this cluster time.
    pub(crate) fn advance_to(&self, time: Timestamp) {
        self.time.send_if_modified(|last| std::mem::replace(last, time.max(*last)) < time);
    }

    fn last(&self) -> Timestamp {
        *self.time.borrow()
    }

    /// Returns the cluster time up to which this server knows all receipt markers. If this time is later than `time`,
    /// returns `time`.
    pub(super) fn capped_at(&self, time: Timestamp) -> Timestamp {
        self.last().min(time)
    }

    async fn wait_for(&self, time: Timestamp) {
        // The sender is part of `self`, so the channel can't be closed.
        let _ = self.time.subscribe().wait_for(|last| *last >= time).await;
    }
}

impl Store {
    /// Waits until the stream has reached the cluster time `to`, for [`TIMEOUT`] at most. Returns the time up to which
    /// this server knows all receipt markers. If this time is later than `to`, returns `to`.
    ///
    /// Does not wait in a process that runs a command, for example `parlor check`, because such a process reads no
    /// change stream.
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

    /// Updates this server's heartbeat document, so that the change stream advances.
    async fn nudge(&self) -> Result<(), StoreError> {
        let heartbeats = self.db.collection::<Document>("heartbeats");
        let (filter, update) = (doc! { "_id": self.peers.server() }, doc! { "$inc": { "nudges": 1_i64 } });
        self.run_detached(async move { Ok(heartbeats.update_one(filter, update).await.map(|_| ())?) }).await
    }
}
