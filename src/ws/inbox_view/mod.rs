//! What a socket of all rooms of a user makes of what happens in them (docs/protocol.md, Events).

pub(crate) mod debounce;
pub(crate) mod unread;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bson::Timestamp;
use handlers::{InboxEvent, Ready, RoomId, UserId};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::debounce::UnreadDebounce;
use super::member_email;
use super::services::SocketServices;
use crate::actions::session_state::Caller;
use crate::model::receipts::Marks;
use crate::protocol::close::Close;
use crate::protocol::cursor::{InboxCursor, Position};
use crate::protocol::fields::{quoted, splice};
use crate::protocol::json::json;
use crate::realtime::joined_rooms::JoinedRooms;
use crate::realtime::outbox::{self, Frame, InboxEffect, Outbox};
use crate::store::{AsOf, Known, Listed, Looked, Rooms, StoreError, Unread, see, see_missed};

/// The pause before what could not be read is read again, or is older than what the hub has heard of.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Before everything.
const NEVER: Timestamp = Timestamp { time: 0, increment: 0 };

/// A socket's place in all rooms of its user, until it is dropped.
pub(super) struct InboxView {
    services: Arc<SocketServices>,
    caller: Arc<Caller>,
    outbox: Arc<Outbox>,
    /// The user's rooms, as the socket's actions know them, too.
    rooms: Arc<JoinedRooms>,
    /// The rooms that this hears of in the hub: of some of them its user is no member yet, or not any more.
    joined: HashSet<RoomId>,
    /// What was committed up to then was in the first frame.
    since: AsOf,
    /// The moment of the first frame: it knew of all memberships that had begun by then.
    began: Timestamp,
    /// The same of rooms that the user came into later.
    since_in: HashMap<RoomId, AsOf>,
    /// As of when rooms were looked at that had changed.
    rechecked_at: HashMap<RoomId, Timestamp>,
    /// What is unread in rooms where that is known, and up to where they are read.
    unread: HashMap<RoomId, Unread>,
    counts: UnreadDebounce,
    /// How far it has been told.
    cursor: InboxCursor,
    /// The newest messages of others that were written to this socket, and whose marks are still to be handed on.
    unacked: HashMap<RoomId, i64>,
    /// The rooms that the user has not accepted, and the newest message of others that was written there: it is marked once
    /// the user has.
    pending: HashMap<RoomId, i64>,
    /// Those of them that the user is not shown before something is said there.
    hidden: HashSet<RoomId>,
}

impl InboxView {
    pub(super) fn new(
        services: &Arc<SocketServices>,
        caller: &Arc<Caller>,
        outbox: &Arc<Outbox>,
        rooms: &Arc<JoinedRooms>,
    ) -> Self {
        services.hub.enter_inbox(&caller.user, outbox);
        Self {
            services: services.clone(),
            caller: caller.clone(),
            outbox: outbox.clone(),
            rooms: rooms.clone(),
            joined: HashSet::new(),
            since: AsOf { time: NEVER, marks: NEVER },
            began: NEVER,
            since_in: HashMap::new(),
            rechecked_at: HashMap::new(),
            unread: HashMap::new(),
            counts: UnreadDebounce::default(),
            cursor: InboxCursor::default(),
            unacked: HashMap::new(),
            pending: HashMap::new(),
            hidden: HashSet::new(),
        }
    }

    /// From now on this hears of these rooms. Gives how far the hub has come: what is read must not be older.
    pub(super) fn join(&mut self, rooms: &[RoomId]) -> Option<Timestamp> {
        let new: Vec<_> = rooms.iter().copied().filter(|room| self.joined.insert(*room)).collect();
        self.services.hub.join_inbox(&new, &self.outbox)
    }

    /// Whether this hears of all of these.
    pub(super) fn has_joined(&self, rooms: &[RoomId]) -> bool {
        rooms.iter().all(|room| self.joined.contains(room))
    }

    /// The first frame: these are the user's rooms, as of then. `reached` is how far the hub had come when they were
    /// joined: of rooms that are not shown, what came after that is still to be told.
    pub(super) fn begin(
        &mut self,
        rooms: Rooms,
        reached: Option<Timestamp>,
        online: HashSet<UserId>,
    ) -> Utf8Bytes {
        let Rooms { as_of, all, pending, hidden, shown, next, missed, positions } = rooms;
        self.caller.page_ended(next);
        self.cursor = InboxCursor::at(as_of.time);
        for Known { room, position, beginning } in positions {
            self.cursor.enter(room, beginning, position, as_of.time);
        }
        (self.since, self.began) = (as_of, as_of.time);
        if missed.is_some() {
            self.since = reached.map_or(as_of, |reached| AsOf { time: reached, marks: reached });
            self.since_in = shown.iter().map(|room| (room.room.id, as_of)).collect();
        }
        for room in &all {
            self.rooms.enter(*room);
        }
        self.pending = pending.into_iter().map(|room| (room, 0)).collect();
        self.hidden = hidden.into_iter().collect();
        for room in &shown {
            // Written by a socket that was gone before it saw its own message.
            if room.pending && room.last.as_ref().is_some_and(|last| last.sender == self.caller.user) {
                self.accept(room.room.id);
            }
            self.unread.insert(room.room.id, Unread { unread: room.unread, read: room.marks.read });
            // Its last message is on its way, and with it all before it.
            if let Some(message) = room.undelivered() {
                self.add_unacked(room.room.id, message);
            }
        }
        let of = |room: RoomId| missed.as_ref().and_then(|missed| missed.get(&room));
        let shown = shown
            .into_iter()
            .map(|room| {
                let id = room.room.id;
                see_missed(room, of(id), &online)
            })
            .collect();
        json(&Ready {
            user_id: self.caller.user.clone(),
            resumed: missed.is_some(),
            rooms: shown,
            online: online.into_iter().collect(),
            has_more: next.is_some(),
            next: next.map(|next| next.to_string()),
            room_ids: missed.is_some().then_some(all),
            cursor: self.cursor.to_string(),
        })
    }

    /// A frame as this socket has it, where it has it; and what follows from it. `behind` are the frames that wait
    /// behind it: what is unread is counted once for all of them.
    pub(super) async fn take(
        &mut self,
        frame: &Frame,
        behind: &VecDeque<Arc<Frame>>,
    ) -> Result<(Option<Utf8Bytes>, Option<Utf8Bytes>), Close> {
        let Some(outbox::InboxMeta { room, what }) = &frame.inbox else {
            // Of someone who shares a room.
            let others = frame.about.as_ref() != Some(&self.caller.user);
            return Ok((others.then(|| frame.json.clone()), None));
        };
        let room = *room;
        // The first message in a room that was hidden shows it.
        let shows = frame.delivers.is_some() && self.hidden.contains(&room);
        if shows || matches!(what, InboxEffect::Recheck) {
            return self.recheck(room, frame.time).await;
        }
        if self.was_shown(room, what, frame) || !self.rooms.has(room) || frame.dismisses.is_some() {
            return Ok((None, None));
        }
        self.counts.advance(room, frame.time);
        let told = match what {
            InboxEffect::Recheck | InboxEffect::Read { .. } => None,
            InboxEffect::Event | InboxEffect::Deleted { .. } => self.render_room_event(room, frame),
        };
        let unread = self.unread_after(room, frame, behind).await?;
        Ok((told, unread))
    }

    /// Up to which moments a room was shown in the beginning.
    fn shown_in(&self, room: RoomId) -> AsOf {
        self.since_in.get(&room).copied().unwrap_or(self.since)
    }

    /// Whether what a frame tells was shown in the beginning.
    fn was_shown(&self, room: RoomId, what: &InboxEffect, frame: &Frame) -> bool {
        let AsOf { time, marks } = self.shown_in(room);
        let of_marks = frame.marks.is_some() || matches!(what, InboxEffect::Read { .. });
        frame.time <= if of_marks { marks } else { time }
    }

    /// Whether the user is in a room may have changed. It is told as of this moment, for frames of before the last change
    /// still wait.
    async fn recheck(
        &mut self,
        room: RoomId,
        time: Timestamp,
    ) -> Result<(Option<Utf8Bytes>, Option<Utf8Bytes>), Close> {
        // What changes from here on makes another look; what has changed behind this frame made none of its own.
        let last = self.rooms.take_stale(room).map_or(time, |last| last.max(time));
        if self.rechecked_at.get(&room).copied().unwrap_or(self.since.time) >= last {
            return Ok((None, None));
        }
        // First, so that nothing falls between this and what is read.
        let reached = self.join(&[room]).max(Some(last));
        let (read_at, looked) = self.read_room(room, reached).await?;
        let looked_before = self.rechecked_at.insert(room, read_at.time).unwrap_or(self.began);
        self.hidden.remove(&room);
        if let Looked::Hidden = looked {
            self.pending.entry(room).or_default();
            self.hidden.insert(room);
            return Ok((None, None));
        }
        let Looked::Listed(listed) = looked else {
            // Not one of the user's rooms any more.
            self.pending.remove(&room);
            let told = self
                .rooms
                .leave(room)
                .then(|| self.render_inbox_event(room, time, &InboxEvent::RoomRemoved {}));
            self.since_in.remove(&room);
            self.unread.remove(&room);
            self.counts.forget(room);
            if self.joined.remove(&room) {
                self.services.hub.leave(room, &self.outbox);
            }
            return Ok((told, None));
        };
        let (listed, known): (Listed, Known) = *listed;
        if listed.pending {
            self.pending.entry(room).or_default();
        } else {
            self.set_accepted(room);
        }
        // The client knows the membership, unless another one has begun since, and the one before is over.
        let over = !self.rooms.enter(room);
        if over && known.beginning <= looked_before {
            return Ok((None, None));
        }
        let removed = over.then(|| self.render_inbox_event(room, time, &InboxEvent::RoomRemoved {}));
        if over {
            // It is looked at no more, and what was counted there is of before.
            self.rooms.leave(room);
            self.rooms.enter(room);
            self.counts.forget(room);
        }
        self.since_in.insert(room, read_at);
        self.unread.insert(room, Unread { unread: listed.unread, read: listed.marks.read });
        if let Some(message) = listed.undelivered() {
            self.add_unacked(room, message);
        }
        let listed_alone = std::slice::from_ref(&listed);
        let online = self.read(self.deadline(), || self.services.store.online_in(listed_alone, None)).await?;
        self.cursor.enter(room, known.beginning, known.position, time);
        let view = Box::new(see(listed, &online));
        Ok((removed, Some(self.render_inbox_event(room, time, &InboxEvent::RoomAdded { room: view }))))
    }

    /// A room, not older than what the hub has heard.
    async fn read_room(&self, room: RoomId, reached: Option<Timestamp>) -> Result<(AsOf, Looked), Close> {
        let deadline = self.deadline();
        loop {
            let read = self.read(deadline, || self.services.store.room_of(&self.caller.user, room)).await?;
            if reached.is_none_or(|reached| reached <= read.0.time) {
                return Ok(read);
            }
            if Instant::now() > deadline {
                return Err(Close::Unavailable);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.services.config.load().mongodb.operation
    }

    /// What is read, where the database doesn't have it at once by another try: a primary that steps down is no reason to
    /// send sockets away.
    async fn read<T, R>(&self, deadline: Instant, read: impl Fn() -> R) -> Result<T, Close>
    where
        R: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match read().await {
                Ok(read) => return Ok(read),
                Err(error @ StoreError::Fault(_)) => return Err(self.failed(&error)),
                Err(error) if Instant::now() > deadline => return Err(self.failed(&error)),
                Err(error) => {
                    tracing::debug!(%error, "what happened in a user's rooms can't be read; trying again");
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn render_room_event(&mut self, room: RoomId, frame: &Frame) -> Option<Utf8Bytes> {
        let id = room.to_string();
        if let Some(user) = &frame.about {
            return (*user != self.caller.user).then(|| splice(&frame.json, &[("room_id", &id)]));
        }
        let reference = frame.cause.and_then(|request| self.caller.take_ref(request));
        self.cursor.reach(room, frame.reaches, frame.time);
        let cursor = quoted(&self.cursor.to_string());
        let mut fields = vec![("room_id", id.as_str())];
        let reference = reference.as_deref().map(quoted);
        fields.extend(reference.as_deref().map(|reference| ("ref", reference)));
        fields.push(("cursor", &cursor));
        Some(splice(&frame.json, &fields))
    }

    fn render_inbox_event(&mut self, room: RoomId, time: Timestamp, event: &InboxEvent) -> Utf8Bytes {
        self.cursor.reach(room, Position::default(), time);
        let cursor = quoted(&self.cursor.to_string());
        splice(&json(event), &[("room_id", &room.to_string()), ("cursor", &cursor)])
    }

    /// It was written.
    pub(super) fn wrote(&mut self, frame: &Frame) {
        if let (Some((id, author)), Some(outbox::InboxMeta { room, .. })) = (&frame.delivers, &frame.inbox) {
            if *author == self.caller.user {
                self.accept(*room);
            } else {
                self.add_unacked(*room, id.get());
            }
        }
    }

    /// The user opened a room or wrote in it: one that another user made by connecting is accepted by that.
    fn accept(&mut self, room: RoomId) {
        if self.set_accepted(room) {
            member_email::accept(&self.services, room, &self.caller.user, self.caller.email.clone());
        }
    }

    /// The room is one like all others. False if it was before.
    fn set_accepted(&mut self, room: RoomId) -> bool {
        let Some(message) = self.pending.remove(&room) else { return false };
        if message > 0 {
            self.add_unacked(room, message);
        }
        true
    }

    /// This message of a room was written, and all before it. To a user who has not accepted the room it isn't delivered:
    /// that would show that they are there.
    pub(super) fn add_unacked(&mut self, room: RoomId, message: i64) {
        if let Some(last) = self.pending.get_mut(&room) {
            *last = message.max(*last);
            return;
        }
        let unacked = self.unacked.entry(room).or_default();
        *unacked = message.max(*unacked);
    }

    /// An action was answered, and the answer written: the last message of each room that it shows is delivered.
    pub(super) fn answered(&self, done: bool) {
        for (room, message) in self.rooms.take_shown() {
            if done {
                // Where it can't be taken now, it is with the next message.
                let marks = Marks { delivered: message, read: 0 };
                let _ = self.services.receipts.raise(room, &self.caller.user, marks);
            }
        }
    }

    /// Hands on the marks that are unacked. What is written in a room that is being looked at is read.
    pub(super) fn flush_receipts(&mut self) {
        if !self.pending.is_empty() {
            let opened: Vec<_> =
                self.pending.keys().copied().filter(|room| self.rooms.is_open(*room)).collect();
            for room in opened {
                self.accept(room);
            }
        }
        let Self { unacked, services, caller, rooms, .. } = self;
        unacked.retain(|room, message| {
            let read = if rooms.is_open(*room) { *message } else { 0 };
            !services.receipts.raise(*room, &caller.user, Marks { delivered: *message, read })
        });
    }

    /// What has happened can't be told: the socket is to come back.
    fn failed(&self, error: &StoreError) -> Close {
        self.services.metrics.fault("inbox");
        tracing::error!(%error, "what happened in a user's rooms can't be read; the socket is to come back");
        Close::Unavailable
    }
}

impl Drop for InboxView {
    fn drop(&mut self) {
        self.services.hub.leave_inbox(&self.caller.user, self.joined.drain(), &self.outbox);
    }
}
