//! Where a socket stands in what happens: what it resumes from (docs/protocol.md, Cursors).
//!
//! A room counts its messages, and it counts their edits and deletes: two numbers say what a client has seen of it,
//! on any server and after any restart, for they stand in the documents themselves. Marks need none: all of them are
//! told whenever a socket resumes.

use std::collections::BTreeMap;
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

/// How far a socket of all rooms of a user has been told, as clients keep it:
/// `u1.<seconds>.<increment>` and, for each room in which something was told lately, `.<room>-<message>-<revision>`. If the
/// membership in that room has begun lately, its beginning follows: `-<seconds after what is settled>-<increment>`.
///
/// What was committed [`SETTLED`] seconds before the latest of what was told has been told. What came after that is told
/// apart by the rooms' own numbers: the database's stamps in the documents are from a moment before their commits, and
/// of what was written at the same time some may have been told, and some not. The same holds for memberships: the client
/// knows those that began before the last [`SETTLED`] seconds, and of the later ones those that are named with just this
/// beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InboxCursor {
    latest: Option<Timestamp>,
    rooms: BTreeMap<RoomId, Told>,
}

/// How far a room was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    position: Position,
    /// When that was committed which was told last.
    at: Timestamp,
    /// When the membership began, if that was lately.
    beginning: Option<Timestamp>,
}

/// How much earlier than its commit a write can have been stamped, in seconds. It takes milliseconds; a server that
/// needs longer for one write answers nobody.
const SETTLED: u32 = 10;

/// Rooms that a cursor names, at most, so that it fits into a URL: about 3 KB. Of more the first ones to have been told
/// of are left out, and may be told of twice.
const NAMED: usize = 200;

/// Tells the cursor of all rooms, in this form of it, from all others.
const INBOX: &str = "u1";

impl InboxCursor {
    /// One who was told everything up to this moment.
    pub(crate) fn at(latest: Timestamp) -> Self {
        Self { latest: Some(latest), rooms: BTreeMap::new() }
    }

    /// A room was told of up to this position, by what was committed then.
    pub(crate) fn reach(&mut self, room: RoomId, position: Position, time: Timestamp) {
        let new = Told { position, at: time, beginning: None };
        let told = self.rooms.entry(room).or_insert(new);
        (told.position, told.at) = (told.position.max(position), time.max(told.at));
        self.latest = self.latest.max(Some(time));
        let settled = self.settled();
        self.rooms.retain(|_, told| told.at > settled);
        if self.rooms.len() > NAMED {
            // One whose membership is older can still be told apart by the stamps.
            let first = self.rooms.iter().min_by_key(|(_, told)| (told.beginning > Some(settled), told.at));
            if let Some(first) = first.map(|(room, _)| *room) {
                self.rooms.remove(&first);
            }
        }
    }

    /// A room was told of whose membership began at `beginning`, up to this position.
    pub(crate) fn enter(&mut self, room: RoomId, beginning: Timestamp, position: Position, time: Timestamp) {
        self.reach(room, position, time);
        // It may have begun after what was told last: then it is named until that is settled, too.
        if let Some(told) = self.rooms.get_mut(&room) {
            (told.beginning, told.at) = (Some(beginning), beginning.max(told.at));
        }
    }

    /// Whether the client was told of the membership that began at `beginning`.
    pub(crate) fn knows(&self, room: RoomId, beginning: Timestamp) -> bool {
        beginning <= self.settled()
            || self.rooms.get(&room).is_some_and(|told| told.beginning == Some(beginning))
    }

    /// All that was committed up to then has been told.
    pub(crate) fn settled(&self) -> Timestamp {
        settled(self.latest.unwrap_or(Timestamp { time: 0, increment: 0 }))
    }

    /// How far a room was told of, where it was lately; 0 is what isn't known.
    pub(crate) fn position(&self, room: RoomId) -> Option<Position> {
        self.rooms.get(&room).map(|told| told.position)
    }
}

/// What is settled when this has been told.
pub(crate) fn settled(latest: Timestamp) -> Timestamp {
    Timestamp { time: latest.time.saturating_sub(SETTLED), increment: latest.increment }
}

impl fmt::Display for InboxCursor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Timestamp { time, increment }) = self.latest else { return Ok(()) };
        write!(to, "{INBOX}.{time}.{increment}")?;
        let settled = self.settled();
        for (room, Told { position: Position { message, revision }, beginning, .. }) in &self.rooms {
            write!(to, ".{room}-{message}-{revision}")?;
            if let Some(beginning) = beginning.filter(|beginning| *beginning > settled) {
                write!(to, "-{}-{}", beginning.time - settled.time, beginning.increment)?;
            }
        }
        Ok(())
    }
}

impl FromStr for InboxCursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.split('.');
        if parts.next() != Some(INBOX) {
            return Err(NoCursor);
        }
        let mut half = || u32::try_from(number(parts.next())?).map_err(|_| NoCursor);
        let latest = Timestamp { time: half()?, increment: half()? };
        let settled = settled(latest);
        let mut rooms = BTreeMap::new();
        for part in parts {
            let mut numbers = part.split('-');
            let room = numbers.next().ok_or(NoCursor)?.parse().map_err(|_| NoCursor)?;
            let position = Position { message: number(numbers.next())?, revision: number(numbers.next())? };
            let beginning = match numbers.next() {
                Some(after) => Some(beginning(settled, after, numbers.next())?),
                None => None,
            };
            if numbers.next().is_some() || rooms.len() >= NAMED {
                return Err(NoCursor);
            }
            let beginning = beginning.filter(|beginning| *beginning > settled);
            rooms.insert(room, Told { position, at: latest, beginning });
        }
        Ok(Self { latest: Some(latest), rooms })
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

/// The beginning of a membership, so many seconds after a moment.
fn beginning(settled: Timestamp, after: &str, increment: Option<&str>) -> Result<Timestamp, NoCursor> {
    let half = |digits| u32::try_from(number(digits)?).map_err(|_| NoCursor);
    let time = settled.time.checked_add(half(Some(after))?).ok_or(NoCursor)?;
    Ok(Timestamp { time, increment: half(increment)? })
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

    #[test]
    fn a_cursor_of_all_rooms_names_those_of_the_last_seconds() {
        let room = |id| RoomId::try_from(id).unwrap();
        let at = |time| Timestamp { time, increment: 7 };
        let mut cursor = InboxCursor::at(at(100));
        cursor.reach(room(1), Position::message(45), at(101));
        cursor.reach(room(2), Position::revision(Some(3)), at(105));
        assert_eq!(cursor.to_string(), "u1.105.7.1-45-0.2-0-3");
        let read: InboxCursor = cursor.to_string().parse().unwrap();
        assert_eq!((read.settled(), read.position(room(1))), (at(95), Some(Position::message(45))));
        cursor.reach(room(2), Position::message(9), at(112));
        assert_eq!(cursor.to_string(), "u1.112.7.2-9-3", "of the other all is settled");
        for bad in [
            "",
            "u1",
            "u1.5",
            "u1.5.x",
            "u1.5.7.",
            "u1.5.7.1",
            "u1.5.7.1-2",
            "u1.5.7.1-2-3-4",
            "u1.25.7.1-2-3-4294967295-1",
            "u1.5.7.1-2-3-4-",
            "u1.5.7.1-2-3-4-5-6",
            "u1.5.7.0-2-3",
        ] {
            assert_eq!(bad.parse::<InboxCursor>(), Err(NoCursor), "{bad}");
        }
        assert_eq!("u1.4294967296.1".parse::<InboxCursor>(), Err(NoCursor));
        for id in 1..=300 {
            cursor.reach(room(id), Position::message(9), at(112));
        }
        let text = cursor.to_string();
        assert!(text.len() < 4_000 && text.parse::<InboxCursor>().is_ok(), "{text}");
    }

    #[test]
    fn a_membership_is_known_by_its_beginning_and_no_other_is() {
        let room = |id| RoomId::try_from(id).unwrap();
        let at = |time, increment| Timestamp { time, increment };
        let mut cursor = InboxCursor::at(at(100, 7));
        cursor.enter(room(1), at(98, 3), Position::message(45), at(99, 1));
        cursor.enter(room(2), at(99, 9), Position::default(), at(101, 2));
        assert_eq!(cursor.to_string(), "u1.101.2.1-45-0-7-3.2-0-0-8-9");
        let read: InboxCursor = cursor.to_string().parse().unwrap();
        for cursor in [&cursor, &read] {
            assert!(cursor.knows(room(1), at(98, 3)) && cursor.knows(room(3), at(91, 2)));
            for (id, beginning) in [(1, at(98, 4)), (1, at(101, 1)), (3, at(98, 3)), (3, at(91, 3))] {
                assert!(!cursor.knows(room(id), beginning), "{id} {beginning}");
            }
        }
        // What happens in it later keeps the beginning, until that is settled.
        let mut cursor = read;
        cursor.reach(room(1), Position::message(46), at(107, 1));
        assert_eq!(cursor.to_string(), "u1.107.1.1-46-0-1-3.2-0-0-2-9");
        cursor.reach(room(1), Position::message(47), at(109, 1));
        assert_eq!(cursor.to_string(), "u1.109.1.1-47-0.2-0-0-0-9");
        assert!(cursor.knows(room(1), at(98, 3)));
        // A client of an older server names no beginning.
        let old: InboxCursor = "u1.101.2.1-45-0".parse().unwrap();
        assert!(!old.knows(room(1), at(98, 3)) && old.knows(room(1), at(91, 2)));
    }
}
