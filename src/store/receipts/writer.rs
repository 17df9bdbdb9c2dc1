//! Writes receipts: raises members' receipt markers in batches. Each batch is a document of the
//! [journal](super::journal).
//!
//! Markers only rise, and raising a marker twice has no further effect. Therefore queued markers of one member are
//! merged into one entry, and a batch with an unknown outcome is written again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::RawDocumentBuf;
use handlers::{RoomId, UserId};
use mongodb::Collection;
use tokio::sync::{Notify, watch};

use crate::config;
use crate::model::receipts::Marks;
use crate::store::Store;
use crate::store::batching::BatchPacer;
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;

/// The pause before a failed batch is written again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Queues markers for the writing task. The task runs until the supervisor stops it.
#[derive(Clone)]
pub struct Receipts(Arc<ReceiptQueue>);

struct ReceiptQueue {
    waiting: Mutex<HashMap<(RoomId, UserId), Marks>>,
    /// Notified when a marker is queued.
    raised: Notify,
    /// The number of memberships whose markers are queued or being written.
    open: watch::Sender<usize>,
    limit: usize,
    /// The maximum number of markers that wait to be folded (written into the members' documents). At this maximum, the
    /// writing task pauses.
    unfolded: usize,
    metrics: Arc<Metrics>,
}

impl Receipts {
    pub(in crate::store) fn start(
        store: Store,
        journal: Collection<RawDocumentBuf>,
        pace: BatchPacer,
        limits: &config::LimitsConfig,
        metrics: Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Self {
        let shared = Arc::new(ReceiptQueue {
            waiting: Mutex::default(),
            raised: Notify::new(),
            open: watch::Sender::new(0),
            limit: limits.write_queue,
            unfolded: limits.unfolded_marks,
            metrics,
        });
        let folding = store.clone().go_on_folding(shared.metrics.clone());
        supervisor.spawn("folding", folding);
        let task = ReceiptWriterTask { store, journal, pace, shared: shared.clone(), batch: limits.batch };
        supervisor.spawn("receipts", task.run());
        Self(shared)
    }

    /// Waits until every queued marker is written.
    pub(crate) async fn wait_until_written(&self) {
        // `wait_for` fails only if the sender is dropped, and `self` owns the sender.
        let _ = self.0.open.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Returns the number of memberships whose markers are queued or being written.
    pub(crate) fn waiting(&self) -> usize {
        *self.0.open.borrow()
    }

    /// Queues a member's markers, to be raised soon. Returns false if the queue is full. The caller must then queue the
    /// markers again later.
    #[must_use]
    pub(crate) fn raise(&self, room: RoomId, user: &UserId, marks: Marks) -> bool {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let full = waiting.len() >= self.0.limit;
        match waiting.entry((room, user.clone())) {
            std::collections::hash_map::Entry::Occupied(mut mark) => {
                let raised = mark.get().max(marks);
                mark.insert(raised);
            }
            std::collections::hash_map::Entry::Vacant(_) if full => {
                self.0.metrics.bound_hit("write_queue");
                return false;
            }
            std::collections::hash_map::Entry::Vacant(mark) => {
                mark.insert(marks);
                self.0.open.send_modify(|open| *open += 1);
            }
        }
        drop(waiting);
        self.0.raised.notify_one();
        true
    }
}

struct ReceiptWriterTask {
    store: Store,
    /// The journal, with a client whose driver doesn't retry writes.
    journal: Collection<RawDocumentBuf>,
    pace: BatchPacer,
    shared: Arc<ReceiptQueue>,
    batch: usize,
}

impl ReceiptWriterTask {
    async fn run(self) {
        loop {
            let waiting = self.waiting().len();
            if waiting == 0 {
                self.shared.raised.notified().await;
                continue;
            }
            self.pace.gather(waiting).await;
            let batch = self.take_batch();
            self.pace.record_batch(batch.len());
            while self.store.overlay().unfolded() >= self.shared.unfolded {
                self.shared.metrics.bound_hit("unfolded_marks");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            match self.store.raise(&self.journal, &batch).await {
                Ok(()) => {
                    self.shared.open.send_modify(|open| *open -= batch.len());
                }
                Err(error) => {
                    self.shared.metrics.count_fault("receipts");
                    tracing::warn!(%error, marks = batch.len(), "could not write receipts; trying again");
                    self.return_batch(batch);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<(RoomId, UserId), Marks>> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_batch(&self) -> Vec<((RoomId, UserId), Marks)> {
        let mut waiting = self.waiting();
        if waiting.len() <= self.batch {
            return waiting.drain().collect();
        }
        let some: Vec<_> = waiting.keys().take(self.batch).cloned().collect();
        some.into_iter().filter_map(|key| waiting.remove_entry(&key)).collect()
    }

    fn return_batch(&self, batch: Vec<((RoomId, UserId), Marks)>) {
        let mut waiting = self.waiting();
        for (key, marks) in batch {
            let newer = waiting.get(&key).copied();
            if newer.is_some() {
                self.shared.open.send_modify(|open| *open -= 1);
            }
            waiting.insert(key, newer.map_or(marks, |newer| newer.max(marks)));
        }
    }
}
