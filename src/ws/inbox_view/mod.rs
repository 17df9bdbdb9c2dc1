//! The view of an inbox connection: which frames it writes, and in what form (docs/protocol.md, Events).

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
use crate::actions::session_state::SocketSession;
use crate::model::receipts::Marks;
use crate::protocol::close::Close;
use crate::protocol::cursor::{InboxCursor, Position};
use crate::protocol::fields::{append_fields, quoted};
use crate::protocol::json::json;
use crate::realtime::frame::{Frame, FrameKind, InboxFrame, RoomFrame};
use crate::realtime::joined_rooms::JoinedRooms;
use crate::realtime::outbox::Outbox;
use crate::retry::{self, AttemptError};
use crate::store::{
    InboxPage, KnownPosition, RoomLookup, RoomSummary, StoreError, UnreadCount, Watermarks, to_delta,
    to_room_view,
};

/// The pause before another read, if a read failed or is older than what the hub has received.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Earlier than every change.
const NEVER: Timestamp = Timestamp { time: 0, increment: 0 };

/// The state of an inbox connection in all rooms of its user, until it is dropped.
pub(super) struct InboxView {
    services: Arc<SocketServices>,
    caller: Arc<SocketSession>,
    outbox: Arc<Outbox>,
    /// The user's rooms, shared with the socket's actions.
    rooms: Arc<JoinedRooms>,
    /// The rooms whose frames it receives from the hub: the user is not a member yet, or not any more, in some of
    /// them.
    joined: HashSet<RoomId>,
    /// The first frame contained everything that was committed up to then.
    since: Watermarks,
    /// The cluster time of the first frame: it contained all memberships that had begun by then.
    began: Timestamp,
    /// The same for rooms that the user joined later.
    since_in: HashMap<RoomId, Watermarks>,
    /// The cluster times of the last re-reads of changed rooms.
    rechecked_at: HashMap<RoomId, Timestamp>,
    /// The unread counts and read markers of rooms in which they are known.
    unread: HashMap<RoomId, UnreadCount>,
    counts: UnreadDebounce,
    /// The position that the client has received.
    cursor: InboxCursor,
    /// The newest messages of others that were written to this socket and are not acknowledged yet.
    unacked: HashMap<RoomId, i64>,
    /// The rooms that the user has not accepted, with the newest message of others that was written there: it is
    /// acknowledged once the user accepts.
    pending: HashMap<RoomId, i64>,
    /// The rooms among them that the user does not see before the first message.
    hidden: HashSet<RoomId>,
}

impl InboxView {
    pub(super) fn new(
        services: &Arc<SocketServices>,
        caller: &Arc<SocketSession>,
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
            since: Watermarks { time: NEVER, marks: NEVER },
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

    /// Joins rooms in the hub: from now on their frames arrive. Returns the time that the hub has reached: reads must
    /// not be older.
    pub(super) fn join(&mut self, rooms: &[RoomId]) -> Option<Timestamp> {
        let new: Vec<_> = rooms.iter().copied().filter(|room| self.joined.insert(*room)).collect();
        self.services.hub.join_inbox(&new, &self.outbox)
    }

    /// Whether it has joined all of these rooms.
    pub(super) fn has_joined(&self, rooms: &[RoomId]) -> bool {
        rooms.iter().all(|room| self.joined.contains(room))
    }

    /// Returns the first frame with the user's rooms as of a time. `reached` is the time that the hub had reached when
    /// the rooms were joined: for rooms that the frame does not contain, later events still have to be sent.
    pub(super) fn begin(
        &mut self,
        rooms: InboxPage,
        reached: Option<Timestamp>,
        online: HashSet<UserId>,
    ) -> Utf8Bytes {
        let InboxPage { as_of, all, pending, hidden, shown, next, missed, positions } = rooms;
        self.caller.set_page_end(next);
        self.cursor = InboxCursor::at(as_of.time);
        for KnownPosition { room, position, beginning } in positions {
            self.cursor.join(room, beginning, position, as_of.time);
        }
        (self.since, self.began) = (as_of, as_of.time);
        if missed.is_some() {
            self.since = reached.map_or(as_of, |reached| Watermarks { time: reached, marks: reached });
            self.since_in = shown.iter().map(|room| (room.room.id, as_of)).collect();
        }
        for room in &all {
            self.rooms.enter(*room);
        }
        self.pending = pending.into_iter().map(|room| (room, 0)).collect();
        self.hidden = hidden.into_iter().collect();
        for room in &shown {
            // Written by a socket that ended before it received its own message.
            if room.pending && room.last.as_ref().is_some_and(|last| last.sender == self.caller.user) {
                self.accept(room.room.id);
            }
            self.unread.insert(room.room.id, UnreadCount { unread: room.unread, read: room.marks.read });
            // The room's last message is on its way to the client, and with it all earlier ones.
            if let Some(message) = room.undelivered() {
                self.add_unacked(room.room.id, message);
            }
        }
        let of = |room: RoomId| missed.as_ref().and_then(|missed| missed.get(&room));
        let shown = shown
            .into_iter()
            .map(|room| {
                let id = room.room.id;
                to_delta(room, of(id), &online)
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

    /// Returns the texts that this socket writes for a frame: the event, and what follows from it. `behind` are the
    /// frames that wait behind it: the unread messages are counted once for all of them.
    pub(super) async fn take(
        &mut self,
        frame: &Frame,
        behind: &VecDeque<Arc<Frame>>,
    ) -> Result<(Option<Utf8Bytes>, Option<Utf8Bytes>), Close> {
        let room = match &frame.kind {
            FrameKind::Inbox(InboxFrame::Presence(user)) => {
                return Ok(((*user != self.caller.user).then(|| frame.json.clone()), None));
            }
            // Boxed: it is rare, and large.
            FrameKind::Inbox(InboxFrame::Recheck(room)) => {
                return Box::pin(self.recheck(*room, frame.time)).await;
            }
            // The first message in a hidden room shows the room.
            FrameKind::Room(room, RoomFrame::Message { .. }) if self.hidden.contains(room) => {
                return Box::pin(self.recheck(*room, frame.time)).await;
            }
            FrameKind::Room(_, RoomFrame::MemberRemoved(_)) => return Ok((None, None)),
            FrameKind::Room(room, _)
            | FrameKind::Inbox(InboxFrame::RoomChanged(room) | InboxFrame::MarkerRaised { room, .. }) => {
                *room
            }
        };
        if self.was_shown(room, frame) || !self.rooms.has(room) {
            return Ok((None, None));
        }
        self.counts.advance(room, frame.time);
        let told = self.render_room_event(room, frame);
        let unread = self.unread_after(room, frame, behind).await?;
        Ok((told, unread))
    }

    /// Returns the times up to which the first frame contained a room.
    fn shown_in(&self, room: RoomId) -> Watermarks {
        self.since_in.get(&room).copied().unwrap_or(self.since)
    }

    /// Whether the first frame already contained a frame's event.
    fn was_shown(&self, room: RoomId, frame: &Frame) -> bool {
        let Watermarks { time, marks } = self.shown_in(room);
        let reports_markers = matches!(
            &frame.kind,
            FrameKind::Room(_, RoomFrame::Receipt { .. }) | FrameKind::Inbox(InboxFrame::MarkerRaised { .. })
        );
        frame.time <= if reports_markers { marks } else { time }
    }

    /// Re-reads a room, because the membership may have changed. Its events are sent as of the frame's time, because
    /// older frames still wait.
    async fn recheck(
        &mut self,
        room: RoomId,
        time: Timestamp,
    ) -> Result<(Option<Utf8Bytes>, Option<Utf8Bytes>), Close> {
        // Changes from now on trigger another re-read. Changes already queued behind this frame do not, so this one
        // must cover them.
        let last = self.rooms.take_stale(room).map_or(time, |last| last.max(time));
        if self.rechecked_at.get(&room).copied().unwrap_or(self.since.time) >= last {
            return Ok((None, None));
        }
        // Joined first, so that no event is lost between this and the read.
        let reached = self.join(&[room]).max(Some(last));
        let (read_at, looked) = self.read_room(room, reached).await?;
        let looked_before = self.rechecked_at.insert(room, read_at.time).unwrap_or(self.began);
        self.hidden.remove(&room);
        if let RoomLookup::Hidden = looked {
            self.pending.entry(room).or_default();
            self.hidden.insert(room);
            return Ok((None, None));
        }
        let RoomLookup::Listed(listed) = looked else {
            // The room is not one of the user's rooms any more.
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
        let (listed, known): (RoomSummary, KnownPosition) = *listed;
        if listed.pending {
            self.pending.entry(room).or_default();
        } else {
            self.set_accepted(room);
        }
        // The client knows the membership, unless that one has ended and another one has begun.
        let over = !self.rooms.enter(room);
        if over && known.beginning <= looked_before {
            return Ok((None, None));
        }
        let removed = over.then(|| self.render_inbox_event(room, time, &InboxEvent::RoomRemoved {}));
        if over {
            // The room is not open any more, and its counts are outdated.
            self.rooms.leave(room);
            self.rooms.enter(room);
            self.counts.forget(room);
        }
        self.since_in.insert(room, read_at);
        self.unread.insert(room, UnreadCount { unread: listed.unread, read: listed.marks.read });
        if let Some(message) = listed.undelivered() {
            self.add_unacked(room, message);
        }
        let listed_alone = std::slice::from_ref(&listed);
        let online = self.read(self.deadline(), || self.services.store.online_in(listed_alone, None)).await?;
        self.cursor.join(room, known.beginning, known.position, time);
        let view = Box::new(to_room_view(listed, &online));
        Ok((removed, Some(self.render_inbox_event(room, time, &InboxEvent::RoomAdded { room: view }))))
    }

    /// Reads a room, not older than what the hub has received.
    async fn read_room(
        &self,
        room: RoomId,
        reached: Option<Timestamp>,
    ) -> Result<(Watermarks, RoomLookup), Close> {
        let deadline = self.deadline();
        let read = || async {
            let read = self.read(deadline, || self.services.store.room_of(&self.caller.user, room)).await;
            let read = read.map_err(AttemptError::Final)?;
            let is_current = reached.is_none_or(|reached| reached <= read.0.time);
            if is_current { Ok(read) } else { Err(AttemptError::Retry(Close::Unavailable)) }
        };
        retry::until(deadline, RETRY_PAUSE, read).await
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.services.config.load().mongodb.operation
    }

    /// Reads with retries until the deadline: an election of a new primary is no reason to close sockets.
    async fn read<T, R>(&self, deadline: Instant, read: impl Fn() -> R) -> Result<T, Close>
    where
        R: Future<Output = Result<T, StoreError>>,
    {
        let attempt = || async {
            Box::pin(read()).await.map_err(|error| {
                tracing::debug!(%error, "could not read changes of a user's rooms");
                error.attempt()
            })
        };
        retry::until(deadline, RETRY_PAUSE, attempt).await.map_err(|error| self.failed(&error))
    }

    /// Returns the text of an event of a room; none if the event is not written, or not to its own user.
    fn render_room_event(&mut self, room: RoomId, frame: &Frame) -> Option<Utf8Bytes> {
        let id = room.to_string();
        let (reference, position) = match &frame.kind {
            FrameKind::Inbox(InboxFrame::RoomChanged(_)) => (None, Position::default()),
            FrameKind::Inbox(_) | FrameKind::Room(_, RoomFrame::MemberRemoved(_)) => return None,
            FrameKind::Room(_, RoomFrame::Typing(user)) => {
                return (*user != self.caller.user).then(|| append_fields(&frame.json, &[("room_id", &id)]));
            }
            FrameKind::Room(_, event) => {
                (event.request().and_then(|request| self.caller.take_ref(request)), event.position())
            }
        };
        self.cursor.advance(room, position, frame.time);
        let cursor = quoted(&self.cursor.to_string());
        let mut fields = vec![("room_id", id.as_str())];
        let reference = reference.as_deref().map(quoted);
        fields.extend(reference.as_deref().map(|reference| ("ref", reference)));
        fields.push(("cursor", &cursor));
        Some(append_fields(&frame.json, &fields))
    }

    fn render_inbox_event(&mut self, room: RoomId, time: Timestamp, event: &InboxEvent) -> Utf8Bytes {
        self.cursor.advance(room, Position::default(), time);
        let cursor = quoted(&self.cursor.to_string());
        append_fields(&json(event), &[("room_id", &room.to_string()), ("cursor", &cursor)])
    }

    /// Records that a frame was written.
    pub(super) fn wrote(&mut self, frame: &Frame) {
        if let FrameKind::Room(room, RoomFrame::Message { id, author, .. }) = &frame.kind {
            if *author == self.caller.user {
                self.accept(*room);
            } else {
                self.add_unacked(*room, id.get());
            }
        }
    }

    /// Accepts a room because the user opened it or wrote in it.
    fn accept(&mut self, room: RoomId) {
        if self.set_accepted(room) {
            member_email::accept(&self.services, room, &self.caller.user, self.caller.email.clone());
        }
    }

    /// Records that the room is accepted. Returns false if it was before.
    fn set_accepted(&mut self, room: RoomId) -> bool {
        let Some(message) = self.pending.remove(&room) else { return false };
        if message > 0 {
            self.add_unacked(room, message);
        }
        true
    }

    /// Records that a message of a room, and all before it, was written. For a user who has not accepted the room it
    /// does not count as delivered: that would reveal that the user is there.
    pub(super) fn add_unacked(&mut self, room: RoomId, message: i64) {
        if let Some(last) = self.pending.get_mut(&room) {
            *last = message.max(*last);
            return;
        }
        let unacked = self.unacked.entry(room).or_default();
        *unacked = message.max(*unacked);
    }

    /// Acknowledges the last message of each room that an answer contains, once the answer was written.
    pub(super) fn answered(&self, done: bool) {
        for (room, message) in self.rooms.take_shown() {
            if done {
                // If the receipts can't be taken now, they come with the next message.
                let marks = Marks { delivered: message, read: 0 };
                let _ = self.services.receipts.raise(room, &self.caller.user, marks);
            }
        }
    }

    /// Writes the pending receipt markers. Messages written in a room that the client has open are read.
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

    /// Counts and logs a failed read, and closes the socket, so that the client reconnects.
    fn failed(&self, error: &StoreError) -> Close {
        self.services.metrics.count_fault("inbox");
        tracing::error!(%error, "could not read changes of a user's rooms; closing the socket so that the client reconnects");
        Close::Unavailable
    }
}

impl Drop for InboxView {
    fn drop(&mut self) {
        self.services.hub.leave_inbox(&self.caller.user, self.joined.drain(), &self.outbox);
    }
}
