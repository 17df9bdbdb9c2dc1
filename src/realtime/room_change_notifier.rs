//! Notifies inbox connections when a room or its members have changed.
//!
//! A separate task reads the new state of the room from the database, once for all members, because all members receive
//! the same state. Otherwise, in a group of a thousand members, each socket would read a thousand members. If several
//! changes of a room wait in the queue, the task reads the room once for all these changes. Each socket finds out by
//! itself whether its own user is still in the room.

use std::sync::Arc;
use std::time::Duration;

use bson::Timestamp;
use handlers::{InboxEvent, RoomId};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::coalescing_queue::{Coalesce, CoalescingQueue};
use super::frame::{Frame, FrameKind, InboxFrame};
use super::hub::Hub;
use crate::protocol::json::json;
use crate::retry::{self, AttemptError};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// The time limit for sending a change, including its time in the queue. A client's cursor has a
/// [settled](crate::protocol::cursor) time. All changes up to the settled time count as sent. The settled time lies ten
/// seconds before the latest event, which is longer than this limit. Therefore a change that still waits in the queue
/// is later than the settled time, and a client that resumes receives this change.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The mean pause before a room is read again. A read is repeated if it failed, or if it returned data that is older
/// than the change.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The maximum number of rooms that are read concurrently.
const AT_ONCE: usize = 16;

/// The rooms that have changed, each with the time of its last change. The queue has at most one change for each room
/// with sockets on this server.
pub(crate) type RoomChangeQueue = CoalescingQueue<RoomId, RoomChangedAt>;

/// The commit time of a room's last change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RoomChangedAt(pub(crate) Timestamp);

impl Coalesce for RoomChangedAt {
    fn merge(self, later: Self) -> Option<Self> {
        Some(Self(self.0.max(later.0)))
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
            let taken = this.changes.take(1).await;
            let this = this.clone();
            tokio::spawn(async move {
                for change in &taken.changes {
                    this.notify(change.key, change.change.0, change.since).await;
                }
                drop((taken, permit));
            });
        }
    }

    /// Reads a room and sends its new state. `time` is the cluster time (MongoDB's logical clock) of the change. If the
    /// data is as of an earlier cluster time, reads the room again. `since` is the time at which the change was queued.
    async fn notify(&self, room: RoomId, time: Timestamp, since: Instant) {
        let end = since + TIMEOUT;
        let read = || async {
            match tokio::time::timeout_at(end, self.store.change_of(room)).await {
                Ok(Ok(Some((read_at, change)))) if read_at >= time => Ok(Some(change)),
                // The room was deleted. A separate event notifies each member of the deletion.
                Ok(Ok(None)) => Ok(None),
                Ok(Ok(Some(_))) => {
                    Err(AttemptError::Retry("the data that was read is older than the change".to_owned()))
                }
                Ok(Err(error)) => Err(AttemptError::Retry(error.to_string())),
                Err(_) => Err(AttemptError::Final(format!("it took longer than {TIMEOUT:?}"))),
            }
        };
        let error = match retry::until(end, RETRY_PAUSE, read).await {
            Ok(Some(change)) => {
                let event = json(&InboxEvent::RoomChanged { room: change });
                let frame = Frame::new(event, time, FrameKind::Inbox(InboxFrame::RoomChanged(room)));
                return self.hub.send_to_inboxes(&[room], frame);
            }
            Ok(None) => return,
            Err(error) => error,
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
    fn merged_change_has_the_later_time() {
        let at = |time| RoomChangedAt(Timestamp { time, increment: 1 });
        assert_eq!(at(2).merge(at(4)), Some(at(4)));
        assert_eq!(at(4).merge(at(3)), Some(at(4)));
    }
}
