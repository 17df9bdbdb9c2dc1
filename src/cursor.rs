//! Where a socket stands in what happens: what it resumes from (protocol.md, Level 2).
//!
//! A room counts its messages, and it counts their edits and deletes: two numbers say what a client has seen of it,
//! on any server and after any restart, for they stand in the documents themselves. Marks need none: all of them are
//! told whenever a socket resumes.

use std::fmt;
use std::str::FromStr;

use bson::Timestamp;
use handlers::RoomId;

/// How far a room has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The greatest number of a message.
    pub(crate) message: i64,
    /// The greatest number of a revision: of an edit or a delete.
    pub(crate) revision: i64,
}

impl Position {
    /// A message with this number.
    pub(crate) fn message(message: i64) -> Self {
        Self { message, ..Self::default() }
    }

    /// A revision with this number, where it has one.
    pub(crate) fn revision(revision: Option<i64>) -> Self {
        Self { revision: revision.unwrap_or_default(), ..Self::default() }
    }

    /// The later of both in each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { message: self.message.max(other.message), revision: self.revision.max(other.revision) }
    }

    /// Whether one that stands here can have come from where another stands.
    pub(crate) fn reaches(self, other: Self) -> bool {
        self.message >= other.message && self.revision >= other.revision
    }
}

/// A position in one room, as clients keep it: `r1.<room>.<message>.<revision>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomCursor {
    pub(crate) room: RoomId,
    pub(crate) position: Position,
}

/// Tells a room's cursor, in this form of it, from all others.
const ROOM: &str = "r1";

impl fmt::Display for RoomCursor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { message, revision } = self.position;
        write!(to, "{ROOM}.{}.{message}.{revision}", self.room)
    }
}

/// How far a socket of all rooms of a user has been told, as clients keep it: `u1.<seconds>.<increment>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InboxCursor {
    /// When the latest of what it was told was committed.
    pub(crate) time: Timestamp,
}

/// Tells the cursor of all rooms, in this form of it, from all others.
const INBOX: &str = "u1";

impl InboxCursor {
    /// It was told what was committed then.
    pub(crate) fn reach(&mut self, time: Timestamp) {
        self.time = self.time.max(time);
    }
}

impl fmt::Display for InboxCursor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timestamp { time, increment } = self.time;
        write!(to, "{INBOX}.{time}.{increment}")
    }
}

/// What a client gives back isn't a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCursor;

impl FromStr for RoomCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.split('.');
        if parts.next() != Some(ROOM) {
            return Err(NoCursor);
        }
        let room = parts.next().ok_or(NoCursor)?.parse().map_err(|_| NoCursor)?;
        let position = Position { message: number(parts.next())?, revision: number(parts.next())? };
        if parts.next().is_some() { Err(NoCursor) } else { Ok(Self { room, position }) }
    }
}

fn number(digits: Option<&str>) -> Result<i64, NoCursor> {
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())).ok_or(NoCursor)?;
    digits.parse().map_err(|_| NoCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let room = RoomId::try_from(7).unwrap();
        let cursor = RoomCursor { room, position: Position { message: 45, revision: 3 } };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in [
            "",
            "r1",
            "r1.7.45",
            "r1.7.45.3.1",
            "r1.0.45.3",
            "r1.7.-1.3",
            "r1.7.+1.3",
            "r2.7.45.3",
            "r1.7..3",
        ] {
            assert_eq!(bad.parse::<RoomCursor>(), Err(NoCursor), "{bad}");
        }
        assert_eq!("r1.7.99999999999999999999.3".parse::<RoomCursor>(), Err(NoCursor));
    }
}
