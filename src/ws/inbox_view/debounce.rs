//! Decides when an inbox connection counts the unread messages of a room. Each count is a query to the database, and
//! one receipt marker or deletion may require a count for a thousand sockets. The first count is made immediately. A
//! pause of `sockets.unread_ms` follows. All counts that become necessary during the pause are combined into one count
//! at the end of the pause.

use std::collections::HashMap;
use std::time::Duration;

use bson::Timestamp;
use handlers::RoomId;
use tokio::time::Instant;

/// The state of the unread counts of one socket.
#[derive(Debug, Default)]
pub(super) struct UnreadDebounce {
    /// The end of the pause after the last count of each room.
    pauses: HashMap<RoomId, Instant>,
    /// The rooms that wait for a count at the end of their pause. The value is the cluster time (the time of MongoDB's
    /// logical clock) of the last event that the socket received from the room.
    due: HashMap<RoomId, Timestamp>,
}

impl UnreadDebounce {
    /// Returns whether the unread messages of a room must be counted now. If the room's pause is not over, they are
    /// counted at the end of the pause. The count then includes every change up to the cluster time `as_of`.
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

    /// Records that the socket received an event of a room with the cluster time `time`. If the room waits for a count,
    /// that count must include the event.
    pub(super) fn advance(&mut self, room: RoomId, time: Timestamp) {
        if let Some(as_of) = self.due.get_mut(&room) {
            *as_of = time.max(*as_of);
        }
    }

    /// Cancels the waiting count of a room, because the socket knows the number of unread messages or no longer needs
    /// it.
    pub(super) fn forget(&mut self, room: RoomId) {
        self.due.remove(&room);
    }

    /// Returns the time when the next count is due. None if no count waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.keys().filter_map(|room| self.pauses.get(room)).min().copied()
    }

    /// Removes and returns a room whose pause is over. The count must include every change up to the returned cluster
    /// time.
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
    fn burst_is_counted_immediately_and_once_at_its_end() {
        let (mut counts, now) = (UnreadDebounce::default(), Instant::now());
        assert!(counts.is_now(room(1), at(1), now, PAUSE));
        assert_eq!(counts.next(), None);
        for time in 2..50 {
            assert!(!counts.is_now(room(1), at(time), now, PAUSE));
        }
        counts.advance(room(1), at(60));
        assert!(counts.is_now(room(2), at(2), now, PAUSE), "each room has its own pause");
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
    fn finished_pauses_are_removed() {
        let (mut counts, now) = (UnreadDebounce::default(), Instant::now());
        for id in 1..100 {
            assert!(counts.is_now(room(id), at(1), now, PAUSE));
        }
        assert!(counts.is_now(room(1), at(2), now + PAUSE, PAUSE));
        assert_eq!(counts.pauses.len(), 1);
    }
}
