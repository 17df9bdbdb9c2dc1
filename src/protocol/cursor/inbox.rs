//! Cursors of inbox connections.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bson::Timestamp;
use handlers::RoomId;

use super::{InvalidCursor, Position, number};
use crate::model::cluster_time;

/// The progress of an inbox connection, which serves all rooms of a user. Clients store this cursor as a text:
/// `u1.<seconds>.<increment>` and, for each room with a recent event, `.<room>-<message>-<revision>`. The first two
/// numbers are the cluster time (MongoDB's logical clock) of the latest event that was sent. A revision is the number
/// of an edit or delete in its room. If the user's membership of a room began recently, the beginning of the membership
/// follows: `-<seconds after the settled time>-<increment>`.
///
/// The settled time is [`SETTLED`] seconds before the latest event. All events that were committed up to the settled
/// time have been sent. For events after the settled time, the message and revision numbers of each room say which
/// events were sent. The time of the latest event alone can't say this, for two reasons. First, the timestamps in the
/// documents are older than the commits. Second, if several writes happen almost at the same moment, perhaps only some
/// of their events have been sent.
///
/// Memberships follow the same rule. The client knows the memberships that began up to the settled time. The client
/// knows a later membership only if the cursor contains exactly the beginning of this membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InboxCursor {
    latest: Option<Timestamp>,
    rooms: BTreeMap<RoomId, RoomProgress>,
}

/// The progress of one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RoomProgress {
    position: Position,
    /// The commit time of the last event that was sent.
    at: Timestamp,
    /// The time when the user's membership of the room began, if this time is after the settled time.
    beginning: Option<Timestamp>,
}

/// The longest time by which the timestamp of a write may be older than the commit, in seconds. Usually the difference
/// is some milliseconds. A server that needs more than 10 s for one write can't serve its clients anyway.
const SETTLED: u32 = 10;

/// The highest number of rooms that a cursor names. With this number the cursor has about 3 KB and fits into a URL. If
/// more rooms have recent events, the cursor leaves out the rooms with the oldest events. The events of these rooms may
/// be sent twice.
const NAMED: usize = 200;

/// The prefix of an inbox cursor in this format.
const INBOX: &str = "u1";

impl InboxCursor {
    /// Returns the cursor of a client to which all events up to the time `latest` were sent.
    pub(crate) fn at(latest: Timestamp) -> Self {
        Self { latest: Some(latest), rooms: BTreeMap::new() }
    }

    /// Records that the events of a room were sent up to this position. The last of these events was committed at
    /// `time`.
    pub(crate) fn advance(&mut self, room: RoomId, position: Position, time: Timestamp) {
        let new = RoomProgress { position, at: time, beginning: None };
        let progress = self.rooms.entry(room).or_insert(new);
        (progress.position, progress.at) = (progress.position.max(position), time.max(progress.at));
        self.latest = self.latest.max(Some(time));
        let settled = self.settled();
        self.rooms.retain(|_, progress| progress.at > settled);
        if self.rooms.len() > NAMED {
            // The cursor first leaves out rooms whose membership is not recent. The client knows these memberships even
            // if the cursor does not name the room.
            let first = self
                .rooms
                .iter()
                .min_by_key(|(_, progress)| (progress.beginning > Some(settled), progress.at));
            if let Some(first) = first.map(|(room, _)| *room) {
                self.rooms.remove(&first);
            }
        }
    }

    /// Records that the user's membership of a room began at `beginning`, and that the events of the room were sent up
    /// to this position.
    pub(crate) fn join(&mut self, room: RoomId, beginning: Timestamp, position: Position, time: Timestamp) {
        self.advance(room, position, time);
        // The membership may have begun after the room's last event. Then the cursor names the room until the settled
        // time has passed the beginning.
        if let Some(progress) = self.rooms.get_mut(&room) {
            (progress.beginning, progress.at) = (Some(beginning), beginning.max(progress.at));
        }
    }

    /// Returns whether the client knows that the user's membership of `room` began at `beginning`.
    pub(crate) fn knows(&self, room: RoomId, beginning: Timestamp) -> bool {
        beginning <= self.settled()
            || self.rooms.get(&room).is_some_and(|progress| progress.beginning == Some(beginning))
    }

    /// Returns the settled time. All events that were committed up to this time have been sent.
    pub(crate) fn settled(&self) -> Timestamp {
        settled(self.latest.unwrap_or(cluster_time::ZERO))
    }

    /// Returns the position up to which the events of a room were sent, if the cursor names the room. A message or
    /// revision number of 0 in the position means that the cursor does not contain this number.
    pub(crate) fn position(&self, room: RoomId) -> Option<Position> {
        self.rooms.get(&room).map(|progress| progress.position)
    }
}

/// Returns the settled time of a client to which all events up to the time `latest` were sent.
pub(crate) fn settled(latest: Timestamp) -> Timestamp {
    Timestamp { time: latest.time.saturating_sub(SETTLED), increment: latest.increment }
}

impl fmt::Display for InboxCursor {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Timestamp { time, increment }) = self.latest else { return Ok(()) };
        write!(to, "{INBOX}.{time}.{increment}")?;
        let settled = self.settled();
        for (room, RoomProgress { position: Position { message, revision }, beginning, .. }) in &self.rooms {
            write!(to, ".{room}-{message}-{revision}")?;
            if let Some(beginning) = beginning.filter(|beginning| *beginning > settled) {
                write!(to, "-{}-{}", beginning.time - settled.time, beginning.increment)?;
            }
        }
        Ok(())
    }
}

impl FromStr for InboxCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut parts = text.split('.');
        if parts.next() != Some(INBOX) {
            return Err(InvalidCursor);
        }
        let mut half = || u32::try_from(number(parts.next())?).map_err(|_| InvalidCursor);
        let latest = Timestamp { time: half()?, increment: half()? };
        let settled = settled(latest);
        let mut rooms = BTreeMap::new();
        for part in parts {
            let mut numbers = part.split('-');
            let room = numbers.next().ok_or(InvalidCursor)?.parse().map_err(|_| InvalidCursor)?;
            let position = Position { message: number(numbers.next())?, revision: number(numbers.next())? };
            let beginning = match numbers.next() {
                Some(after) => Some(beginning(settled, after, numbers.next())?),
                None => None,
            };
            if numbers.next().is_some() || rooms.len() >= NAMED {
                return Err(InvalidCursor);
            }
            let beginning = beginning.filter(|beginning| *beginning > settled);
            rooms.insert(room, RoomProgress { position, at: latest, beginning });
        }
        Ok(Self { latest: Some(latest), rooms })
    }
}

/// Decodes the beginning of a membership. The text contains the beginning as seconds after the settled time.
fn beginning(settled: Timestamp, after: &str, increment: Option<&str>) -> Result<Timestamp, InvalidCursor> {
    let half = |digits| u32::try_from(number(digits)?).map_err(|_| InvalidCursor);
    let time = settled.time.checked_add(half(Some(after))?).ok_or(InvalidCursor)?;
    Ok(Timestamp { time, increment: half(increment)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_all_rooms_names_those_of_the_last_seconds() {
        let room = |id| RoomId::try_from(id).unwrap();
        let at = |time| Timestamp { time, increment: 7 };
        let mut cursor = InboxCursor::at(at(100));
        cursor.advance(room(1), Position::message(45), at(101));
        cursor.advance(room(2), Position::revision(Some(3)), at(105));
        assert_eq!(cursor.to_string(), "u1.105.7.1-45-0.2-0-3");
        let read: InboxCursor = cursor.to_string().parse().unwrap();
        assert_eq!((read.settled(), read.position(room(1))), (at(95), Some(Position::message(45))));
        cursor.advance(room(2), Position::message(9), at(112));
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
            assert_eq!(bad.parse::<InboxCursor>(), Err(InvalidCursor), "{bad}");
        }
        assert_eq!("u1.4294967296.1".parse::<InboxCursor>(), Err(InvalidCursor));
        for id in 1..=300 {
            cursor.advance(room(id), Position::message(9), at(112));
        }
        let text = cursor.to_string();
        assert!(text.len() < 4_000 && text.parse::<InboxCursor>().is_ok(), "{text}");
    }

    #[test]
    fn a_membership_is_known_by_its_beginning_and_no_other_is() {
        let room = |id| RoomId::try_from(id).unwrap();
        let at = |time, increment| Timestamp { time, increment };
        let mut cursor = InboxCursor::at(at(100, 7));
        cursor.join(room(1), at(98, 3), Position::message(45), at(99, 1));
        cursor.join(room(2), at(99, 9), Position::default(), at(101, 2));
        assert_eq!(cursor.to_string(), "u1.101.2.1-45-0-7-3.2-0-0-8-9");
        let read: InboxCursor = cursor.to_string().parse().unwrap();
        for cursor in [&cursor, &read] {
            assert!(cursor.knows(room(1), at(98, 3)) && cursor.knows(room(3), at(91, 2)));
            for (id, beginning) in [(1, at(98, 4)), (1, at(101, 1)), (3, at(98, 3)), (3, at(91, 3))] {
                assert!(!cursor.knows(room(id), beginning), "{id} {beginning}");
            }
        }
        // Later events in the room do not change the beginning of the membership. The cursor contains the beginning
        // until the settled time is later than the beginning.
        let mut cursor = read;
        cursor.advance(room(1), Position::message(46), at(107, 1));
        assert_eq!(cursor.to_string(), "u1.107.1.1-46-0-1-3.2-0-0-2-9");
        cursor.advance(room(1), Position::message(47), at(109, 1));
        assert_eq!(cursor.to_string(), "u1.109.1.1-47-0.2-0-0-0-9");
        assert!(cursor.knows(room(1), at(98, 3)));
        // A cursor may name a room without the beginning of a membership. Then the client knows only a membership that
        // began up to the settled time.
        let settled: InboxCursor = "u1.101.2.1-45-0".parse().unwrap();
        assert!(!settled.knows(room(1), at(98, 3)) && settled.knows(room(1), at(91, 2)));
    }
}
