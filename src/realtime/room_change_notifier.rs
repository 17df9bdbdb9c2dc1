//! Notifies inbox connections when a room or its members have changed.
//!
//! The new state is the same for all members, so a separate task reads it once for all of them. Otherwise, in a group
//! of a thousand, each socket would read a thousand members. Of several changes in quick succession only the last one
//! counts. Each socket finds out by itself whether its own user is still in the room.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::Timestamp;
use handlers::{InboxEvent, RoomId};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::frame::{Frame, FrameKind, InboxFrame};
use super::hub::Hub;
use crate::protocol::json::json;
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// How long a change may take to be sent, including its time in the queue. It is shorter than the time after which a
/// cursor counts as [settled](crate::protocol::cursor): a change that waits here is sent before that.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before a room is read again, if the read failed or is older than the change.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Rooms that are read concurrently.
const AT_ONCE: usize = 16;

/// The room changes to send. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct RoomChangeQueue(Arc<SharedRoomChanges>);

#[derive(Default)]
struct SharedRoomChanges {
    rooms: Mutex<ChangedRooms>,
    some: Notify,
}

/// Bounded by the number of rooms with sockets here.
#[derive(Default)]
struct ChangedRooms {
    pending: HashMap<RoomId, PendingChange>,
    /// The rooms whose notification is under way: a later change waits for it.
    notifying: HashSet<RoomId>,
}

#[derive(Clone, Copy)]
struct PendingChange {
    /// When it changed last.
    time: Timestamp,
    /// When the first of the changes was queued.
    since: Instant,
}

impl RoomChangeQueue {
    /// Queues a change of a room.
    pub(crate) fn queue(&self, room: RoomId, time: Timestamp) {
        let mut rooms = self.rooms();
        let pending =
            rooms.pending.entry(room).or_insert_with(|| PendingChange { time, since: Instant::now() });
        pending.time = time.max(pending.time);
        self.0.some.notify_one();
    }

    fn take_oldest(&self) -> Option<(RoomId, PendingChange)> {
        let mut rooms = self.rooms();
        let ChangedRooms { pending, notifying } = &mut *rooms;
        let free = pending.iter().filter(|(room, _)| !notifying.contains(*room));
        let first = *free.min_by_key(|(_, pending)| pending.since)?.0;
        notifying.insert(first);
        pending.remove_entry(&first)
    }

    /// Ends the notification of a room, so that its next change can be sent.
    fn end_notification(&self, room: RoomId) {
        self.rooms().notifying.remove(&room);
        self.0.some.notify_one();
    }

    fn rooms(&self) -> MutexGuard<'_, ChangedRooms> {
        self.0.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a notification as under way, until this is dropped: also if the notifying task panics.
struct NotifyingGuard {
    changes: RoomChangeQueue,
    room: RoomId,
}

impl Drop for NotifyingGuard {
    fn drop(&mut self) {
        self.changes.end_notification(self.room);
    }
}

/// Sends the queued room changes.
pub(crate) struct RoomChangeNotifier {
    pub(crate) changes: RoomChangeQueue,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
}

impl RoomChangeNotifier {
    /// Sends room changes. Never returns.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(AT_ONCE));
        let this = Arc::new(self);
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let Some((room, pending)) = this.changes.take_oldest() else {
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
        let end = since + TIMEOUT;
        let error = loop {
            match tokio::time::timeout_at(end, self.store.change_of(room)).await {
                Ok(Ok(Some((read_at, change)))) if read_at >= time => {
                    let event = json(&InboxEvent::RoomChanged { room: change });
                    let frame = Frame::new(event, time, FrameKind::Inbox(InboxFrame::RoomChanged(room)));
                    return self.hub.send_to_inboxes(&[room], frame);
                }
                // The room was deleted: each member is notified of that separately.
                Ok(Ok(None)) => return,
                Ok(Ok(Some(_))) if Instant::now() >= end => {
                    break "the data that was read is older than the change".to_owned();
                }
                Ok(Err(error)) if Instant::now() >= end => break error.to_string(),
                Ok(_) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(_) => break format!("it took longer than {TIMEOUT:?}"),
            }
        };
        self.metrics.count_fault("inbox");
        tracing::error!(%error, %room, "could not load the changed room; disconnecting its inbox sockets so that they resume");
        self.hub.send_inboxes_away(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_during_a_notification_are_sent_once_after_it() {
        let (changes, room) = (RoomChangeQueue::default(), RoomId::MIN);
        let at = |time| Timestamp { time, increment: 1 };
        changes.queue(room, at(1));
        assert_eq!(changes.take_oldest().unwrap().1.time, at(1));
        for time in [2, 4, 3] {
            changes.queue(room, at(time));
        }
        assert!(changes.take_oldest().is_none(), "a notification is under way");
        changes.end_notification(room);
        assert_eq!(changes.take_oldest().unwrap().1.time, at(4));
        changes.end_notification(room);
        assert!(changes.take_oldest().is_none());
    }
}
