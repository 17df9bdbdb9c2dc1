//! `{"action":"edit","message_id":63,"text":"new"}`: changes the text of the caller's own message.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{ActionSpec, ByEvent, Code, Context, Draft, Error, EventType, Level, MessageId};

/// Replaces the text of the caller's own message.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The id of the message to edit.
    message_id: MessageId,
    /// The new text. A text equal to the old text is also an edit.
    text: Draft,
}

/// The declaration of the action `edit`.
pub const SPEC: ActionSpec = ActionSpec {
    level: Level::Basic,
    emits: &[EventType::MessageEdited],
    fails: &[Code::NotFound, Code::NotAuthor],
    ..ActionSpec::DEFAULT
};

/// Replaces the text if the caller is the author of the message. Otherwise fails with `not_author`. Even an admin may
/// not edit the message of another member.
pub async fn handle(cx: Context, request: Request) -> Result<ByEvent, Error> {
    let text = cx.validate_text(request.text, "text")?;
    let room = cx.room()?;
    if room.author(request.message_id).await? != *cx.caller() {
        return Err(Error::not_author("only its author may edit a message"));
    }
    room.edit(request.message_id, text).await?;
    Ok(ByEvent)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{CALLER, FakeRoom, OTHER, TEXT_CHARS};
    use crate::{Code, Reply, Role};

    #[test]
    fn author_edits_their_message() {
        let room = FakeRoom::new(Role::Member);
        let id = room.add_message(CALLER, "Hello");
        let reply = room.call(&json!({"action": "edit", "message_id": id, "text": "Hello!"})).unwrap();
        assert_eq!(reply, Reply::ByEvent);
        assert_eq!((room.text(id).as_deref(), room.revision()), (Some("Hello!"), 1));
    }

    #[test]
    fn edit_is_a_revision_when_the_text_is_the_same() {
        let room = FakeRoom::new(Role::Member);
        let id = room.add_message(CALLER, "Hello");
        room.call(&json!({"action": "edit", "message_id": id, "text": "Hello"})).unwrap();
        assert_eq!(room.revision(), 1);
    }

    #[test]
    fn edit_is_refused_when_an_admin_is_not_the_author() {
        let room = FakeRoom::new(Role::Admin);
        let id = room.add_message(OTHER, "Hello");
        let error = room.call(&json!({"action": "edit", "message_id": id, "text": "Hello!"})).unwrap_err();
        assert_eq!(error.code(), Code::NotAuthor);
        assert_eq!((room.text(id).as_deref(), room.revision()), (Some("Hello"), 0));
    }

    #[test]
    fn edit_is_refused_when_there_is_no_such_message() {
        let room = FakeRoom::new(Role::Member);
        let error = room.call(&json!({"action": "edit", "message_id": 1, "text": "Hello!"})).unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
    }

    #[test]
    fn edit_is_refused_when_the_text_is_not_valid() {
        let room = FakeRoom::new(Role::Member);
        let id = room.add_message(CALLER, "Hello");
        for text in ["", " \n", "a\0b", &"x".repeat(TEXT_CHARS + 1)] {
            let error = room.call(&json!({"action": "edit", "message_id": id, "text": text})).unwrap_err();
            assert_eq!(error.code(), Code::InvalidRequest);
            assert!(error.message().starts_with("text: "), "{}", error.message());
        }
        assert_eq!(room.revision(), 0);
    }
}
