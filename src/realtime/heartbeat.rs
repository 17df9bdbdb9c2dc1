//! The heartbeat: a document that each server writes at intervals, and then expects in its change stream. An idle
//! change stream looks like a stream that hangs. A heartbeat that comes back shows that the stream works.

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

/// The number of heartbeats in flight whose send time is remembered. Older heartbeats took too long to measure the
/// database's clock.
const MAX_PENDING: usize = 32;

/// The number of checks within `feed.close_ms`. Each check finds out whether sockets have to be closed.
const CHECKS: u32 = 20;

/// The longest interval between two checks.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The last heartbeat that was written, and the last one that came back.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    server: ObjectId,
    written: AtomicI64,
    received: watch::Sender<i64>,
    received_at: Mutex<Option<Instant>>,
    /// The send times of the last few heartbeats that have not come back.
    sent: Mutex<VecDeque<(i64, Instant)>>,
    /// The oldest majority-committed heartbeat since which no heartbeat has come back, and when a majority had it.
    unreturned: Mutex<Option<(i64, Instant)>>,
    /// Notified when this server's heartbeat document was missing and had to be created.
    re_registered: Notify,
    /// `feed.overdue_ms`
    overdue: Duration,
    /// No heartbeat has come back for `feed.close_ms`.
    silent: AtomicBool,
}

impl Heartbeat {
    /// Creates the heartbeat of a server. Heartbeats are overdue after `overdue`.
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

    /// Returns the `_id` of the heartbeat document: the server's id.
    pub(crate) fn server(&self) -> ObjectId {
        self.server
    }

    /// Resolves when the heartbeat document was created: at the start, or after another server declared this one dead.
    /// The other server then has also removed the presence of this server's users. For a single waiter.
    pub(crate) async fn re_registered(&self) {
        self.re_registered.notified().await;
    }

    /// Reports that the presence of this server's users is lost.
    pub(crate) fn mark_re_registered(&self) {
        self.re_registered.notify_one();
    }

    /// Returns how long ago a heartbeat came back; none if none ever did.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.received_at.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// Records a heartbeat that came back. Returns when it was sent.
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

    /// Whether no heartbeat has come back for `feed.overdue_ms`. This server may then lack recent changes of others.
    pub(crate) fn is_overdue(&self) -> bool {
        self.age().is_none_or(|age| age > self.overdue)
    }

    /// Whether a written heartbeat is overdue. Then the database works, and the stream hangs.
    pub(crate) fn is_missing(&self) -> bool {
        // A heartbeat that a majority has just acknowledged may still be on its way.
        let on_its_way = self.overdue / 4;
        self.is_overdue() && self.unreturned().is_some_and(|(_, since)| since.elapsed() > on_its_way)
    }

    /// Whether no heartbeat has come back for `feed.close_ms`. Then no socket may be open on this server.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Closes all sockets when no heartbeat has come back for `feed.close_ms`, until one comes back. Never returns.
    pub(crate) async fn watch(self: Arc<Self>, close: Duration, outboxes: Sessions, metrics: Arc<Metrics>) {
        let tick = (close / CHECKS).min(MAX_CHECK_INTERVAL);
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silence = Duration::ZERO;
        loop {
            ticks.tick().await;
            // Counts checks instead of reading a clock: a suspended process can't receive heartbeats.
            silence = if self.is_overdue() { silence + tick } else { Duration::ZERO };
            let silent = silence + self.overdue >= close;
            if silent {
                outboxes.close(Close::Unavailable);
            }
            match (self.silent.swap(silent, Ordering::Relaxed), silent) {
                (false, true) => {
                    metrics.bound_hit("feed_close_ms");
                    tracing::error!(
                        "no heartbeat has come back for feed.close_ms; closing all sockets until one does"
                    );
                }
                (true, false) => tracing::info!("heartbeats come back again; accepting sockets again"),
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

    /// Writes a heartbeat every `interval`. Never returns.
    pub(crate) async fn run(self: Arc<Self>, store: Store, interval: Duration, metrics: Arc<Metrics>) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.beat(&store).await {
                metrics.count_fault("heartbeat");
                tracing::warn!(%error, "could not write the heartbeat; trying again");
            }
        }
    }

    /// Resolves when the change stream has delivered everything that was written before the call. Has no timeout of its
    /// own.
    pub(crate) async fn wait_for_round_trip(&self, store: &Store) -> Result<(), StoreError> {
        let mut received = self.received.subscribe();
        let written = self.beat(store).await?;
        // The sender lives as long as `self`, so this never fails.
        let _ = received.wait_for(|received| *received >= written).await;
        Ok(())
    }

    /// Writes a heartbeat. Returns its number once a majority has it.
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
