//! The overlay keeps in memory the receipt markers that the members' documents may not contain yet. After a read of
//! members from the database, these markers are merged into the members.
//!
//! Markers are first written to a [journal](super::journal). Later they are folded: written into the members' documents
//! and deleted from the journal. Readers don't query the journal. The database's indexes keep deleted keys for minutes,
//! so every query would have to scan the keys of deleted batches. Instead, each server receives the content of the
//! journal from its change stream.
//!
//! Each marker is kept with the cluster time (MongoDB's logical clock) of its commit. So the overlay can compute the
//! markers at any recent cluster time. The first frame of a socket contains the markers up to one cluster time, and the
//! socket receives events for exactly the later markers. A folded marker is kept for some more time, because a read
//! that is still running may return the member's old document. After this time, the overlay drops the marker.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use bson::{DateTime, Timestamp};
use handlers::{RoomId, UserId};

use crate::model::cluster_time;
use crate::model::receipts::Marks;
use crate::model::room::StoredMember;

/// The time for which a batch that was taken for folding is not taken again.
const TAKEN: Duration = Duration::from_secs(10);

/// The maximum number of members for which a separate search for each member is faster than a map of all markers.
const FEW: usize = 16;

/// The raised receipt markers of one member in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaisedMarks {
    pub(crate) room: RoomId,
    pub(crate) user: UserId,
    pub(crate) marks: Marks,
}

/// Markers that were written together, in one document of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalBatch {
    pub(crate) id: ObjectId,
    /// The server that wrote the batch.
    pub(crate) by: ObjectId,
    /// The time of the batch: the estimate of the database's clock on the server that wrote the batch.
    pub(crate) at: DateTime,
    pub(crate) marks: Vec<RaisedMarks>,
}

/// A server's copy of the recent journal.
#[derive(Default)]
pub(crate) struct Overlay {
    state: Mutex<OverlayState>,
    /// Locked during folding, so that a shutdown can wait until folding has ended.
    pub(in crate::store) folding: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct OverlayState {
    /// The changes of markers in each room, in the order of their times.
    rooms: HashMap<RoomId, Vec<MarkChange>>,
    batches: BTreeMap<(Timestamp, ObjectId), BatchState>,
    times: HashMap<ObjectId, Timestamp>,
    /// The number of entries in `rooms`.
    kept: usize,
    unfolded: usize,
}

/// A change of one member's markers.
struct MarkChange {
    user: UserId,
    time: Timestamp,
    /// The raised markers. None if the member left the room: then markers that were raised earlier no longer count.
    marks: Option<Marks>,
}

enum BatchState {
    Unfolded { batch: Arc<JournalBatch>, received: Instant, taken_at: Option<Instant> },
    Folded(Instant),
}

impl Overlay {
    /// Adds a batch that was committed at the cluster time `time`.
    pub(crate) fn add_batch(&self, time: Timestamp, batch: &Arc<JournalBatch>, now: Instant) {
        self.state().add(time, batch, now);
    }

    /// Drops a member's markers, because the member left the room at the cluster time `time`. If the user joins the
    /// room again, these markers don't count.
    pub(crate) fn drop_member(&self, room: RoomId, user: &UserId, time: Timestamp) {
        let mut state = self.state();
        let Some(raised) = state.rooms.get_mut(&room) else { return };
        if !raised.iter().any(|raised| raised.user == *user) {
            return;
        }
        insert(raised, MarkChange { user: user.clone(), time, marks: None });
        state.kept += 1;
        let mut fewer = 0;
        for kept in state.batches.values_mut() {
            if let BatchState::Unfolded { batch, .. } = kept {
                let of_user = |mark: &RaisedMarks| mark.room == room && mark.user == *user;
                let gone = batch.marks.iter().filter(|mark| of_user(mark)).count();
                if gone > 0 {
                    Arc::make_mut(batch).marks.retain(|mark| !of_user(mark));
                    fewer += gone;
                }
            }
        }
        state.unfolded -= fewer;
    }

    /// Marks a batch as folded: the members' documents contain its markers, and the journal no longer contains the
    /// batch.
    pub(crate) fn mark_folded(&self, id: ObjectId, now: Instant) {
        self.state().fold(id, now);
    }

    /// Compares the overlay with the content of the journal, because the change stream may have missed batches or
    /// deletions. Adds the batches that the overlay lacks. Batches that are not in `journal` count as folded.
    pub(crate) fn reload(&self, journal: &[Arc<JournalBatch>], now: Instant) {
        let mut state = self.state();
        let there: HashSet<_> = journal.iter().map(|batch| batch.id).collect();
        let gone: Vec<_> = state.times.keys().filter(|id| !there.contains(id)).copied().collect();
        for id in gone {
            state.fold(id, now);
        }
        for batch in journal {
            // The commit time of a new batch is unknown. The batch was committed before the change stream began, so its
            // markers count at every time.
            state.add(cluster_time::ZERO, batch, now);
        }
    }

    /// Clears the overlay, because the collection of the journal or of the members was dropped.
    pub(crate) fn clear(&self) {
        *self.state() = OverlayState::default();
    }

    /// Removes the batches that were folded at least `grace` ago, and their markers. A batch also stays while a batch
    /// with an earlier commit time stays.
    pub(crate) fn remove_expired(&self, grace: Duration, now: Instant) {
        let mut state = self.state();
        let before = state.batches.len();
        while let Some(first) = state.batches.first_entry() {
            match first.get() {
                BatchState::Folded(since) if now.saturating_duration_since(*since) >= grace => {
                    let ((_, id), _) = first.remove_entry();
                    state.times.remove(&id);
                }
                _ => break,
            }
        }
        if state.batches.len() == before {
            return;
        }
        let from = state.batches.first_key_value().map(|((time, _), _)| *time);
        state.rooms.retain(|_, raised| {
            raised.retain(|raised| from.is_some_and(|from| raised.time >= from));
            raised.shrink_to(raised.len() * 2);
            !raised.is_empty()
        });
        state.kept = state.rooms.values().map(Vec::len).sum();
    }

    /// Returns the batches to fold: all batches of this server, and the batches of other servers that arrived at least
    /// `age` ago. The servers of these older batches count as dead. Batches that were already taken less than [`TAKEN`]
    /// ago are left out.
    pub(crate) fn take_due_batches(
        &self,
        own: ObjectId,
        age: Duration,
        now: Instant,
    ) -> Vec<Arc<JournalBatch>> {
        let mut due = Vec::new();
        for kept in self.state().batches.values_mut() {
            if let BatchState::Unfolded { batch, received, taken_at } = kept
                && (batch.by == own || now.saturating_duration_since(*received) >= age)
                && taken_at.is_none_or(|at| now.saturating_duration_since(at) >= TAKEN)
            {
                *taken_at = Some(now);
                due.push(batch.clone());
            }
        }
        due
    }

    /// Makes batches that could not be folded available to the next [`take_due_batches`](Self::take_due_batches).
    pub(crate) fn return_batches(&self, batches: &[Arc<JournalBatch>]) {
        let mut state = self.state();
        for id in batches.iter().map(|batch| batch.id) {
            let key = state.times.get(&id).map(|time| (*time, id));
            if let Some(BatchState::Unfolded { taken_at, .. }) =
                key.and_then(|key| state.batches.get_mut(&key))
            {
                *taken_at = None;
            }
        }
    }

    /// Raises the markers of a room's members to the markers in the overlay with a commit time up to `until`. The
    /// result contains all markers up to `until` if the change stream has reached this time.
    pub(crate) fn raise(&self, room: RoomId, until: Timestamp, members: &mut [StoredMember]) {
        let state = self.state();
        let Some(raised) = state.rooms.get(&room) else { return };
        let raised = raised.iter().take_while(|raised| raised.time <= until);
        if members.len() <= FEW {
            for member in members {
                let marks = highest(raised.clone().filter(|raised| raised.user == member.user));
                member.marks = member.marks.max(marks);
            }
            return;
        }
        let mut of: HashMap<&UserId, Marks> = HashMap::new();
        for MarkChange { user, marks, .. } in raised {
            let highest = of.entry(user).or_default();
            *highest = marks.map_or_else(Marks::default, |marks| highest.max(marks));
        }
        for member in members {
            member.marks = member.marks.max(of.get(&member.user).copied().unwrap_or_default());
        }
    }

    /// Returns a user's markers in `rooms` that were raised up to the cluster time `until`.
    pub(crate) fn of_user(
        &self,
        user: &UserId,
        rooms: impl IntoIterator<Item = RoomId>,
        until: Timestamp,
    ) -> HashMap<RoomId, Marks> {
        let state = self.state();
        let of_room = |room: RoomId| {
            let raised = state.rooms.get(&room)?.iter().take_while(|raised| raised.time <= until);
            let marks = highest(raised.filter(|raised| raised.user == *user));
            (marks != Marks::default()).then_some((room, marks))
        };
        rooms.into_iter().filter_map(of_room).collect()
    }

    /// Returns the number of marker changes in memory.
    pub(crate) fn kept(&self) -> usize {
        self.state().kept
    }

    /// Returns the number of markers that are not folded yet.
    pub(crate) fn unfolded(&self) -> usize {
        self.state().unfolded
    }

    fn state(&self) -> MutexGuard<'_, OverlayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OverlayState {
    fn add(&mut self, time: Timestamp, batch: &Arc<JournalBatch>, now: Instant) {
        if self.times.contains_key(&batch.id) {
            return;
        }
        for RaisedMarks { room, user, marks } in &batch.marks {
            let raised = MarkChange { user: user.clone(), time, marks: Some(*marks) };
            insert(self.rooms.entry(*room).or_default(), raised);
        }
        self.kept += batch.marks.len();
        self.unfolded += batch.marks.len();
        self.times.insert(batch.id, time);
        let kept = BatchState::Unfolded { batch: batch.clone(), received: now, taken_at: None };
        self.batches.insert((time, batch.id), kept);
    }

    fn fold(&mut self, id: ObjectId, now: Instant) {
        let Some(time) = self.times.get(&id).copied() else { return };
        let Some(kept) = self.batches.get_mut(&(time, id)) else { return };
        if let BatchState::Unfolded { batch, .. } = kept {
            self.unfolded -= batch.marks.len();
            *kept = BatchState::Folded(now);
        }
    }
}

/// Inserts a change after all changes that are not later. This position is usually at the end, so the search starts at
/// the end.
fn insert(all: &mut Vec<MarkChange>, raised: MarkChange) {
    let at = all.iter().rposition(|other| other.time <= raised.time).map_or(0, |before| before + 1);
    all.insert(at, raised);
}

fn highest<'a>(raised: impl Iterator<Item = &'a MarkChange>) -> Marks {
    raised.fold(Marks::default(), |highest, raised| {
        raised.marks.map_or_else(Marks::default, |marks| highest.max(marks))
    })
}
