//! `{"action":"auth","token":"<jwt>"}`: replaces the socket's token before it expires.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ActionSpec, Code, Context, Error, Time};

/// Replaces the token of the connection before it expires.
#[derive(Deserialize, JsonSchema)]
pub struct Request {
    /// A token of the same user.
    token: String,
}

impl fmt::Debug for Request {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Request { token: .. }")
    }
}

/// `{"type":"auth","expires_at":"..."}`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// The new token is in force.
    Auth {
        /// When the token expires, without leeway.
        expires_at: Time,
    },
}

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec { fails: &[Code::InvalidToken], ..ActionSpec::DEFAULT };

/// Checks the token as a connect does.
pub async fn handle(cx: Context, request: Request) -> Result<Answer, Error> {
    Ok(Answer::Auth { expires_at: cx.connection().renew(&request.token).await? })
}
