//! The requests and results of the reads for an inbox connection (one socket for all rooms of a user,
//! [`inbox`](super::inbox)).

use std::collections::HashMap;

use bson::Timestamp;
use handlers::RoomId;

use super::list::RoomPageQuery;
use super::position::RoomListPosition;
use super::summary::RoomSummary;
use crate::protocol::cursor::{InboxCursor, Position};
use crate::store::ResumedRoom;

/// The two cluster times of a read. A cluster time is a time of MongoDB's logical clock. The result of the read
/// includes every receipt marker up to `marks`, and every other change up to `time`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watermarks {
    /// The time for all data except receipt markers.
    pub(crate) time: Timestamp,
    /// The time for receipt markers.
    pub(crate) marks: Timestamp,
}

impl Watermarks {
    /// Returns whether the change stream has reached the snapshot time. If so, all data that this server has from the
    /// change stream is at least as recent as the snapshot.
    pub(in crate::store) fn is_whole(self) -> bool {
        self.marks >= self.time
    }
}

/// A page of a user's rooms, or the rooms that changed since a cursor.
#[derive(Debug)]
pub(crate) struct InboxPage {
    /// The cluster times of the read. The time of the receipt markers (`marks`) is usually equal to `time`, and never
    /// later.
    pub(crate) as_of: Watermarks,
    /// The ids of all rooms in the user's list, on this page or not.
    pub(crate) all: Vec<RoomId>,
    /// The pending rooms: direct rooms that the user has not accepted by opening them or writing in them
    /// ([`consent`](super::consent)).
    pub(crate) pending: Vec<RoomId>,
    /// The pending rooms without messages, which are hidden from the user. The pending rooms with messages are in
    /// `all`.
    pub(crate) hidden: Vec<RoomId>,
    /// The rooms of this page, in the order of the list.
    pub(crate) shown: Vec<RoomSummary>,
    /// The last room of this page if another page follows.
    pub(crate) next: Option<RoomListPosition>,
    /// The changes in the rooms of `shown` since the cursor. None if `shown` is a page.
    pub(crate) missed: Option<HashMap<RoomId, MissedInRoom>>,
    /// The positions (the last message number and revision number) of rooms that changed just before the snapshot time.
    /// These positions become part of the client's cursor.
    pub(crate) positions: Vec<KnownPosition>,
}

/// A room's position at the snapshot time, and the cluster time at which the user's membership began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownPosition {
    pub(crate) room: RoomId,
    pub(crate) position: Position,
    pub(crate) beginning: Timestamp,
}

impl InboxPage {
    /// Returns the approximate number of documents that were read: memberships, rooms with their members, and messages.
    pub(crate) fn documents(&self) -> usize {
        let shown: usize = self.shown.iter().map(|room| room.members.len() + 2).sum();
        let messages = |missed: &MissedInRoom| match missed {
            MissedInRoom::Room(_) => 0,
            MissedInRoom::Changed(changed) => changed.messages.len() + changed.edited.len(),
        };
        let missed: usize = self.missed.iter().flat_map(HashMap::values).map(messages).sum();
        self.all.len() + shown + missed
    }
}

/// The part of a room that a client missed.
#[derive(Debug)]
pub(crate) enum MissedInRoom {
    /// The whole room, with its position. The client doesn't know the room: the user joined the room after the cursor's
    /// time, or the room was hidden at that time.
    Room(Position),
    /// The changes in a room that the client already knows.
    Changed(ResumedRoom),
}

/// The result of reading a room for one user.
#[derive(Debug)]
pub(crate) enum RoomLookup {
    /// The user is not a member, or the room doesn't exist.
    NotMember,
    /// The user is a member, but the room is hidden from the user.
    Hidden,
    Listed(Box<(RoomSummary, KnownPosition)>),
}

/// The request of an inbox connection: a page, or the changes since a cursor.
#[derive(Debug)]
pub(crate) struct InboxQuery<'a> {
    pub(crate) page: RoomPageQuery,
    /// Whether this is the first page that the client requests. The client's cursor starts at the first page.
    pub(crate) first: bool,
    pub(crate) from: Option<&'a InboxCursor>,
}
