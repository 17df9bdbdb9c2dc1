//! Notifies inbox connections when a user who shares a room with them goes online or offline.
//!
//! Changes from the change stream are queued here. A separate task sends them, because finding the recipients needs a
//! database query. Only the last state of each user counts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::Timestamp;
use handlers::{InboxEvent, UserId};
use tokio::sync::Notify;

use super::frame::{Frame, FrameKind, InboxFrame};
use super::hub::Hub;
use crate::protocol::json::json;
use crate::store::{Store, StoreError, UserPresence};
use crate::telemetry::metrics::Metrics;

/// Users that are looked up in one operation.
const AT_ONCE: usize = 200;

/// The pause before another try after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The presence changes to send. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct PresenceQueue(Arc<SharedPresenceQueue>);

#[derive(Default)]
struct SharedPresenceQueue {
    /// Bounded by the number of users.
    users: Mutex<HashMap<UserId, UserPresence>>,
    changed: Notify,
}

impl PresenceQueue {
    /// Queues a change of a user's presence.
    pub(crate) fn queue(&self, user: UserId, presence: UserPresence) {
        let mut users = self.users();
        match users.entry(user) {
            // Back to what was sent last: there is nothing to send.
            Entry::Occupied(pending) if pending.get().online != presence.online => drop(pending.remove()),
            Entry::Occupied(mut pending) => drop(pending.insert(presence)),
            Entry::Vacant(entry) => drop(entry.insert(presence)),
        }
        self.0.changed.notify_one();
    }

    fn take_batch(&self) -> Vec<(UserId, UserPresence)> {
        let mut users = self.users();
        let some: Vec<_> = users.keys().take(AT_ONCE).cloned().collect();
        some.into_iter().filter_map(|user| users.remove_entry(&user)).collect()
    }

    fn return_batch(&self, some: Vec<(UserId, UserPresence)>) {
        let mut users = self.users();
        for (user, presence) in some {
            match users.entry(user) {
                // The queued change was not sent, and is undone by the later one.
                Entry::Occupied(later) if later.get().online != presence.online => drop(later.remove()),
                Entry::Occupied(_) => {}
                Entry::Vacant(entry) => drop(entry.insert(presence)),
            }
        }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<UserId, UserPresence>> {
        self.0.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the queued presence changes.
pub(crate) struct PresenceNotifier {
    pub(crate) changes: PresenceQueue,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
}

impl PresenceNotifier {
    /// Sends presence changes. Never returns.
    pub(crate) async fn run(self) {
        loop {
            let some = self.changes.take_batch();
            if some.is_empty() {
                self.changes.0.changed.notified().await;
                continue;
            }
            if let Err(error) = self.notify(&some).await {
                self.metrics.count_fault("presence");
                tracing::warn!(%error, "could not send presence changes; trying again");
                self.changes.return_batch(some);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn notify(&self, some: &[(UserId, UserPresence)]) -> Result<(), StoreError> {
        let users: Vec<_> = some.iter().map(|(user, _)| user.clone()).collect();
        let rooms = self.store.rooms_by_user(&users).await?;
        for (user, presence) in some {
            let Some(rooms) = rooms.get(user) else { continue };
            let event = InboxEvent::Presence {
                user_id: user.clone(),
                online: presence.online,
                last_seen: presence.last_seen,
            };
            let kind = FrameKind::Inbox(InboxFrame::Presence(user.clone()));
            let frame = Frame::new(json(&event), Timestamp { time: 0, increment: 0 }, kind);
            self.hub.send_to_inboxes(rooms, frame);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONLINE: UserPresence = UserPresence { online: true, last_seen: None };
    const OFFLINE: UserPresence = UserPresence { online: false, last_seen: None };

    #[test]
    fn presence_is_not_sent_when_it_returned_to_the_sent_state() {
        let (changes, user) = (PresenceQueue::default(), UserId::Int(1));
        changes.queue(user.clone(), ONLINE);
        assert_eq!(changes.take_batch(), [(user.clone(), ONLINE)]);
        changes.queue(user.clone(), OFFLINE);
        changes.queue(user.clone(), ONLINE);
        assert_eq!(changes.take_batch(), []);
        for presence in [OFFLINE, ONLINE, OFFLINE] {
            changes.queue(user.clone(), presence);
        }
        let some = changes.take_batch();
        assert_eq!(some, [(user.clone(), OFFLINE)]);
        // The user came back while it could not be sent.
        changes.queue(user, ONLINE);
        changes.return_batch(some);
        assert_eq!(changes.take_batch(), []);
    }
}
