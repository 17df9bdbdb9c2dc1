//! `{"action":"ping"}`: asks for a sign of life, for clients that can't see the protocol's own pings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Code, Context, Error, Kind, Level, Limits};

/// Asks whether the server is alive, for clients that can't see the pings of the WebSocket protocol.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// `{"type":"pong"}`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// The server is alive.
    Pong,
}

/// One frame.
pub const LIMITS: Limits = Limits::DEFAULT;

/// The lowest Level of the protocol that has it.
pub const LEVEL: Level = Level::Resumable;

/// Nothing: it is answered on its own socket.
pub const EMITS: &[Kind] = &[];

/// Nothing of its own.
pub const FAILS: &[Code] = &[];

/// Answers, whatever else goes on.
pub async fn handle(_: Context, _: Request) -> Result<Answer, Error> {
    Ok(Answer::Pong)
}
