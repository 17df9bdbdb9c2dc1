//! The heartbeat: a document that each server writes and waits to hear of. A change stream on which nothing happens
//! looks like one that hangs; this tells them apart.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::sessions::Sessions;
use crate::protocol::close::Close;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// Heartbeats under way whose sending is remembered. One that took longer says nothing of the database's clock.
const MAX_PENDING: usize = 32;

/// How often it is looked within `feed.close_ms` whether sockets are to be closed...
const CHECKS: u32 = 20;

/// ...and at least this often.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// What was last written, and what last came round.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    server: ObjectId,
    written: AtomicI64,
    received: watch::Sender<i64>,
    received_at: Mutex<Option<Instant>>,
    /// When the last few were sent, that didn't come round.
    sent: Mutex<VecDeque<(i64, Instant)>>,
    /// The first one that a majority has and that hasn't come round, nor any later one; since when a majority has it.
    unreturned: Mutex<Option<(i64, Instant)>>,
    /// There was no document of this server's.
    re_registered: Notify,
    /// `feed.overdue_ms`
    overdue: Duration,
    /// None has come round for `feed.close_ms`.
    silent: AtomicBool,
}

impl Heartbeat {
    /// Of a server whose heartbeats are overdue after so long.
    pub(crate) fn new(server: ObjectId, overdue: Duration) -> Self {
        Self {
            server,
            written: AtomicI64::new(0),
            received: watch::Sender::new(0),
            received_at: Mutex::new(None),
            sent: Mutex::default(),
            unreturned: Mutex::new(None),
            re_registered: Notify::new(),
            overdue,
            silent: AtomicBool::new(false),
        }
    }

    /// The `_id` of the document.
    pub(crate) fn server(&self) -> ObjectId {
        self.server
    }

    /// Resolves when the document was written re_registered: for the first time, or because another server took this one for
    /// dead and removed it, with all that was known of it. For one to wait.
    pub(crate) async fn re_registered(&self) {
        self.re_registered.notified().await;
    }

    /// What was known of this server's users is gone.
    pub(crate) fn mark_re_registered(&self) {
        self.re_registered.notify_one();
    }

    /// How long ago a heartbeat came round; none if never.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.received_at.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// One came round. Gives when it was sent.
    pub(crate) fn on_beat(&self, beat: i64) -> Option<Instant> {
        *self.received_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.received.send_if_modified(|last| std::mem::replace(last, beat.max(*last)) < beat);
        let mut unreturned = self.unreturned();
        if unreturned.is_some_and(|(first, _)| first <= beat) {
            *unreturned = None;
        }
        drop(unreturned);
        let mut sent = self.sent();
        while sent.pop_front_if(|(other, _)| *other < beat).is_some() {}
        sent.front().filter(|(other, _)| *other == beat).map(|(_, at)| *at)
    }

    /// Whether no heartbeat has come round for `feed.overdue_ms`: what another server has done may not be known here.
    pub(crate) fn is_overdue(&self) -> bool {
        self.age().is_none_or(|age| age > self.overdue)
    }

    /// Whether heartbeats are overdue that were written: the stream hangs, and not the database.
    pub(crate) fn is_missing(&self) -> bool {
        // What a majority has this moment may still be on its way.
        let on_its_way = self.overdue / 4;
        self.is_overdue() && self.unreturned().is_some_and(|(_, since)| since.elapsed() > on_its_way)
    }

    /// Whether none has come round for `feed.close_ms`: no socket is to be open here.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Closes all sockets once no heartbeat has come round for `feed.close_ms`, and for as long as none does; for ever.
    pub(crate) async fn watch(self: Arc<Self>, close: Duration, outboxes: Sessions, metrics: Arc<Metrics>) {
        let tick = (close / CHECKS).min(MAX_CHECK_INTERVAL);
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silence = Duration::ZERO;
        loop {
            ticks.tick().await;
            // Looks are counted, and not what a clock says: nothing can have come while this process stood still.
            silence = if self.is_overdue() { silence + tick } else { Duration::ZERO };
            let silent = silence + self.overdue >= close;
            if silent {
                outboxes.close(Close::Unavailable);
            }
            match (self.silent.swap(silent, Ordering::Relaxed), silent) {
                (false, true) => {
                    metrics.limit("feed_close_ms");
                    tracing::error!(
                        "no heartbeat has come round for feed.close_ms; sockets are closed until one does"
                    );
                }
                (true, false) => tracing::info!("heartbeats come round again; sockets are taken again"),
                _ => {}
            }
        }
    }

    fn sent(&self) -> MutexGuard<'_, VecDeque<(i64, Instant)>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreturned(&self) -> MutexGuard<'_, Option<(i64, Instant)>> {
        self.unreturned.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(crate) async fn wait_for_round_trip(&self, store: &Store) -> Result<(), StoreError> {
        let mut received = self.received.subscribe();
        let written = self.beat(store).await?;
        // The sender is ours: it can't be gone.
        let _ = received.wait_for(|received| *received >= written).await;
        Ok(())
    }

    /// Writes a heartbeat, and gives its number once a majority has it.
    pub(crate) async fn beat(&self, store: &Store) -> Result<i64, StoreError> {
        let beat = {
            let mut sent = self.sent();
            let beat = self.written.fetch_add(1, Ordering::Relaxed) + 1;
            if sent.len() >= MAX_PENDING {
                sent.pop_front();
            }
            sent.push_back((beat, Instant::now()));
            beat
        };
        if store.beat(self.server, beat).await? {
            self.re_registered.notify_one();
        }
        if *self.received.borrow() < beat {
            self.unreturned().get_or_insert((beat, Instant::now()));
        }
        Ok(beat)
    }
}
