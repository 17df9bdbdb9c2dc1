//! The heartbeat is a document that each server writes at intervals, and then expects in its change stream. A change
//! stream without events looks like a stream that hangs. A heartbeat that comes back through the stream shows that the
//! stream works.

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

/// The number of outstanding heartbeats whose send times are kept. A send time is needed to measure the database's
/// clock. For older heartbeats the measurement would be too inexact, because they have taken too long to come back.
const MAX_PENDING: usize = 32;

/// The number of checks within the time `feed.close_ms`. Each check decides whether all sockets have to be closed.
const CHECKS: u32 = 20;

/// The longest interval between two checks.
const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The numbers and times of the heartbeats that this server has written, and of the heartbeats that came back.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    server: ObjectId,
    written: AtomicI64,
    received: watch::Sender<i64>,
    received_at: Mutex<Option<Instant>>,
    /// The numbers and send times of the last heartbeats that have not come back.
    sent: Mutex<VecDeque<(i64, Instant)>>,
    /// The first stored heartbeat that has not come back: its number, and the time at which a majority had stored it.
    unreturned: Mutex<Option<(i64, Instant)>>,
    /// Notified when this server's heartbeat document was missing and had to be created.
    re_registered: Notify,
    /// The setting `feed.overdue_ms`.
    overdue: Duration,
    /// True while no heartbeat has come back for `feed.close_ms`.
    silent: AtomicBool,
}

impl Heartbeat {
    /// Creates the state before the first heartbeat of a server. `overdue` is the setting `feed.overdue_ms`.
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

    /// Resolves when this server's heartbeat document was created. The document is created at the start, and after
    /// another server has declared this server dead. In the second case, the other server has also removed the presence
    /// of this server's users. Only one task may wait in this function.
    pub(crate) async fn re_registered(&self) {
        self.re_registered.notified().await;
    }

    /// Wakes the task that waits in [`re_registered`](Self::re_registered), because the presence of this server's users
    /// was removed.
    pub(crate) fn mark_re_registered(&self) {
        self.re_registered.notify_one();
    }

    /// Returns the time since the last heartbeat came back. Returns `None` if no heartbeat has come back yet.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.received_at.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }

    /// Records a heartbeat that came back. Returns the send time of this heartbeat, if the time is still kept.
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

    /// Returns whether no heartbeat has come back for `feed.overdue_ms`. This server may then lack recent changes of
    /// other servers.
    pub(crate) fn is_overdue(&self) -> bool {
        self.age().is_none_or(|age| age > self.overdue)
    }

    /// Returns whether no heartbeat has come back for `feed.overdue_ms`, although the database has stored a heartbeat
    /// that has not come back. In this case the database works, but the stream hangs.
    pub(crate) fn is_missing(&self) -> bool {
        // A heartbeat that a majority has just stored may still be on its way through the stream.
        let on_its_way = self.overdue / 4;
        self.is_overdue() && self.unreturned().is_some_and(|(_, since)| since.elapsed() > on_its_way)
    }

    /// Returns whether no heartbeat has come back for `feed.close_ms`. In this case this server must not have open
    /// sockets.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Closes all sockets when no heartbeat has come back for `feed.close_ms`, and repeats this until a heartbeat comes
    /// back. Never returns.
    pub(crate) async fn watch(self: Arc<Self>, close: Duration, outboxes: Sessions, metrics: Arc<Metrics>) {
        let tick = (close / CHECKS).min(MAX_CHECK_INTERVAL);
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silence = Duration::ZERO;
        loop {
            ticks.tick().await;
            // The loop counts its checks instead of reading a clock. While the process is suspended, the clock
            // continues, but no heartbeat can arrive. A count does not include this time.
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

    /// Resolves when the change stream has delivered every event that was written before this call. This function has
    /// no timeout, so the caller must set a timeout.
    pub(crate) async fn wait_for_round_trip(&self, store: &Store) -> Result<(), StoreError> {
        let mut received = self.received.subscribe();
        let written = self.beat(store).await?;
        // `wait_for` fails only if the sender is dropped, and `self` owns the sender.
        let _ = received.wait_for(|received| *received >= written).await;
        Ok(())
    }

    /// Writes a heartbeat. After a majority of the database's members has stored the heartbeat, returns its number.
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
