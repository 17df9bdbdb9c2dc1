//! User erasure: while it runs, Parlor writes nothing new for the user. When it has ended, no document names the user,
//! except the pair of users in a direct room.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Program, Server, eventually, eventually_count, eventually_within, shared_uri,
};

/// Short limits: pending writes end soon, so an erasure ends within seconds.
const SHORT: [(&str, &str); 3] =
    [("LIMITS__HANDLER_MS", "1000"), ("MONGODB__OPERATION_MS", "3000"), ("PRESENCE__GRACE_MS", "100")];

const ON_CONNECT: (&str, &str) = ("ROOMS__DIRECT", "on_connect");

/// The close code of an erased user's sockets, on every server.
const ERASED: (u16, &str) = (4001, "the user was erased");

/// All collections of Parlor. The tests search each collection for erased users, and fail if the database has a
/// collection that is not in this list.
const COLLECTIONS: [&str; 13] = [
    "counters",
    "erasures",
    "function_state",
    "heartbeats",
    "hooks",
    "marks",
    "members",
    "messages",
    "presence",
    "requests",
    "rooms",
    "set_aside",
    "signals",
];

/// Inserts an erasure that lasts for an hour, as if the user had many messages.
async fn begin(server: &Server, user: i64) {
    let far = DateTime::from_millis(DateTime::now().timestamp_millis() + 3_600_000);
    let erasure =
        doc! { "_id": user, "asked_at": DateTime::now(), "until": far, "swept": true, "looked": false };
    server.collection("erasures").await.insert_one(erasure).await.unwrap();
}

/// Waits until a user's erasure has ended.
async fn ended(server: &Server, user: &str) {
    let path = format!("/users/{user}");
    let erasing = async || server.api_get(&path).await.1["erasing"].clone();
    eventually_within(3 * PATIENCE, "the erasure ends", erasing, |erasing| *erasing != true).await;
}

async fn inbox(server: &Server, user: i64) -> Client {
    let token = server.token(user).sign();
    let mut client = server.dial("/ws/?since=").token(&token).open().await;
    assert_eq!(client.next().await["type"], "ready");
    client
}

#[tokio::test]
async fn erased_users_sockets_all_close_with_one_code() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let group = server.room(&[1, 2, 3]).await;
    server.room(&[1, 2]).await;
    let mut sockets = Vec::new();
    for server in [&server, &other] {
        sockets.push(server.join(1, 2).await);
        sockets.push(server.enter(1, group).await);
        sockets.push(inbox(server, 1).await);
    }
    assert_eq!(other.api_delete("/users/1").await.0, 202);
    for socket in &mut sockets {
        let (code, reason) = socket.end().await;
        assert_eq!((code, reason.as_str()), ERASED);
    }
    // While the erasure runs, new connections of the user are closed, too.
    for server in [&server, &other] {
        for target in ["/ws/chat/?firts_user=1&second_user=2", "/ws/chat/?room_id=1", "/ws/?since="] {
            let mut socket = server.dial(target).token(&server.token(1).sign()).open().await;
            let (code, reason) = socket.closed().await;
            assert_eq!((code, reason.as_str()), ERASED, "{target}");
        }
    }
}

#[tokio::test]
async fn user_being_erased_gets_no_new_documents() {
    let server = Server::start(&[ON_CONNECT]).await;
    let other = server.beside_over(shared_uri(), &[ON_CONNECT]).await;
    server.room(&[1, 2]).await;
    let group = server.room(&[2, 3, 4]).await;
    let mut sockets = [inbox(&server, 1).await, inbox(&other, 1).await];
    begin(&server, 1).await;
    for socket in &mut sockets {
        assert_eq!(socket.end().await.0, 4001, "each server knows of it");
    }
    let (member, service) =
        (json!({"sender_id": 1, "text": "a"}), json!({"sender_id": 1, "text": "a", "as": "service"}));
    let writes = [
        (Method::POST, "/rooms".to_owned(), json!({"members": [{"user_id": 1}, {"user_id": 2}]}), 200),
        (Method::POST, "/rooms".to_owned(), json!({"members": [{"user_id": 1}, {"user_id": 5}]}), 201),
        (
            Method::POST,
            "/rooms".to_owned(),
            json!({"members": [{"user_id": 4}, {"user_id": 1}], "kind": "group"}),
            201,
        ),
        (Method::PUT, format!("/rooms/{group}/members/1"), json!({}), 201),
        (Method::POST, "/rooms/1/messages".to_owned(), member, 201),
        (Method::POST, format!("/rooms/{group}/messages"), service, 201),
    ];
    for server in [&server, &other] {
        assert_eq!(server.api_get("/users/1").await.1["erasing"], true);
        for (method, path, body, _) in &writes {
            let (status, answer) = server.call(method.clone(), path, body.clone()).await;
            assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{method} {path}: {answer}");
        }
        let (status, answer) = server.api_get("/users/1/export").await;
        assert_eq!((status, &answer["code"]), (409, &json!("conflict")), "{answer}");
        // The server closes a connection that would make a direct room with the erased user. User 2 can still connect
        // to the direct room that already exists.
        let mut socket = server.dial_as(6, "firts_user=6&second_user=1").open().await;
        assert_eq!(socket.closed().await.0, 1013);
        server.join(2, 1).await.quiet().await;
    }
    server.collection("erasures").await.delete_one(doc! { "_id": 1 }).await.unwrap();
    for (method, path, body, expected) in &writes {
        let call = async || server.call(method.clone(), path, body.clone()).await;
        let (status, answer) = eventually("the id is free", call, |(status, _)| *status != 409).await;
        assert_eq!(status, *expected, "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn an_erasure_lasts_until_what_was_under_way_is_erased() {
    let server = Server::start(&SHORT).await;
    server.room(&[1, 2]).await;
    assert_eq!(server.api_delete("/users/1").await.0, 202);
    assert_eq!(server.api_get("/users/1").await.1["erasing"], true);
    // The test inserts a message after the first pass of the erasure, as a pending request could do.
    let erasures = server.collection("erasures").await;
    eventually_count(&erasures, doc! { "swept": true }, |count| count != 0).await;
    let now = DateTime::now();
    let late = doc! {
        "_id": { "room": 1_i64, "n": 1_i64 }, "sender": 1_i64, "text": "late", "created_at": now, "updated_at": now,
    };
    let messages = server.collection("messages").await;
    messages.insert_one(late).await.unwrap();
    assert_eq!(server.api_get("/users/1").await.1["erasing"], true, "it has not ended");
    ended(&server, "1").await;
    assert_eq!(messages.count_documents(doc! { "sender": 1_i64 }).await.unwrap(), 0);
    // After the erasure, a new user may have the same id.
    server.room(&[1, 2]).await;
    server.join(1, 2).await.quiet().await;
}

#[tokio::test]
async fn no_collection_names_an_erased_user() {
    let server = Server::start(&SHORT).await;
    let other = server.beside_over(shared_uri(), &SHORT).await;
    let (id, email) = ("marker-of-the-user", "marker@example.com");
    let members = vec![json!({"user_id": id, "email": email}), json!({"user_id": 2}), json!({"user_id": 3})];
    let group = server.room_of(members).await;
    server.room_of(vec![json!({"user_id": id, "email": email}), json!({"user_id": 2})]).await;
    let token = server.token(id).with("email", email).sign();
    let target = format!("/ws/chat/?room_id={group}&since=");
    let mut mine = server.dial(&target).token(&token).open().await;
    assert_eq!(mine.next().await["type"], "resumed");
    let mut two = other.dial(&target).token(&other.token(2).sign()).open().await;
    assert_eq!(two.next().await["type"], "resumed");
    mine.send(json!({"action": "send", "message": "marker-text", "client_id": "marker-client"})).await;
    two.until_kind("chat_message").await;
    two.send(json!({"action": "send", "message": "of 2"})).await;
    for _ in 0..2 {
        mine.until_kind("chat_message").await;
    }
    mine.send(json!({"action": "edit", "message_id": 1, "text": "marker-edit"})).await;
    two.until_kind("message_edited").await;
    // The test inserts the typing event itself. A server inserts a typing event only if the database shows another
    // member as online.
    let typing = doc! { "at": DateTime::now(), "room": group, "typing": id };
    server.collection("signals").await.insert_one(typing).await.unwrap();
    two.until_kind("typing").await;
    let posted = json!({"sender_id": id, "text": "marker-posted"});
    assert_eq!(server.post_once("key", &format!("/rooms/{group}/messages"), &posted).await.0, 201);
    assert_eq!(server.api_post(&format!("/users/{id}/disconnect"), &json!({})).await.0, 204);
    assert_eq!(mine.end().await.0, 4001);
    let before = everything(&server).await;
    for found in ["marker-edit", "marker-posted", "marker-client", id, email, "\"typing\"", "\"disconnect\""]
    {
        assert!(before.contains(found), "{found} is not in {before}");
    }

    assert_eq!(server.api_delete(&format!("/users/{id}")).await.0, 202);
    ended(&server, id).await;
    // Servers move receipt markers from `marks` into `members` within seconds. The test waits for that, because markers
    // in `marks` still name the user.
    let marks = server.collection("marks").await;
    eventually_count(&marks, doc! { "marks.user": id }, |count| count == 0).await;
    let after = everything(&server).await;
    assert!(!after.contains("marker"), "{after}");
    assert!(after.contains("of 2"), "{after}");
}

/// Returns all documents of the database as text. Omits the field `pair` of direct rooms, because a pair may still name
/// an erased user.
async fn everything(server: &Server) -> String {
    let client = mongodb::Client::with_uri_str(shared_uri()).await.unwrap();
    let database = client.database(&server.database().name);
    let mut all = String::new();
    for name in database.list_collection_names().await.unwrap() {
        assert!(COLLECTIONS.contains(&name.as_str()), "does an erasure know of the collection {name}?");
        let found: Vec<Document> =
            database.collection(&name).find(doc! {}).await.unwrap().try_collect().await.unwrap();
        for mut document in found {
            if name == "rooms" {
                document.remove("pair");
            }
            writeln!(all, "{name}: {document:?}").unwrap();
        }
    }
    all
}

#[tokio::test]
async fn an_erasure_goes_on_within_seconds_when_its_server_is_killed() {
    let mut dying = Program::start(&[]).await;
    dying.room(&[1, 2]).await;
    let now = DateTime::now();
    let message = |n: i64| {
        doc! {
            "_id": { "room": 1_i64, "n": n }, "sender": 1_i64, "text": format!("text {n}"),
            "created_at": now, "updated_at": now, "write_id": mongodb::bson::oid::ObjectId::new(),
        }
    };
    let messages = dying.collection("messages").await;
    for from in (1..=20_000).step_by(5000) {
        messages.insert_many((from..from + 5000).map(message)).await.unwrap();
    }
    assert_eq!(dying.api_delete("/users/1").await.0, 202);
    dying.signal("KILL");
    dying.exit_code().await;
    let left = messages.count_documents(doc! { "sender": 1_i64 }).await.unwrap();
    assert!(left > 0, "it was killed amid its work");
    let survivor = dying.beside().await;
    let messages_left = async || messages.count_documents(doc! { "sender": 1_i64 }).await.unwrap();
    // `mongodb.operation_ms` is 10 s, and a server looks for unfinished erasures every 2 s. An earlier version had 30 s
    // and 10 s, with which another server could continue later than this limit.
    let limit = Duration::from_secs(25);
    eventually_within(limit, "another server goes on", messages_left, |count| *count != left).await;
    assert_eq!(survivor.api_get("/users/1").await.1["erasing"], Value::Bool(true));
}
