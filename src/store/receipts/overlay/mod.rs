//! Receipt markers that the members' documents may still lack, in memory. They are laid over the documents at each
//! read.
//!
//! Markers are written to a [journal](super::journal) and folded into the members' documents later. Readers don't
//! query the journal. Folded batches are deleted from it, and the database's indexes keep deleted keys for minutes, so
//! that every reader would have to scan them. Each server learns the journal's contents from its change stream, and
//! raises members by the overlay after reading them.
//!
//! Each marker is kept with its commit time, so that the markers of any cluster time can be computed: a socket then
//! gets events for exactly the markers after that time. A marker is kept for some time after it was folded, because a
//! read may still see the documents as they were before. The overlay therefore holds only recent markers.

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

/// After a batch was taken for folding, it is not taken again for this time.
const TAKEN: Duration = Duration::from_secs(10);

/// Up to this many members, looking up each member's markers on its own is faster.
const FEW: usize = 16;

/// A member's raised markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaisedMarks {
    pub(crate) room: RoomId,
    pub(crate) user: UserId,
    pub(crate) marks: Marks,
}

/// Markers that were written together: one document of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JournalBatch {
    pub(crate) id: ObjectId,
    /// The server that wrote the batch.
    pub(crate) by: ObjectId,
    /// By the clock of the server that wrote it.
    pub(crate) at: DateTime,
    pub(crate) marks: Vec<RaisedMarks>,
}

/// A server's copy of the journal.
#[derive(Default)]
pub(crate) struct Overlay {
    state: Mutex<OverlayState>,
    /// Held during folding, so that a shutdown waits for it.
    pub(in crate::store) folding: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct OverlayState {
    /// In the order of their times.
    rooms: HashMap<RoomId, Vec<MarkChange>>,
    batches: BTreeMap<(Timestamp, ObjectId), BatchState>,
    times: HashMap<ObjectId, Timestamp>,
    /// Entries in `rooms`.
    kept: usize,
    unfolded: usize,
}

/// A change of one member's markers.
struct MarkChange {
    user: UserId,
    time: Timestamp,
    /// None if the member left. Markers that were raised before then no longer count.
    marks: Option<Marks>,
}

enum BatchState {
    Unfolded { batch: Arc<JournalBatch>, received: Instant, taken_at: Option<Instant> },
    Folded(Instant),
}

impl Overlay {
    /// Adds a batch that was committed at this time.
    pub(crate) fn add_batch(&self, time: Timestamp, batch: &Arc<JournalBatch>, now: Instant) {
        self.state().add(time, batch, now);
    }

    /// Drops a member's markers, because the member left. After a return they do not apply.
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

    /// Marks a batch as folded: it is in the members' documents, and no longer in the journal.
    pub(crate) fn mark_folded(&self, id: ObjectId, now: Instant) {
        self.state().fold(id, now);
    }

    /// Replaces the batches by the journal's, because change events may have been missed.
    pub(crate) fn reload(&self, journal: &[Arc<JournalBatch>], now: Instant) {
        let mut state = self.state();
        let there: HashSet<_> = journal.iter().map(|batch| batch.id).collect();
        let gone: Vec<_> = state.times.keys().filter(|id| !there.contains(id)).copied().collect();
        for id in gone {
            state.fold(id, now);
        }
        for batch in journal {
            // The commit time of the batch is unknown. It was before the stream began.
            state.add(cluster_time::ZERO, batch, now);
        }
    }

    /// Clears the overlay, because the journal or the members were dropped.
    pub(crate) fn clear(&self) {
        *self.state() = OverlayState::default();
    }

    /// Forgets the batches that were folded at least `grace` ago.
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

    /// Takes the batches to fold: all of this server, and those of any server that came at least `age` ago and so were
    /// left by a dead server.
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

    /// Returns batches that could not be folded, so that they are taken again.
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

    /// Raises a room's members by all markers up to `until`. Call it after the documents were read, or once the change
    /// stream has reached the snapshot time of the read.
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

    /// Returns a user's markers in these rooms that were raised up to `until`.
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

    /// Returns the number of markers in memory.
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

/// Inserts after everything that isn't later. That is usually the end, so the search starts there.
fn insert(all: &mut Vec<MarkChange>, raised: MarkChange) {
    let at = all.iter().rposition(|other| other.time <= raised.time).map_or(0, |before| before + 1);
    all.insert(at, raised);
}

fn highest<'a>(raised: impl Iterator<Item = &'a MarkChange>) -> Marks {
    raised.fold(Marks::default(), |highest, raised| {
        raised.marks.map_or_else(Marks::default, |marks| highest.max(marks))
    })
}
