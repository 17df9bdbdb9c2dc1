//! The heartbeat: a document that each server writes and waits to hear of. A change stream on which nothing happens
//! looks like one that hangs; this tells them apart.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

/// What was last written, and what last came round.
#[derive(Debug)]
pub(crate) struct Pulse {
    server: ObjectId,
    written: AtomicI64,
    heard: watch::Sender<i64>,
    heard_at: Mutex<Option<Instant>>,
    /// There was no document of this server's.
    anew: Notify,
}

impl Pulse {
    pub(crate) fn new(server: ObjectId) -> Self {
        Self {
            server,
            written: AtomicI64::new(0),
            heard: watch::Sender::new(0),
            heard_at: Mutex::new(None),
            anew: Notify::new(),
        }
    }

    /// The `_id` of the document.
    pub(crate) fn server(&self) -> ObjectId {
        self.server
    }

    /// Resolves when the document was written anew: for the first time, or because another server took this one for
    /// dead and removed it, with all that was known of it. For one to wait.
    pub(crate) async fn begun_anew(&self) {
        self.anew.notified().await;
    }

    /// How long ago a heartbeat came round; none if never.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.heard_at.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// One came round.
    pub(crate) fn hear(&self, beat: i64) {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.heard.send_if_modified(|last| std::mem::replace(last, beat.max(*last)) < beat);
    }

    /// Writes a heartbeat every `interval`, for ever.
    pub(crate) async fn run(self: Arc<Self>, store: Store, interval: Duration, metrics: Arc<Metrics>) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.beat(&store).await {
                metrics.fault("heartbeat");
                tracing::warn!(%error, "writing the heartbeat failed");
            }
        }
    }

    /// Resolves when everything that was written before the call has come through the feed. Whoever calls limits how
    /// long that may take.
    pub(crate) async fn fence(&self, store: &Store) -> Result<(), StoreError> {
        let mut heard = self.heard.subscribe();
        let written = self.beat(store).await?;
        // The sender is ours: it can't be gone.
        let _ = heard.wait_for(|heard| *heard >= written).await;
        Ok(())
    }

    /// Writes a heartbeat, and gives its number once a majority has it.
    pub(crate) async fn beat(&self, store: &Store) -> Result<i64, StoreError> {
        let beat = self.written.fetch_add(1, Ordering::Relaxed) + 1;
        if store.beat(self.server, beat).await? {
            self.anew.notify_one();
        }
        Ok(beat)
    }
}
