//! `{"action":"read","message_id":45}`: marks all messages up to number 45 as read by the caller.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, EventType, MessageId};

/// Raises the caller's read marker: all messages up to `message_id` are read.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The id of the last message that the user has read. An id greater than the id of the room's
    /// last message stands for this last message.
    message_id: MessageId,
}

/// Declares the action's Level, limits, events and errors.
pub const SPEC: ActionSpec = ActionSpec { emits: &[EventType::MarkMessageAsRead], ..ActionSpec::DEFAULT };

/// Raises the caller's receipt markers. A marker never goes back to a lower number.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    cx.room()?.read(request.message_id).await?;
    Ok(ByEvent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{FakeRoom, OTHER};
    use crate::{Code, Reply, Role};

    #[test]
    fn read_raises_the_mark_up_to_the_last_message() {
        let room = FakeRoom::new(Role::Member);
        room.add_message(OTHER, "Hello");
        room.add_message(OTHER, "Hello?");
        assert_eq!(room.call(&json!({"action": "read", "message_id": 1})).unwrap(), Reply::ByEvent);
        assert_eq!(room.read_up_to(), 1);
        room.call(&json!({"action": "read", "message_id": 99})).unwrap();
        assert_eq!(room.read_up_to(), 2);
    }

    #[test]
    fn read_is_refused_when_the_number_is_not_valid() {
        let room = FakeRoom::new(Role::Member);
        for id in [json!(0), json!(-1), json!("one"), json!(null)] {
            let error = room.call(&json!({"action": "read", "message_id": id})).unwrap_err();
            assert_eq!(error.code(), Code::InvalidRequest, "{id}");
        }
        assert_eq!(room.calls(), []);
    }
}
