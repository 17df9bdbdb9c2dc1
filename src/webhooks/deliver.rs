//! Delivers one event to the receiver of its hook. After a failure and a pause, the delivery is tried again, until the
//! receiver accepts the event or the event is set aside. A set-aside event is stored for the operator, and Parlor no
//! longer tries to deliver it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use handlers::{MessageId, RoomId, UserId};

use super::dispatcher::HookTarget;
use super::event::{EventPayload, HookKind, WebhookEvent, WebhookRequest};
use super::retry_budget::{RetryBudget, TryCounter};
use crate::config::HookSettings;
use crate::functions::file::CallContext;
use crate::functions::host::room::FunctionRoom;
use crate::outbound::OutboundError;
use crate::store::set_aside_events::{NewSetAside, Subject};
use crate::store::{Store, StoreError, UserPresence};
use crate::telemetry::metrics::Metrics;

/// One event and the parts of the server that its delivery uses.
pub(super) struct Delivery {
    pub(super) target: HookTarget,
    pub(super) retry_budget: Arc<RetryBudget>,
    pub(super) settings: HookSettings,
    pub(super) store: Store,
    pub(super) metrics: Arc<Metrics>,
    pub(super) event: WebhookEvent,
}

impl Delivery {
    /// Delivers the event. Returns when each request of the event was accepted, was set aside, or is no longer needed.
    pub(super) async fn run(self) {
        let mut pauses = RetryPauses::of(&self.settings);
        let mut requests = loop {
            match self.requests().await {
                Ok(requests) => break requests,
                Err(error) => self.retry(&mut pauses, &error.to_string()).await,
            }
        };
        // The order of the requests doesn't matter, because each request is about a different offline member.
        while let Some(post) = requests.pop() {
            self.deliver(post, &mut pauses).await;
        }
    }

    /// Delivers one request. Returns when the receiver accepted the request or the request was set aside. Also returns
    /// when the request's message was deleted, or its recipient left the room.
    async fn deliver(&self, post: WebhookRequest, pauses: &mut RetryPauses) {
        let lane = self.event.lane();
        let receiver = &self.target.receiver;
        let mut tries = TryCounter::new(receiver.answered());
        let mut reason = "earlier events of the same room or user were set aside".to_owned();
        loop {
            if self.retry_budget.allowed_tries(&lane).is_some_and(|allowed| tries.counted() >= allowed) {
                match self.set_aside(&post, tries.counted(), &reason).await {
                    Ok(()) => return self.retry_budget.record_set_aside(&lane, tries.counted() > 0),
                    Err(error) => {
                        self.retry(pauses, &error.to_string()).await;
                        continue;
                    }
                }
            }
            match self.post(&post).await {
                Ok(()) => {
                    self.metrics.hook(self.name().to_owned(), "told");
                    return self.retry_budget.restore(&lane);
                }
                Err(error) => {
                    tries.record_failure(&error, receiver.answered());
                    reason = error.to_string();
                    self.retry(pauses, &reason).await;
                }
            }
            // During a long pause, the message may have been deleted, or the recipient may have left the room.
            match self.is_due(&post).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => self.retry(pauses, &error.to_string()).await,
            }
        }
    }

    async fn post(&self, post: &WebhookRequest) -> Result<(), OutboundError> {
        // The semaphore is never closed.
        let _permit = self.target.permits.acquire().await;
        let context = || call_context(&self.target, &self.event.what, post.user.as_ref(), &post.id);
        self.target.receiver.call(&self.event.lane(), post.body.clone(), context).await.map(|_| ())
    }

    /// Counts a failure, and waits for the pause before the next try. Logs only the event's first failure.
    async fn retry(&self, pauses: &mut RetryPauses, reason: &str) {
        self.metrics.hook(self.name().to_owned(), "retried");
        if pauses.is_first() {
            tracing::warn!(
                hook = self.name(),
                event = self.event.id,
                error = reason,
                "could not deliver an event; trying again"
            );
        }
        tokio::time::sleep(pauses.next()).await;
    }

    async fn set_aside(&self, post: &WebhookRequest, tries: u32, reason: &str) -> Result<(), StoreError> {
        let new = NewSetAside {
            hook: self.name(),
            event: &post.id,
            subject: subject(&self.event.what),
            recipient: post.user.as_ref(),
            tries,
            reason,
        };
        let kept = self.store.set_aside(new, self.settings.set_aside).await?;
        if kept.dropped > 0 {
            self.metrics.bound_hit("hooks_set_aside");
            tracing::error!(
                dropped = kept.dropped,
                "too many events are set aside (hooks.set_aside); dropped the oldest"
            );
        }
        self.metrics.hook(self.name().to_owned(), "set_aside");
        tracing::error!(hook = self.name(), tries, reason, "an event was set aside; `parlor hooks` lists it");
        Ok(())
    }

    fn name(&self) -> &str {
        &self.target.name
    }

    /// Returns the requests for this event. For the hook `offline` there is one request for each offline member. For
    /// another hook there is exactly one request.
    async fn requests(&self) -> Result<Vec<WebhookRequest>, StoreError> {
        let post = |user| self.event.post(user).map_err(|error| StoreError::Fault(error.into()));
        match &self.event.what {
            EventPayload::Sent { room_id, message_id, sender_id, .. }
                if self.target.kind == HookKind::Offline =>
            {
                let offline = self.offline_members(*room_id, *message_id, sender_id).await?;
                offline.into_iter().map(|user| post(Some(user))).collect()
            }
            _ => Ok(vec![post(None)?]),
        }
    }

    /// Returns the members who had no socket on any server since the message was committed. Leaves out the sender and
    /// the members to whom the message was delivered. Returns an empty list if the message is already deleted.
    async fn offline_members(
        &self,
        room: RoomId,
        message: MessageId,
        sender: &UserId,
    ) -> Result<Vec<UserId>, StoreError> {
        if self.store.is_deleted(room, message).await? {
            return Ok(Vec::new());
        }
        let (_, members) = self.store.members_known(room).await?;
        let others = members.into_iter().filter(|member| member.user != *sender);
        let waiting = others.filter(|member| member.marks.delivered < message.get());
        let users: Vec<UserId> = waiting.map(|member| member.user).collect();
        let found: HashMap<UserId, UserPresence> = self.store.presences(&users).await?;
        let was_there = |user: &UserId| {
            found.get(user).is_some_and(|presence| {
                presence.online || presence.last_seen.is_some_and(|seen| seen >= self.event.at)
            })
        };
        Ok(users.into_iter().filter(|user| !was_there(user)).collect())
    }

    /// Tells whether a request must still be delivered. A request of the hook `offline` is no longer needed if the
    /// message was deleted or the recipient left the room.
    async fn is_due(&self, post: &WebhookRequest) -> Result<bool, StoreError> {
        let (EventPayload::Sent { room_id, message_id, .. }, Some(user)) = (&self.event.what, &post.user)
        else {
            return Ok(true);
        };
        Ok(!self.store.is_deleted(*room_id, *message_id).await?
            && self.store.role(*room_id, user).await?.is_some())
    }
}

/// Returns the circumstances of a call of a file. A hook reads its room as a service. Its user is the recipient, the
/// sender, or the user who came or went.
pub(super) fn call_context(
    target: &HookTarget,
    what: &EventPayload,
    recipient: Option<&UserId>,
    event: &str,
) -> CallContext {
    let (room, user) = match what {
        EventPayload::Sent { room_id, sender_id, .. } => (Some(*room_id), Some(sender_id)),
        EventPayload::Edited { room_id, .. } | EventPayload::Deleted { room_id, .. } => {
            (Some(*room_id), None)
        }
        EventPayload::Connected { user_id, .. } | EventPayload::Disconnected { user_id, .. } => {
            (None, Some(user_id))
        }
    };
    CallContext {
        room: room.map(|room| FunctionRoom { room, reader: None, page_bytes: target.page_bytes }),
        user: recipient.or(user).cloned(),
        is_late: true,
        request: event.to_owned(),
    }
}

/// Returns the part of an event that is stored when the event is set aside. The message's text is not stored.
fn subject(what: &EventPayload) -> Subject {
    match what {
        EventPayload::Sent { room_id, message_id, created_at, .. } => {
            Subject::Sent { room: *room_id, message: *message_id, at: *created_at }
        }
        EventPayload::Edited { room_id, message_id, updated_at, .. } => {
            Subject::Edited { room: *room_id, message: *message_id, at: *updated_at }
        }
        EventPayload::Deleted { room_id, message_id, deleted_at } => {
            Subject::Deleted { room: *room_id, message: *message_id, at: *deleted_at }
        }
        EventPayload::Connected { user_id, at } => Subject::Connected { user: user_id.clone(), at: *at },
        EventPayload::Disconnected { user_id, last_seen } => {
            Subject::Disconnected { user: user_id.clone(), at: *last_seen }
        }
    }
}

/// The pauses between the tries of one event. The first pause is `hooks.retry_ms`. Each later pause is twice as long as
/// the previous pause, up to `hooks.retry_max_ms`.
struct RetryPauses {
    first: bool,
    pause: Duration,
    longest: Duration,
}

impl RetryPauses {
    fn of(settings: &HookSettings) -> Self {
        Self { first: true, pause: settings.retry, longest: settings.retry_max }
    }

    fn is_first(&mut self) -> bool {
        std::mem::take(&mut self.first)
    }

    fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest);
        pause
    }
}
