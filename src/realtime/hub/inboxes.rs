//! Sockets of all of a user's rooms, in the hub.

use std::collections::HashSet;
use std::sync::Arc;

use bson::Timestamp;
use handlers::{RoomId, UserId};

use super::{Hub, HubEntry, RoomPhase};
use crate::protocol::close::Close;
use crate::realtime::outbox::{Frame, InboxEffect, Outbox};

impl Hub {
    /// From now on the socket hears which rooms its user comes into, and leaves.
    pub(crate) fn enter_inbox(&self, user: &UserId, socket: &Arc<Outbox>) {
        let mut rooms = self.rooms();
        rooms.inboxes.entry(user.clone()).or_insert_with(|| Vec::with_capacity(1)).push(socket.clone());
    }

    /// The socket hears nothing any more: neither that, nor of any of these rooms.
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

    /// From now on the socket gets the frames of these rooms. Gives when the last change that the hub had was
    /// committed: what is read for the socket must not be older.
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
            // What those read who are reading it may be later than what this socket will have been told.
            self.request_load(*room, entry);
        }
        *reached
    }

    /// The change stream has come so far.
    pub(crate) fn advance_time(&self, time: Timestamp) {
        self.rooms().reached = Some(time);
    }

    /// Whether this user is in a room has changed, or what they are there; where no user is given, whether anyone is. Their
    /// sockets of all rooms look.
    pub(crate) fn request_recheck(&self, room: RoomId, user: Option<&UserId>, time: Timestamp) {
        let rooms = self.rooms();
        let sockets = match user {
            Some(user) => rooms.inboxes.get(user),
            None => rooms.entries.get(&room).map(|entry| &entry.sockets),
        };
        let frame = Frame::inbox(room, InboxEffect::Recheck, time).charged(&self.held);
        for socket in sockets.into_iter().flatten() {
            self.push(socket, &frame);
        }
    }

    /// Whether there is any socket of all of a user's rooms in this one.
    pub(crate) fn has_inboxes_in(&self, room: RoomId) -> bool {
        let rooms = self.rooms();
        rooms.entries.get(&room).is_some_and(|entry| entry.sockets.iter().any(|socket| socket.is_of_inbox()))
    }

    /// Whether there is any in this one that is of another user.
    pub(crate) fn has_inboxes_of_others(&self, room: RoomId, user: &UserId) -> bool {
        let rooms = self.rooms();
        let is_others = |socket: &Arc<Outbox>| socket.is_of_inbox() && !socket.is_of(user);
        rooms.entries.get(&room).is_some_and(|entry| entry.sockets.iter().any(is_others))
    }

    /// Whether there is any socket of all of a user's rooms here.
    pub(crate) fn has_inboxes(&self) -> bool {
        !self.rooms().inboxes.is_empty()
    }

    /// Sends the sockets of all of a user's rooms that are in this one away, to come back to how it is.
    pub(crate) fn send_inboxes_away(&self, room: RoomId) {
        let rooms = self.rooms();
        let here = rooms.entries.get(&room).into_iter().flat_map(|entry| &entry.sockets);
        here.filter(|socket| socket.is_of_inbox()).for_each(|socket| socket.close(Close::GoingAway));
    }

    /// Tells sockets of all of a user's rooms that are in any of these, each once.
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
