//! Tells sockets of all of a user's rooms that a room, or who is in it, has changed.
//!
//! It is the same for all who are in the room, so it is read once for all of them, by a task of its own: in a group of a
//! thousand each would read a thousand members. Of several changes that come close together the last one counts. Whether a
//! socket's own user is in the room that socket finds out by itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::Timestamp;
use handlers::{InboxEvent, RoomId};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::hub::Hub;
use super::outbox::{Frame, InboxEffect, InboxMeta};
use crate::protocol::json::json;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// How long a change may take to be told, its turn included. Less than what a cursor takes for
/// [settled](crate::protocol::cursor): what waits here is told before it counts as told.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before a room is read again that could not be read, or is older than its change.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Rooms that are read at the same time.
const AT_ONCE: usize = 16;

/// What is still to be told. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct RoomChangeQueue(Arc<SharedRoomChanges>);

#[derive(Default)]
struct SharedRoomChanges {
    rooms: Mutex<ChangedRooms>,
    some: Notify,
}

/// At most as many as there are rooms with sockets here.
#[derive(Default)]
struct ChangedRooms {
    pending: HashMap<RoomId, PendingChange>,
    /// Those that are being told of: a later change waits until the one before it was told.
    notifying: HashSet<RoomId>,
}

#[derive(Clone, Copy)]
struct PendingChange {
    /// When it changed last.
    time: Timestamp,
    /// Since when the first of the changes waits.
    since: Instant,
}

impl RoomChangeQueue {
    /// A room has changed.
    pub(crate) fn saw(&self, room: RoomId, time: Timestamp) {
        let mut rooms = self.rooms();
        let pending =
            rooms.pending.entry(room).or_insert_with(|| PendingChange { time, since: Instant::now() });
        pending.time = time.max(pending.time);
        self.0.some.notify_one();
    }

    fn take(&self) -> Option<(RoomId, PendingChange)> {
        let mut rooms = self.rooms();
        let ChangedRooms { pending, notifying } = &mut *rooms;
        let free = pending.iter().filter(|(room, _)| !notifying.contains(*room));
        let first = *free.min_by_key(|(_, pending)| pending.since)?.0;
        notifying.insert(first);
        pending.remove_entry(&first)
    }

    /// A change was told; another of the room may be.
    fn done(&self, room: RoomId) {
        self.rooms().notifying.remove(&room);
        self.0.some.notify_one();
    }

    fn rooms(&self) -> MutexGuard<'_, ChangedRooms> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A room is being told of, until this is dropped: also where whoever tells it panics.
struct NotifyingGuard {
    changes: RoomChangeQueue,
    room: RoomId,
}

impl Drop for NotifyingGuard {
    fn drop(&mut self) {
        self.changes.done(self.room);
    }
}

/// What tells it.
pub(crate) struct RoomChangeNotifier {
    pub(crate) changes: RoomChangeQueue,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
}

impl RoomChangeNotifier {
    /// Tells, for ever.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let this = Arc::new(self);
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let Some((room, pending)) = this.changes.take() else {
                this.changes.0.some.notified().await;
                continue;
            };
            let guard = NotifyingGuard { changes: this.changes.clone(), room };
            let this = this.clone();
            tokio::spawn(async move {
                this.notify(room, pending).await;
                drop((guard, permit));
            });
        }
    }

    async fn notify(&self, room: RoomId, PendingChange { time, since }: PendingChange) {
        let end = since + PATIENCE;
        let error = loop {
            match tokio::time::timeout_at(end, self.store.change_of(room)).await {
                Ok(Ok(Some((read_at, change)))) if read_at >= time => {
                    let event = json(&InboxEvent::RoomChanged { room: change });
                    let inbox = Some(InboxMeta { room, what: InboxEffect::Event });
                    let frame = Frame { inbox, ..Frame::new(event, time) };
                    return self.hub.send_to_inboxes(&[room], frame);
                }
                // It was deleted: each of its members is told so.
                Ok(Ok(None)) => return,
                Ok(Ok(Some(_))) if Instant::now() >= end => break "what is read is older".to_owned(),
                Ok(Err(error)) if Instant::now() >= end => break error.to_string(),
                Ok(_) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(_) => break format!("it took longer than {PATIENCE:?}"),
            }
        };
        self.metrics.fault("inbox");
        tracing::error!(%error, %room, "how a room has changed can't be told; its sockets are to come back");
        self.hub.send_inboxes_away(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_told_of_by_one_at_a_time_and_of_what_came_meanwhile_once() {
        let (changes, room) = (RoomChangeQueue::default(), RoomId::MIN);
        let at = |time| Timestamp { time, increment: 1 };
        changes.saw(room, at(1));
        assert_eq!(changes.take().unwrap().1.time, at(1));
        for time in [2, 4, 3] {
            changes.saw(room, at(time));
        }
        assert!(changes.take().is_none(), "it is being told of");
        changes.done(room);
        assert_eq!(changes.take().unwrap().1.time, at(4));
        changes.done(room);
        assert!(changes.take().is_none());
    }
}
