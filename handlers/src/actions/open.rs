//! `{"action":"open","room_id":7}`: opens a room on a socket of all rooms. The room stays open until the action
//! `close`, or until the socket ends.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, EventType, Level, MessageId};

/// Says that the user looks at the room. All messages of the room become read. Until `close`, new messages become read
/// when this socket receives them.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// The declaration of the action `open`.
pub const SPEC: ActionSpec =
    ActionSpec { level: Level::Inbox, emits: &[EventType::MarkMessageAsRead], ..ActionSpec::DEFAULT };

/// Marks the room as open on this socket, and marks all messages of the room as read.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    // `open` must come before `read`. Then a message that arrives between the two calls becomes read, because the room
    // is already open. In the opposite order, this message would stay unread.
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
