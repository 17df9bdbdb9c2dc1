//! Answers are true. A success means that the action was done. An error means that the action was not done.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use mongodb::bson::doc;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Mongod, Server, chat, eventually};

/// The number of messages that are edited and deleted concurrently.
const MESSAGES: i64 = 100;

/// Returns all frames up to the message with the text `last`, without this message.
async fn until_said(client: &mut Client, last: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = client.next().await;
        if frame["type"] == "chat_message" && frame["message"]["text"] == last {
            return frames;
        }
        frames.push(frame);
    }
}

/// Returns the new texts in the `message_edited` events among these frames.
fn edits(frames: &[Value]) -> BTreeSet<String> {
    let edited = frames.iter().filter(|frame| frame["type"] == "message_edited");
    edited.map(|frame| frame["text"].as_str().unwrap().to_owned()).collect()
}

/// Edits each message on this socket. Returns the texts of the edits that were done, and the texts of the edits that
/// were refused. The answer to an edit is the event or the error that has the edit's `ref`.
async fn edit_all(mut author: Client, name: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut done, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for n in 1..=MESSAGES {
        let text = format!("{name} {n}");
        author.send(json!({"action": "edit", "message_id": n, "text": text, "ref": text})).await;
        loop {
            let frame = author.next().await;
            if frame["ref"] == text.as_str() {
                let kind = if frame["type"] == "message_edited" { &mut done } else { &mut refused };
                assert!(frame["type"] == "message_edited" || frame["code"] == "not_found", "{frame}");
                kind.insert(text);
                break;
            }
        }
    }
    (done, refused)
}

#[tokio::test]
async fn edits_answer_as_the_room_receives_them_when_deletes_race() {
    let server = Server::start(&[]).await;
    let beside = server.beside().await;
    let room = server.room(&[1, 2, 3]).await;
    let mut one = server.enter(1, room).await;
    for n in 1..=MESSAGES {
        one.say_alone(n, 1, "hello").await;
    }
    let mut listener = server.enter(2, room).await;
    let dial = async |server: &Server| server.dial_as(1, &format!("room_id={room}&since=")).open().await;
    let (first, second) = (dial(&server).await, dial(&beside).await);
    let path = |n: i64| format!("/rooms/{room}/messages/{n}");
    let patched = join_all((1..=MESSAGES).map(async |n| {
        let text = format!("rest {n}");
        (server.call(Method::PATCH, &path(n), json!({"text": text})).await, text)
    }));
    let deleted = join_all((1..=MESSAGES).map(async |n| beside.api_delete(&path(n)).await.0));
    let (patched, deleted, first, second) =
        tokio::join!(patched, deleted, edit_all(first, "first"), edit_all(second, "second"));
    one.say("the end").await;
    let frames = until_said(&mut listener, "the end").await;

    let (mut done, mut refused) = (first.0, first.1);
    done.extend(second.0);
    refused.extend(second.1);
    for ((status, message), text) in patched {
        match status {
            200 => {
                assert_eq!(message["text"], text.as_str(), "the answer is this edit: {message}");
                assert!(message["updated_at"].as_str() >= message["created_at"].as_str(), "{message}");
                done.insert(text)
            }
            404 => refused.insert(text),
            _ => panic!("{status} {message}"),
        };
    }
    assert!(deleted.iter().all(|status| *status == 204), "{deleted:?}");
    let received = edits(&frames);
    assert_eq!(
        received.intersection(&refused).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "refused, yet done"
    );
    assert_eq!(
        done.difference(&received).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "done, yet not received"
    );
    let gone = frames.iter().filter(|frame| frame["type"] == "message_deleted").count();
    assert_eq!(gone, usize::try_from(MESSAGES).unwrap());
}

#[tokio::test]
async fn an_added_member_is_answered_when_a_removal_follows() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    for round in 0..20 {
        let users: Vec<_> = (0..10).map(|at| 1_000 + round * 10 + at).collect();
        let path = |user: i64| format!("/rooms/{room}/members/{user}");
        let put = join_all(users.iter().map(async |user| {
            server.call(Method::PUT, &path(*user), json!({"email": "a@example.com"})).await
        }));
        let removed = join_all(users.iter().map(async |user| {
            let status = async || server.api_delete(&path(*user)).await.0;
            eventually("the member is removed", status, |status| *status == 204).await;
        }));
        let (put, _) = tokio::join!(put, removed);
        for (user, (status, member)) in users.iter().zip(put) {
            let expected = json!({
                "user_id": user, "email": "a@example.com", "role": "member", "delivered": 0, "read": 0,
            });
            assert_eq!((status, member), (201, expected));
        }
    }
}

/// The answer to a `POST` is lost, and then the message is deleted. The client repeats the `POST` with its idempotency
/// key, and must get the first answer. To simulate the loss, the test removes the stored answer from the database.
#[tokio::test]
async fn a_message_that_was_written_is_answered_as_written() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let body = json!({"sender_id": 1, "text": "hello"});
    let first = server.post_once("key", "/rooms/1/messages", &body).await;
    assert_eq!(first.0, 201, "{}", first.1);
    one.expect(chat(1, 1, "hello")).await;
    let over = mongodb::bson::doc! {
        "$unset": { "answer": "" }, "$set": { "until": mongodb::bson::DateTime::from_millis(0) },
    };
    let requests = server.collection("requests").await;
    requests.update_one(mongodb::bson::doc! {}, over).await.unwrap();
    assert_eq!(server.api_delete("/rooms/1/messages/1").await.0, 204);
    assert_eq!(server.post_once("key", "/rooms/1/messages", &body).await, first);
}

/// A room of three users, and two servers with the same database. The reads of one server are slow. So when this server
/// reads a document after its write, the other server has already changed the document again.
struct SlowReads {
    mongod: Mongod,
    server: Server,
    other: Server,
    room: i64,
}

impl SlowReads {
    async fn start() -> Self {
        let mongod = Mongod::start().await;
        let server = Server::start_over(&mongod.uri("parlor"), &[]).await;
        let other = server.beside_over(&mongod.uri("unharmed"), &[]).await;
        let room = server.room(&[1, 2, 3]).await;
        Self { mongod, server, other, room }
    }

    /// Sends a `PATCH` for `path` to the slow server. As soon as the client receives the event, deletes `path` through
    /// the other server. Returns the answer of the slow server.
    async fn ask(&self, path: &str, body: Value, client: &mut Client, event: &str) -> (u16, Value) {
        let data =
            doc! { "failCommands": ["find", "aggregate"], "blockConnection": true, "blockTimeMS": 500 };
        self.mongod.fail("parlor", "alwaysOn", data).await;
        let deleted = async {
            client.until_kind(event).await;
            self.other.api_delete(path).await.0
        };
        let (answer, deleted) = tokio::join!(self.server.call(Method::PATCH, path, body), deleted);
        assert_eq!(deleted, 204);
        answer
    }
}

#[tokio::test]
async fn edit_is_answered_as_done_when_a_delete_follows() {
    let slow = SlowReads::start().await;
    let mut one = slow.other.enter(1, slow.room).await;
    one.say_alone(1, 1, "hello").await;
    let path = format!("/rooms/{}/messages/1", slow.room);
    let (status, message) = slow.ask(&path, json!({"text": "edited"}), &mut one, "message_edited").await;
    assert_eq!((status, &message["text"]), (200, &json!("edited")), "{message}");
}

#[tokio::test]
async fn rename_is_answered_as_done_when_a_delete_follows() {
    let slow = SlowReads::start().await;
    let token = slow.other.token(1).sign();
    let mut inbox = slow.other.dial("/ws/?since=").token(&token).open().await;
    inbox.until_kind("ready").await;
    let path = format!("/rooms/{}", slow.room);
    let (status, room) = slow.ask(&path, json!({"name": "new"}), &mut inbox, "room_changed").await;
    assert_eq!((status, &room["name"]), (200, &json!("new")), "{room}");
}
