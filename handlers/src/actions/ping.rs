//! `{"action":"ping"}`: asks the server for a `pong`. Browsers don't show the pings of the WebSocket protocol to a
//! page. Therefore a page sends this action to learn whether the connection works.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ActionSpec, Context, Error};

/// Asks whether the server is alive. This action is for clients that can't see the pings of the WebSocket protocol.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// `{"type":"pong"}`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// The server is alive.
    Pong,
}

/// Declares the action's Level, limits, events and errors.
pub const SPEC: ActionSpec = ActionSpec::DEFAULT;

/// Answers without asking the database.
pub async fn handle(_: Context, _: Request) -> Result<Answer, Error> {
    Ok(Answer::Pong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Reply;
    use crate::testing::FakeConnection;

    #[test]
    fn ping_answers_pong_without_a_room() {
        let answer = FakeConnection::new().call(&json!({"action": "ping"})).unwrap();
        assert_eq!(answer, Reply::Frame(r#"{"type":"pong"}"#.to_owned()));
    }

    #[test]
    fn ping_ignores_fields_that_it_does_not_know() {
        let socket = FakeConnection::new();
        assert!(socket.call(&json!({"action": "ping", "message_id": "none"})).is_ok());
        assert_eq!(socket.calls(), []);
    }
}
