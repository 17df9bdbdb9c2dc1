//! `{"action":"edit","message_id":63,"text":"new"}`: changes the text of one's own message.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Code, Context, Draft, Error, EventType, Level, MessageId};

/// Replaces the text of the caller's own message.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The message.
    message_id: MessageId,
    /// The new text. The same text again is an edit too.
    text: Draft,
}

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec {
    level: Level::Basic,
    emits: &[EventType::MessageEdited],
    fails: &[Code::NotFound, Code::NotAuthor],
    ..ActionSpec::DEFAULT
};

/// Only the author may.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    let text = cx.validate_text(request.text, "text")?;
    let room = cx.room()?;
    if room.author(request.message_id).await? != *cx.caller() {
        return Err(Error::not_author("only its author may edit a message"));
    }
    room.edit(request.message_id, text).await?;
    Ok(ByEvent)
}
