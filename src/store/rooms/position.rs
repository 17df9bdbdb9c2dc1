//! The position of a room in a list of rooms.

use std::fmt;
use std::str::FromStr;

use bson::RawDocument;
use handlers::{RoomId, Time};

use crate::store::codec::{self, Undecodable};

/// A position in a list of rooms: the time of a room's last activity, and the room's id. The id orders rooms that have
/// equal times. A page of the list ends at such a position, and the next page begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomListPosition {
    pub(crate) at: Time,
    pub(crate) room: RoomId,
}

/// The error for a text that is not a valid position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidPosition;

/// Writes `<milliseconds>-<room>`. A page of the list has this text in its field `next`, and clients send the text back
/// unchanged.
impl fmt::Display for RoomListPosition {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}-{}", self.at.0, self.room)
    }
}

impl FromStr for RoomListPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (at, room) = text.split_once('-').ok_or(InvalidPosition)?;
        let digits = at.bytes().all(|byte| byte.is_ascii_digit());
        let at = at.parse().ok().filter(|_| digits).ok_or(InvalidPosition)?;
        Ok(Self { at: Time(at), room: room.parse().map_err(|_| InvalidPosition)? })
    }
}

/// Reads the room and the time of joining from a membership, as the position of a room without messages.
pub(in crate::store) fn joined(document: &RawDocument) -> Result<RoomListPosition, Undecodable> {
    let room = codec::read_room(document.get_document("_id")?)?;
    Ok(RoomListPosition { at: codec::read_time(document, "joined_at")?, room })
}
