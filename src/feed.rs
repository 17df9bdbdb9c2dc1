//! The change stream of a server, but for [`hooks`](crate::hooks): what any server wrote -> [`Change`]s of rooms -> the hub.
//!
//! It is the only road by which a socket hears of anything, so one server or twenty behave alike. A stream that
//! breaks goes on where it was: elections and outages lose nothing. Where the database no longer has what came
//! after that point, it begins at now, and every open room reads from the collection what it missed: the stream
//! is the wake-up, the collection is the truth. Signals have no such truth, and are missed then.
//!
//! A stream on which nothing happens looks like one that hangs. So the server writes a heartbeat document of its
//! own, and is ready only while that comes round.

mod event;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{RawDocument, RawDocumentBuf, Timestamp, doc};
use futures_util::StreamExt;
use handlers::RoomId;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ReadPreference, SelectionCriteria};

use self::event::Event;
use crate::changed;
use crate::close::Close;
use crate::config::ReadFrom;
use crate::hub::{Hub, Missed};
use crate::metrics::Metrics;
use crate::presence::tell::Changes;
use crate::pulse::Pulse;
use crate::registry::Outboxes;
use crate::room::Change;
use crate::signal::Signal;
use crate::store::documents::{self, Undecodable};
use crate::store::overlay::Mark;
use crate::store::{LastNumbers, Presence, Store, StoreError, journal, presence, signals};

/// The pause before a stream that can't be opened is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How long the database waits for something to happen before it answers that nothing did.
const MAX_AWAIT: Duration = Duration::from_secs(1);

/// A revision is stamped a moment before it is committed: those this much older than the last change heard of are told
/// again after a gap.
const STAMPED_BEFORE: Duration = Duration::from_secs(10);

/// `ChangeStreamFatalError`, `ChangeStreamHistoryLost`, `CappedPositionLost`, `InvalidResumeToken`: the point to
/// go on from is gone.
const HISTORY_LOST: [i32; 4] = [280, 286, 136, 260];

/// Reads the stream.
pub(crate) struct Feed {
    /// A store with a client of its own, since a waiting stream holds one of the pool's connections.
    pub(crate) stream_store: Store,
    pub(crate) read_from: ReadFrom,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) outboxes: Outboxes,
    pub(crate) numbers: Arc<LastNumbers>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pulse: Arc<Pulse>,
    /// Rooms that have changed.
    pub(crate) changes: changed::Changes,
    pub(crate) presence: Changes,
}

impl Feed {
    /// Opens the stream: what is written from now on will be heard.
    pub(crate) async fn open(&self) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        self.stream_store.watch(None, self.read_from).await
    }

    /// Takes the marks that were there before the stream was opened.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        // As in `catch_up`.
        self.pulse.beat(&self.store).await?;
        self.store.read_journal().await
    }

    /// Reads on, for ever.
    pub(crate) async fn run(self, mut stream: ChangeStream<RawDocumentBuf>) {
        // No one comes in before the first heartbeat has come round.
        let mut last = Timestamp { time: 0, increment: 0 };
        loop {
            let token = match stream.next().await {
                Some(Ok(event)) => {
                    let taken = Event::read(&event).and_then(|event| {
                        let taken = self.take(&event);
                        self.store.reached().saw(event.time);
                        taken
                    });
                    match taken {
                        Ok(Some(time)) => last = time,
                        Ok(None) => {}
                        Err(error) => {
                            self.metrics.fault("feed_undecodable");
                            tracing::error!(%error, "a change was not understood and is not told");
                        }
                    }
                    continue;
                }
                Some(Err(error)) => {
                    self.metrics.fault("feed");
                    tracing::warn!(%error, "the change stream broke");
                    stream.resume_token().filter(|_| !is_history_lost(&error))
                }
                // An invalidate event ends a stream: the database was dropped. Nothing can be resumed after it.
                None => None,
            };
            self.hub.broken();
            stream = self.reopen(token, last).await;
        }
    }

    /// Opens the stream again, at `token` where that is still possible.
    async fn reopen(&self, mut token: Option<ResumeToken>, last: Timestamp) -> ChangeStream<RawDocumentBuf> {
        loop {
            match self.stream_store.watch(token.clone(), self.read_from).await {
                Ok(stream) => {
                    if token.is_none() {
                        self.catch_up(last).await;
                    }
                    self.hub.mended();
                    return stream;
                }
                Err(error) => {
                    self.metrics.fault("feed");
                    tracing::warn!(%error, "the change stream can't be opened; trying again");
                    if is_history_lost(&error) {
                        token = None;
                    }
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Reads for every open room what it missed since `last`.
    async fn catch_up(&self, last: Timestamp) {
        let before = u32::try_from(STAMPED_BEFORE.as_secs()).unwrap_or(u32::MAX);
        let since = Timestamp { time: last.time.saturating_sub(before), increment: 0 };
        // The stream begins at what the primary has done, a snapshot shows what a majority has: once a later write
        // is on a majority nothing lies between the two.
        while let Err(error) = self.pulse.beat(&self.store).await {
            tracing::warn!(%error, "waiting for the database to read what was missed");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        while let Err(error) = self.store.read_journal().await {
            tracing::warn!(%error, "waiting for the database to read the marks that were missed");
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
        let rooms = self.hub.missed(now);
        self.metrics.fault("feed_history_lost");
        tracing::error!(rooms = rooms.len(), "the change stream's history is lost; reading what was missed");
        for (room, told) in rooms {
            self.numbers.forget(room);
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
                    Ok(Some((snapshot, changes))) => self.hub.caught_up(room, Missed { snapshot, changes }),
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

    /// Takes one event; gives its time where it was a room's, or a heartbeat.
    fn take(&self, event: &Event<'_>) -> Result<Option<Timestamp>, Undecodable> {
        if !event.is_of_interest()? {
            return Ok(None);
        }
        let (key, time) = (event.key, event.time);
        match event.collection {
            "heartbeats" => {
                if key.get_object_id("_id")? != self.pulse.server() {
                    self.store.present().heard_another();
                    return Ok(None);
                }
                self.store.touched().passed(time);
                self.hub.passed(time);
                self.heard(event)?;
            }
            "presence" => {
                if self.hub.has_inboxes() {
                    self.take_presence(event)?;
                }
                return Ok(None);
            }
            "signals" => self.signalled(time, signals::read(event.document()?)?),
            "rooms" => self.take_room(event, documents::read_room_id(key)?)?,
            "marks" => self.take_marks(event)?,
            _ => self.take_message_or_member(event, key.get_document("_id")?)?,
        }
        Ok(Some(time))
    }

    fn take_message_or_member(&self, event: &Event<'_>, id: &RawDocument) -> Result<(), Undecodable> {
        let (room, time) = (documents::read_room(id)?, event.time);
        if event.collection == "messages" && event.operation == "insert" {
            let (_, n) = documents::read_message_id(id)?;
            self.numbers.saw_if_known(room, n.get());
            self.store.activity().saw(room, documents::read_time(event.document()?, "created_at")?);
        }
        self.note_lag(event);
        if event.collection == "members" && event.operation == "delete" {
            self.store.overlay().left(room, &documents::read_member_user(id)?, time);
        }
        // First: whoever joins once the hub has come so far finds it there.
        self.store.touched().saw(room, time);
        if self.hub.reached(room, time)
            && let Some(change) = event.change(id)?
        {
            self.hub.committed(room, time, change);
        }
        if event.collection == "members" && event.is_of_membership()? {
            self.hub.look(room, Some(&documents::read_member_user(id)?), time);
            self.room_changed(room, time);
        }
        Ok(())
    }

    /// How long ago it was made.
    fn note_lag(&self, event: &Event<'_>) {
        if let Some(made) = event.made {
            let ms = bson::DateTime::now().timestamp_millis() - made.timestamp_millis();
            // The clocks of two machines may differ either way.
            self.metrics.lag(Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
        }
    }

    /// Someone came, or went.
    fn take_presence(&self, event: &Event<'_>) -> Result<(), Undecodable> {
        let user = presence::read_id(event.key)?;
        let presence = match event.operation {
            "update" => presence::read_update(event.updated_fields()?)?,
            _ => Some(Presence::read(event.document()?)?),
        };
        if let Some(presence) = presence {
            self.presence.saw(user, presence);
        }
        Ok(())
    }

    /// Marks were raised, or have been folded.
    fn take_marks(&self, event: &Event<'_>) -> Result<(), Undecodable> {
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
            if self.hub.reached(room, time) {
                let marks = of_room.iter().map(|Mark { user, marks, .. }| (user.clone(), *marks));
                self.hub.committed(room, time, Change::Marked(marks.collect()));
            }
        }
        Ok(())
    }

    /// A room was made, renamed or deleted.
    fn take_room(&self, event: &Event<'_>, room: RoomId) -> Result<(), Undecodable> {
        let time = event.time;
        self.store.touched().saw(room, time);
        self.hub.reached(room, time);
        if event.operation == "update" && event.updated_fields()?.get("deleted_at")?.is_some() {
            self.hub.look(room, None, time);
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

    fn signalled(&self, time: Timestamp, signal: Signal) {
        match signal {
            Signal::Event { room, event } => {
                if self.hub.reached(room, time) {
                    self.hub.committed(room, time, Change::Told(event));
                }
            }
            Signal::Typing { room, user } => {
                if self.hub.reached(room, time) {
                    self.hub.committed(room, time, Change::Typing { user });
                }
            }
            Signal::Disconnect { user } => self.outboxes.close_of(&user, Close::Disconnected),
        }
    }

    fn heard(&self, event: &Event<'_>) -> Result<(), Undecodable> {
        let document = match event.operation {
            "update" => event.updated_fields()?,
            _ => event.document()?,
        };
        if let Some(beat) = documents::read_int_if_any(document, "beat")? {
            self.pulse.hear(beat);
        }
        Ok(())
    }
}

pub(crate) fn is_history_lost(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Command(command) => HISTORY_LOST.contains(&command.code),
        ErrorKind::MissingResumeToken => true,
        _ => false,
    }
}

impl Store {
    /// Opens the stream on this database, after `token`, or from now on.
    async fn watch(
        &self,
        token: Option<ResumeToken>,
        read_from: ReadFrom,
    ) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        // As little as will do, for it is asked of each change: with all of `is_of_interest` said here an event took the
        // database 20 microseconds, with the kinds of operations alone 12 (6.0.5, one insert of 50 messages after the other,
        // medians of three).
        let changes = doc! { "$match": {
            "operationType": { "$in": ["insert", "update", "replace", "delete"] },
            "ns.coll": { "$nin": ["requests", "counters", "erasures"] },
            // Marks that are folded were told when they were raised.
            format!("updateDescription.updatedFields.{}", journal::MARKED_AT.as_str()): { "$exists": false },
        } };
        let watch = self.database().watch().pipeline([changes]).max_await_time(MAX_AWAIT).batch_size(1000);
        let member = match read_from {
            ReadFrom::Primary => ReadPreference::Primary,
            ReadFrom::Secondary => ReadPreference::SecondaryPreferred { options: None },
        };
        let watch = watch.selection_criteria(SelectionCriteria::ReadPreference(member));
        let stream = match token {
            Some(token) => watch.resume_after(token).await?,
            None => watch.await?,
        };
        Ok(stream.with_type())
    }
}
