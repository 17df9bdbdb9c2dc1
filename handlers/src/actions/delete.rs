//! `{"action":"delete","message_id":63}`: deletes a message.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Code, Context, Error, EventType, Level, MessageId, Role};

/// Deletes a message. The author of the message may delete it. In a group, each admin may also delete it.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The id of the message to delete.
    message_id: MessageId,
}

/// The declaration of the action `delete`.
pub const SPEC: ActionSpec = ActionSpec {
    level: Level::Basic,
    emits: &[EventType::MessageDeleted],
    fails: &[Code::NotFound, Code::NotAuthor],
    ..ActionSpec::DEFAULT
};

/// Deletes the message if the caller is its author or an admin of the group. Otherwise fails with `not_author`. If the
/// room does not have the message, fails with `not_found`.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    let room = cx.room()?;
    let is_author = room.author(request.message_id).await? == *cx.caller();
    if !is_author && room.role().await? != Role::Admin {
        return Err(Error::not_author("only its author may delete a message"));
    }
    room.delete(request.message_id).await?;
    Ok(ByEvent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{CALLER, FakeRoom, OTHER};
    use crate::{Code, Reply, Role};

    #[test]
    fn author_deletes_their_message() {
        let room = FakeRoom::new(Role::Member);
        let id = room.add_message(CALLER, "Hello");
        assert_eq!(room.call(&json!({"action": "delete", "message_id": id})).unwrap(), Reply::ByEvent);
        assert_eq!((room.text(id), room.revision()), (None, 1));
    }

    #[test]
    fn admin_deletes_the_message_of_another_member() {
        let room = FakeRoom::new(Role::Admin);
        let id = room.add_message(OTHER, "Hello");
        assert_eq!(room.call(&json!({"action": "delete", "message_id": id})).unwrap(), Reply::ByEvent);
        assert_eq!(room.text(id), None);
    }

    #[test]
    fn delete_is_refused_when_a_member_is_not_the_author() {
        let room = FakeRoom::new(Role::Member);
        let id = room.add_message(OTHER, "Hello");
        let error = room.call(&json!({"action": "delete", "message_id": id})).unwrap_err();
        assert_eq!(error.code(), Code::NotAuthor);
        assert_eq!((room.text(id).as_deref(), room.revision()), (Some("Hello"), 0));
    }

    #[test]
    fn delete_is_refused_when_there_is_no_such_message() {
        let room = FakeRoom::new(Role::Admin);
        let deleted = room.add_message(CALLER, "Hello");
        room.call(&json!({"action": "delete", "message_id": deleted})).unwrap();
        for id in [deleted.get(), 2] {
            let error = room.call(&json!({"action": "delete", "message_id": id})).unwrap_err();
            assert_eq!(error.code(), Code::NotFound);
        }
        assert_eq!(room.revision(), 1);
    }
}
