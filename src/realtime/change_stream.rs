//! The change stream of a server, but for [`hooks`](crate::webhooks): what any server wrote -> [`CommittedChange`]s of rooms -> the hub.
//!
//! It is the only road by which a socket hears of anything, so one server or twenty behave alike. A stream that
//! breaks goes on where it was: elections and outages lose nothing. Where the database no longer has what came
//! after that point, it begins at now, and every open room reads from the collection what it missed: the stream
//! is the wake-up, the collection is the truth. Signals have no such truth, and are missed then.
//!
//! A stream on which nothing happens looks like one that hangs. So the server writes a heartbeat document of its
//! own, and is ready only while that comes round. Where a heartbeat that was written doesn't come round, and nothing else
//! does, the stream hangs: it is left behind, and another is opened on another connection, from the last event on.
//!
//! An event that is too large to be sent breaks every stream that comes to it. The next one begins at now, as after a loss
//! of history.

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
use super::room_change_notifier;
use super::sessions::Sessions;
use super::stream_errors::{Backoff, token_after};
pub(crate) use super::stream_errors::{is_history_lost, is_too_large};
use crate::config;
use crate::model::change::CommittedChange;
use crate::protocol::close::Close;
use crate::protocol::ephemeral::Signal;
use crate::store::codec::{self, Undecodable};
use crate::store::receipts::journal;
use crate::store::receipts::overlay::Mark;
use crate::store::users::presence;
use crate::store::{Last, LastNumbers, Presence, Store, StoreError, ephemeral};
use crate::telemetry::metrics::Metrics;

/// The pause before a stream that can't be opened is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How long opening a stream may take at first; it doubles with each try that took longer...
const FIRST_OPENING: Duration = Duration::from_secs(5);

/// ...up to this: the database passes over all that happened since the resume token before it answers.
const LONGEST_OPENING: Duration = Duration::from_mins(10);

/// A revision is stamped a moment before it is committed: those this much older than the last change heard of are told
/// again after a gap.
const STAMPED_BEFORE: Duration = Duration::from_secs(10);

/// Reads the stream.
pub(crate) struct ChangeStreamReader {
    /// A store with a client of its own, since a waiting stream holds one of the pool's connections.
    pub(crate) stream_store: Store,
    pub(crate) settings: config::Feed,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) outboxes: Sessions,
    pub(crate) numbers: Arc<LastNumbers>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    /// Rooms that have changed.
    pub(crate) changes: room_change_notifier::RoomChangeQueue,
    pub(crate) presence: PresenceQueue,
}

/// Why a stream is followed no more.
struct StreamEnd {
    /// Where the next one goes on; none where that is lost.
    token: Option<ResumeToken>,
    /// Whether any event came.
    any: bool,
    /// Whether the database answered that it won't go on.
    refused: bool,
}

/// For how long nothing has come. Its clock is looked at only while nothing does.
struct QuietTimer {
    ticks: tokio::time::Interval,
    quiet: u32,
}

impl QuietTimer {
    /// So many ticks are a quiet time that is [long](Self::is_long).
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

    /// Something came.
    fn ends(&mut self) {
        self.quiet = 0;
    }
}

impl ChangeStreamReader {
    /// Opens the stream: what is written from now on will be heard.
    pub(crate) async fn open(&self) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        self.stream_store.watch(None, self.settings.read_from).await
    }

    /// Takes the marks that were there before the stream was opened.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        self.store.read_clock().await?;
        // As in `catch_up`.
        self.heartbeat.beat(&self.store).await?;
        self.store.read_online().await?;
        self.store.read_erasing().await?;
        self.store.read_journal().await
    }

    /// Reads on, for ever.
    pub(crate) async fn run(mut self, mut stream: ChangeStream<RawDocumentBuf>) {
        // No one comes in before the first heartbeat has come round.
        let mut last = Timestamp { time: 0, increment: 0 };
        // Hanging calls of the driver that may be left behind.
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

    /// Takes events until the stream breaks, or hangs.
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
                            Err(_) => self.metrics.limit("feed_hanging"),
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
                // An invalidate event ends a stream: the database was dropped. Nothing can be resumed after it.
                None => {
                    self.store.indexes().doubt();
                    return StreamEnd { token: None, any: newest.is_some(), refused: false };
                }
            };
            self.metrics.fault("feed");
            tracing::warn!(%error, "the change stream broke");
            let token = stream.resume_token().filter(|_| !self.is_position_lost(&error));
            let refused = matches!(StoreError::from(error), StoreError::Fault(_));
            return StreamEnd { token, any: newest.is_some(), refused };
        }
    }

    /// Leaves a stream behind that hangs. The driver's future ends by itself, with its connection: it must not be dropped
    /// half way.
    fn abandon(&mut self, mut stream: ChangeStream<RawDocumentBuf>, permit: OwnedSemaphorePermit) {
        self.metrics.fault("feed_hangs");
        tracing::error!(
            "the change stream hangs: heartbeats are written and don't come round; opening another"
        );
        tokio::spawn(async move {
            let _permit = permit;
            // Also an error of a connection that is closed in the end.
            drop(stream.next().await);
        });
        self.reconnect();
    }

    /// From now on streams are opened on connections of their own.
    fn reconnect(&mut self) {
        match self.stream_store.reconnected() {
            Ok(store) => self.stream_store = store,
            Err(error) => {
                tracing::warn!(%error, "no new connections for the change stream; keeping the old ones");
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
            self.store.reached().saw(time);
            taken
        });
        match taken {
            Ok(Some(time)) => *last = time,
            Ok(None) => {}
            Err(error) => {
                self.metrics.fault("feed_undecodable");
                tracing::error!(%error, "a change was not understood and is not told");
            }
        }
    }

    /// Whether a stream can't go on at its resume token after this error.
    fn is_position_lost(&self, error: &Error) -> bool {
        if is_too_large(error) {
            self.metrics.fault("feed_event_too_large");
            tracing::error!("a change event is too large for the database to send; going on after it");
            return true;
        }
        is_history_lost(error)
    }

    /// Opens the stream again, at `token` where that is still possible.
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
                    self.metrics.fault("feed");
                    tracing::warn!(%error, "the change stream can't be opened; trying again");
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

    /// Opens a stream within a limit. Past it the call is left behind, and the next one goes over other connections.
    async fn open_at(
        &mut self,
        token: Option<ResumeToken>,
        calls: &Arc<Semaphore>,
        limit: Duration,
    ) -> Result<ChangeStream<RawDocumentBuf>, StoreError> {
        // Nobody closes it.
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
        // The stream begins at what the primary has done, a snapshot shows what a majority has: once a later write
        // is on a majority nothing lies between the two.
        while let Err(error) = self.heartbeat.beat(&self.store).await {
            tracing::warn!(%error, "waiting for the database to read what was missed");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        while let Err(error) = self.store.read_journal().await {
            tracing::warn!(%error, "waiting for the database to read the marks that were missed");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        self.numbers.forget_all();
        // First: the same erasure ends memberships, and its code is the one that counts.
        loop {
            match self.store.read_erasing().await {
                Ok(users) => {
                    break users.iter().for_each(|user| self.outboxes.close_user(user, Close::Erased));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not read which users are being erased; trying again");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
        self.store.contacts().forget();
        self.store.deletions().forget();
        while let Err(error) = self.store.read_online().await {
            tracing::warn!(%error, "could not read who is online; trying again");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        self.store.activity().forget();
        self.store.touched().forget();
        let now = loop {
            match self.store.moment().await {
                Ok(now) => break now,
                Err(error) => tracing::warn!(%error, "waiting for the database to say what time it is"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        };
        let rooms = self.hub.begin_catch_up(now);
        self.metrics.fault("feed_history_lost");
        tracing::error!(rooms = rooms.len(), "the change stream's history is lost; reading what was missed");
        for (room, told) in rooms {
            let Some(told) = told else {
                self.hub.close(room, Close::GoingAway);
                continue;
            };
            loop {
                match self.store.missed(room, told, since).await {
                    // Whoever comes back to a room that was deleted hears that it was.
                    Ok(Some((snapshot, _))) if snapshot.members.is_empty() => {
                        self.hub.close(room, Close::GoingAway);
                    }
                    Ok(Some((snapshot, changes))) => {
                        self.hub.finish_catch_up(room, CatchUp { snapshot, changes });
                    }
                    Ok(None) | Err(StoreError::Fault(_)) => self.hub.close(room, Close::GoingAway),
                    Err(error) => {
                        tracing::warn!(%error, %room, "reading what a room missed failed; trying again");
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                }
                break;
            }
        }
    }

    /// A collection, or an index of it, was dropped by somebody. What is missing is made again; clients come back to what
    /// there is then.
    fn on_drop(&self, collection: &str, all: bool) {
        self.metrics.fault("dropped");
        tracing::error!(collection, all, "a collection or an index of Parlor's was dropped; making it again");
        self.store.indexes().doubt();
        match collection {
            "rooms" | "messages" | "members" | "marks" if all => {
                self.store.forget_rooms();
                self.hub.send_all_away();
            }
            "presence" if all => {
                self.store.contacts().all_went_offline();
                self.heartbeat.mark_re_registered();
            }
            // What is left of an erasure went with it.
            "erasures" if all => self.store.erasing().forget(),
            _ => {}
        }
    }

    /// Takes one event; gives its time where it was a room's, or a heartbeat.
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
                self.store.touched().passed(time);
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
            self.numbers.saw_if_known(room, Last { n: n.get(), at });
            self.store.activity().saw(room, at);
        } else if event.collection == "messages"
            && let Ok(at) = codec::read_time(event.updated_fields()?, "updated_at")
        {
            self.numbers.saw_if_known(room, Last { at, ..Last::default() });
        }
        self.note_lag(event);
        if event.collection == "members" && event.operation == "delete" {
            self.store.overlay().left(room, &codec::read_member_user(id)?, time);
        }
        if event.collection == "members" && event.operation != "update" {
            self.store.contacts().changed(room);
        }
        // First: whoever joins once the hub has come so far finds it there.
        self.store.touched().saw(room, time);
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
                // A user alone in a thousand rooms reads none of them for an address of their own.
                self.changes.saw(room, time);
            }
        }
        Ok(())
    }

    /// How long ago it was made.
    fn note_lag(&self, event: &ChangeEvent<'_>) {
        if let Some(made) = event.made {
            let ms = self.store.now().0 - made.timestamp_millis();
            // The database's clock is estimated: it may differ either way.
            self.metrics.lag(Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
        }
    }

    /// Someone came, or went.
    fn on_presence(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let user = presence::read_id(event.key)?;
        let presence = match event.operation {
            "update" => presence::read_update(event.updated_fields()?)?,
            // The database may write the removal of one server as a replacement: as long as another one is left, nothing has
            // changed.
            "replace" => Some(Presence::read(event.document()?)?).filter(|presence| !presence.online),
            _ => Some(Presence::read(event.document()?)?),
        };
        if let Some(presence) = presence {
            self.store.contacts().saw(&user, presence.online);
            if self.hub.has_inboxes() {
                self.presence.saw(user, presence);
            }
        }
        Ok(())
    }

    /// An erasure was asked for, or has ended.
    fn on_erasure(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let user = presence::read_id(event.key)?;
        if event.operation == "delete" {
            self.store.erasing().remove(&user);
        } else {
            // First: a socket that registers from here on finds it.
            self.store.erasing().add(user.clone());
            self.outboxes.close_user(&user, Close::Erased);
        }
        Ok(())
    }

    /// Marks were raised, or have been folded.
    fn on_marks(&self, event: &ChangeEvent<'_>) -> Result<(), Undecodable> {
        let time = event.time;
        if event.operation == "delete" {
            self.store.overlay().folded(event.key.get_object_id("_id")?, Instant::now());
            return Ok(());
        }
        self.note_lag(event);
        let mut batch = journal::read_batch(event.document()?)?;
        // What becomes of a room's messages by all of them is told once.
        batch.marks.sort_by_key(|mark| mark.room);
        let batch = Arc::new(batch);
        // First: whoever joins once the hub has come so far finds it there.
        self.store.overlay().heard(time, &batch, Instant::now());
        for of_room in batch.marks.chunk_by(|one, other| one.room == other.room) {
            let room = of_room[0].room;
            self.store.touched().saw(room, time);
            if self.hub.advance_to(room, time) {
                let marks = of_room.iter().map(|Mark { user, marks, .. }| (user.clone(), *marks));
                self.hub.apply(room, time, CommittedChange::Marked(marks.collect()));
            }
        }
        Ok(())
    }

    /// A room was made, renamed or deleted.
    fn on_room(&self, event: &ChangeEvent<'_>, room: RoomId) -> Result<(), Undecodable> {
        let time = event.time;
        self.store.touched().saw(room, time);
        self.hub.advance_to(room, time);
        if event.operation == "update" && event.updated_fields()?.get("deleted_at")?.is_some() {
            self.hub.request_recheck(room, None, time);
            self.hub.close(room, Close::NoRoom);
        } else {
            self.room_changed(room, time);
        }
        Ok(())
    }

    /// A room, or who is in it, has changed.
    fn room_changed(&self, room: RoomId, time: Timestamp) {
        if self.hub.has_inboxes_in(room) {
            self.changes.saw(room, time);
        }
    }

    fn on_ephemeral(&self, time: Timestamp, signal: Signal) {
        match signal {
            Signal::Event { room, event } => {
                if self.hub.advance_to(room, time) {
                    self.hub.apply(room, time, CommittedChange::Told(event));
                }
            }
            Signal::Typing { room, user } => {
                if self.hub.advance_to(room, time) {
                    self.hub.apply(room, time, CommittedChange::Typing { user });
                }
            }
            Signal::Disconnect { user } => self.outboxes.close_user(&user, Close::Disconnected),
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
