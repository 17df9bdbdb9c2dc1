//! The requests and results of the reads for the inbox connection ([`inbox`](super::inbox)).

use std::collections::HashMap;

use bson::Timestamp;
use handlers::RoomId;

use super::list::RoomPageQuery;
use super::position::RoomListPosition;
use super::summary::RoomSummary;
use crate::protocol::cursor::{InboxCursor, Position};
use crate::store::ResumedRoom;

/// The cluster times up to which something was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watermarks {
    /// For everything but receipt markers.
    pub(crate) time: Timestamp,
    /// For receipt markers.
    pub(crate) marks: Timestamp,
}

impl Watermarks {
    /// Tells whether the receipt markers, and all else that follows the change stream, are of the snapshot time.
    pub(in crate::store) fn is_whole(self) -> bool {
        self.marks >= self.time
    }
}

/// A page of a user's rooms, or the rooms in which something was missed.
#[derive(Debug)]
pub(crate) struct InboxPage {
    /// Their snapshot times. The time of the markers is no later, and usually the same.
    pub(crate) as_of: Watermarks,
    /// All rooms that are listed.
    pub(crate) all: Vec<RoomId>,
    /// The rooms that the user has not accepted, hidden or not ([`consent`]).
    pub(crate) pending: Vec<RoomId>,
    /// The pending rooms that are hidden. The other pending rooms are among `all`.
    pub(crate) hidden: Vec<RoomId>,
    /// The rooms of this page, in their order.
    pub(crate) shown: Vec<RoomSummary>,
    /// The last room of this page, if there are more.
    pub(crate) next: Option<RoomListPosition>,
    /// On a resume: the changes that were missed in the rooms in `shown`.
    pub(crate) missed: Option<HashMap<RoomId, MissedInRoom>>,
    /// The positions of rooms that changed just before the snapshot time.
    pub(crate) positions: Vec<KnownPosition>,
}

/// A room's position at the snapshot time, and when the user's membership began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownPosition {
    pub(crate) room: RoomId,
    pub(crate) position: Position,
    pub(crate) beginning: Timestamp,
}

impl InboxPage {
    /// Returns the number of documents that were read for it: memberships, rooms with their members, messages.
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
    /// The whole room, because the user joined meanwhile. This is its position.
    Room(Position),
    /// These changes.
    Changed(ResumedRoom),
}

/// The result of reading a room for one of its members.
#[derive(Debug)]
pub(crate) enum RoomLookup {
    /// The user is not a member, or there is no such room.
    NotMember,
    /// The user is a member, but the room is still hidden from the user.
    Hidden,
    Listed(Box<(RoomSummary, KnownPosition)>),
}

/// The rooms that an inbox connection requests: a page, or the changes since a cursor.
#[derive(Debug)]
pub(crate) struct InboxQuery<'a> {
    pub(crate) page: RoomPageQuery,
    /// Whether a new cursor starts with this page.
    pub(crate) first: bool,
    pub(crate) from: Option<&'a InboxCursor>,
}
