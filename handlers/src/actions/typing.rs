//! `{"action":"typing"}`: tells the room's other users that the caller is typing.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ByEvent, Code, Context, Error, Kind, Level, Limits};

/// Tells the room's other users that the caller is typing.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// One frame.
pub const LIMITS: Limits = Limits::DEFAULT;

/// The lowest Level of the protocol that has it.
pub const LEVEL: Level = Level::Resumable;

/// Who is typing, to the others.
pub const EMITS: &[Kind] = &[Kind::Typing];

/// Nothing of its own.
pub const FAILS: &[Code] = &[];

/// Passes it on, where it is news to anyone.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    cx.room().typing().await?;
    Ok(ByEvent)
}
