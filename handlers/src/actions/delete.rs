//! `{"action":"delete","message_id":63}`: takes a message back.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ByEvent, Code, Context, Error, Kind, Level, Limits, MessageId, Role};

/// Deletes a message. Its author may do so, and in a group each admin.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The message.
    message_id: MessageId,
}

/// One frame.
pub const LIMITS: Limits = Limits::DEFAULT;

/// The lowest Level of the protocol that has it.
pub const LEVEL: Level = Level::Basic;

/// That it is gone.
pub const EMITS: &[Kind] = &[Kind::MessageDeleted];

/// There is none, or someone else wrote it.
pub const FAILS: &[Code] = &[Code::NotFound, Code::NotAuthor];

/// The author may, and in a group its admins.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    let mine = cx.room().author(request.message_id).await? == *cx.caller();
    if !mine && cx.room().role().await? != Role::Admin {
        return Err(Error::not_author("only its author may delete a message"));
    }
    cx.room().delete(request.message_id).await?;
    Ok(ByEvent)
}
