//! `{"action":"rooms","next":"..."}`: reads a page of the caller's rooms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ActionSpec, Context, Error, Level, Limits, RoomId, RoomPage, RoomView, RoomsFrom};

/// Reads a page of the caller's rooms.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Request {
    /// The `next` of the frame `ready` or of the previous page, unchanged. Without `next` and `before`, the page has
    /// the rooms with the latest activity.
    next: Option<String>,
    /// Instead of `next`: the `last_activity` of the last room that the client has received. The page may repeat rooms
    /// with exactly this `last_activity`.
    before: Option<String>,
    /// With `before`: the id of the last room that the client has received. With this id, the page repeats no room.
    before_room: Option<RoomId>,
}

impl Request {
    fn from(self) -> Result<RoomsFrom, Error> {
        match (self.next, self.before) {
            (Some(_), Some(_)) => Err(Error::invalid("next, before: one of them, not both")),
            (Some(next), None) => Ok(RoomsFrom::Next(next)),
            (None, Some(at)) => Ok(RoomsFrom::Before { at, room: self.before_room }),
            (None, None) => Ok(RoomsFrom::Latest),
        }
    }
}

/// `{"type":"rooms",...}`
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// A page of the caller's rooms.
    Rooms {
        /// The rooms. The room with the latest activity is first.
        rooms: Vec<RoomView>,
        /// Whether there are more rooms.
        has_more: bool,
        /// If there are more rooms: the value to send as `next` to read the next page.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        next: Option<String>,
    },
}

/// Declares the action's Level, limits, events and errors.
pub const SPEC: ActionSpec = ActionSpec {
    level: Level::Inbox,
    // A page of rooms is expensive: it has up to 50 rooms, each with up to 1,000 members.
    limits: Limits { per_minute: Some(60), max_in_flight: 32, ..Limits::DEFAULT },
    ..ActionSpec::DEFAULT
};

/// Reads one page of rooms from the database.
pub async fn handle(cx: Context, request: Request) -> Result<Answer, Error> {
    let RoomPage { rooms, next } = cx.connection().rooms(request.from()?).await?;
    Ok(Answer::Rooms { rooms, has_more: next.is_some(), next })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{ConnectionCall, FakeConnection};
    use crate::{Code, Reply, RoomId, RoomsFrom};

    #[test]
    fn rooms_answers_with_next_until_the_last_page() {
        let socket = FakeConnection::new();
        let Reply::Frame(first) = socket.call(&json!({"action": "rooms"})).unwrap() else {
            panic!("no answer")
        };
        let expected = json!({"type": "rooms", "rooms": [], "has_more": true, "next": FakeConnection::NEXT});
        assert_eq!(serde_json::from_str::<Value>(&first).unwrap(), expected);
        let last = socket.call(&json!({"action": "rooms", "next": FakeConnection::NEXT})).unwrap();
        let expected = r#"{"type":"rooms","rooms":[],"has_more":false}"#;
        assert_eq!(last, Reply::Frame(expected.to_owned()));
    }

    #[test]
    fn rooms_begins_after_the_room_that_the_frame_names() {
        let socket = FakeConnection::new();
        let at = "2026-02-18T18:28:52.258Z";
        socket.call(&json!({"action": "rooms", "before": at, "before_room": 7})).unwrap();
        let from = RoomsFrom::Before { at: at.to_owned(), room: RoomId::try_from(7).ok() };
        assert_eq!(socket.calls(), [ConnectionCall::Rooms(from)]);
    }

    #[test]
    fn rooms_is_refused_when_the_frame_has_next_and_before() {
        let socket = FakeConnection::new();
        let both = json!({"action": "rooms", "next": FakeConnection::NEXT, "before": "2026-02-18T18:28:52Z"});
        assert_eq!(socket.call(&both).unwrap_err().code(), Code::InvalidRequest);
        assert_eq!(socket.calls(), []);
    }
}
