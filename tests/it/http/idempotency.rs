//! The header `Idempotency-Key`: the server applies a repeated `POST` once, and answers each repetition like the first
//! request.

use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{
    API_KEY, Link, Mongod, Receiver, ReceiverReply, Server, State, chat, eventually, room_with_one_socket,
    shared_uri,
};

const PATH: &str = "/rooms/1/messages";

fn hello() -> Value {
    json!({"sender_id": 1, "text": "Hello"})
}

fn group() -> Value {
    json!({"members": [{"user_id": 1}, {"user_id": 2}, {"user_id": 3}], "name": "three"})
}

/// Changes the database's record of an idempotency key. The database must have exactly one record.
async fn set_record(server: &Server, update: Document) {
    let requests = server.collection("requests").await;
    let changed = requests.update_many(doc! {}, update).await.unwrap();
    assert_eq!(changed.matched_count, 1, "there is one record");
}

#[tokio::test]
async fn the_same_request_again_is_answered_as_it_was_on_any_server() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let other = server.beside().await;
    let first = server.post_once("key-1", PATH, &hello()).await;
    assert_eq!((first.0, &first.1["message_id"]), (201, &json!(1)), "{}", first.1);
    for server in [&server, &other, &server] {
        assert_eq!(server.post_once("key-1", PATH, &hello()).await, first);
    }
    // The repeated request gets the first answer, even if the message was changed or deleted since.
    assert_eq!(server.api_delete(&format!("{PATH}/1")).await.0, 204);
    assert_eq!(other.post_once("key-1", PATH, &hello()).await, first);
    let second = other.post_once("key-2", PATH, &hello()).await;
    assert_eq!(second.1["message_id"], 2, "another key is another message: {}", second.1);
    one.expect(chat(1, 1, "Hello")).await;
    one.until_kind("message_deleted").await;
    one.expect(chat(2, 1, "Hello")).await;
    one.quiet().await;
}

#[tokio::test]
async fn a_key_of_another_request_is_422_and_nothing_is_done() {
    let (server, mut one) =
        room_with_one_socket(&[("API__KEYS", &format!("{API_KEY},{}", "k".repeat(32)))]).await;
    server.room(&[1, 3]).await;
    assert_eq!(server.post_once("key", PATH, &hello()).await.0, 201);
    one.expect(chat(1, 1, "Hello")).await;
    let longer = json!({"sender_id": 1, "text": "Hello!"});
    for (path, body) in [
        (PATH, longer),
        ("/rooms/2/messages", hello()),
        ("/rooms", json!({"members": [{"user_id": 8}, {"user_id": 9}]})),
        ("/users/1/disconnect", json!({})),
    ] {
        let (status, refused) = server.post_once("key", path, &body).await;
        assert_eq!((status, &refused["code"]), (422, &json!("key_reused")), "{path}: {refused}");
    }
    one.quiet().await;
    // Each service key has its own idempotency keys. So `key` from another service is a different key.
    let http = reqwest::Client::new().post(format!("http://{}/api/v1{PATH}", server.address()));
    let request = http.bearer_auth("k".repeat(32)).header("idempotency-key", "key").json(&hello());
    let (status, made) = server.ask(request).await;
    assert_eq!((status, &made["message_id"]), (201, &json!(2)), "{made}");
}

#[tokio::test]
async fn post_is_done_once_when_sent_many_times_concurrently() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let other = server.beside().await;
    let tries = (0..16).map(|n| {
        let server = if n % 2 == 0 { &server } else { &other };
        async move { server.post_once("key", PATH, &hello()).await }
    });
    let answers = futures_util::future::join_all(tries).await;
    let first = server.post_once("key", PATH, &hello()).await;
    assert_eq!(first.0, 201, "{}", first.1);
    for (status, answer) in answers {
        match status {
            201 => assert_eq!(answer, first.1),
            409 => assert_eq!(answer["code"], "under_way"),
            _ => panic!("{status} {answer}"),
        }
    }
    one.expect(chat(1, 1, "Hello")).await;
    one.quiet().await;
}

#[tokio::test]
async fn pending_post_is_409_until_its_deadline_and_then_looked_up() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let first = server.post_once("key", PATH, &hello()).await;
    assert_eq!(first.0, 201, "{}", first.1);
    one.expect(chat(1, 1, "Hello")).await;
    let now = DateTime::now().timestamp_millis();
    let until = |ms| doc! { "until": DateTime::from_millis(now + ms) };
    // Simulates that the first server died after it wrote the message, but before it stored the answer.
    set_record(&server, doc! { "$unset": { "answer": "" }, "$set": until(600_000) }).await;
    let response =
        server.api(Method::POST, PATH).header("idempotency-key", "key").json(&hello()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (409, "1"));
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "under_way", "{problem}");
    let other = json!({"sender_id": 1, "text": "other"});
    assert_eq!(server.post_once("key", PATH, &other).await.0, 422, "also while it is under way");
    set_record(&server, doc! { "$set": until(-1) }).await;
    let again = server.post_once("key", PATH, &hello()).await;
    assert_eq!(again, first, "the message that is there");
    assert_eq!(server.post_once("key", PATH, &hello()).await, first);
    one.quiet().await;

    // Simulates that the first server died before it wrote the message: the record has an id that no message has.
    set_record(
        &server,
        doc! { "$unset": { "answer": "" }, "$set": { "until": DateTime::from_millis(0), "write_id": mongodb::bson::oid::ObjectId::new() } },
    )
    .await;
    let (status, made) = server.post_once("key", PATH, &hello()).await;
    assert_eq!((status, &made["message_id"]), (201, &json!(2)), "{made}");
    one.expect(chat(2, 1, "Hello")).await;
}

#[tokio::test]
async fn a_running_request_holds_its_key_for_40_s() {
    let receiver = Receiver::start(|_| ReceiverReply::Status(422, String::new(), String::new())).await;
    let url = receiver.url("/");
    let (server, mut one) =
        room_with_one_socket(&[("HOOKS__AFTER_SEND__URL", &url), ("HOOKS__MAX_TRIES", "1")]).await;
    one.say_alone(1, 1, "refused").await;
    let set_aside = async || server.api_get("/hooks/set-aside").await.1["events"][0]["id"].clone();
    let event = eventually("the event is set aside", set_aside, Value::is_string).await;
    let event = event.as_str().unwrap();
    let release = Arc::new(Semaphore::new(0));
    let held = release.clone();
    receiver.answers(move |_| ReceiverReply::Held(held.clone(), String::new()));
    let path = format!("/hooks/set-aside/{event}/retry");
    let nothing = json!({});
    let running = server.post_once("key", &path, &nothing);
    let look = async {
        receiver.asked(2).await;
        let found = server.collection("requests").await.find_one(doc! {}).await.unwrap().unwrap();
        assert_eq!(server.post_once("key", &path, &nothing).await.1["code"], "under_way");
        release.add_permits(1);
        let time = |field| found.get_datetime(field).unwrap().timestamp_millis();
        time("until") - time("at")
    };
    let (answer, held_for) = tokio::join!(running, look);
    // The record blocks a second try for `limits.handler_ms` plus three times `mongodb.operation_ms`, as
    // docs/http-api.md says.
    assert_eq!((answer.0, held_for), (204, 40_000));
}

/// Simulates that the server died while it handled the request, and that the request's deadline has passed.
async fn died(server: &Server) {
    let over = doc! { "$unset": { "answer": "" }, "$set": { "until": DateTime::from_millis(0) } };
    set_record(server, over).await;
}

/// Returns the number of rooms and the number of memberships in the database.
async fn counts(server: &Server) -> (u64, u64) {
    let (rooms, members) = (server.collection("rooms").await, server.collection("members").await);
    (rooms.count_documents(doc! {}).await.unwrap(), members.count_documents(doc! {}).await.unwrap())
}

#[tokio::test]
async fn a_room_is_looked_up_whose_maker_died_before_it_answered() {
    for (body, members) in [(group(), 3), (json!({"members": [{"user_id": 1}, {"user_id": 2}]}), 2)] {
        let server = Server::start(&[]).await;
        let other = server.beside().await;
        let first = server.post_once("key", "/rooms", &body).await;
        assert_eq!(first.0, 201, "{}", first.1);
        for server in [&other, &server] {
            died(server).await;
            assert_eq!(server.post_once("key", "/rooms", &body).await, first, "the room that is there");
            assert_eq!(counts(server).await, (1, members));
        }
        // Another client may delete the room before the first client receives its answer.
        died(&server).await;
        assert_eq!(server.api_delete(&format!("/rooms/{}", first.1["room_id"])).await.0, 204);
        for _ in 0..2 {
            let (status, gone) = server.post_once("key", "/rooms", &body).await;
            assert_eq!((status, &gone["code"]), (404, &json!("not_found")), "{gone}");
        }
        let there = doc! { "deleted_at": { "$exists": false } };
        let there = server.collection("rooms").await.count_documents(there).await.unwrap();
        assert_eq!(there, 0, "it is not made again");
    }
}

#[tokio::test]
async fn message_is_not_rewritten_when_it_was_deleted_after_its_post() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let path = format!("/rooms/{group}/messages");
    let first = server.post_once("key", &path, &hello()).await;
    assert_eq!(first.0, 201, "{}", first.1);
    died(&server).await;
    assert_eq!(server.api_delete(&format!("/rooms/{group}/members/1")).await.0, 204);
    let again = server.post_once("key", &path, &hello()).await;
    assert_eq!((again.0, &again.1["message_id"]), (201, &json!(1)), "{}", again.1);
    died(&server).await;
    assert_eq!(server.api_delete(&format!("{path}/1")).await.0, 204);
    // The message was written once, so the repeated request gets the first answer again.
    for _ in 0..2 {
        let (status, made) = server.post_once("key", &path, &hello()).await;
        assert_eq!((status, &made["message_id"], &made["text"]), (201, &json!(1), &json!("Hello")), "{made}");
    }
    let last = json!({"sender_id": 2, "text": "on"});
    assert_eq!(server.api_post(&path, &last).await.1["message_id"], 2);
    one.quiet().await;
}

/// The insert of the first try still runs when the second try searches for the message of the first try.
#[tokio::test]
async fn tries_that_overlap_write_one_message() {
    let mongod = Mongod::start().await;
    let server = Server::start_over(&mongod.uri("parlor"), &[("LIMITS__HANDLER_MS", "2000")]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let late = doc! { "failCommands": ["insert"], "blockConnection": true, "blockTimeMS": 2300 };
    mongod.fail("parlor", doc! { "times": 1 }, late).await;
    let (status, late) = server.post_once("key", PATH, &hello()).await;
    assert_eq!((status, &late["code"]), (504, &json!("timeout")), "{late}");
    let answer = async || server.post_once("key", PATH, &hello()).await;
    let (status, made) = eventually("the message is written", answer, |(status, _)| *status == 201).await;
    assert_eq!((status, &made["message_id"]), (201, &json!(1)), "{made}");
    one.until(chat(1, 1, "Hello")).await;
    assert_eq!(server.api_get(PATH).await.1["messages"].as_array().unwrap().len(), 1);
    one.say("on").await;
    one.until(chat(2, 1, "on")).await;
}

#[tokio::test]
async fn tries_that_overlap_make_one_room() {
    let server = Server::start(&[]).await;
    let other = server.beside().await;
    let requests = server.collection("requests").await;
    // This loop sets the deadline of each record to a past time. So each new try takes over a try that still runs.
    let hurry = async {
        let over = doc! { "$set": { "until": DateTime::from_millis(0) } };
        loop {
            requests.update_many(doc! { "until": { "$exists": true } }, over.clone()).await.unwrap();
        }
    };
    let rounds = async {
        for round in 1..=10 {
            let key = format!("key-{round}");
            let tries = [&server, &other].repeat(4).into_iter().map(async |server| {
                let answer = async || server.post_once(&key, "/rooms", &group()).await;
                eventually("the try ends", answer, |(status, _)| *status != 409).await
            });
            let answers = futures_util::future::join_all(tries).await;
            assert_eq!(answers[0].0, 201, "{}", answers[0].1);
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
            assert_eq!(
                counts(&server).await,
                (round, 3 * round),
                "nobody is left in a room that isn't there"
            );
        }
    };
    tokio::select! {
        () = rounds => {}
        () = hurry => unreachable!("it goes on"),
    }
}

#[tokio::test]
async fn a_request_that_was_refused_leaves_its_key_free() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let stranger = json!({"sender_id": 3, "text": "Hello"});
    for _ in 0..2 {
        let (status, refused) = server.post_once("key", PATH, &stranger).await;
        assert_eq!((status, &refused["code"]), (403, &json!("not_member")), "{refused}");
    }
    assert_eq!(server.post_once("key", PATH, &json!({"nonsense": true})).await.0, 400);
    let (status, made) = server.post_once("key", PATH, &hello()).await;
    assert_eq!(status, 201, "{made}");
    one.expect(chat(1, 1, "Hello")).await;
}

#[tokio::test]
async fn a_key_that_is_none_is_400() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    let long = "k".repeat(256);
    for key in ["", "a b", "\u{e9}", "\t", &long] {
        let request = server.api(Method::POST, PATH).json(&hello());
        let (status, refused) = server.ask(request.header("idempotency-key", key.as_bytes())).await;
        assert_eq!((status, &refused["code"]), (400, &json!("invalid_request")), "{key:?}: {refused}");
        assert!(refused["detail"].as_str().unwrap().contains("Idempotency-Key"), "{refused}");
    }
    let twice = server.api(Method::POST, PATH).header("idempotency-key", "a").header("idempotency-key", "a");
    assert_eq!(server.ask(twice.json(&hello())).await.0, 400);
    one.quiet().await;
    assert_eq!(server.post_once(&long[1..], PATH, &hello()).await.0, 201);
}

#[tokio::test]
async fn idempotency_key_works_for_all_posts() {
    let server = Server::start(&[]).await;
    let group = group();
    let first = server.post_once("room", "/rooms", &group).await;
    assert_eq!(first.0, 201, "{}", first.1);
    assert_eq!(server.post_once("room", "/rooms", &group).await, first, "no second group");
    assert_ne!(server.post_once("other", "/rooms", &group).await.1["room_id"], first.1["room_id"]);
    for _ in 0..2 {
        let answer = server.post_once("close", "/users/1/disconnect", &json!({})).await;
        assert_eq!(answer, (204, Value::Null));
    }
}

#[tokio::test]
async fn answer_is_found_by_its_key_when_the_client_had_left() {
    let link = Link::to_the_database().await;
    let server = Server::start_over(&link.uri, &[]).await;
    let room = server.room(&[1, 2]).await;
    let beside = server.beside().await;
    let mut one = beside.join(1, 2).await;
    link.set(State::Held);
    let body = hello().to_string();
    let request = format!(
        "POST /api/v1/rooms/{room}/messages HTTP/1.1\r\nHost: parlor\r\nAuthorization: Bearer {API_KEY}\r\n\
         Idempotency-Key: key\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    drop(stream);
    link.set(State::Open);
    one.expect(chat(1, 1, "Hello")).await;
    let path = format!("/rooms/{room}/messages");
    // The server may not have stored the answer yet. Until then, a request with this key gets 409.
    let answer = async || beside.post_once("key", &path, &hello()).await;
    let (status, made) = eventually("the answer is stored", answer, |(status, _)| *status != 409).await;
    assert_eq!((status, &made["message_id"]), (201, &json!(1)), "{made}");
    one.quiet().await;
}

/// If the first try wrote no message, the next try searches for the message. The search must use an index, and must not
/// read the whole room.
#[tokio::test]
async fn unwritten_message_is_looked_up_by_an_index() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let messages = server.collection("messages").await;
    let now = DateTime::now();
    let message = |n: i64| {
        doc! {
            "_id": { "room": 1_i64, "n": n }, "sender": 2_i64, "text": "x", "created_at": now, "updated_at": now,
        }
    };
    messages.insert_many((1..=500).map(message)).await.unwrap();
    let first = server.post_once("key", PATH, &hello()).await;
    assert_eq!((first.0, &first.1["message_id"]), (201, &json!(501)), "{}", first.1);
    died(&server).await;
    let never = doc! { "_id": { "room": 1_i64, "n": 501_i64 } };
    assert_eq!(messages.delete_one(never).await.unwrap().deleted_count, 1);
    let client = mongodb::Client::with_uri_str(shared_uri()).await.unwrap();
    let database = client.database(&server.database().name);
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let again = server.post_once("key", PATH, &hello()).await;
    assert_eq!(again.0, 201, "{}", again.1);
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let noted = database.collection::<Document>("system.profile");
    let of_messages = doc! { "ns": format!("{}.messages", database.name()), "op": "query" };
    let queries: Vec<Document> = noted.find(of_messages).await.unwrap().try_collect().await.unwrap();
    assert!(!queries.is_empty());
    for query in queries {
        let examined = query.get_i32("docsExamined").unwrap();
        assert!(examined < 10, "{query}");
    }
}
