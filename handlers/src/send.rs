//! `{"action":"send","message":"Hello"}`: says something in the room.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ByEvent, Code, Context, Draft, Error, Kind, Limits};

/// What the frame holds.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The text, kept exactly as it came.
    message: Draft,
}

/// A message counts as one.
pub const LIMITS: Limits = Limits { message: true, ..Limits::DEFAULT };

/// The message, and its way to its readers.
pub const EMITS: &[Kind] = &[Kind::ChatMessage, Kind::MarkMessageAsDelivered, Kind::MarkMessageAsRead];

/// Nothing of its own.
pub const FAILS: &[Code] = &[];

/// Writes the message. Its `chat_message` is the acknowledgement.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    let text = cx.accept(request.message, "message")?;
    cx.room().append(text).await?;
    Ok(ByEvent)
}
