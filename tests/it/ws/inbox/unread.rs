//! Unread counts on an inbox connection: the server sends its own count when a receipt marker or a delete changes it.

use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::inbox;
use crate::support::{Client, Metered, Mongod, PATIENCE, Server, shared_uri};

/// Waits for the next `unread` event. Returns its room, its count and its read marker.
async fn unread(client: &mut Client) -> Value {
    let told = client.until_kind("unread").await;
    json!([told["room_id"], told["unread"], told["read"]])
}

#[tokio::test]
async fn reading_is_told_to_all_of_the_readers_own_sockets() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    for text in ["a", "b", "c"] {
        two.say(text).await;
    }
    two.until_kind("chat_message").await;
    let (mut phone, _) = inbox(&server, 1).await;
    let (mut laptop, _) = inbox(&other, 1).await;
    phone.send(json!({"action": "read", "room_id": room, "message_id": 2})).await;
    assert_eq!(unread(&mut phone).await, json!([room, 1, 2]));
    assert_eq!(unread(&mut laptop).await, json!([room, 1, 2]));
    laptop.send(json!({"action": "read", "room_id": room, "message_id": 99})).await;
    assert_eq!(unread(&mut phone).await, json!([room, 0, 3]));
    assert_eq!(unread(&mut laptop).await, json!([room, 0, 3]));
    let (_, ready) = inbox(&server, 1).await;
    assert_eq!((&ready["rooms"][0]["unread"], &ready["rooms"][0]["read"]), (&json!(0), &json!(3)));
}

#[tokio::test]
async fn a_room_that_is_open_is_read_until_it_is_closed() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    two.say("before").await;
    two.until_kind("chat_message").await;
    let (mut one, _) = inbox(&server, 1).await;
    one.send(json!({"action": "open", "room_id": room})).await;
    assert_eq!(unread(&mut one).await, json!([room, 0, 1]));
    two.say("meanwhile").await;
    assert_eq!(unread(&mut one).await, json!([room, 0, 2]));
    two.until_kind("mark_message_as_read").await;
    one.send(json!({"action": "close", "room_id": room})).await;
    one.send(json!({"action": "ping"})).await;
    one.until_kind("pong").await;
    two.say("after").await;
    one.until_kind("mark_message_as_delivered").await;
    let (_, ready) = inbox(&server, 1).await;
    assert_eq!((&ready["rooms"][0]["unread"], &ready["rooms"][0]["read"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_message_that_is_deleted_is_unread_no_more() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    for text in ["a", "b"] {
        two.say(text).await;
    }
    let (mut one, ready) = inbox(&server, 1).await;
    assert_eq!(ready["rooms"][0]["room_id"], room);
    one.send(json!({"action": "ping"})).await;
    one.until_kind("pong").await;
    two.send(json!({"action": "delete", "message_id": 1})).await;
    assert_eq!(one.until_kind("message_deleted").await["message_id"], 1);
    assert_eq!(unread(&mut one).await, json!([room, 1, 0]));
}

/// The database's profiler, which records all commands of the server.
struct Noted(Database);

impl Noted {
    async fn of(server: &Server) -> Self {
        let client = mongodb::Client::with_uri_str(shared_uri()).await.unwrap();
        let database = client.database(&server.database().name);
        database.run_command(doc! { "profile": 2 }).await.unwrap();
        Self(database)
    }

    /// Returns how often the server counted unread messages. The server counts by an aggregation at a cluster time
    /// (MongoDB's logical clock).
    async fn counts(&self) -> u64 {
        let members = format!("{}.members", self.0.name());
        let counted = doc! { "ns": members, "command.aggregate": "members", "command.readConcern.atClusterTime": { "$exists": true } };
        self.0.collection::<Document>("system.profile").count_documents(counted).await.unwrap()
    }

    async fn end(self) {
        self.0.run_command(doc! { "profile": 0 }).await.unwrap();
    }
}

#[tokio::test]
async fn a_room_that_is_read_to_its_end_is_not_counted() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    let (mut one, _) = inbox(&server, 1).await;
    one.send(json!({"action": "open", "room_id": room})).await;
    let noted = Noted::of(&server).await;
    for id in 1..=5 {
        two.say("read at once").await;
        assert_eq!(unread(&mut one).await, json!([room, 0, id]));
    }
    assert_eq!(noted.counts().await, 0);
    // After the room is closed, new messages remain unread. So the server must count them.
    one.send(json!({"action": "close", "room_id": room})).await;
    for _ in 0..2 {
        two.say("later").await;
        one.until_kind("chat_message").await;
    }
    one.send(json!({"action": "read", "room_id": room, "message_id": 6})).await;
    assert_eq!(unread(&mut one).await, json!([room, 1, 6]));
    assert_eq!(noted.counts().await, 1);
    noted.end().await;
}

/// Keeps the unread count as a client does, until the count is `until` and `events` messages and deletes were received.
/// When the server sends a count, this count includes all earlier messages and no later message. Returns the number of
/// counts that the server sent.
async fn reckon(one: &mut Client, mut unread: i64, until: i64, events: usize) -> u64 {
    let (mut heard, mut told) = (0, 0);
    let reckoning = async {
        while (unread, heard) != (until, events) {
            let frame = one.next().await;
            match frame["type"].as_str().unwrap() {
                "chat_message" => (unread, heard) = (unread + 1, heard + 1),
                "message_deleted" => heard += 1,
                "unread" => (unread, told) = (frame["unread"].as_i64().unwrap(), told + 1),
                _ => {}
            }
        }
    };
    timeout(PATIENCE, reckoning).await.expect("the last count is right");
    told
}

#[tokio::test]
async fn deletes_of_what_waits_to_be_read_are_told_and_not_counted() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    for _ in 0..=40 {
        two.say("unread").await;
        two.until_kind("chat_message").await;
    }
    let (mut one, ready) = inbox(&server, 1).await;
    assert_eq!(ready["rooms"][0]["unread"], 41);
    let noted = Noted::of(&server).await;
    // A user's own message is not unread for that user.
    one.send(json!({"action": "send", "room_id": room, "message": "mine"})).await;
    one.send(json!({"action": "delete", "room_id": room, "message_id": 42})).await;
    one.until_kind("message_deleted").await;
    for id in 1..=40 {
        two.send(json!({"action": "delete", "message_id": id})).await;
        two.until_kind("message_deleted").await;
    }
    two.say("and one more").await;
    let told = reckon(&mut one, 41, 2, 41).await;
    assert!((1..=40).contains(&told), "told {told} times");
    assert_eq!(noted.counts().await, 0);
    noted.end().await;
}

/// A deleted message may no longer be in the server's memory. Then the server must count again for every socket whose
/// user had not read this message. Between two of these counts, the server waits for a minimum time.
#[tokio::test]
async fn deletes_that_have_to_be_counted_are_counted_a_few_times() {
    let metered = Metered::new();
    let pause = Duration::from_millis(500);
    let server = Server::start(&[metered.setting(), ("SOCKETS__UNREAD_MS", "500")]).await;
    server.room(&[1, 2]).await;
    let now = DateTime::now();
    let message = |n: i64| {
        doc! {
            "_id": { "room": 1_i64, "n": n }, "sender": 2_i64, "text": "x", "created_at": now, "updated_at": now,
        }
    };
    server.collection("messages").await.insert_many((1..=300).map(message)).await.unwrap();
    let (mut one, ready) = inbox(&server, 1).await;
    assert_eq!(ready["rooms"][0]["unread"], 300);
    let noted = Noted::of(&server).await;
    let began = Instant::now();
    for id in 1..=40 {
        assert_eq!(server.api_delete(&format!("/rooms/1/messages/{id}")).await.0, 204);
    }
    let more = json!({"sender_id": 2, "text": "and one more"});
    assert_eq!(server.api_post("/rooms/1/messages", &more).await.0, 201);
    let told = reckon(&mut one, 300, 261, 41).await;
    let most = u64::try_from(began.elapsed().as_millis() / pause.as_millis()).unwrap() + 2;
    let counts = noted.counts().await;
    assert!((1..=most).contains(&counts), "{counts} counts where {most} are allowed");
    assert!((1..=counts).contains(&told), "{told} of {counts} counts were told");
    assert!(metered.hits("unread_ms").await > 0);
    noted.end().await;
}

/// The database refuses a count with the error of a primary that steps down. The server counts again, and the socket
/// stays open.
#[tokio::test]
async fn a_count_that_fails_is_made_again() {
    let mongod = Mongod::start().await;
    let server = Server::start_over(&mongod.uri("parlor"), &[]).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    let (mut one, _) = inbox(&server, 1).await;
    for _ in 0..2 {
        two.say("hello").await;
        one.until_kind("chat_message").await;
    }
    // Error code 11602 is `InterruptedDueToReplStateChange`.
    let refused = doc! { "failCommands": ["aggregate"], "errorCode": 11602 };
    mongod.fail("parlor", doc! { "times": 3 }, refused).await;
    one.send(json!({"action": "read", "room_id": room, "message_id": 1})).await;
    mongod.held_up().await;
    assert_eq!(unread(&mut one).await, json!([room, 1, 1]));
    one.send(json!({"action": "ping"})).await;
    one.until_kind("pong").await;
}
