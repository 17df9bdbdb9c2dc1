//! `{"action":"close","room_id":7}`: the room isn't being looked at any more; what comes is unread until it is read.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, Level};

/// The user no longer looks at the room: new messages stay unread until they are read.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec { level: Level::Inbox, ..ActionSpec::DEFAULT };

/// Ends what `open` began.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    cx.connection().close()?;
    Ok(ByEvent)
}
