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
    /// The only room of two users.
    Direct,
    /// A room whose members may join and leave.
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
    /// The user has not accepted the membership (see `store::rooms::consent`).
    pub(crate) pending: bool,
}
