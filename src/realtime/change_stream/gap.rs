//! Reads the changes that open rooms (rooms with sockets on this server) missed. This happens after the database has
//! lost the history of the change stream.

use std::time::Duration;

use bson::Timestamp;
use handlers::RoomId;

use super::ChangeStreamReader;
use crate::protocol::close::Close;
use crate::realtime::hub::CatchUp;
use crate::retry;
use crate::store::StoreError;

/// The mean pause after a failed read, before the next attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The read of the missed revisions (edits and deletes) starts this duration before the last received change. The
/// database stamps a revision with a time shortly before the commit. Therefore a missed revision may have an earlier
/// stamp than the last received change. Some revisions are sent again.
const STAMPED_BEFORE: Duration = Duration::from_secs(10);

impl ChangeStreamReader {
    /// Reads the missed changes of every open room. `last` is the commit time of the last received change.
    pub(super) async fn catch_up(&self, last: Timestamp) {
        let before = u32::try_from(STAMPED_BEFORE.as_secs()).unwrap_or(u32::MAX);
        let since = Timestamp { time: last.time.saturating_sub(before), increment: 0 };
        // The new stream begins at the latest operation of the primary. A snapshot shows only data that a majority has
        // stored, so it may lack writes from shortly before this beginning. The heartbeat is written after the
        // beginning. After a majority has stored the heartbeat, a snapshot contains all writes from before the
        // beginning.
        persist("write a heartbeat before the missed changes are read", || self.heartbeat.beat(&self.store))
            .await;
        persist("read the missed receipt markers", || self.store.read_journal()).await;
        self.numbers.clear();
        // The erasures come before the rooms. An erasure also ends the user's memberships, but the user's sockets must
        // be closed with the code of the erasure (4001).
        let erasing = persist("read which users are being erased", || self.store.read_erasing()).await;
        for user in &erasing {
            self.outboxes.close_user(user, Close::Erased);
        }
        self.store.contacts().clear();
        self.store.deletions().clear();
        persist("read which users are online", || self.store.read_online()).await;
        self.store.activity().clear();
        self.store.touched().clear();
        let now = persist("read the cluster time", || self.store.moment()).await;
        let rooms = self.hub.begin_catch_up(now);
        self.metrics.count_fault("feed_history_lost");
        tracing::error!(
            rooms = rooms.len(),
            "the change stream's history is lost; reading the missed changes from the collections"
        );
        for (room, last_sent) in rooms {
            match last_sent {
                Some(last_sent) => self.catch_up_room(room, last_sent, since).await,
                None => self.hub.close(room, Close::GoingAway),
            }
        }
    }

    /// Reads the messages of a room after the number `last_sent`, and the revisions since the time `since`. Closes the
    /// sockets of the room if there are too many changes, or if the changes can't be read.
    async fn catch_up_room(&self, room: RoomId, last_sent: i64, since: Timestamp) {
        let read = || async {
            match self.store.missed(room, last_sent, since).await {
                Err(StoreError::Fault(_)) => Ok(None),
                read => read,
            }
        };
        let missed = persist(&format!("read what room {room} missed"), read).await;
        match missed {
            // A room without members was deleted. The clients reconnect and then learn that the room was deleted.
            Some((snapshot, _)) if snapshot.members.is_empty() => self.hub.close(room, Close::GoingAway),
            Some((snapshot, changes)) => self.hub.finish_catch_up(room, CatchUp { snapshot, changes }),
            None => self.hub.close(room, Close::GoingAway),
        }
    }
}

/// Repeats `attempt` until it succeeds. `step` names the attempt in the log.
async fn persist<T, A>(step: &str, attempt: impl FnMut() -> A) -> T
where
    A: Future<Output = Result<T, StoreError>>,
{
    let log = |error| tracing::warn!(%error, "could not {step}; trying again");
    retry::forever(RETRY_PAUSE, attempt, log).await
}
