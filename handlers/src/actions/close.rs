//! `{"action":"close","room_id":7}`: closes a room that the action `open` opened on this socket of all rooms. New
//! messages in the room stay unread until the client reads them.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Context, Error, Level};

/// Says that the user no longer looks at the room. New messages stay unread until the client sends `read` or `open`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {}

/// The declaration of the action `close`.
pub const SPEC: ActionSpec = ActionSpec { level: Level::Inbox, ..ActionSpec::DEFAULT };

/// Marks the room as closed on this socket. Messages that the socket receives later do not become read.
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
