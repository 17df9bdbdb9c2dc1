//! In which rooms anything has happened, and when last: what a socket of all of a user's rooms resumes by, without a look
//! at each of them.
//!
//! It follows the change stream, so that its times are those of the commits. What is kept is bounded; where it is full,
//! or the stream's history is lost, it begins anew, and knows nothing of what was before that.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bson::Timestamp;
use handlers::RoomId;

pub(crate) struct Touched {
    known: Mutex<Known>,
    limit: usize,
}

#[derive(Default)]
struct Known {
    /// All since then is known; none before the stream has begun.
    from: Option<Timestamp>,
    rooms: HashMap<RoomId, Timestamp>,
}

impl Touched {
    pub(crate) fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit }
    }

    /// Something happened in a room.
    pub(crate) fn saw(&self, room: RoomId, at: Timestamp) {
        let mut known = self.known();
        if known.rooms.len() >= self.limit && !known.rooms.contains_key(&room) {
            known.rooms.clear();
            known.from = Some(at);
        }
        known.from.get_or_insert(at);
        known.rooms.insert(room, at);
    }

    /// The stream has come so far.
    pub(crate) fn passed(&self, at: Timestamp) {
        self.known().from.get_or_insert(at);
    }

    /// What happened may have been missed.
    pub(crate) fn forget(&self) {
        *self.known() = Known::default();
    }

    /// Those of these rooms in which something happened after `since`; none where that isn't known.
    pub(crate) fn after(&self, since: Timestamp, of: &[RoomId]) -> Option<Vec<RoomId>> {
        let known = self.known();
        known.from.filter(|from| *from <= since)?;
        let touched = |room: &&RoomId| known.rooms.get(room).is_some_and(|at| *at > since);
        Some(of.iter().filter(touched).copied().collect())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: i64) -> RoomId {
        RoomId::try_from(id).unwrap()
    }

    fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    #[test]
    fn it_knows_what_happened_since_it_began_and_nothing_of_before() {
        let touched = Touched::new(2);
        let all = [room(1), room(2), room(3)];
        assert_eq!(touched.after(at(9), &all), None);
        touched.passed(at(5));
        touched.saw(room(1), at(7));
        touched.saw(room(2), at(9));
        assert_eq!(touched.after(at(4), &all), None);
        assert_eq!(touched.after(at(5), &all), Some(vec![room(1), room(2)]));
        assert_eq!(touched.after(at(7), &all), Some(vec![room(2)]));
        touched.saw(room(3), at(11));
        assert_eq!(
            (touched.after(at(9), &all), touched.after(at(11), &all)),
            (None, Some(vec![])),
            "full, it began anew"
        );
        touched.forget();
        assert_eq!(touched.after(at(99), &all), None);
    }
}
