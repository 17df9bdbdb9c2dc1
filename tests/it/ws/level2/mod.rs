//! Level 2 (resumable): sockets that were opened with `since`. Such a socket resumes from a cursor (a text that means
//! "I know everything up to here"). It also gets events that a Level 1 socket does not get.

mod cursors;
mod history;
mod level1_beside;
mod lost_connections;
mod many_changes;
mod receipts;
mod refs;
mod repeated_sends;
mod resume;
mod revisions;
mod server_restart;
mod token_renewal;
mod typing;

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

use serde_json::{Value, json};

use crate::support::{Client, Server, WORDS, chat, encoded, listed, matches};

/// The keys that each first frame has, sorted.
const KEYS: [&str; 8] = ["cursor", "deleted", "edited", "has_more", "marks", "messages", "resumed", "type"];

/// A Level 2 socket and the last cursor that it has received.
struct Live {
    client: Client,
    cursor: String,
}

impl Live {
    /// Opens a socket by the room's id. Returns it with its first frame.
    async fn open(server: &Server, user: i64, room: i64, since: &str) -> (Self, Value) {
        Self::open_with(server, user, room, since, "").await
    }

    /// Opens a socket by the room's id, with further query parameters. Returns it with its first frame.
    async fn open_with(server: &Server, user: i64, room: i64, since: &str, more: &str) -> (Self, Value) {
        Self::at(server, user, &format!("room_id={room}&since={}{more}", encoded(since))).await
    }

    /// Opens a socket with exactly this query. Returns it with its first frame.
    async fn at(server: &Server, user: impl Into<Value>, query: &str) -> (Self, Value) {
        let mut client = server.dial_as(user, query).open().await;
        let frame = client.next().await;
        assert_shape(&frame);
        let cursor = frame["cursor"].as_str().unwrap().to_owned();
        (Self { client, cursor }, frame)
    }

    /// Opens a socket without a cursor, and reads its first frame.
    async fn fresh(server: &Server, user: i64, room: i64) -> Self {
        let (live, frame) = Self::open(server, user, room, "").await;
        assert_eq!(frame["resumed"], false, "there is no cursor to go on from: {frame}");
        live
    }

    /// Opens a socket without a cursor, with manual read receipts.
    async fn by_hand(server: &Server, user: i64, room: i64) -> Self {
        Self::open_with(server, user, room, "", "&receipts=manual").await.0
    }

    /// Returns the next frame. If the frame has a cursor, stores the cursor.
    async fn next(&mut self) -> Value {
        let frame = self.client.next().await;
        if let Some(cursor) = frame.get("cursor") {
            cursor.as_str().expect("a cursor is a string").clone_into(&mut self.cursor);
        }
        frame
    }

    /// Asserts that the very next frame is this event, with a cursor. Returns the frame.
    async fn hear(&mut self, event: Value) -> Value {
        let expected = with_cursor(event);
        let frame = self.next().await;
        assert!(matches(&expected, &frame), "expected\n  {expected}\ngot\n  {frame}");
        frame
    }

    /// Asserts that the very next frames are these events, each with a cursor.
    async fn hear_all(&mut self, events: &[Value]) {
        for event in events {
            self.hear(event.clone()).await;
        }
    }

    /// Sends `text` and expects its `chat_message` as the very next frame. No other member may have a socket, because
    /// that socket would cause receipt events between the messages.
    async fn say_alone(&mut self, id: i64, sender: i64, text: &str) -> Value {
        self.say(text).await;
        self.hear(chat(id, sender, text)).await
    }

    /// Returns the next frames, up to and including this event.
    async fn hear_until(&mut self, event: Value) -> Vec<Value> {
        let last = with_cursor(event);
        let mut frames = vec![self.next().await];
        while !frames.last().is_some_and(|frame| matches(&last, frame)) {
            frames.push(self.next().await);
        }
        frames
    }
}

impl Deref for Live {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Live {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// The changes in a first frame, without the receipt markers. Two values are equal only if the order is the same.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    messages: Vec<(i64, String)>,
    edited: Vec<(i64, String)>,
    deleted: Vec<i64>,
}

impl Told {
    /// Returns the changes in a first frame.
    fn by(frame: &Value) -> Self {
        let deleted = frame["deleted"].as_array().unwrap().iter();
        Self {
            messages: texts(&frame["messages"]),
            edited: texts(&frame["edited"]),
            deleted: deleted.map(|id| id.as_i64().expect("an id is a number")).collect(),
        }
    }

    /// Returns the changes that a client must get after missing these events: each message once, in its last form.
    fn after(events: &[Value]) -> Self {
        let mut told = Self::default();
        for event in events {
            match event["type"].as_str().unwrap() {
                "chat_message" => told.messages.push((id_of(event), text_of(&event["message"]))),
                "message_edited" => told.edit(id_of(event), text_of(event)),
                "message_deleted" => told.delete(id_of(event)),
                "mark_message_as_delivered" | "mark_message_as_read" => {}
                other => panic!("{other} is no event"),
            }
        }
        told
    }

    fn edit(&mut self, id: i64, text: String) {
        if let Some(new) = self.messages.iter_mut().find(|(other, _)| *other == id) {
            new.1 = text;
            return;
        }
        self.edited.retain(|(other, _)| *other != id);
        self.edited.push((id, text));
    }

    fn delete(&mut self, id: i64) {
        let before = self.messages.len();
        self.messages.retain(|(other, _)| *other != id);
        if self.messages.len() == before {
            self.edited.retain(|(other, _)| *other != id);
            self.deleted.push(id);
        }
    }
}

/// Returns the message id of an event.
fn id_of(event: &Value) -> i64 {
    let id = event.get("message_id").unwrap_or(&event["message"]["message_id"]);
    id.as_i64().unwrap_or_else(|| panic!("no message_id in {event}"))
}

fn text_of(message: &Value) -> String {
    message["text"].as_str().unwrap_or_else(|| panic!("no text in {message}")).to_owned()
}

/// Returns the ids and texts of an array of messages, in its order.
fn texts(messages: &Value) -> Vec<(i64, String)> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("no array of messages: {messages}"));
    messages.iter().map(|message| (message["message_id"].as_i64().unwrap(), text_of(message))).collect()
}

/// Returns the ids of an array of messages, in its order.
fn ids(messages: &Value) -> Vec<i64> {
    texts(messages).into_iter().map(|(id, _)| id).collect()
}

/// Asserts that a first frame has exactly the keys in [`KEYS`]. Each of its messages must have the same fields as in a
/// history ([`listed`]).
fn assert_shape(frame: &Value) {
    let keys: Vec<_> = frame.as_object().unwrap_or_else(|| panic!("no object: {frame}")).keys().collect();
    assert_eq!(
        keys.into_iter().collect::<BTreeSet<_>>(),
        KEYS.map(str::to_owned).iter().collect(),
        "{frame}"
    );
    assert_eq!(frame["type"], "resumed", "{frame}");
    assert!(frame["resumed"].is_boolean() && frame["has_more"].is_boolean(), "{frame}");
    assert!(frame["cursor"].as_str().is_some_and(|cursor| !cursor.is_empty()), "{frame}");
    for message in frame["messages"].as_array().unwrap().iter().chain(frame["edited"].as_array().unwrap()) {
        let open = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        let mut expected = listed(0, 0, &open("text"), &open("status"));
        for key in ["message_id", "sender_id", "sender_email"] {
            expected[key] = message[key].clone();
        }
        assert!(matches(&expected, message), "{message} is not as the history has it");
        assert!(["send", "delivered", "read"].contains(&open("status").as_str()), "{message}");
    }
    for mark in frame["marks"].as_array().unwrap() {
        assert_eq!(mark.as_object().map(serde_json::Map::len), Some(3), "{mark}");
        assert!(mark["delivered"].is_u64() && mark["read"].is_u64() && !mark["user_id"].is_null(), "{mark}");
    }
}

/// Returns a member's receipt markers `delivered` and `read` in a first frame.
fn mark(frame: &Value, user: i64) -> (i64, i64) {
    let marks = frame["marks"].as_array().unwrap();
    let own: Vec<_> = marks.iter().filter(|mark| mark["user_id"] == user).collect();
    assert_eq!(own.len(), 1, "user {user} has one mark among {marks:?}");
    (own[0]["delivered"].as_i64().unwrap(), own[0]["read"].as_i64().unwrap())
}

/// Returns an expected event in the form of Level 2, with a placeholder for any cursor.
fn with_cursor(mut event: Value) -> Value {
    event["cursor"] = json!(WORDS);
    event
}

/// Adds this `ref` to the frame. A `ref` is a text by which a client matches an answer to a request.
fn with_ref(mut frame: Value, name: &str) -> Value {
    frame["ref"] = json!(name);
    frame
}

/// Returns a frame that edits a message.
fn edit(id: i64, text: &str) -> Value {
    json!({"action": "edit", "message_id": id, "text": text})
}

/// Returns a frame that deletes a message.
fn delete(id: i64) -> Value {
    json!({"action": "delete", "message_id": id})
}

/// Starts a server with a room of the users 1 and 2. User 2 has no socket, so no message becomes delivered.
async fn room(overrides: &[(&str, &str)]) -> (Server, i64) {
    let server = Server::start(overrides).await;
    let room = server.room(&[1, 2]).await;
    (server, room)
}

/// Resumes a socket of user 1 from a cursor, and returns the changes. Panics if the server doesn't resume.
async fn missed(server: &Server, room: i64, since: &str) -> Told {
    let (_, frame) = Live::open(server, 1, room, since).await;
    assert_eq!(frame["resumed"], true, "since {since:?}: {frame}");
    Told::by(&frame)
}
