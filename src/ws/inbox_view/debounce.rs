//! When what is unread in a room is counted. The database counts it, for each socket by itself, and a mark or a delete of
//! one user may ask that of a thousand of them: the first count is made at once, and those that follow within
//! `sockets.unread_ms` are one, when that is over.

use std::collections::HashMap;
use std::time::Duration;

use bson::Timestamp;
use handlers::RoomId;
use tokio::time::Instant;

/// Of one socket.
#[derive(Debug, Default)]
pub(super) struct UnreadDebounce {
    /// Until when there is no other count in these rooms.
    pauses: HashMap<RoomId, Instant>,
    /// Rooms that are to be counted when their pause is over, each as of the last that the socket was told of it.
    due: HashMap<RoomId, Timestamp>,
}

impl UnreadDebounce {
    /// Whether a room is to be counted now, as of this moment; else it is due once its pause is over.
    pub(super) fn is_now(&mut self, room: RoomId, as_of: Timestamp, now: Instant, pause: Duration) -> bool {
        if self.pauses.get(&room).is_some_and(|until| *until > now) {
            self.due.insert(room, as_of);
            return false;
        }
        self.pauses.retain(|room, until| *until > now || self.due.contains_key(room));
        self.pauses.insert(room, now + pause);
        self.due.remove(&room);
        true
    }

    /// The socket was told something of a room that happened then: a count after it must not be as of before.
    pub(super) fn advance(&mut self, room: RoomId, time: Timestamp) {
        if let Some(as_of) = self.due.get_mut(&room) {
            *as_of = time.max(*as_of);
        }
    }

    /// What is unread in a room is known, or nothing to this socket any more.
    pub(super) fn forget(&mut self, room: RoomId) {
        self.due.remove(&room);
    }

    /// When the next one is due; none where none is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.keys().filter_map(|room| self.pauses.get(room)).min().copied()
    }

    /// A room whose pause is over, with the moment as of which it is to be counted.
    pub(super) fn take(&mut self, now: Instant, pause: Duration) -> Option<(RoomId, Timestamp)> {
        let over = |room: &&RoomId| self.pauses.get(*room).is_none_or(|until| *until <= now);
        let room = *self.due.keys().find(over)?;
        let as_of = self.due.remove(&room)?;
        self.pauses.insert(room, now + pause);
        Some((room, as_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(500);

    fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    fn room(id: u8) -> RoomId {
        id.to_string().parse().unwrap()
    }

    #[test]
    fn a_burst_is_counted_at_once_and_once_more_as_of_the_last_that_was_told() {
        let (mut counts, now) = (UnreadDebounce::default(), Instant::now());
        assert!(counts.is_now(room(1), at(1), now, PAUSE));
        assert_eq!(counts.next(), None);
        for time in 2..50 {
            assert!(!counts.is_now(room(1), at(time), now, PAUSE));
        }
        counts.advance(room(1), at(60));
        assert!(counts.is_now(room(2), at(2), now, PAUSE), "each room has a pace of its own");
        counts.advance(room(2), at(61));
        assert_eq!(counts.take(now, PAUSE), None);
        assert_eq!(counts.next(), Some(now + PAUSE));
        let now = now + PAUSE;
        assert_eq!(counts.take(now, PAUSE), Some((room(1), at(60))));
        assert_eq!((counts.take(now, PAUSE), counts.next()), (None, None));
        assert!(!counts.is_now(room(1), at(70), now, PAUSE), "it was counted just now");
        counts.forget(room(1));
        assert_eq!(counts.next(), None);
    }

    #[test]
    fn what_is_over_is_not_kept() {
        let (mut counts, now) = (UnreadDebounce::default(), Instant::now());
        for id in 1..100 {
            assert!(counts.is_now(room(id), at(1), now, PAUSE));
        }
        assert!(counts.is_now(room(1), at(2), now + PAUSE, PAUSE));
        assert_eq!(counts.pauses.len(), 1);
    }
}
