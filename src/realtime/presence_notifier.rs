//! Notifies inbox connections (Level 3 sockets) when a user who shares a room with the connection's user goes online or
//! offline.
//!
//! The change stream reader puts presence changes into a queue. A separate task sends these changes, because the
//! recipients must first be read from the database. If a user's presence changes several times while a change is in the
//! queue, only the last state is sent.

use std::sync::Arc;
use std::time::Duration;

use handlers::{InboxEvent, UserId};

use super::coalescing_queue::{Coalesce, CoalescingQueue, TakenChange};
use super::frame::{Frame, FrameKind, InboxFrame};
use super::hub::Hub;
use crate::model::cluster_time;
use crate::protocol::json::json;
use crate::retry;
use crate::store::{Store, StoreError, UserPresence};
use crate::telemetry::metrics::Metrics;

/// The maximum number of users whose rooms are read at a time.
const AT_ONCE: usize = 200;

/// The mean pause before another attempt after the database could not be read.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The presence changes to send. The queue has at most one change for each user.
pub(crate) type PresenceQueue = CoalescingQueue<UserId, UserPresence>;

impl Coalesce for UserPresence {
    fn merge(self, later: Self) -> Option<Self> {
        // Clients know the state before the earlier change. If the later change returns the user to that state, nothing
        // is sent.
        (self.online == later.online).then_some(later)
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
            let taken = self.changes.take(AT_ONCE).await;
            if let Err(error) = self.notify(&taken.changes).await {
                self.metrics.count_fault("presence");
                tracing::warn!(%error, "could not send presence changes; trying again");
                taken.put_back();
                tokio::time::sleep(retry::vary(RETRY_PAUSE)).await;
            }
        }
    }

    async fn notify(&self, changes: &[TakenChange<UserId, UserPresence>]) -> Result<(), StoreError> {
        let users: Vec<_> = changes.iter().map(|taken| taken.key.clone()).collect();
        let rooms = self.store.rooms_by_user(&users).await?;
        for TakenChange { key: user, change: presence, .. } in changes {
            let Some(rooms) = rooms.get(user) else { continue };
            let event = InboxEvent::Presence {
                user_id: user.clone(),
                online: presence.online,
                last_seen: presence.last_seen,
            };
            let kind = FrameKind::Inbox(InboxFrame::Presence(user.clone()));
            let frame = Frame::new(json(&event), cluster_time::ZERO, kind);
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
        assert_eq!(OFFLINE.merge(ONLINE), None);
        assert_eq!(ONLINE.merge(OFFLINE), None);
        assert_eq!(OFFLINE.merge(OFFLINE), Some(OFFLINE));
    }
}
