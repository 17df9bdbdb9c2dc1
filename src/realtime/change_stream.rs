//! Reads this server's change stream: the committed writes of all servers become [`CommittedChange`]s of rooms, and go
//! to the hub. The [`webhooks`](crate::webhooks) have streams of their own.
//!
//! Sockets receive events only this way, so one server or twenty behave alike. A stream that breaks is resumed at its
//! position: elections and outages lose nothing. If the database no longer has the history after that position, the
//! stream starts at the current time, and every open room reads what it missed from the collections. The stream only
//! wakes readers; the collections are authoritative. Ephemeral events are in no collection that could be read later,
//! so they are lost in that case.
//!
//! An idle stream looks like one that hangs. So the server writes a heartbeat document of its own, and is ready only
//! while its heartbeats come back. If a written heartbeat does not come back, and nothing else arrives, the stream
//! hangs. The server then abandons it, and opens another stream on another connection, after the last received event.
//!
//! An event that is too large to be sent breaks every stream that reaches it. The next stream then starts at the
//! current time, as after a loss of history.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf, Timestamp};
use futures_util::StreamExt;
use handlers::RoomId;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;

use super::change_event::{ChangeEvent, StreamEvent};
use super::heartbeat::Heartbeat;
use super::hub::{CatchUp, Hub};
use super::presence_notifier::PresenceQueue;
use super::room_change_notifier::{RoomChangeQueue, RoomChangedAt};
use super::sessions::Sessions;
use super::stream_errors::{Backoff, token_after};
pub(crate) use super::stream_errors::{is_history_lost, is_too_large};
use crate::config;
use crate::model::change::CommittedChange;
use crate::protocol::close::Close;
use crate::protocol::ephemeral::EphemeralEvent;
use crate::retry;
use crate::store::codec::{self, Undecodable};
use crate::store::receipts::journal;
use crate::store::receipts::overlay::RaisedMarks;
use crate::store::users::presence;
use crate::store::{LastMessage, SequenceCache, Store, StoreError, UserPresence, ephemeral};
use crate::telemetry::metrics::Metrics;

/// The pause before another try to open a stream.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The first timeout for opening a stream. It doubles after each try that timed out...
const FIRST_OPENING: Duration = Duration::from_secs(5);

/// ...up to this limit. Before it answers, the database passes over everything since the resume token.
const LONGEST_OPENING: Duration = Duration::from_mins(10);

/// A revision is stamped shortly before it is committed. After a gap, revisions this much older than the last received
/// change are sent again.
const STAMPED_BEFORE: Duration = Duration::from_secs(10);

/// Reads the change stream and dispatches its events.
pub(crate) struct ChangeStreamReader {
    /// A store with a client of its own, since a waiting stream holds one of the pool's connections.
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

/// Why a stream ended, and how to continue.
struct StreamEnd {
    /// The resume point for the next stream; none if it is lost.
    token: Option<ResumeToken>,
    /// Whether any event was received.
    any: bool,
    /// Whether the database refused to continue the stream.
    refused: bool,
}

/// Measures how long nothing was received. It uses a clock only while nothing is received.
struct QuietTimer {
    ticks: tokio::time::Interval,
    quiet: u32,
}

impl QuietTimer {
    /// After this many ticks a quiet time is [long](Self::is_long).
    const LONG: u32 = 4;

    fn new(long: Duration) -> Self {
        let mut ticks = tokio::time::interval(long / Self::LONG);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, quiet: 0 }
    }

    async fn tick(&mut self) {
        self.ticks.tick().await;
        self.quiet = self.quiet.saturating_add(1);
    }

    fn is_long(&self) -> bool {
        self.quiet > Self::LONG
    }

    /// Restarts the measurement: something was received.
    fn ends(&mut self) {
        self.quiet = 0;
    }
}

impl ChangeStreamReader {
    /// Opens the stream: everything that is written from now on will be received.
    pub(crate) async fn open(&self) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        self.stream_store.watch(None, self.settings.read_from).await
    }

    /// Reads the state that existed before the stream was opened: receipts, online users and erasures.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        self.store.read_clock().await?;
        // As in `catch_up`.
        self.heartbeat.beat(&self.store).await?;
        self.store.read_online().await?;
        self.store.read_erasing().await?;
        self.store.read_journal().await
    }

    /// Reads the stream. Never returns.
    pub(crate) async fn run(mut self, mut stream: ChangeStream<RawDocumentBuf>) {
        // No client connects before the first heartbeat has come back.
        let mut last = Timestamp { time: 0, increment: 0 };
        // Limits the hanging driver calls that may be abandoned.
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
                // An invalidate event ends a stream: the database was dropped. The stream can't be resumed after it.
                None => {
                    self.store.indexes().request_check();
                    return StreamEnd { token: None, any: newest.is_some(), refused: false };
                }
            };
            self.metrics.count_fault("feed");
            tracing::warn!(%error, "the change stream broke; resuming it");
            let token = stream.resume_token().filter(|_| !self.is_position_lost(&error));
            let refused = matches!(StoreError::from(error), StoreError::Fault(_));
            return StreamEnd { token, any: newest.is_some(), refused };
        }
    }

    /// Abandons a stream that hangs. The driver's future ends by itself, with its connection: it must not be dropped
    /// while it runs.
    fn abandon(&mut self, mut stream: ChangeStream<RawDocumentBuf>, permit: OwnedSemaphorePermit) {
        self.metrics.count_fault("feed_hangs");
        tracing::error!(
            "the change stream hangs: heartbeats are written but don't come back; opening another stream"
        );
        tokio::spawn(async move {
            let _permit = permit;
            // This may also be an error of a connection that is closed in the end.
            drop(stream.next().await);
        });
        self.reconnect();
    }

    /// Opens streams on new connections from now on.
    fn reconnect(&mut self) {
        match self.stream_store.reconnected() {
            Ok(store) => self.stream_store = store,
            Err(error) => {
                tracing::warn!(%error, "could not open new connections for the change stream; keeping the old ones");
            }
        }
    }

    fn dispatch_or_log(&self, event: &RawDocument, last: &mut Timestamp) {
        let taken = ChangeEvent::read(event).and_then(|told| {
            let (taken, time) = match told {
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

    /// Whether this error means that a stream can't continue at its resume token.
    fn is_position_lost(&self, error: &Error) -> bool {
        if is_too_large(error) {
            self.metrics.count_fault("feed_event_too_large");
            tracing::error!("a change event is too large for the database to send; continuing after it");
            return true;
        }
        is_history_lost(error)
    }

    /// Opens the stream again, at `token` if that is still possible.
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

    /// Opens a stream within a limit. After a timeout the call is abandoned, and the next one uses other connections.
    async fn open_at(
        &mut self,
        token: Option<ResumeToken>,
        calls: &Arc<Semaphore>,
        limit: Duration,
    ) -> Result<ChangeStream<RawDocumentBuf>, StoreError> {
        // The semaphore is never closed.
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

    /// Reads for every open room what it missed since `last`.
    async fn catch_up(&self, last: Timestamp) {
        let before = u32::try_from(STAMPED_BEFORE.as_secs()).unwrap_or(u32::MAX);
        let since = Timestamp { time: last.time.saturating_sub(before), increment: 0 };
        // The stream begins at the primary's latest operation, while a snapshot shows majority-committed data. Once a
        // majority has a later write, nothing lies between the two.
        persist("write a heartbeat before the missed changes are read", || self.heartbeat.beat(&self.store))
            .await;
        persist("read the missed receipt markers", || self.store.read_journal()).await;
        self.numbers.forget_all();
        // Before memberships, because the same erasure also ends memberships, and its close code must win.
        let erasing = persist("read which users are being erased", || self.store.read_erasing()).await;
        erasing.iter().for_each(|user| self.outboxes.close_user(user, Close::Erased));
        self.store.contacts().forget();
        self.store.deletions().forget();
        persist("read which users are online", || self.store.read_online()).await;
        self.store.activity().forget();
        self.store.touched().forget();
        let now = persist("read the cluster time", || self.store.moment()).await;
        let rooms = self.hub.begin_catch_up(now);
        self.metrics.count_fault("feed_history_lost");
        tracing::error!(
            rooms = rooms.len(),
            "the change stream's history is lost; reading the missed changes from the collections"
        );
        for (room, last_sent) in rooms {
            match last_sent {
                Some(last_sent) => self.catch_up_room(room, last_sent, since).await,
                None => self.hub.close(room, Close::GoingAway),
            }
        }
    }

    /// Reads what a room missed after the message number `last_sent`, and revisions since a time. Closes the sockets of
    /// the room if that can't be read.
    async fn catch_up_room(&self, room: RoomId, last_sent: i64, since: Timestamp) {
        let read = || async {
            match self.store.missed(room, last_sent, since).await {
                Err(StoreError::Fault(_)) => Ok(None),
                read => read,
            }
        };
        let missed = persist("read what a room missed", read).await;
        match missed {
            // The room was deleted. A client that reconnects to it is notified of the deletion.
            Some((snapshot, _)) if snapshot.members.is_empty() => self.hub.close(room, Close::GoingAway),
            Some((snapshot, changes)) => self.hub.finish_catch_up(room, CatchUp { snapshot, changes }),
            None => self.hub.close(room, Close::GoingAway),
        }
    }

    /// Handles a dropped collection or index. What is missing is created again. Clients reconnect and load what exists
    /// then.
    fn on_drop(&self, collection: &str, all: bool) {
        self.metrics.count_fault("dropped");
        tracing::error!(collection, all, "a collection or an index of Parlor was dropped; creating it again");
        self.store.indexes().request_check();
        match collection {
            "rooms" | "messages" | "members" | "marks" if all => {
                self.store.forget_rooms();
                self.hub.send_all_away();
            }
            "presence" if all => {
                self.store.contacts().record_all_offline();
                self.heartbeat.mark_re_registered();
            }
            // The remaining erasures were dropped with the collection.
            "erasures" if all => self.store.erasing().clear(),
            _ => {}
        }
    }

    /// Dispatches one event. Returns its time if it belongs to a room or is a heartbeat.
    fn dispatch(&self, event: &ChangeEvent<'_>) -> Result<Option<Timestamp>, Undecodable> {
        if !event.is_of_interest()? {
            return Ok(None);
        }
        let (key, time) = (event.key, event.time);
        match event.collection {
            "heartbeats" => {
                if key.get_object_id("_id")? != self.heartbeat.server() {
                    self.store.peers().on_heartbeat();
                    return Ok(None);
                }
                self.store.touched().record_position(time);
                self.hub.advance_time(time);
                self.on_heartbeat(event)?;
            }
            "presence" => {
                self.on_presence(event)?;
                return Ok(None);
            }
            "erasures" => {
                self.on_erasure(event)?;
                return Ok(None);
            }
            "signals" => self.on_ephemeral(time, ephemeral::read(event.document()?)?),
            "rooms" => self.on_room(event, codec::read_room_id(key)?)?,
            "marks" => self.on_marks(event)?,
            _ => self.on_message_or_member(event, key.get_document("_id")?)?,
        }
        Ok(Some(time))
    }

    fn on_message_or_member(&self, event: &ChangeEvent<'_>, id: &RawDocument) -> Result<(), Undecodable> {
        let (room, time) = (codec::read_room(id)?, event.time);
        if event.collection == "messages" && event.operation == "insert" {
            let (_, n) = codec::read_message_id(id)?;
            let at = codec::read_time(event.document()?, "created_at")?;
            self.numbers.record_if_cached(room, LastMessage { n: n.get(), at });
            self.store.activity().record(room, at);
        } else if event.collection == "messages"
            && let Ok(at) = codec::read_time(event.updated_fields()?, "updated_at")
        {
            self.numbers.record_if_cached(room, LastMessage { at, ..LastMessage::default() });
        }
        self.note_lag(event);
        if event.collection == "members" && event.operation == "delete" {
            self.store.overlay().drop_member(room, &codec::read_member_user(id)?, time);
        }
        if event.collection == "members" && event.operation != "update" {
            self.store.contacts().remove_room(room);
        }
        // First, so that a socket that joins once the hub has reached this time finds it there.
        self.store.touched().record_change(room, time);
        if self.hub.advance_to(room, time)
            && let Some(change) = event.change(id)?
        {
            self.hub.apply(room, time, change);
        }
        if event.collection == "members" {
            let user = codec::read_member_user(id)?;
            if event.is_of_membership()? {
                self.hub.request_recheck(room, Some(&user), time);
                self.room_changed(room, time);
            } else if event.is_of_address()? && self.hub.has_inboxes_of_others(room, &user) {
                // A user who is alone in a thousand rooms reads none of them because of the user's own address.
                self.changes.push(room, RoomChangedAt(time));
            }
        }
        Ok(())
    }

    /// Records the time since the change was made.
    fn note_lag(&self, event: &ChangeEvent<'_>) {
        if let Some(made) = event.made {
            let ms = self.store.now().0 - made.timestamp_millis();
            // The database's clock is estimated: it may differ in either direction.
            self.metrics.lag(Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
        }
    }

    /// Handles a presence change.
    fn on_presence(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let user = presence::read_id(event.key)?;
        let presence = match event.operation {
            "update" => presence::read_update(event.updated_fields()?)?,
            // The database may write the removal of one server as a replacement. While another server is left, nothing
            // has changed.
            "replace" => Some(UserPresence::read(event.document()?)?).filter(|presence| !presence.online),
            _ => Some(UserPresence::read(event.document()?)?),
        };
        if let Some(presence) = presence {
            self.store.contacts().record_presence(&user, presence.online);
            if self.hub.has_inboxes() {
                self.presence.push(user, presence);
            }
        }
        Ok(())
    }

    /// Handles an erasure that was requested or has ended.
    fn on_erasure(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let user = presence::read_id(event.key)?;
        if event.operation == "delete" {
            self.store.erasing().remove(&user);
        } else {
            // First, so that a socket that registers from here on finds the erasure.
            self.store.erasing().add(user.clone());
            self.outboxes.close_user(&user, Close::Erased);
        }
        Ok(())
    }

    /// Handles receipt markers that were raised or folded.
    fn on_marks(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let time = event.time;
        if event.operation == "delete" {
            self.store.overlay().mark_folded(event.key.get_object_id("_id")?, Instant::now());
            return Ok(());
        }
        self.note_lag(event);
        let mut batch = journal::read_batch(event.document()?)?;
        // Sorted, so that each room is updated once with all its markers.
        batch.marks.sort_by_key(|mark| mark.room);
        let batch = Arc::new(batch);
        // First, so that a socket that joins once the hub has reached this time finds it there.
        self.store.overlay().add_batch(time, &batch, Instant::now());
        for of_room in batch.marks.chunk_by(|one, other| one.room == other.room) {
            let room = of_room[0].room;
            self.store.touched().record_change(room, time);
            if self.hub.advance_to(room, time) {
                let marks = of_room.iter().map(|RaisedMarks { user, marks, .. }| (user.clone(), *marks));
                self.hub.apply(room, time, CommittedChange::Marked(marks.collect()));
            }
        }
        Ok(())
    }

    /// Handles a room that was created, renamed or deleted.
    fn on_room(&self, event: &ChangeEvent<'_>, room: RoomId) -> Result<(), Undecodable> {
        let time = event.time;
        self.store.touched().record_change(room, time);
        self.hub.advance_to(room, time);
        if event.operation == "update" && event.updated_fields()?.get("deleted_at")?.is_some() {
            self.hub.request_recheck(room, None, time);
            self.hub.close(room, Close::NoRoom);
        } else {
            self.room_changed(room, time);
        }
        Ok(())
    }

    /// Queues a change of a room or of its members.
    fn room_changed(&self, room: RoomId, time: Timestamp) {
        if self.hub.has_inboxes_in(room) {
            self.changes.push(room, RoomChangedAt(time));
        }
    }

    fn on_ephemeral(&self, time: Timestamp, signal: EphemeralEvent) {
        match signal {
            EphemeralEvent::Event { room, event } => {
                if self.hub.advance_to(room, time) {
                    self.hub.apply(room, time, CommittedChange::Custom(event));
                }
            }
            EphemeralEvent::Typing { room, user } => {
                if self.hub.advance_to(room, time) {
                    self.hub.apply(room, time, CommittedChange::Typing { user });
                }
            }
            EphemeralEvent::Disconnect { user } => self.outboxes.close_user(&user, Close::Disconnected),
        }
    }

    fn on_heartbeat(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let document = match event.operation {
            "update" => event.updated_fields()?,
            _ => event.document()?,
        };
        if let Some(beat) = codec::read_int_if_any(document, "beat")? {
            let now = Instant::now();
            if let Some(sent) = self.heartbeat.on_beat(beat) {
                self.store.database_clock().read(codec::read_time(document, "at")?, sent, now);
            }
        }
        Ok(())
    }
}

/// Repeats a step until the database answers. `step` names it in the log.
async fn persist<T, A>(step: &str, attempt: impl FnMut() -> A) -> T
where
    A: Future<Output = Result<T, StoreError>>,
{
    let log = |error| tracing::warn!(%error, "could not {step}; trying again");
    retry::forever(RETRY_PAUSE, attempt, log).await
}
