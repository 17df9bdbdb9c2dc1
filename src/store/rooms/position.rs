//! The position of a room in a list of rooms.

use std::fmt;
use std::str::FromStr;

use bson::RawDocument;
use handlers::{RoomId, Time};

use crate::store::codec::{self, Undecodable};

/// The room after which a page begins: its last activity, and its id for rooms with the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) at: Time,
    pub(crate) room: RoomId,
}

/// The text is not a page's `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPosition;

/// `<milliseconds>-<room>`: a page's `next`, which clients send back unchanged.
impl fmt::Display for Position {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}-{}", self.at.0, self.room)
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let (at, room) = text.split_once('-').ok_or(NoPosition)?;
        let digits = at.bytes().all(|byte| byte.is_ascii_digit());
        let at = at.parse().ok().filter(|_| digits).ok_or(NoPosition)?;
        Ok(Self { at: Time(at), room: room.parse().map_err(|_| NoPosition)? })
    }
}

/// Reads the room and the time of joining from a membership.
pub(in crate::store) fn joined(document: &RawDocument) -> Result<Position, Undecodable> {
    let room = codec::read_room(document.get_document("_id")?)?;
    Ok(Position { at: codec::read_time(document, "joined_at")?, room })
}
