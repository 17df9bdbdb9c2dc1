//! `{"action":"open","room_id":7}`: the room is being looked at from now on, until `close`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, EventType, Level, MessageId};

/// The user looks at the room: everything in it becomes read, and so do new messages until `close`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// What the action declares.
pub const SPEC: ActionSpec =
    ActionSpec { level: Level::Inbox, emits: &[EventType::MarkMessageAsRead], ..ActionSpec::DEFAULT };

/// What is there is read, and so is what is written to this socket from now on.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    // In this order: what comes in between is read by the first, or by the second.
    cx.connection().open()?;
    cx.room()?.read(MessageId::MAX).await?;
    Ok(ByEvent)
}
