//! Receipt markers that the members' documents may still lack, in memory. They are laid over the documents at each
//! read.
//!
//! Markers are written to a [journal](super::journal) and folded into the members' documents later. Readers don't
//! query the journal. Folded batches are deleted from it, and the database's indexes keep deleted keys for minutes, so
//! that every reader would have to scan them. Each server learns the journal's contents from its change stream, and
//! raises members by the overlay after reading them.
//!
//! Each marker is kept with its commit time, so that the markers of any cluster time can be computed: a socket then
//! gets events for exactly the markers after that time. A marker is kept for some time after it was folded, for reads
//! of documents from before the folding. So the memory holds the markers of that time, and of the seconds until they
//! are folded.

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
    /// None if the member left: markers that were raised before don't count any more.
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

    /// Clears everything: the journal, or the members of these markers, were dropped.
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

    /// Puts back batches that could not be folded, so that they are taken again.
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

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);
    const AGE: Duration = Duration::from_secs(10);

    fn room() -> RoomId {
        RoomId::try_from(7).unwrap()
    }

    fn at(time: u32) -> Timestamp {
        Timestamp { time, increment: 1 }
    }

    fn batch(by: ObjectId, of: &[(i64, i64)]) -> Arc<JournalBatch> {
        let mark = |(user, n): &(i64, i64)| RaisedMarks {
            room: room(),
            user: UserId::Int(*user),
            marks: Marks { delivered: *n, read: *n - 1 },
        };
        let marks = of.iter().map(mark).collect();
        Arc::new(JournalBatch { id: ObjectId::new(), by, at: DateTime::from_millis(0), marks })
    }

    /// Returns how far this many members are delivered, whose documents say 3.
    fn delivered(overlay: &Overlay, count: i64, until: Timestamp) -> Vec<i64> {
        let member = |user| StoredMember {
            user: UserId::Int(user),
            email: None,
            role: handlers::Role::Member,
            marks: Marks { delivered: 3, read: 3 },
            pending: false,
        };
        let mut members: Vec<_> = (1..=count).map(member).collect();
        overlay.raise(room(), until, &mut members);
        members.iter().map(|member| member.marks.delivered).collect()
    }

    #[test]
    fn overlay_gives_the_markers_of_any_cluster_time() {
        let (overlay, now) = (Overlay::default(), Instant::now());
        overlay.add_batch(at(10), &batch(ObjectId::new(), &[(1, 4), (2, 2)]), now);
        overlay.add_batch(at(12), &batch(ObjectId::new(), &[(1, 6)]), now);
        for (until, expected) in [(9, [3, 3]), (10, [4, 3]), (11, [4, 3]), (12, [6, 3])] {
            assert_eq!(delivered(&overlay, 2, at(until)), expected, "by {until}");
            assert_eq!(delivered(&overlay, 20, at(until))[..2], expected, "of many, by {until}");
        }
        let own = overlay.of_user(&UserId::Int(1), [room(), RoomId::try_from(8).unwrap()], at(11));
        assert_eq!(own, HashMap::from([(room(), Marks { delivered: 4, read: 3 })]));
        assert_eq!((overlay.kept(), overlay.unfolded()), (3, 3));
    }

    #[test]
    fn markers_of_a_former_member_count_only_for_earlier_times() {
        let (overlay, now) = (Overlay::default(), Instant::now());
        let own = ObjectId::new();
        overlay.add_batch(at(10), &batch(own, &[(1, 5), (2, 5)]), now);
        overlay.drop_member(room(), &UserId::Int(1), at(11));
        overlay.drop_member(room(), &UserId::Int(9), at(11));
        assert_eq!(delivered(&overlay, 2, at(10)), [5, 5]);
        assert_eq!(delivered(&overlay, 2, cluster_time::MAX), [3, 5]);
        assert_eq!(delivered(&overlay, 20, cluster_time::MAX)[..2], [3, 5]);
        overlay.add_batch(at(12), &batch(own, &[(1, 4)]), now);
        assert_eq!(delivered(&overlay, 2, cluster_time::MAX), [4, 5]);
        let folded: Vec<_> =
            overlay.take_due_batches(own, AGE, now).iter().flat_map(|batch| batch.marks.clone()).collect();
        let folded: Vec<_> = folded.iter().map(|mark| (mark.user.clone(), mark.marks.delivered)).collect();
        assert_eq!(
            folded,
            [(UserId::Int(2), 5), (UserId::Int(1), 4)],
            "markers from before the leave are not folded"
        );
        assert_eq!(overlay.unfolded(), 2);
    }

    #[test]
    fn folded_batches_are_kept_for_the_grace_period() {
        let (overlay, now) = (Overlay::default(), Instant::now());
        let (first, second) = (batch(ObjectId::new(), &[(1, 5)]), batch(ObjectId::new(), &[(1, 6)]));
        overlay.add_batch(at(10), &first, now);
        overlay.add_batch(at(11), &second, now);
        // The later one may be folded first.
        overlay.mark_folded(second.id, now);
        overlay.remove_expired(GRACE, now + GRACE);
        assert_eq!((delivered(&overlay, 1, cluster_time::MAX), overlay.unfolded()), (vec![6], 1));
        overlay.mark_folded(first.id, now + GRACE);
        overlay.mark_folded(first.id, now + GRACE * 2);
        overlay.remove_expired(GRACE, now + GRACE);
        assert_eq!(overlay.kept(), 2);
        overlay.drop_member(room(), &UserId::Int(1), at(12));
        overlay.remove_expired(GRACE, now + GRACE * 2);
        assert_eq!((overlay.kept(), delivered(&overlay, 1, cluster_time::MAX)), (0, vec![3]));
        overlay.mark_folded(ObjectId::new(), now);
    }

    #[test]
    fn own_batches_are_taken_immediately_and_others_after_the_age() {
        let (overlay, now) = (Overlay::default(), Instant::now());
        let own = ObjectId::new();
        let (mine, theirs) = (batch(own, &[(1, 5)]), batch(ObjectId::new(), &[(2, 5)]));
        overlay.add_batch(at(10), &mine, now);
        overlay.add_batch(at(11), &theirs, now);
        assert_eq!(overlay.take_due_batches(own, AGE, now), std::slice::from_ref(&mine));
        assert_eq!(overlay.take_due_batches(own, AGE, now), [], "it is being folded");
        overlay.return_batches(std::slice::from_ref(&mine));
        assert_eq!(overlay.take_due_batches(own, AGE, now + AGE), [mine.clone(), theirs]);
        // Its deletion was never reported: the loss of a primary may have undone it.
        overlay.mark_folded(mine.id, now);
        assert_eq!(overlay.take_due_batches(own, AGE, now + AGE + TAKEN).len(), 1);
    }

    #[test]
    fn reload_takes_missing_journal_batches_as_folded() {
        let (overlay, now) = (Overlay::default(), Instant::now());
        let (gone, stays) = (batch(ObjectId::new(), &[(1, 5)]), batch(ObjectId::new(), &[(1, 6)]));
        overlay.add_batch(at(10), &gone, now);
        overlay.add_batch(at(11), &stays, now);
        let found = batch(ObjectId::new(), &[(2, 9)]);
        overlay.reload(&[stays.clone(), found.clone()], now);
        assert_eq!(delivered(&overlay, 2, at(9)), [3, 9]);
        assert_eq!(delivered(&overlay, 2, at(11)), [6, 9]);
        assert_eq!(overlay.unfolded(), 2);
        overlay.add_batch(at(12), &found, now);
        assert_eq!((overlay.kept(), overlay.unfolded()), (3, 2), "it was already known");
        for id in [stays.id, found.id] {
            overlay.mark_folded(id, now);
        }
        overlay.remove_expired(GRACE, now + GRACE);
        assert_eq!(overlay.kept(), 0);
    }
}
