//! `{"action":"ping"}`: asks for a sign of life, for clients that can't see the protocol's own pings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ActionSpec, Context, Error};

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

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec::DEFAULT;

/// Answers, whatever else goes on.
pub async fn handle(_: Context, _: Request) -> Result<Answer, Error> {
    Ok(Answer::Pong)
}
