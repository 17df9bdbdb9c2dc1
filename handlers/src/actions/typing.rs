//! `{"action":"typing"}`: tells the room's other users that the caller is typing.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, EventType};

/// Tells the room's other users that the caller is typing.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec { emits: &[EventType::Typing], ..ActionSpec::DEFAULT };

/// Passes it on, where it is news to anyone.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    cx.room()?.typing().await?;
    Ok(ByEvent)
}
