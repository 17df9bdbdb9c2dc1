//! Reads MongoDB's change stream, the ordered list of the committed writes of all servers. Each server reads its own
//! stream. The reader turns each write into a [change](crate::model::change::CommittedChange) of a room, and gives it
//! to the [hub](super::hub). The hub sends the change to the sockets of the room. The [`webhooks`](crate::webhooks)
//! read separate change streams.
//!
//! Sockets receive events only through this stream. Therefore a server also treats its own writes like the writes of
//! other servers. If a stream breaks, the server resumes it at its last position. Therefore no event is lost in an
//! election of a new primary or an outage. If the database no longer has the changes after that position, the new
//! stream starts at the current time. For every open room (a room with sockets on this server), the reader then reads
//! the missed changes from the collections. The missed typing events and custom events are lost, because the
//! collections of messages, members and receipt markers don't contain them.
//!
//! An idle stream looks like a stream that hangs. The server therefore writes a heartbeat document at intervals. The
//! server reports itself as ready only while its heartbeats come back through the stream. If a stored heartbeat does
//! not come back, and no other event arrives, the stream hangs. The server then abandons the stream and opens a new
//! stream on a new connection. The new stream continues after the last received event.
//!
//! An event that is too large for the database to send breaks every stream that reaches the event. The next stream then
//! starts at the current time, and the missed changes are read from the collections, as after a loss of history.

mod dispatch;
mod gap;
mod quiet_timer;

use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, Timestamp};
use futures_util::StreamExt;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::quiet_timer::QuietTimer;
use super::change_event::{ChangeEvent, StreamEvent};
use super::heartbeat::Heartbeat;
use super::hub::Hub;
use super::presence_notifier::PresenceQueue;
use super::room_change_notifier::RoomChangeQueue;
use super::sessions::Sessions;
use super::stream_errors::{Backoff, token_after};
pub(crate) use super::stream_errors::{is_history_lost, is_too_large};
use crate::config;
use crate::model::cluster_time;
use crate::store::{SequenceCache, Store, StoreError, summary};
use crate::telemetry::metrics::Metrics;

/// The timeout of the first attempt to open a stream. After each attempt that timed out, the timeout doubles.
const FIRST_OPENING: Duration = Duration::from_secs(5);

/// The longest timeout of an attempt to open a stream. When a stream opens, the database first scans all changes since
/// the resume token. The scan may take minutes.
const LONGEST_OPENING: Duration = Duration::from_mins(10);

/// Reads the change stream and dispatches its events.
pub(crate) struct ChangeStreamReader {
    /// A store with a separate database client, because a waiting stream occupies a connection of the client's pool.
    pub(crate) stream_store: Store,
    pub(crate) settings: config::FeedConfig,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) outboxes: Sessions,
    pub(crate) numbers: Arc<SequenceCache>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    /// The queue of changed rooms.
    pub(crate) changes: RoomChangeQueue,
    pub(crate) presence: PresenceQueue,
}

/// How a stream ended, and the position at which the next stream continues.
struct StreamEnd {
    /// The resume token for the next stream. If it is `None`, the next stream starts at the current time.
    token: Option<ResumeToken>,
    /// Whether the stream delivered any event.
    any: bool,
    /// Whether the database answered with an error that is neither an outage nor a timeout.
    refused: bool,
}

impl ChangeStreamReader {
    /// Opens the stream. The stream delivers every write that is committed after this call.
    pub(crate) async fn open(&self) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        self.stream_store.watch(None, self.settings.read_from).await
    }

    /// Reads the state that existed before the stream was opened: receipts, online users and erasures.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        self.store.read_clock().await?;
        // The heartbeat is written after the start of the stream. After a majority has stored the heartbeat, the reads
        // below see every write from before this start.
        self.heartbeat.beat(&self.store).await?;
        self.store.read_online().await?;
        self.store.read_erasing().await?;
        self.store.read_journal().await
    }

    /// Reads the stream. Never returns.
    pub(crate) async fn run(mut self, mut stream: ChangeStream<RawDocumentBuf>) {
        // Zero is only a start value. The first heartbeat that comes back sets `last`. Before this heartbeat, the
        // server accepts no client.
        let mut last = cluster_time::ZERO;
        // Limits the number of tasks that wait for abandoned calls of the driver.
        let calls = Arc::new(Semaphore::new(self.settings.hanging));
        let mut backoff = Backoff::default();
        loop {
            let StreamEnd { mut token, any, refused } = self.follow(stream, &mut last, &calls).await;
            self.hub.stream_lost();
            if any {
                backoff = Backoff::default();
            } else {
                tokio::time::sleep(backoff.next()).await;
            }
            if refused && backoff.refused() {
                token = None;
            }
            stream = self.reopen(token, last, &calls, &mut backoff).await;
        }
    }

    /// Dispatches events until the stream breaks or hangs.
    async fn follow(
        &mut self,
        mut stream: ChangeStream<RawDocumentBuf>,
        last: &mut Timestamp,
        calls: &Arc<Semaphore>,
    ) -> StreamEnd {
        let opened_at = stream.resume_token();
        let mut newest: Option<RawDocumentBuf> = None;
        let mut quiet = QuietTimer::new(self.settings.overdue);
        loop {
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                () = quiet.tick() => {
                    if quiet.is_long() && self.heartbeat.is_missing() {
                        match calls.clone().try_acquire_owned() {
                            Ok(permit) => {
                                self.abandon(stream, permit);
                                let token = newest.as_deref().map_or(opened_at, token_after);
                                return StreamEnd { token, any: newest.is_some(), refused: false };
                            }
                            Err(_) => self.metrics.bound_hit("feed_hanging"),
                        }
                    }
                    continue;
                }
            };
            quiet.ends();
            let error = match next {
                Some(Ok(event)) => {
                    self.dispatch_or_log(&event, last);
                    newest = Some(event);
                    continue;
                }
                Some(Err(error)) => error,
                // An invalidate event ends the stream: the database was dropped. A stream can't be resumed after this
                // event.
                None => {
                    self.store.indexes().request_check();
                    return StreamEnd { token: None, any: newest.is_some(), refused: false };
                }
            };
            self.metrics.count_fault("feed");
            tracing::warn!(error = summary(&error), "the change stream broke; resuming it");
            let token = stream.resume_token().filter(|_| !self.is_position_lost(&error));
            let refused = matches!(StoreError::from(error), StoreError::Fault(_));
            return StreamEnd { token, any: newest.is_some(), refused };
        }
    }

    /// Abandons a stream that hangs. A running future of the driver must not be dropped, so a separate task awaits it.
    /// The task ends when the connection of the stream ends.
    fn abandon(&mut self, mut stream: ChangeStream<RawDocumentBuf>, permit: OwnedSemaphorePermit) {
        self.metrics.count_fault("feed_hangs");
        tracing::error!(
            "the change stream hangs: heartbeats are written but don't come back; opening another stream"
        );
        tokio::spawn(async move {
            let _permit = permit;
            // The result may be an error of the closed connection, which does not matter here.
            drop(stream.next().await);
        });
        self.reconnect();
    }

    /// Replaces the database client, so that the next streams use new connections.
    fn reconnect(&mut self) {
        match self.stream_store.reconnected() {
            Ok(store) => self.stream_store = store,
            Err(error) => {
                tracing::warn!(%error, "could not open new connections for the change stream; keeping the old ones");
            }
        }
    }

    fn dispatch_or_log(&self, event: &RawDocument, last: &mut Timestamp) {
        let taken = ChangeEvent::read(event).and_then(|event| {
            let (taken, time) = match event {
                StreamEvent::Change(event) => (self.dispatch(&event), event.time),
                StreamEvent::Dropped { collection, all, time } => {
                    self.on_drop(collection, all);
                    (Ok(Some(time)), time)
                }
            };
            self.store.reached().advance_to(time);
            taken
        });
        match taken {
            Ok(Some(time)) => *last = time,
            Ok(None) => {}
            Err(error) => {
                self.metrics.count_fault("feed_undecodable");
                tracing::error!(%error, "could not decode a change; skipping it");
            }
        }
    }

    /// Returns whether this error means that a stream can't continue at its resume token.
    fn is_position_lost(&self, error: &Error) -> bool {
        if is_too_large(error) {
            self.metrics.count_fault("feed_event_too_large");
            tracing::error!("a change event is too large for the database to send; continuing after it");
            return true;
        }
        is_history_lost(error)
    }

    /// Opens the stream again at `token`. If the database no longer has this position, the stream starts at the current
    /// time. In this case, the missed changes of the open rooms are read before this function returns.
    async fn reopen(
        &mut self,
        mut token: Option<ResumeToken>,
        last: Timestamp,
        calls: &Arc<Semaphore>,
        backoff: &mut Backoff,
    ) -> ChangeStream<RawDocumentBuf> {
        let mut limit = FIRST_OPENING;
        loop {
            match self.open_at(token.clone(), calls, limit).await {
                Ok(stream) => {
                    if token.is_none() {
                        self.catch_up(last).await;
                    }
                    self.hub.stream_restored();
                    return stream;
                }
                Err(error) => {
                    self.metrics.count_fault("feed");
                    tracing::warn!(%error, "could not open the change stream; trying again");
                    if let StoreError::Fault(error) = &error
                        && (error.downcast_ref().is_some_and(|error| self.is_position_lost(error))
                            || backoff.refused())
                    {
                        token = None;
                    }
                    if let StoreError::Unknown(None) = error {
                        limit = (limit * 2).min(LONGEST_OPENING);
                    }
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// Opens a stream within a time limit. After a timeout, the running call of the driver is abandoned, and the next
    /// call uses a new connection.
    async fn open_at(
        &mut self,
        token: Option<ResumeToken>,
        calls: &Arc<Semaphore>,
        limit: Duration,
    ) -> Result<ChangeStream<RawDocumentBuf>, StoreError> {
        if calls.available_permits() == 0 {
            self.metrics.bound_hit("feed_hanging");
            tracing::error!("feed.hanging calls hang; the change stream is opened when one of them ends");
        }
        // `ok` discards no error: the semaphore is never closed.
        let permit = calls.clone().acquire_owned().await.ok();
        let (store, read_from) = (self.stream_store.clone(), self.settings.read_from);
        let opening = tokio::spawn(async move {
            let _permit = permit;
            store.watch(token, read_from).await
        });
        match tokio::time::timeout(limit, opening).await {
            Ok(Ok(opened)) => Ok(opened?),
            Ok(Err(panic)) => Err(StoreError::Fault(Box::new(panic))),
            Err(_) => {
                self.reconnect();
                Err(StoreError::Unknown(None))
            }
        }
    }
}
