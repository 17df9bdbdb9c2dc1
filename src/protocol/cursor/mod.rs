//! Cursors: positions from which clients resume (docs/protocol.md, Cursors).
//!
//! The messages of a room are numbered, and the revisions of a room (edits and deletes) have numbers of their own. Two
//! numbers therefore say which messages and revisions of a room a client has received. The numbers are the same on
//! every server and after every restart, because the stored documents contain them. Receipt markers need no cursor:
//! when a client resumes, the server sends all receipt markers of the room.

mod inbox;

use std::fmt;
use std::str::FromStr;

use handlers::RoomId;

pub(crate) use self::inbox::{InboxCursor, settled};

/// A position in a room's history. A client at this position has received all messages and revisions up to the two
/// numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The greatest message number.
    pub(crate) message: i64,
    /// The greatest revision number. An edit or a delete is a revision.
    pub(crate) revision: i64,
}

impl Position {
    /// Returns the position of a message.
    pub(crate) fn message(message: i64) -> Self {
        Self { message, ..Self::default() }
    }

    /// Returns the position of a revision. If there is no revision number, returns the start of the history.
    pub(crate) fn revision(revision: Option<i64>) -> Self {
        Self { revision: revision.unwrap_or_default(), ..Self::default() }
    }

    /// Returns the greater message number and the greater revision number of the two positions.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { message: self.message.max(other.message), revision: self.revision.max(other.revision) }
    }

    /// Returns whether both numbers are at least as great as the numbers of `other`.
    pub(crate) fn reaches(self, other: Self) -> bool {
        self.message >= other.message && self.revision >= other.revision
    }
}

/// A position in one room, as clients store it: `r1.<room>.<message>.<revision>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoomCursor {
    pub(crate) room: RoomId,
    pub(crate) position: Position,
}

/// The prefix of a room cursor in this format.
const ROOM: &str = "r1";

impl fmt::Display for RoomCursor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { message, revision } = self.position;
        write!(to, "{ROOM}.{}.{message}.{revision}", self.room)
    }
}

/// The error if a text from a client is not a valid cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidCursor;

impl FromStr for RoomCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut parts = text.split('.');
        if parts.next() != Some(ROOM) {
            return Err(InvalidCursor);
        }
        let room = parts.next().ok_or(InvalidCursor)?.parse().map_err(|_| InvalidCursor)?;
        let position = Position { message: number(parts.next())?, revision: number(parts.next())? };
        if parts.next().is_some() { Err(InvalidCursor) } else { Ok(Self { room, position }) }
    }
}

fn number(digits: Option<&str>) -> Result<i64, InvalidCursor> {
    let digits =
        digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())).ok_or(InvalidCursor)?;
    digits.parse().map_err(|_| InvalidCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_round_trips_and_other_text_is_refused() {
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
            assert_eq!(bad.parse::<RoomCursor>(), Err(InvalidCursor), "{bad}");
        }
        assert_eq!("r1.7.99999999999999999999.3".parse::<RoomCursor>(), Err(InvalidCursor));
    }
}
