//! `{"action":"read","message_id":45}`: everything up to this message has been read.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ByEvent, Code, Context, Error, Kind, Level, Limits, MessageId};

/// Raises the caller's read marker: everything up to this message is read.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The last message that was read. A larger number means the room's last message.
    message_id: MessageId,
}

/// One frame.
pub const LIMITS: Limits = Limits::DEFAULT;

/// The lowest Level of the protocol that has it.
pub const LEVEL: Level = Level::Resumable;

/// How far the messages have come with their readers. Delivered they are before that, where nothing is said by hand.
pub const EMITS: &[Kind] = &[Kind::MarkMessageAsRead];

/// Nothing of its own.
pub const FAILS: &[Code] = &[];

/// Raises the caller's marks; they never fall.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    cx.room().read(request.message_id).await?;
    Ok(ByEvent)
}
