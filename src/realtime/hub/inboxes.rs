//! Inbox connections in the hub. An inbox connection (Level 3) is one socket for all rooms of its user.

use std::collections::HashSet;
use std::sync::Arc;

use bson::Timestamp;
use handlers::{RoomId, UserId};

use super::{Hub, HubEntry, RoomPhase};
use crate::protocol::close::Close;
use crate::realtime::frame::{Frame, FrameKind, InboxFrame};
use crate::realtime::outbox::Outbox;

impl Hub {
    /// Registers an inbox connection. From then on, the connection is notified when its user joins or leaves a room.
    pub(crate) fn enter_inbox(&self, user: &UserId, socket: &Arc<Outbox>) {
        let mut rooms = self.rooms();
        rooms.inboxes.entry(user.clone()).or_insert_with(|| Vec::with_capacity(1)).push(socket.clone());
    }

    /// Removes an inbox connection from the hub and from the rooms `of`.
    pub(crate) fn leave_inbox(&self, user: &UserId, of: impl Iterator<Item = RoomId>, socket: &Arc<Outbox>) {
        {
            let mut rooms = self.rooms();
            if let Some(sockets) = rooms.inboxes.get_mut(user) {
                sockets.retain(|other| !Arc::ptr_eq(other, socket));
                if sockets.is_empty() {
                    rooms.inboxes.remove(user);
                }
            }
        }
        for room in of {
            self.leave(room, socket);
        }
    }

    /// Adds an inbox connection to the rooms `of`. The connection receives the frames of all later changes. Returns the
    /// commit time of the last change that the hub received. The caller must read the rooms as of this time or later,
    /// because the connection receives no frames of earlier changes.
    pub(crate) fn join_inbox(&self, of: &[RoomId], socket: &Arc<Outbox>) -> Option<Timestamp> {
        let mut rooms = self.rooms();
        let super::HubRooms { entries, reached, generations, stream_lost, .. } = &mut *rooms;
        for room in of {
            let entry = entries.entry(*room).or_insert_with(|| {
                *generations += 1;
                HubEntry::new(*generations, *reached, RoomPhase::Idle)
            });
            entry.sockets.push(socket.clone());
            if *stream_lost {
                entry.late.push(socket.clone());
            }
            // While the room is loading, its state may come from the history of another joining socket. That history
            // may be later than the first frame of this connection. The connection would then miss the changes between
            // its first frame and that history. Therefore the room loader reads the state instead.
            self.request_load(*room, entry);
        }
        *reached
    }

    /// Records that the change stream has reached this time.
    pub(crate) fn advance_time(&self, time: Timestamp) {
        self.rooms().reached = Some(time);
    }

    /// Asks inbox connections to re-read a room, because a membership in the room has changed. The request goes to the
    /// connections of `user`, or to all inbox connections in the room if `user` is none.
    pub(crate) fn request_recheck(&self, room: RoomId, user: Option<&UserId>, time: Timestamp) {
        let rooms = self.rooms();
        let sockets = match user {
            Some(user) => rooms.inboxes.get(user),
            None => rooms.entries.get(&room).map(|entry| &entry.sockets),
        };
        let frame =
            Frame::without_text(time, FrameKind::Inbox(InboxFrame::Recheck(room))).charged(&self.held);
        for socket in sockets.into_iter().flatten() {
            self.push(socket, &frame);
        }
    }

    /// Returns whether the room has an inbox connection on this server.
    pub(crate) fn has_inboxes_in(&self, room: RoomId) -> bool {
        let rooms = self.rooms();
        rooms.entries.get(&room).is_some_and(|entry| entry.sockets.iter().any(|socket| socket.is_of_inbox()))
    }

    /// Returns whether the room has an inbox connection of a user other than `user` on this server.
    pub(crate) fn has_inboxes_of_others(&self, room: RoomId, user: &UserId) -> bool {
        let rooms = self.rooms();
        let is_others = |socket: &Arc<Outbox>| socket.is_of_inbox() && !socket.is_of(user);
        rooms.entries.get(&room).is_some_and(|entry| entry.sockets.iter().any(is_others))
    }

    /// Returns whether this server has any inbox connection.
    pub(crate) fn has_inboxes(&self) -> bool {
        !self.rooms().inboxes.is_empty()
    }

    /// Closes the inbox connections in this room. Their clients reconnect and receive the room's current state.
    pub(crate) fn send_inboxes_away(&self, room: RoomId) {
        let rooms = self.rooms();
        let here = rooms.entries.get(&room).into_iter().flat_map(|entry| &entry.sockets);
        here.filter(|socket| socket.is_of_inbox()).for_each(|socket| socket.close(Close::GoingAway));
    }

    /// Sends a frame to the inbox connections in the rooms `of`. A connection that is in several of these rooms
    /// receives the frame once.
    pub(crate) fn send_to_inboxes(&self, of: &[RoomId], frame: Frame) {
        let frame = frame.charged(&self.held);
        let rooms = self.rooms();
        let mut reached_sockets = HashSet::new();
        for entry in of.iter().filter_map(|room| rooms.entries.get(room)) {
            for socket in entry.sockets.iter().filter(|socket| socket.is_of_inbox()) {
                if reached_sockets.insert(Arc::as_ptr(socket)) {
                    self.push(socket, &frame);
                }
            }
        }
    }
}
