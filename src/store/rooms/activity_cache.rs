//! When something was last said in the rooms whose order somebody has asked for: a list of a user's rooms costs one
//! read of the index by user, and not one for each room.
//!
//! A room is learnt from its messages once and then follows the change stream, which brings every message to every
//! server anyway: a message costs no write for it. What is kept is bounded; where it is full, or the stream's history
//! is lost, all of it is learnt anew. While the stream is broken the order is the one before.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use handlers::{RoomId, Time};

/// What stands for a room that is still being read, or in which nothing was ever said.
const NEVER: Time = Time(i64::MIN);

/// The last activity of rooms.
pub(crate) struct Activity {
    known: Mutex<Known>,
    limit: usize,
}

#[derive(Default)]
struct Known {
    /// False while it is still being read: what is said meanwhile is noted already.
    rooms: HashMap<RoomId, (Time, bool)>,
    /// How often it began anew: what was read before that may lack what was said since.
    begun: u64,
}

/// What is known of some rooms, and what is to be read.
pub(crate) struct Asked {
    pub(crate) known: HashMap<RoomId, Time>,
    pub(crate) missing: Vec<RoomId>,
    begun: u64,
}

impl Activity {
    pub(crate) fn new(limit: usize) -> Self {
        Self { known: Mutex::default(), limit }
    }

    /// Something was said.
    pub(crate) fn saw(&self, room: RoomId, at: Time) {
        if let Some((last, _)) = self.known().rooms.get_mut(&room) {
            *last = at.max(*last);
        }
    }

    /// What is known of these rooms. From now on the others are followed, and are to be [`learnt`](Self::learnt).
    pub(crate) fn ask(&self, rooms: impl Iterator<Item = RoomId>) -> Asked {
        let mut known = self.known();
        let (mut told, mut missing) = (HashMap::new(), Vec::new());
        for room in rooms {
            match known.rooms.get(&room) {
                Some((at, true)) => drop(told.insert(room, *at)),
                _ => missing.push(room),
            }
        }
        if known.rooms.len() + missing.len() > self.limit {
            known.begin_anew();
        }
        for room in missing.iter().take(self.limit) {
            known.rooms.entry(*room).or_insert((NEVER, false));
        }
        Asked { known: told, missing, begun: known.begun }
    }

    /// These were read: when something was last said in them, where anything was.
    pub(crate) fn learnt(&self, asked: &mut Asked, read: &HashMap<RoomId, Time>, of: &[RoomId]) {
        let mut known = self.known();
        for room in of {
            let at = read.get(room).copied().unwrap_or(NEVER);
            asked.known.insert(*room, at);
            if known.begun == asked.begun
                && let Some(entry) = known.rooms.get_mut(room)
            {
                *entry = (at.max(entry.0), true);
            }
        }
    }

    /// What was said may have been missed.
    pub(crate) fn forget(&self) {
        self.known().begin_anew();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn begin_anew(&mut self) {
        self.rooms.clear();
        self.begun += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(id: i64) -> RoomId {
        RoomId::try_from(id).unwrap()
    }

    fn learn(activity: &Activity, asked: &mut Asked, at: i64) {
        let missing = asked.missing.clone();
        let read = missing.iter().map(|room| (*room, Time(at))).collect();
        activity.learnt(asked, &read, &missing);
    }

    #[test]
    fn what_is_said_while_a_room_is_read_is_not_lost() {
        let activity = Activity::new(10);
        let mut asked = activity.ask([room(1)].into_iter());
        activity.saw(room(1), Time(7));
        activity.saw(room(2), Time(7));
        learn(&activity, &mut asked, 5);
        let asked = activity.ask([room(1), room(2)].into_iter());
        assert_eq!((asked.known[&room(1)], asked.missing), (Time(7), vec![room(2)]));
    }

    #[test]
    fn what_was_read_before_it_began_anew_is_not_kept() {
        let activity = Activity::new(10);
        let mut before = activity.ask([room(1)].into_iter());
        activity.forget();
        let after = activity.ask([room(1)].into_iter());
        learn(&activity, &mut before, 5);
        assert_eq!(before.known[&room(1)], Time(5), "it is good enough for who asked");
        assert_eq!(
            (activity.ask([room(1)].into_iter()).missing, after.missing),
            (vec![room(1)], vec![room(1)])
        );
    }

    #[test]
    fn it_keeps_no_more_rooms_than_it_may() {
        let activity = Activity::new(3);
        for ids in [1..=2, 3..=4, 5..=9] {
            let mut asked = activity.ask(ids.clone().map(room));
            learn(&activity, &mut asked, 1);
            assert_eq!(asked.known.len(), ids.count(), "whoever asks is told of all");
            assert!(activity.known().rooms.len() <= 3);
        }
    }
}
