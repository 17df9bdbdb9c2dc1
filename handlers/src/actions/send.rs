//! `{"action":"send","message":"Hello"}`: sends a message to the room.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{
    ActionSpec, AppendOutcome, ClientId, Context, Draft, Error, EventType, IntoReply, Level, Limits, Message,
    MessageId, Reply,
};

/// Writes a message in the room.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The text. The server stores it unchanged.
    message: Draft,
    /// Makes it safe to send the frame again. The server stores one message for each sender, room and `client_id`.
    client_id: Option<ClientId>,
}

/// Declares the action's Level, limits, events and errors.
pub const SPEC: ActionSpec = ActionSpec {
    level: Level::Basic,
    // Each call counts as one of the messages that the user may send in a minute.
    limits: Limits { message: true, ..Limits::DEFAULT },
    emits: &[EventType::ChatMessage, EventType::MarkMessageAsDelivered, EventType::MarkMessageAsRead],
    ..ActionSpec::DEFAULT
};

/// Writes the message. The event `chat_message` is the acknowledgement, and all sockets of the room receive it.
///
/// If the caller used the `client_id` in this room before, the server writes nothing. The answer is then the first
/// message with this `client_id`, in its current state. Only the caller's socket receives this answer.
pub async fn handle(cx: Context, request: Request) -> Result<SendAnswer, Error> {
    let text = cx.validate_text(request.message, "message")?;
    Ok(match cx.room()?.append(text, request.client_id).await? {
        AppendOutcome::New(_) => SendAnswer::New,
        AppendOutcome::Before(message) => SendAnswer::Before(Repeated::ChatMessage { message }),
        AppendOutcome::Deleted(message_id) => SendAnswer::Before(Repeated::MessageDeleted { message_id }),
    })
}

/// The answer to `send`.
#[derive(Debug)]
pub enum SendAnswer {
    /// The message is new. Its event `chat_message` is the answer.
    New,
    /// The caller used the `client_id` before. The frame [`Repeated`] is the answer.
    Before(Repeated),
}

/// The first message that the caller sent with this `client_id`, in its current state.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Repeated {
    /// The message exists.
    ChatMessage {
        /// The message in its current state.
        message: Message,
    },
    /// The message was deleted.
    MessageDeleted {
        /// The number of the deleted message.
        message_id: MessageId,
    },
}

impl IntoReply for SendAnswer {
    fn reply(self) -> Result<Reply, Error> {
        match self {
            Self::New => Ok(Reply::ByEvent),
            Self::Before(repeated) => repeated.reply(),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Repeated::schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{FakeConnection, FakeRoom, RoomCall, TEXT_CHARS};
    use crate::{Code, Reply, Role};

    #[test]
    fn send_appends_the_text_exactly_as_it_came() {
        let room = FakeRoom::new(Role::Member);
        let text = format!(" {} ", "é".repeat(TEXT_CHARS - 2));
        assert_eq!(room.call(&json!({"action": "send", "message": text})).unwrap(), Reply::ByEvent);
        assert_eq!(room.calls(), [RoomCall::Append { text }]);
    }

    #[test]
    fn send_answers_with_the_first_message_when_repeated() {
        let room = FakeRoom::new(Role::Member);
        let frame = json!({"action": "send", "message": "Hello", "client_id": "a"});
        assert_eq!(room.call(&frame).unwrap(), Reply::ByEvent);
        let Reply::Frame(answer) = room.call(&frame).unwrap() else { panic!("no answer") };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["type"], &answer["message"]["message_id"]), (&json!("chat_message"), &json!(1)));
        assert_eq!(room.calls().len(), 1);
    }

    #[test]
    fn send_answers_that_the_message_is_deleted_when_repeated() {
        let room = FakeRoom::new(Role::Member);
        let frame = json!({"action": "send", "message": "Hello", "client_id": "a"});
        room.call(&frame).unwrap();
        room.call(&json!({"action": "delete", "message_id": 1})).unwrap();
        let answer = room.call(&frame).unwrap();
        assert_eq!(answer, Reply::Frame(r#"{"type":"message_deleted","message_id":1}"#.to_owned()));
    }

    #[test]
    fn send_is_refused_when_the_text_is_too_long() {
        let room = FakeRoom::new(Role::Member);
        let text = "x".repeat(TEXT_CHARS + 1);
        let error = room.call(&json!({"action": "send", "message": text})).unwrap_err();
        assert_eq!(error.code(), Code::InvalidRequest);
        assert_eq!(room.calls(), []);
    }

    #[test]
    fn send_is_refused_when_the_frame_names_no_room() {
        let error = FakeConnection::new().call(&json!({"action": "send", "message": "Hello"})).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::InvalidRequest, "room_id: is needed"));
    }
}
