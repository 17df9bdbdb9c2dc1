//! The last number each room has given out, as far as this server knows.
//!
//! A guess that is never too high: it comes from what a majority has confirmed. Where it is too low the insert
//! meets a taken `_id` and the writer reads the true one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use handlers::RoomId;

/// A bounded map of rooms; when it is full it starts anew, for a miss costs one read and nothing else.
pub(crate) struct LastNumbers {
    known: Mutex<HashMap<RoomId, i64>>,
    limit: usize,
}

impl LastNumbers {
    pub(crate) fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit }
    }

    /// A message with this number exists; 0 where it is known of none.
    pub(crate) fn saw(&self, room: RoomId, n: i64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.limit && !known.contains_key(&room) {
            known.clear();
        }
        let last = known.entry(room).or_default();
        *last = n.max(*last);
    }

    /// The same, but only where the room is one that this server writes to or has open.
    pub(crate) fn saw_if_known(&self, room: RoomId, n: i64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = known.get_mut(&room) {
            *last = n.max(*last);
        }
    }

    pub(crate) fn last(&self, room: RoomId) -> Option<i64> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&room).copied()
    }

    pub(crate) fn forget(&self, room: RoomId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_no_more_rooms_than_it_may_and_never_forgets_upwards() {
        let numbers = LastNumbers::new(2);
        let room = |id| RoomId::try_from(id).unwrap();
        numbers.saw(room(1), 7);
        numbers.saw(room(1), 5);
        numbers.saw_if_known(room(2), 9);
        assert_eq!((numbers.last(room(1)), numbers.last(room(2))), (Some(7), None));
        numbers.saw(room(2), 1);
        numbers.saw(room(3), 1);
        assert_eq!(numbers.known.lock().unwrap().len(), 1, "full, it began anew");
        assert_eq!((numbers.last(room(1)), numbers.last(room(3))), (None, Some(1)));
    }
}
