//! `{"action":"typing"}`: notifies the room's other users that the caller is typing.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, EventType};

/// Notifies the room's other users that the caller is typing.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// Declares the action's Level, limits, events and errors.
pub const SPEC: ActionSpec = ActionSpec { emits: &[EventType::Typing], ..ActionSpec::DEFAULT };

/// Publishes the notification to the room, at most once in 3 s for each user and room.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    cx.room()?.typing().await?;
    Ok(ByEvent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{FakeConnection, FakeRoom, RoomCall};
    use crate::{Code, Reply, Role};

    #[test]
    fn typing_is_passed_on_to_the_room() {
        let room = FakeRoom::new(Role::Member);
        assert_eq!(room.call(&json!({"action": "typing"})).unwrap(), Reply::ByEvent);
        assert_eq!(room.calls(), [RoomCall::Typing]);
    }

    #[test]
    fn typing_is_refused_when_the_frame_names_no_room() {
        let error = FakeConnection::new().call(&json!({"action": "typing"})).unwrap_err();
        assert_eq!(error.code(), Code::InvalidRequest);
    }
}
