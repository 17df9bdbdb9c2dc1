//! `{"action":"close","room_id":7}`: the room isn't being looked at any more; what comes is unread until it is read.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ByEvent, Code, Context, Error, Kind, Level, Limits};

/// The user no longer looks at the room: new messages stay unread until they are read.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// One frame.
pub const LIMITS: Limits = Limits::DEFAULT;

/// The lowest Level of the protocol that has it.
pub const LEVEL: Level = Level::Inbox;

/// Nothing.
pub const EMITS: &[Kind] = &[];

/// Nothing of its own.
pub const FAILS: &[Code] = &[];

/// Ends what `open` began.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    cx.connection().close()?;
    Ok(ByEvent)
}
