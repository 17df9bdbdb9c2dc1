//! Rooms and their members.

use handlers::{Role, RoomId, Time, UserId};

use super::receipts::Marks;

/// A room that is not deleted.
#[derive(Clone, Debug)]
pub(crate) struct StoredRoom {
    pub(crate) id: RoomId,
    pub(crate) kind: StoredRoomKind,
    pub(crate) name: Option<String>,
    pub(crate) created_at: Time,
}

/// The kind of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredRoomKind {
    /// A room of exactly two users. Each pair of users has at most one direct room.
    Direct,
    /// A room to which the backend adds members, and from which it removes members.
    Group,
}

impl StoredRoomKind {
    /// Returns the name of the kind in the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }
}

/// A member of a room.
#[derive(Clone, Debug)]
pub(crate) struct StoredMember {
    pub(crate) user: UserId,
    pub(crate) email: Option<String>,
    pub(crate) role: Role,
    pub(crate) marks: Marks,
    /// Whether the user still has to accept this direct room. The other user created the room by connecting to it. A
    /// user accepts a direct room by opening it or by writing in it (see `store::rooms::consent`).
    pub(crate) pending: bool,
}
