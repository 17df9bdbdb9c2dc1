//! `{"action":"close","room_id":7}`: closes a room on this socket. New messages are unread until the client reads them.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, Level};

/// The user no longer looks at the room: new messages stay unread until they are read.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// What the action declares.
pub const SPEC: ActionSpec = ActionSpec { level: Level::Inbox, ..ActionSpec::DEFAULT };

/// Marks the room as closed on this socket.
pub async fn handle(cx: Context, _: Request) -> Result<ByEvent, Error> {
    cx.connection().close()?;
    Ok(ByEvent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{ConnectionCall, FakeConnection, FakeRoom, call};
    use crate::{Reply, Role};

    #[test]
    fn close_ends_the_room_on_this_socket() {
        let (room, socket) = (FakeRoom::new(Role::Member), FakeConnection::new());
        assert_eq!(call(Some(&room), &socket, &json!({"action": "close"})).unwrap(), Reply::ByEvent);
        assert_eq!(socket.calls(), [ConnectionCall::Close]);
    }

    #[test]
    fn close_leaves_the_room_as_it_is() {
        let (room, socket) = (FakeRoom::new(Role::Member), FakeConnection::new());
        call(Some(&room), &socket, &json!({"action": "close"})).unwrap();
        assert_eq!(room.calls(), []);
    }
}
