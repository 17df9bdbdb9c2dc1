//! `{"action":"auth","token":"<jwt>"}`: replaces the socket's token before it expires.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ActionSpec, Code, Context, Error, Time};

/// Replaces the token of the connection before it expires.
#[derive(Deserialize, JsonSchema)]
pub struct Request {
    /// The new token. It must belong to the same user as the old token.
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
    /// The new token has replaced the old token.
    Auth {
        /// The time `exp` of the new token. The server accepts the token 5 s longer.
        expires_at: Time,
    },
}

/// The declaration of the action `auth`.
pub const SPEC: ActionSpec = ActionSpec { fails: &[Code::InvalidToken], ..ActionSpec::DEFAULT };

/// Checks the new token by the rules for the token of a WebSocket handshake. If a check fails, the old token stays in
/// use.
pub async fn handle(cx: Context, request: Request) -> Result<Answer, Error> {
    Ok(Answer::Auth { expires_at: cx.connection().renew(&request.token).await? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{ConnectionCall, FakeConnection};
    use crate::{Code, Reply};

    #[test]
    fn auth_answers_with_the_expiry_of_the_new_token() {
        let socket = FakeConnection::new();
        let answer = socket.call(&json!({"action": "auth", "token": FakeConnection::TOKEN})).unwrap();
        let expected = format!(r#"{{"type":"auth","expires_at":"{}"}}"#, FakeConnection::EXPIRES_AT);
        assert_eq!(answer, Reply::Frame(expected));
        assert_eq!(socket.calls(), [ConnectionCall::Renew]);
    }

    #[test]
    fn auth_is_refused_when_the_token_is_not_valid() {
        let socket = FakeConnection::new();
        let error = socket.call(&json!({"action": "auth", "token": "bad"})).unwrap_err();
        assert_eq!(error.code(), Code::InvalidToken);
        assert_eq!(socket.calls(), []);
    }

    #[test]
    fn request_does_not_show_its_token_in_the_log() {
        let request = super::Request { token: "secret".to_owned() };
        assert!(!format!("{request:?}").contains("secret"));
    }
}
