//! If an action or an API request had to wait, the server must check the caller's permissions again before it writes.
//! Each test removes a permission during the wait.

use std::sync::Arc;

use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{
    Client, Metered, Mongod, Receiver, ReceiverReply, Server, chat, edited, eventually, eventually_count,
};

/// The time in ms for which the database blocks a command. This time is much longer than the wait after which the
/// server checks a caller's permissions again.
const HELD_MS: i64 = 5_000;

/// Lets the database block the next `command` of the server for [`HELD_MS`].
async fn hold(mongod: &Mongod, command: &str) {
    let slow = doc! { "failCommands": [command], "blockConnection": true, "blockTimeMS": HELD_MS };
    mongod.fail("parlor", doc! { "times": 1 }, slow).await;
}

/// Waits until the database runs this command on the collection.
async fn under_way(mongod: &Mongod, command: &str, collection: &str) {
    let admin = mongod.database("admin").await;
    let running = async || {
        let op = doc! { "currentOp": 1, format!("command.{command}"): collection };
        let found: Document = admin.run_command(op).await.unwrap();
        found.get_array("inprog").unwrap().len()
    };
    eventually(&format!("{command} on {collection} runs"), running, |count| *count > 0).await;
}

/// Waits until the server has read message `n` from the database. The test has turned on the database's profiler, which
/// logs each query.
async fn asked_for(database: &mongodb::Database, n: i64) {
    let noted = database.collection::<Document>("system.profile");
    let of = doc! { "op": "query", "command.find": "messages", "command.filter._id.n": n };
    eventually_count(&noted, of, |count| count > 0).await;
}

async fn remove(server: &Server, room: i64, user: i64) {
    assert_eq!(server.api_delete(&format!("/rooms/{room}/members/{user}")).await.0, 204);
}

/// Starts a server whose database can block commands. Creates a group of the users 1, 2 and 3, and opens a socket in
/// the group for user 1 and for user 2. Returns the server, the group's id, and the two sockets.
async fn held_up(mongod: &Mongod, metered: &Metered) -> (Server, i64, Client, Client) {
    let settings = [("LIMITS__HANDLER_MS", "60000"), metered.setting()];
    let server = Server::start_over(&mongod.uri("parlor"), &settings).await;
    let room = server.room(&[1, 2, 3]).await;
    let (one, two) = (server.enter(1, room).await, server.enter(2, room).await);
    (server, room, one, two)
}

#[tokio::test]
async fn a_message_is_not_written_when_its_sender_left_in_the_queue() {
    let (mongod, metered) = (Mongod::start().await, Metered::new());
    let (server, room, mut one, mut two) = held_up(&mongod, &metered).await;
    hold(&mongod, "insert").await;
    one.say("slow").await;
    under_way(&mongod, "insert", "messages").await;
    two.say("late").await;
    metered.until("parlor_write_queue", 1).await;
    remove(&server, room, 2).await;
    one.until(chat(1, 1, "slow")).await;
    // The server writes the messages of a room in order. If it had written the message `late`, this message would have
    // the id 2.
    one.say("on").await;
    one.until(chat(2, 1, "on")).await;
}

#[tokio::test]
async fn an_edit_is_not_written_when_its_author_left_in_the_queue() {
    let (mongod, metered) = (Mongod::start().await, Metered::new());
    let (server, room, mut one, mut two) = held_up(&mongod, &metered).await;
    one.say("first").await;
    two.until(chat(1, 1, "first")).await;
    two.say("second").await;
    one.until(chat(2, 2, "second")).await;
    let database = mongod.database(&server.database().name).await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    hold(&mongod, "findAndModify").await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "slow"})).await;
    under_way(&mongod, "findAndModify", "rooms").await;
    two.send(json!({"action": "edit", "message_id": 2, "text": "late"})).await;
    asked_for(&database, 2).await;
    remove(&server, room, 2).await;
    // The edits of a room are done in order. If the server applied the edit `late`, it would do so before this edit
    // `on`.
    one.send(json!({"action": "edit", "message_id": 1, "text": "on"})).await;
    let received = one.until(edited(1, "on")).await;
    assert!(received.iter().all(|frame| frame["text"] != "late"), "{received:?}");
    let (_, page) = server.api_get(&format!("/rooms/{room}/messages")).await;
    assert_eq!(page["messages"][0]["text"], "second", "{page}");
}

#[tokio::test]
async fn a_delete_is_refused_when_an_admin_lost_the_role_meanwhile() {
    let (mongod, metered) = (Mongod::start().await, Metered::new());
    let (server, room, mut one, mut two) = held_up(&mongod, &metered).await;
    let member = format!("/rooms/{room}/members/2");
    assert_eq!(server.call(Method::PUT, &member, json!({"role": "admin"})).await.0, 200);
    for n in 1..=2 {
        one.say("by another").await;
        two.until(chat(n, 1, "by another")).await;
    }
    let database = mongod.database(&server.database().name).await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    hold(&mongod, "findAndModify").await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "slow"})).await;
    under_way(&mongod, "findAndModify", "rooms").await;
    two.send(json!({"action": "delete", "message_id": 2})).await;
    asked_for(&database, 2).await;
    let noted = database.collection::<Document>("system.profile");
    let role = doc! { "op": "query", "command.find": "members", "command.filter._id.user": 2 };
    eventually_count(&noted, role, |count| count > 0).await;
    assert_eq!(server.call(Method::PUT, &member, json!({"role": "member"})).await.0, 200);
    assert_eq!(two.until_kind("error").await["code"], "not_author");
    let (status, page) = server.api_get(&format!("/rooms/{room}/messages")).await;
    assert_eq!((status, page["messages"].as_array().unwrap().len()), (200, 2), "{page}");
}

/// Starts a server with a hook `before_send`, and creates a group. User 1 has a socket in the group and has written one
/// message. From then on, the hook answers only when the test adds a permit to the semaphore.
async fn asking(metered: &Metered) -> (Receiver, Arc<Semaphore>, Server, i64, Client) {
    let receiver = Receiver::start(|_| ReceiverReply::Ok(String::new())).await;
    let url = receiver.url("/");
    let server = Server::start(&[("HOOKS__BEFORE_SEND__URL", &*url), metered.setting()]).await;
    let room = server.room(&[1, 2, 3]).await;
    let mut one = server.dial_as(1, &format!("room_id={room}&since=")).open().await;
    one.next().await;
    one.send(json!({"action": "send", "message": "before", "client_id": "a"})).await;
    one.until_kind("chat_message").await;
    let leave = Arc::new(Semaphore::new(0));
    let held = leave.clone();
    receiver.answers(move |_| ReceiverReply::Held(held.clone(), String::new()));
    (receiver, leave, server, room, one)
}

#[tokio::test]
async fn message_is_not_written_when_its_sender_left_during_a_hook() {
    let send = json!({"action": "send", "message": "late"});
    let again = json!({"action": "send", "message": "late", "client_id": "a"});
    let edit = json!({"action": "edit", "message_id": 1, "text": "late"});
    for (frame, path) in [
        (&send, "/rooms/1/members/1"),
        (&edit, "/rooms/1/members/1"),
        (&again, "/rooms/1/members/1"),
        (&send, "/rooms/1"),
        (&edit, "/rooms/1"),
        (&send, "/users/1"),
    ] {
        let metered = Metered::new();
        let (receiver, leave, server, room, mut one) = asking(&metered).await;
        assert_eq!(room, 1);
        one.send(frame.clone()).await;
        receiver.asked(2).await;
        let (status, _) = server.api_delete(path).await;
        assert!(status == 204 || status == 202, "{path}: {status}");
        // The erasure of `/users/1` runs in the background. The first step of the erasure removes the memberships, so
        // the test waits until they are gone.
        let members = server.collection("members").await;
        let mine = doc! { "_id.user": 1 };
        eventually_count(&members, mine.clone(), |count| count == 0).await;
        leave.add_permits(1);
        metered.until(r#"parlor_hook_events_total{hook="before_send",outcome="passed"}"#, 2).await;
        // Messages and edits are done in order. When this message and this edit are done, the server has already
        // handled the message or edit `late`.
        let elsewhere = server.room(&[2, 3]).await;
        let fence = json!({"sender_id": 2, "text": "fence"});
        assert_eq!(server.api_post(&format!("/rooms/{elsewhere}/messages"), &fence).await.0, 201);
        server.call(Method::PATCH, "/rooms/1/messages/1", json!({"text": "fence"})).await;
        let messages = server.collection("messages").await;
        let twice = doc! { "_id.room": 1, "rev": { "$gte": 2 } };
        assert_eq!(messages.count_documents(twice).await.unwrap(), 0, "{frame} after {path}");
        let late = doc! { "text": "late" };
        assert_eq!(messages.count_documents(late).await.unwrap(), 0, "{frame} after {path}");
    }
}

#[tokio::test]
async fn an_event_is_not_published_when_the_caller_left_in_the_queue() {
    let (mongod, metered) = (Mongod::start().await, Metered::new());
    let says = r#"{"send":{"message":"slow"},"event":{"n":1}}"#;
    let receiver = Receiver::start(|_| ReceiverReply::Ok(says.to_owned())).await;
    let url = receiver.url("/");
    let settings = [("FUNCTIONS__DO__URL", &*url), ("LIMITS__HANDLER_MS", "60000"), metered.setting()];
    let server = Server::start_over(&mongod.uri("parlor"), &settings).await;
    let room = server.room(&[1, 2, 3]).await;
    let (mut one, mut two) = (server.enter(1, room).await, server.enter(2, room).await);
    hold(&mongod, "insert").await;
    two.send(json!({"action": "do"})).await;
    under_way(&mongod, "insert", "messages").await;
    remove(&server, room, 2).await;
    one.until(chat(1, 2, "slow")).await;
    let mut frames = Vec::new();
    for n in 2..=10 {
        one.say("on").await;
        frames.extend(one.until(chat(n, 1, "on")).await);
    }
    assert!(frames.iter().all(|frame| frame["type"] != "custom"), "{frames:?}");
}

/// Without a hook, the server must not read the membership again. Then a message costs one write, and no read of the
/// collection `members`.
#[tokio::test]
async fn a_plain_message_reads_no_membership() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    let mut one = server.enter(1, room).await;
    let client = mongodb::Client::with_uri_str(crate::support::shared_uri()).await.unwrap();
    let database = client.database(&server.database().name);
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    one.say_alone(1, 1, "plain").await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let noted = database.collection::<Document>("system.profile");
    let wrote = doc! { "ns": format!("{}.messages", database.name()), "op": "insert" };
    assert_eq!(noted.count_documents(wrote).await.unwrap(), 1);
    let read = doc! { "ns": format!("{}.members", database.name()), "command.filter._id.user": 1 };
    assert_eq!(noted.count_documents(read).await.unwrap(), 0);
}
