//! The view of an inbox connection (one socket for all rooms of a user). A view decides which frames the socket writes,
//! and in what form (docs/protocol.md, Events).

pub(crate) mod debounce;
mod receipts;
mod recheck;
pub(crate) mod unread;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bson::Timestamp;
use handlers::{InboxEvent, Ready, RoomId, UserId};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::debounce::UnreadDebounce;
use super::services::SocketServices;
use crate::actions::session_state::SocketSession;
use crate::model::cluster_time;
use crate::protocol::close::Close;
use crate::protocol::cursor::{InboxCursor, Position};
use crate::protocol::fields::{append_fields, quoted};
use crate::protocol::json::json;
use crate::realtime::frame::{Frame, FrameKind, InboxFrame, RoomFrame};
use crate::realtime::joined_rooms::JoinedRooms;
use crate::realtime::outbox::Outbox;
use crate::store::{InboxPage, KnownPosition, UnreadCount, Watermarks, to_delta};

/// The state of an inbox connection in all rooms of its user. The hub is the part of the server that passes the frames
/// of rooms to sockets. When the view is dropped, the connection leaves its rooms in the hub.
pub(super) struct InboxView {
    services: Arc<SocketServices>,
    caller: Arc<SocketSession>,
    outbox: Arc<Outbox>,
    /// The user's rooms, shared with the socket's actions.
    rooms: Arc<JoinedRooms>,
    /// The rooms whose frames the connection receives from the hub. In some of these rooms, the user may not be a
    /// member yet, or not any more.
    joined: HashSet<RoomId>,
    /// The cluster times (times of MongoDB's logical clock) up to which the client has all changes: `time` for messages
    /// and rooms, `marks` for receipt markers. After a resume, both are the time of the last change that the hub had
    /// received when the connection joined its rooms.
    since: Watermarks,
    /// The cluster time of the read for the first frame. The read contained all memberships that had begun by this
    /// time.
    began: Timestamp,
    /// Replaces `since` for single rooms: the rooms in the first frame of a resume, and the rooms that the user joined
    /// later.
    since_in: HashMap<RoomId, Watermarks>,
    /// For each room that was read again after a change, the cluster time of the last such read.
    rechecked_at: HashMap<RoomId, Timestamp>,
    /// The known unread counts and read markers of rooms.
    unread: HashMap<RoomId, UnreadCount>,
    counts: UnreadDebounce,
    /// The cursor that the client has received last.
    cursor: InboxCursor,
    /// For each room, the number of the newest message of other users that was written to this socket and has no
    /// receipt yet.
    unacked: HashMap<RoomId, i64>,
    /// The rooms that the user has not accepted. A user accepts a direct room by opening it or writing in it. The value
    /// is the number of the newest message of other users that was written to this socket. This message gets its
    /// receipt when the user accepts the room.
    pending: HashMap<RoomId, i64>,
    /// The rooms of `pending` that stay hidden from the user until their first message.
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
            since: Watermarks { time: cluster_time::ZERO, marks: cluster_time::ZERO },
            began: cluster_time::ZERO,
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

    /// Joins rooms in the hub, so that this socket receives their frames. Returns the commit time of the last change
    /// that the hub received. The caller's next read of these rooms must include the changes up to this time.
    pub(super) fn join(&mut self, rooms: &[RoomId]) -> Option<Timestamp> {
        let new: Vec<_> = rooms.iter().copied().filter(|room| self.joined.insert(*room)).collect();
        self.services.hub.join_inbox(&new, &self.outbox)
    }

    /// Tells whether the connection has joined all of these rooms in the hub.
    pub(super) fn has_joined(&self, rooms: &[RoomId]) -> bool {
        rooms.iter().all(|room| self.joined.contains(room))
    }

    /// Returns the first frame with the user's rooms. `reached` is the commit time of the last change that the hub had
    /// received when the connection joined the rooms. For rooms that the frame does not contain, the socket must still
    /// send the events after that time.
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
            // A user who writes in a room accepts the room. The server writes the acceptance to the database after the
            // message. If the user's socket ended before the second write, the database has a message of the user but
            // not the acceptance. In this case, the acceptance is written now.
            if room.pending && room.last.as_ref().is_some_and(|last| last.sender == self.caller.user) {
                self.accept(room.room.id);
            }
            self.unread.insert(room.room.id, UnreadCount { unread: room.unread, read: room.marks.read });
            // The room's last message and all earlier messages count as delivered after this frame.
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

    /// Returns the texts that this socket writes for a frame. The first text is the event. The second text is a
    /// consequence of the event, for example a new unread count. `behind` contains the later frames in the queue. If
    /// one of these frames changes the same unread count, the count is sent only after that frame.
    pub(super) async fn take(
        &mut self,
        frame: &Frame,
        behind: &VecDeque<Arc<Frame>>,
    ) -> Result<(Option<Utf8Bytes>, Option<Utf8Bytes>), Close> {
        let room = match &frame.kind {
            FrameKind::Inbox(InboxFrame::Presence(user)) => {
                return Ok(((*user != self.caller.user).then(|| frame.json.clone()), None));
            }
            // Boxed, because this future is large and rarely runs.
            FrameKind::Inbox(InboxFrame::Recheck(room)) => {
                return Box::pin(self.recheck(*room, frame.time)).await;
            }
            // The first message in a hidden room makes the room visible. So the room is loaded from the database.
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
        let event = self.render_room_event(room, frame);
        let unread = self.unread_after(room, frame, behind).await?;
        Ok((event, unread))
    }

    /// Returns the cluster times of the room's state that the client received in the first frame or in the event
    /// `room_added`. The client already has all changes of the room up to these times.
    fn shown_in(&self, room: RoomId) -> Watermarks {
        self.since_in.get(&room).copied().unwrap_or(self.since)
    }

    /// Tells whether the first frame or the event `room_added` already contained the change that this frame reports.
    fn was_shown(&self, room: RoomId, frame: &Frame) -> bool {
        let Watermarks { time, marks } = self.shown_in(room);
        let reports_markers = matches!(
            &frame.kind,
            FrameKind::Room(_, RoomFrame::Receipt { .. }) | FrameKind::Inbox(InboxFrame::MarkerRaised { .. })
        );
        frame.time <= if reports_markers { marks } else { time }
    }

    /// Returns the text of an event of a room. None if this socket does not write the event.
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
}

impl Drop for InboxView {
    fn drop(&mut self) {
        self.services.hub.leave_inbox(&self.caller.user, self.joined.drain(), &self.outbox);
    }
}
