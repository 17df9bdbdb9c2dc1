//! `{"action":"rooms","before":"2025-02-18T18:28:52.258Z"}`: more of the caller's rooms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Code, Context, Error, Kind, Limits, RoomId, RoomView};

/// What the frame holds.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The `last_activity` of the last room that is known. Without: the latest rooms.
    before: Option<String>,
    /// The id of that room, where others may have been active in the same millisecond.
    before_room: Option<RoomId>,
}

/// `{"type":"rooms",...}`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// A page.
    Rooms {
        /// The latest first.
        rooms: Vec<RoomView>,
        /// Whether there are more.
        has_more: bool,
    },
}

/// A page of rooms is dear: some may have thousands of members.
pub const LIMITS: Limits = Limits { per_minute: Some(60), max_in_flight: 32, ..Limits::DEFAULT };

/// Nothing: it is answered on its own socket.
pub const EMITS: &[Kind] = &[];

/// Nothing of its own.
pub const FAILS: &[Code] = &[];

/// Reads a page.
pub async fn handle(cx: Context, request: Request) -> Result<Answer, Error> {
    let page = cx.connection().rooms(request.before, request.before_room).await?;
    Ok(Answer::Rooms { rooms: page.rooms, has_more: page.has_more })
}
