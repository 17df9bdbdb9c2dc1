//! `{"action":"rooms","next":"..."}`: more of the caller's rooms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ActionSpec, Context, Error, Level, Limits, RoomId, RoomPage, RoomView, RoomsFrom};

/// Reads a page of the caller's rooms.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The `next` of `ready` or of the page before, as it came. Without it and without `before`: the latest rooms.
    next: Option<String>,
    /// Instead of `next`: the `last_activity` of the last room that is known. Rooms of the same millisecond may come again.
    before: Option<String>,
    /// The id of that room: no room comes again.
    before_room: Option<RoomId>,
}

impl Request {
    fn from(self) -> Result<RoomsFrom, Error> {
        match (self.next, self.before) {
            (Some(_), Some(_)) => Err(Error::invalid("next, before: one of them, not both")),
            (Some(next), None) => Ok(RoomsFrom::Next(next)),
            (None, Some(at)) => Ok(RoomsFrom::Before { at, room: self.before_room }),
            (None, None) => Ok(RoomsFrom::Latest),
        }
    }
}

/// `{"type":"rooms",...}`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// A page of the caller's rooms.
    Rooms {
        /// The room with the latest activity first.
        rooms: Vec<RoomView>,
        /// Whether there are more rooms.
        has_more: bool,
        /// If there are more rooms: the `next` of the action that reads the next page.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        next: Option<String>,
    },
}

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec {
    level: Level::Inbox,
    // A page of rooms is expensive: some rooms have thousands of members.
    limits: Limits { per_minute: Some(60), max_in_flight: 32, ..Limits::DEFAULT },
    ..ActionSpec::DEFAULT
};

/// Reads a page.
pub async fn handle(cx: Context, request: Request) -> Result<Answer, Error> {
    let RoomPage { rooms, next } = cx.connection().rooms(request.from()?).await?;
    Ok(Answer::Rooms { rooms, has_more: next.is_some(), next })
}
