//! Sends a set-aside event again when an operator requests it. A set-aside event is an event that a hook's receiver did
//! not accept after several tries.

use super::RunningWebhooks;
use super::deliver::call_context;
use super::event::{self, EventPayload, Lane};
use crate::outbound::OutboundError;
use crate::store::set_aside_events::{SetAside, Subject};
use crate::store::{Store, StoreError};

/// The outcome of sending an event again.
#[derive(Debug)]
pub(crate) enum ResendOutcome {
    /// The receiver accepted the event.
    Taken,
    /// The event's message is deleted, so the event is not sent.
    Withdrawn,
    /// The event's hook has no URL on this server, or its file is not loaded.
    NoHook,
    /// The receiver did not accept the event.
    Failed(OutboundError),
}

impl RunningWebhooks {
    /// Sends the event once, without retries. The request contains the current text of the event's message.
    pub(crate) async fn resend(&self, store: &Store, event: &SetAside) -> Result<ResendOutcome, StoreError> {
        let target = self.targets.iter().find(|target| *target.name == *event.hook);
        let Some(target) = target else { return Ok(ResendOutcome::NoHook) };
        let Some(what) = what(store, &event.subject).await? else { return Ok(ResendOutcome::Withdrawn) };
        let body = event::body(&event.event, target.kind, event.recipient.as_ref(), &what);
        let body = body.map_err(|error| StoreError::Fault(error.into()))?;
        let context = || call_context(target, &what, event.recipient.as_ref(), &event.event);
        Ok(match target.receiver.call(&lane(&event.subject), body, context).await {
            Ok(_) => ResendOutcome::Taken,
            Err(error) => ResendOutcome::Failed(error),
        })
    }
}

/// Returns the event's lane: its room or its user. The circuit breaker counts failures for each lane, both here and in
/// the automatic delivery.
fn lane(subject: &Subject) -> Lane {
    match subject {
        Subject::Sent { room, .. } | Subject::Edited { room, .. } | Subject::Deleted { room, .. } => {
            Lane::Room(*room)
        }
        Subject::Connected { user, .. } | Subject::Disconnected { user, .. } => Lane::User(user.clone()),
    }
}

async fn what(store: &Store, subject: &Subject) -> Result<Option<EventPayload>, StoreError> {
    Ok(match subject {
        Subject::Sent { room, message, .. } => {
            store.message_alone(*room, *message).await?.map(|message| EventPayload::Sent {
                room_id: *room,
                message_id: message.id,
                sender_id: message.sender,
                text: message.text,
                created_at: message.created_at,
            })
        }
        Subject::Edited { room, message, at } => {
            store.message_alone(*room, *message).await?.map(|message| EventPayload::Edited {
                room_id: *room,
                message_id: message.id,
                edit: bson::oid::ObjectId::from_bytes([0; 12]),
                text: message.text,
                updated_at: *at,
            })
        }
        Subject::Deleted { room, message, at } => {
            Some(EventPayload::Deleted { room_id: *room, message_id: *message, deleted_at: *at })
        }
        Subject::Connected { user, at } => Some(EventPayload::Connected { user_id: user.clone(), at: *at }),
        Subject::Disconnected { user, at } => {
            Some(EventPayload::Disconnected { user_id: user.clone(), last_seen: *at })
        }
    })
}
