//! Users through the HTTP API: state, disconnect, export and erasure.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::{
    Lines, Mongod, Receiver, ReceiverReply, Server, chat, deleted, eventually, eventually_count, room_of_two,
    shared_uri,
};

/// Waits until the first pass of an erasure has removed the user's data. The last pass comes later. It removes data
/// that pending requests wrote after the first pass.
async fn swept(server: &Server) {
    let database = server.collection("erasures").await;
    swept_in(&database).await;
}

async fn swept_in(erasures: &Collection<Document>) {
    eventually_count(erasures, doc! { "swept": true }, |count| count != 0).await;
}

/// Waits until the last pass of an erasure is done. The last pass removes data that pending requests wrote after the
/// first pass.
async fn last_look(server: &Server) {
    let erasures = server.collection("erasures").await;
    eventually_count(&erasures, doc! {}, |count| count == 0).await;
}

/// Waits until the API shows the user as online (or offline, if `online` is false). Returns the API's answer.
async fn seen(server: &Server, user: &str, online: bool) -> Value {
    let path = format!("/users/{user}");
    let shown = async || server.api_get(&path).await.1;
    eventually("the API shows the presence", shown, |user| user["online"] == online).await
}

/// Returns all documents of the collections in `names`, as text.
async fn everything(server: &Server) -> String {
    let mut all = String::new();
    let names = ["rooms", "messages", "members", "requests", "signals", "erasures", "counters"];
    for name in names {
        let documents: Vec<Document> =
            server.collection(name).await.find(doc! {}).await.unwrap().try_collect().await.unwrap();
        writeln!(all, "{name}: {documents:?}").unwrap();
    }
    all
}

#[tokio::test]
async fn disconnected_users_sockets_close_on_all_servers() {
    let (server, one, mut two) = room_of_two(&[]).await;
    let other = server.beside().await;
    let mut mine = [one, server.join(1, 2).await, other.join(1, 2).await];
    assert_eq!(other.api_post("/users/1/disconnect", &json!({})).await, (204, Value::Null));
    for client in &mut mine {
        assert_eq!(client.closed().await.0, 4001);
    }
    two.quiet().await;
    server.join(1, 2).await.quiet().await;
    // The call also succeeds for a user without a socket.
    assert_eq!(server.api_post("/users/auth0%7C7/disconnect", &json!({})).await.0, 204);
    assert_eq!(server.api_post("/users/%00/disconnect", &json!({})).await.0, 400);
    two.quiet().await;
}

#[tokio::test]
async fn an_erased_user_is_gone_everywhere_and_the_others_stay() {
    let short =
        [("LIMITS__HANDLER_MS", "1000"), ("MONGODB__OPERATION_MS", "3000"), ("PRESENCE__GRACE_MS", "100")];
    let (server, mut one, mut two) = room_of_two(&short).await;
    let other = server.beside_over(shared_uri(), &short).await;
    let group = server.room(&[1, 2, 3]).await;
    let mut three = other.enter(3, group).await;
    one.say("marker of 1").await;
    two.until_kind("mark_message_as_read").await;
    two.say("text of 2").await;
    one.until_kind("mark_message_as_read").await;
    one.until_kind("mark_message_as_read").await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "marker edited"})).await;
    one.until_kind("message_edited").await;
    let body = json!({"sender_id": 1, "text": "marker in the group"});
    let kept = server.post_once("key", &format!("/rooms/{group}/messages"), &body).await;
    assert_eq!(kept.0, 201);
    three.until_kind("chat_message").await;
    // A deleted message still names its sender, so the erasure must also remove the sender from deleted messages.
    assert_eq!(server.api_post("/rooms/1/messages", &json!({"sender_id": 1, "text": "marker"})).await.0, 201);
    assert_eq!(server.api_delete("/rooms/1/messages/3").await.0, 204);
    two.until(deleted(3)).await;
    let before = everything(&server).await;
    assert!(before.contains("marker") && before.contains("user1@example.com"), "{before}");

    let (status, answer) = other.api_delete("/users/1").await;
    assert_eq!((status, answer), (202, json!({"user_id": 1, "erasing": true})));
    assert_eq!(one.closed_in_the_end().await, 4001);
    two.until(deleted(1)).await;
    three.until(deleted(1)).await;
    last_look(&server).await;

    let after = everything(&server).await;
    for gone in ["marker", "user1@example.com", "\"sender\": Int64(1)", "\"user\": Int64(1)"] {
        assert!(!after.contains(gone), "{gone} is in {after}");
    }
    assert!(after.contains("text of 2") && after.contains("user2@example.com"), "{after}");
    assert_eq!(server.dial_as(1, "room_id=1").refused().await, 4003);
    assert_eq!(server.dial_as(1, &format!("room_id={group}")).refused().await, 4003);
    let (_, page) = server.api_get("/rooms/1/messages").await;
    assert_eq!(page["messages"].as_array().unwrap().len(), 1, "{page}");
    two.say("and on").await;
    two.until(chat(4, 2, "and on")).await;
    // The erasure also removed the stored answer of this idempotency key. So the server executes the repeated request.
    // It fails because the erased user is no member.
    assert_eq!(server.post_once("key", &format!("/rooms/{group}/messages"), &body).await.0, 403);
    let lines = Lines::of(server.api(Method::GET, "/users/1/export")).await.rest().await;
    assert_eq!(lines.last().unwrap(), &json!({"type": "end", "memberships": 0, "messages": 0}));
}

#[tokio::test]
async fn an_erasure_that_a_server_left_is_taken_up_by_another() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let now = DateTime::now();
    let message = |n: i64| {
        doc! {
            "_id": { "room": 1_i64, "n": n }, "sender": 1 + n % 2, "text": format!("text {n}"),
            "created_at": now, "updated_at": now, "write_id": mongodb::bson::oid::ObjectId::new(),
        }
    };
    // The user has more messages than the erasure removes in one batch.
    server.collection("messages").await.insert_many((1..=2500).map(message)).await.unwrap();
    let left = doc! { "_id": 1_i64, "asked_at": now, "until": DateTime::from_millis(0), "swept": false };
    server.collection("erasures").await.insert_one(left).await.unwrap();
    assert_eq!(server.api_get("/users/1").await.1["erasing"], true);
    // A server that starts looks for unfinished erasures immediately.
    let _other = server.beside().await;
    swept(&server).await;
    let messages = server.collection("messages").await;
    assert_eq!(messages.count_documents(doc! { "sender": 1_i64 }).await.unwrap(), 0);
    let gone = doc! { "text": { "$exists": false }, "deleted_at": { "$exists": true }, "sender": { "$exists": false } };
    assert_eq!(messages.count_documents(gone).await.unwrap(), 1250);
    assert_eq!(
        messages.count_documents(doc! { "sender": 2_i64, "text": { "$exists": true } }).await.unwrap(),
        1250
    );
}

#[tokio::test]
async fn pending_writes_of_an_erased_user_are_removed_too() {
    let short = [("LIMITS__HANDLER_MS", "1000"), ("MONGODB__OPERATION_MS", "2000")];
    let server = Server::start(&short).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    seen(&server, "1", true).await;
    assert_eq!(server.api_delete("/users/1").await.0, 202);
    swept(&server).await;
    assert_eq!(one.closed_in_the_end().await, 4001);
    seen(&server, "1", false).await;
    // The test inserts a message, as a request could do that began before the erasure.
    let now = DateTime::now();
    let late = doc! {
        "_id": { "room": 1_i64, "n": 1_i64 }, "sender": 1_i64, "text": "late", "created_at": now, "updated_at": now,
    };
    server.collection("messages").await.insert_one(late).await.unwrap();
    last_look(&server).await;
    assert_eq!(server.api_get("/rooms/1/messages").await.1["messages"], json!([]));
    let presence = server.collection("presence").await;
    assert_eq!(presence.count_documents(doc! { "_id": 1_i64 }).await.unwrap(), 0);
}

#[tokio::test]
async fn erased_user_is_in_no_room_when_an_add_was_under_way() {
    let mongod = Mongod::start().await;
    let short =
        [("LIMITS__HANDLER_MS", "1000"), ("MONGODB__OPERATION_MS", "3000"), ("PRESENCE__GRACE_MS", "100")];
    let server = Server::start_over(&mongod.uri("parlor"), &short).await;
    let group = server.room(&[2, 3, 4]).await;
    let late = doc! { "failCommands": ["commitTransaction"], "blockConnection": true, "blockTimeMS": 2000 };
    mongod.fail("parlor", doc! { "times": 1 }, late).await;
    let path = format!("/rooms/{group}/members/1");
    let database = mongod.database(&server.database().name).await;
    let erasures = database.collection::<Document>("erasures");
    let add = server.call(Method::PUT, &path, json!({"email": "late@example.com"}));
    let erase = async {
        mongod.held_up().await;
        assert_eq!(server.api_delete("/users/1").await.0, 202);
        swept_in(&erasures).await;
    };
    let (added, ()) = tokio::join!(add, erase);
    assert_eq!(added.0, 201, "{}", added.1);
    assert_eq!(server.dial_as(1, &format!("room_id={group}")).refused().await, 4001);
    eventually_count(&erasures, doc! {}, |count| count == 0).await;
    let members = database.collection::<Document>("members");
    assert_eq!(members.count_documents(doc! { "_id.user": 1_i64 }).await.unwrap(), 0);
    // A presence document that was written after the first pass is removed, too.
    let presence = database.collection::<Document>("presence");
    assert_eq!(presence.count_documents(doc! { "_id": 1_i64 }).await.unwrap(), 0);
}

#[tokio::test]
async fn function_sends_nothing_after_its_callers_erasure_ended() {
    let leave = Arc::new(Semaphore::new(0));
    let held = leave.clone();
    let said = r#"{"send":{"message":"late"}}"#;
    let receiver = Receiver::start(move |_| ReceiverReply::Held(held.clone(), said.to_owned())).await;
    let url = receiver.url("/");
    let server = Server::start(&[
        ("FUNCTIONS__SLOW__URL", &url),
        ("FUNCTIONS__SLOW__TIMEOUT_MS", "6000"),
        ("LIMITS__HANDLER_MS", "200"),
        ("MONGODB__OPERATION_MS", "1000"),
    ])
    .await;
    server.room(&[1, 2]).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    one.send(json!({"action": "slow"})).await;
    receiver.asked(1).await;
    assert_eq!(server.api_delete("/users/1").await.0, 202);
    one.closed_in_the_end().await;
    // After 3 s, every built-in action and every write has ended, because their limits are short. The erasure still
    // waits for the function, whose time limit is 6 s.
    let early = timeout(Duration::from_secs(3), last_look(&server)).await;
    assert!(early.is_err(), "the function still has its time");
    leave.add_permits(1);
    two.quiet().await;
    last_look(&server).await;
    assert_eq!(server.api_get("/rooms/1/messages").await.1["messages"], json!([]));
}

#[tokio::test]
async fn an_export_has_all_of_a_user_and_nothing_of_others() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    server.room_of(vec![json!({"user_id": 1, "email": "b@example.com"}), json!({"user_id": 3})]).await;
    for text in ["first", "second"] {
        one.say(text).await;
        two.until_kind("mark_message_as_read").await;
    }
    two.say("of 2").await;
    one.until(chat(3, 2, "of 2")).await;
    one.until_kind("mark_message_as_read").await;
    assert_eq!(server.api_delete("/rooms/1/messages/2").await.0, 204);
    let lines = Lines::of(server.api(Method::GET, "/users/1/export")).await.rest().await;
    let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["user", "membership", "membership", "message", "message", "end"]);
    assert_eq!(lines[0]["user_id"], 1);
    assert!(lines[0]["online"].is_boolean() && lines[0].get("last_seen").is_some(), "{}", lines[0]);
    assert_eq!((&lines[1]["room_id"], &lines[1]["email"]), (&json!(1), &json!("user1@example.com")));
    assert_eq!((&lines[1]["role"], &lines[1]["read"]), (&json!("member"), &json!(3)));
    assert_eq!((&lines[2]["room_id"], &lines[2]["email"]), (&json!(2), &json!("b@example.com")));
    assert_eq!((&lines[3]["message_id"], &lines[3]["text"]), (&json!(1), &json!("first")));
    assert_eq!((&lines[4]["message_id"], lines[4].get("text")), (&json!(2), None));
    assert!(lines[4]["deleted_at"].is_string(), "{}", lines[4]);
    assert_eq!(lines[5], json!({"type": "end", "memberships": 2, "messages": 2}));
    // An unknown user has no data, and any valid id may be asked for.
    for user in ["nobody", "a%2Fb", "auth0%7C7", "%25"] {
        let lines = Lines::of(server.api(Method::GET, &format!("/users/{user}/export"))).await.rest().await;
        assert_eq!(lines.len(), 2, "{user}: {lines:?}");
    }
}

#[tokio::test]
async fn exports_are_bounded_in_number_and_a_large_one_is_whole() {
    let server = Server::start(&[("API__EXPORTS", "1")]).await;
    server.room(&[1, 2]).await;
    let (now, text) = (DateTime::now(), "x".repeat(4096));
    let message = |n: i64| {
        doc! {
            "_id": { "room": 1_i64, "n": n }, "sender": 1_i64, "text": &text,
            "created_at": now, "updated_at": now,
        }
    };
    // The export is larger than the connection's buffers, so it can't end before the test reads it.
    let messages = server.collection("messages").await;
    for from in (1..=8000).step_by(1000) {
        messages.insert_many((from..from + 1000).map(message)).await.unwrap();
    }
    let lines = Lines::of(server.api(Method::GET, "/users/1/export")).await;
    let (status, refused) = server.api_get("/users/2/export").await;
    assert_eq!((status, &refused["code"]), (503, &json!("busy")), "{refused}");
    let lines = lines.rest().await;
    assert_eq!(lines.last().unwrap(), &json!({"type": "end", "memberships": 1, "messages": 8000}));
    let numbers: BTreeSet<_> = lines.iter().filter_map(|line| line["message_id"].as_i64()).collect();
    assert_eq!(numbers.len(), 8000);
    // The export of a disconnected client no longer counts for the limit of concurrent exports.
    drop(Lines::of(server.api(Method::GET, "/users/1/export")).await);
    let status = async || server.api(Method::GET, "/users/2/export").send().await.unwrap().status();
    eventually("the export's permit is returned", status, |status| *status == 200).await;
}

#[tokio::test]
async fn a_user_is_told_of_with_the_rooms() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    let group = server.room(&[1, 3]).await;
    one.say("Hello").await;
    two.until_kind("mark_message_as_read").await;
    one.until_kind("mark_message_as_read").await;
    let (status, user) = server.api_get("/users/2").await;
    assert_eq!((status, &user["user_id"], &user["erasing"]), (200, &json!(2), &json!(false)), "{user}");
    // The server writes the presence of a new socket within 5 s.
    seen(&server, "2", true).await;
    let other = server.beside().await;
    two.leave().await;
    let gone = seen(&other, "2", false).await;
    assert!(gone["last_seen"].is_string(), "{gone}");
    let room =
        json!({"room_id": 1, "role": "member", "email": "user2@example.com", "delivered": 1, "read": 1});
    assert_eq!((&user["rooms"], &user["has_more"]), (&json!([room]), &json!(false)));
    let (_, user) = server.api_get("/users/1").await;
    let rooms: Vec<_> =
        user["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].clone()).collect();
    assert_eq!(rooms, [json!(1), json!(group)]);
    let (status, nobody) = server.api_get("/users/nobody").await;
    assert_eq!(
        (status, &nobody["user_id"], &nobody["rooms"]),
        (200, &json!("nobody"), &json!([])),
        "{nobody}"
    );
    assert_eq!(server.api_get(&format!("/users/{}", "x".repeat(129))).await.0, 400);
}
