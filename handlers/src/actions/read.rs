//! `{"action":"read","message_id":45}`: everything up to this message has been read.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, EventType, MessageId};

/// Raises the caller's read marker: everything up to this message is read.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The last message that was read. A larger number means the room's last message.
    message_id: MessageId,
}

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec { emits: &[EventType::MarkMessageAsRead], ..ActionSpec::DEFAULT };

/// Raises the caller's marks; they never fall.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    cx.room()?.read(request.message_id).await?;
    Ok(ByEvent)
}
