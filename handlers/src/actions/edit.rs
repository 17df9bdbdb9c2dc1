//! `{"action":"edit","message_id":63,"text":"new"}`: changes the text of one's own message.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ByEvent, Code, Context, Draft, Error, Kind, Level, Limits, MessageId};

/// Replaces the text of the caller's own message.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The message.
    message_id: MessageId,
    /// The new text. The same text again is an edit too.
    text: Draft,
}

/// One frame.
pub const LIMITS: Limits = Limits::DEFAULT;

/// The lowest Level of the protocol that has it.
pub const LEVEL: Level = Level::Basic;

/// The new text.
pub const EMITS: &[Kind] = &[Kind::MessageEdited];

/// There is none, or someone else wrote it.
pub const FAILS: &[Code] = &[Code::NotFound, Code::NotAuthor];

/// Only the author may.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    let text = cx.accept(request.text, "text")?;
    if cx.room().author(request.message_id).await? != *cx.caller() {
        return Err(Error::not_author("only its author may edit a message"));
    }
    cx.room().edit(request.message_id, text).await?;
    Ok(ByEvent)
}
