//! `{"action":"delete","message_id":63}`: takes a message back.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Code, Context, Error, EventType, Level, MessageId, Role};

/// Deletes a message. Its author may do so, and in a group each admin.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The message.
    message_id: MessageId,
}

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec {
    level: Level::Basic,
    emits: &[EventType::MessageDeleted],
    fails: &[Code::NotFound, Code::NotAuthor],
    ..ActionSpec::DEFAULT
};

/// The author may, and in a group its admins.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    let room = cx.room()?;
    let is_author = room.author(request.message_id).await? == *cx.caller();
    if !is_author && room.role().await? != Role::Admin {
        return Err(Error::not_author("only its author may delete a message"));
    }
    room.delete(request.message_id).await?;
    Ok(ByEvent)
}
