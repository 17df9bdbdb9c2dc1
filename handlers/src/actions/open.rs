//! `{"action":"open","room_id":7}`: opens a room on this socket, until `close`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, EventType, Level, MessageId};

/// The user looks at the room: everything in it becomes read, and so do new messages until `close`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// What the action declares.
pub const SPEC: ActionSpec =
    ActionSpec { level: Level::Inbox, emits: &[EventType::MarkMessageAsRead], ..ActionSpec::DEFAULT };

/// Marks all messages of the room as read, and all messages that this socket receives from now on.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    // The order matters: one of the two calls covers each message that arrives in between.
    cx.connection().open()?;
    cx.room()?.read(MessageId::MAX).await?;
    Ok(ByEvent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{ConnectionCall, FakeConnection, FakeRoom, OTHER, call};
    use crate::{Code, Reply, Role};

    #[test]
    fn open_reads_all_messages_of_the_room() {
        let (room, socket) = (FakeRoom::new(Role::Member), FakeConnection::new());
        room.add_message(OTHER, "Hello");
        room.add_message(OTHER, "Hello?");
        assert_eq!(call(Some(&room), &socket, &json!({"action": "open"})).unwrap(), Reply::ByEvent);
        assert_eq!((room.read_up_to(), socket.calls()), (2, vec![ConnectionCall::Open]));
    }

    #[test]
    fn open_is_refused_when_the_frame_names_no_room() {
        let error = FakeConnection::new().call(&json!({"action": "open"})).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::InvalidRequest, "room_id: is needed"));
    }
}
