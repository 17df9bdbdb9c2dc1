//! Rooms through the HTTP API: creating, reading, renaming and listing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Server, chat, deleted};

/// Makes a room from this request body. Returns the answer's body.
async fn make(server: &Server, room: Value) -> Value {
    let (status, made) = server.call(Method::POST, "/rooms", room).await;
    assert_eq!(status, 201, "{made}");
    made
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_group_has_a_name_and_admins_and_may_be_of_one_or_two() {
    let server = Server::start(&[]).await;
    let made = make(
        &server,
        json!({"kind": "group", "name": "Zwölf 🦀", "members": [
            {"user_id": 1, "role": "admin", "email": "one@example.com"}, {"user_id": "auth0|2"}]}),
    )
    .await;
    let id = made["room_id"].as_i64().unwrap();
    let marks = |user: Value, email: Value, role| json!({"user_id": user, "email": email, "role": role, "delivered": 0, "read": 0});
    let members = json!([
        marks(json!(1), json!("one@example.com"), "admin"),
        marks(json!("auth0|2"), Value::Null, "member")
    ]);
    let created_at = made["created_at"].clone();
    let expected = json!({"room_id": id, "kind": "group", "name": "Zwölf 🦀", "created_at": created_at,
        "members": members});
    assert_eq!(made, expected);
    assert_eq!(server.call(Method::GET, &format!("/rooms/{id}"), Value::Null).await, (200, expected));

    // A group of two users is not their direct room, and the same two users may have several groups.
    let pair = json!([{"user_id": 1}, {"user_id": 2}]);
    let one = make(&server, json!({"kind": "group", "members": pair})).await;
    let two = make(&server, json!({"kind": "group", "members": pair})).await;
    let direct = make(&server, json!({"members": pair})).await;
    assert_ne!(one["room_id"], two["room_id"]);
    assert_eq!((&one["kind"], &direct["kind"]), (&json!("group"), &json!("direct")));
    let alone = make(&server, json!({"kind": "group", "members": [{"user_id": 1}]})).await;
    assert_eq!(alone["members"].as_array().unwrap().len(), 1);
    let mut socket = server.enter(1, alone["room_id"].as_i64().unwrap()).await;
    socket.say_alone(1, 1, "to myself").await;
}

#[tokio::test]
async fn a_direct_room_that_is_there_keeps_its_name() {
    let server = Server::start(&[]).await;
    let pair = |name: Value| json!({"name": name, "members": [{"user_id": 1}, {"user_id": 2}]});
    let made = make(&server, pair(json!("ours"))).await;
    let (status, again) = server.call(Method::POST, "/rooms", pair(json!("theirs"))).await;
    assert_eq!((status, again), (200, made));
}

#[tokio::test]
async fn invalid_room_field_is_refused_by_name() {
    let server = Server::start(&[]).await;
    let members = |count: i64| (1..=count).map(|user| json!({"user_id": user})).collect::<Vec<_>>();
    let admin = json!([{"user_id": 1, "role": "admin"}, {"user_id": 2}]);
    for body in [
        json!({"kind": "direct", "members": members(1)}),
        json!({"kind": "direct", "members": members(3)}),
        json!({"kind": "group", "members": []}),
        json!({"kind": "channel", "members": members(2)}),
        json!({"kind": "group", "members": members(1_001)}),
        json!({"members": admin}),
        json!({"members": [{"user_id": 1, "role": "owner"}, {"user_id": 2}, {"user_id": 3}]}),
        json!({"members": [{"user_id": 1, "email": ""}, {"user_id": 2}]}),
        json!({"members": members(2), "name": ""}),
        json!({"members": members(2), "name": " \t"}),
        json!({"members": members(2), "name": "a\nb"}),
        json!({"members": members(2), "name": "x".repeat(201)}),
        json!({"members": members(2), "name": 5}),
    ] {
        let refused = server.refused(Method::POST, "/rooms", body.clone()).await;
        assert_eq!(refused, refusal(400, "invalid_request"), "{body}");
    }
    assert_eq!(server.refused(Method::POST, "/rooms", json!([])).await, refusal(400, "bad_json"));
    make(&server, json!({"members": members(1_000), "name": "x".repeat(200)})).await;
}

#[tokio::test]
async fn a_room_that_isnt_there_is_404_and_an_id_that_is_none_400() {
    let server = Server::start(&[]).await;
    let named = || json!({"name": "x"});
    for (method, body) in
        [(Method::GET, Value::Null), (Method::PATCH, named()), (Method::DELETE, Value::Null)]
    {
        let refused = server.refused(method.clone(), "/rooms/7", body.clone()).await;
        assert_eq!(refused, refusal(404, "not_found"), "{method}");
        for id in ["x", "0", "-1", "1.5", "9007199254740992", "%20"] {
            let refused = server.refused(method.clone(), &format!("/rooms/{id}"), body.clone()).await;
            assert_eq!(refused, refusal(400, "invalid_request"), "{method} {id}");
        }
    }
}

#[tokio::test]
async fn a_room_is_renamed() {
    let server = Server::start(&[]).await;
    let id = server.room(&[1, 2, 3]).await;
    let path = format!("/rooms/{id}");
    for name in [json!("first"), json!("second"), Value::Null] {
        let (status, room) = server.call(Method::PATCH, &path, json!({"name": name})).await;
        assert_eq!((status, &room["name"]), (200, &name), "{room}");
        assert_eq!(server.call(Method::GET, &path, Value::Null).await, (200, room));
    }
    for body in [json!({}), json!({"name": ""}), json!({"name": 1}), json!({"nmae": "x"})] {
        let refused = server.refused(Method::PATCH, &path, body.clone()).await;
        assert_eq!(refused, refusal(400, "invalid_request"), "{body}");
    }
}

/// Returns the ids of the listed rooms, in the order of the list.
fn ids(page: &Value) -> Vec<i64> {
    page["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].as_i64().unwrap()).collect()
}

async fn list(server: &Server, query: &str) -> Value {
    let (status, page) = server.call(Method::GET, &format!("/rooms?{query}"), Value::Null).await;
    assert_eq!(status, 200, "{page}");
    page
}

#[tokio::test]
async fn rooms_are_listed_with_what_is_new_in_them() {
    let server = Server::start(&[]).await;
    let first = server.room(&[1, 2]).await;
    let second = server.room(&[1, 3]).await;
    server.room(&[2, 3]).await;
    assert_eq!(ids(&list(&server, "user_id=1").await), [second, first], "the one made last");

    let mut two = server.join(2, 1).await;
    for (id, text) in [(1, "one"), (2, "two"), (3, "three")] {
        two.say_alone(id, 2, text).await;
    }
    let page = list(&server, "user_id=1").await;
    assert_eq!(ids(&page), [first, second], "{page}");
    assert_eq!((&page["has_more"], &page["next"]), (&json!(false), &Value::Null));
    let room = &page["rooms"][0];
    assert_eq!((&room["unread"], &room["read"]), (&json!(3), &json!(0)), "{room}");
    let last = &room["last_message"];
    assert_eq!(
        (&last["message_id"], &last["text"], &last["status"]),
        (&json!(3), &json!("three"), &json!("send"))
    );
    assert_eq!(last["sender_email"], "user2@example.com");
    assert_eq!(room["active_at"], last["created_at"]);
    assert_eq!(room["members"].as_array().unwrap().len(), 2);
    assert_eq!(page["rooms"][1]["last_message"], Value::Null);

    // A user's own messages and deleted messages do not count as unread. The list never shows a deleted message as
    // `last_message`, but `active_at` keeps the time of the deleted message.
    let room = list(&server, "user_id=2").await["rooms"][0].clone();
    assert_eq!(room["unread"], 0, "{room}");
    two.send(json!({"action": "delete", "message_id": 3})).await;
    two.until_kind("message_deleted").await;
    let room = list(&server, "user_id=1").await["rooms"][0].clone();
    assert_eq!((&room["unread"], &room["last_message"]["message_id"]), (&json!(2), &json!(2)), "{room}");
    assert_eq!(room["active_at"], last["created_at"]);

    // User 1 opens the room, so no message of this room is unread for user 1.
    let _one = server.join(1, 2).await;
    two.until_kind("mark_message_as_read").await;
    two.until_kind("mark_message_as_read").await;
    let room = list(&server, "user_id=1").await["rooms"][0].clone();
    assert_eq!((&room["unread"], &room["last_message"]["status"]), (&json!(0), &json!("read")), "{room}");
    assert_eq!(list(&server, "user_id=nobody").await["rooms"], json!([]));
}

#[tokio::test]
async fn the_order_follows_what_is_said_on_any_server() {
    let server = Server::start(&[]).await;
    let beside = server.beside().await;
    let (first, second) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    let (mut here, mut there) = (server.join(1, 2).await, server.join(1, 3).await);
    let (mut two, mut three) = (beside.join(2, 1).await, beside.join(3, 1).await);
    for server in [&server, &beside] {
        assert_eq!(ids(&list(server, "user_id=1").await), [second, first]);
    }
    for id in 1..=3 {
        two.say("hello").await;
        expect_message(&mut two, id, 2, "hello").await;
        expect_message(&mut here, id, 2, "hello").await;
        for server in [&server, &beside] {
            assert_eq!(ids(&list(server, "user_id=1").await), [first, second]);
        }
        three.say("hello, too").await;
        expect_message(&mut three, id, 3, "hello, too").await;
        expect_message(&mut there, id, 3, "hello, too").await;
        for server in [&server, &beside] {
            assert_eq!(ids(&list(server, "user_id=1").await), [second, first]);
        }
    }
}

#[tokio::test]
async fn deleted_and_own_messages_are_not_unread() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut one = server.enter(1, room).await;
    one.say_alone(1, 1, "own").await;
    one.leave().await;
    let mut two = server.enter(2, room).await;
    for _ in 2..=5 {
        two.say("more").await;
        two.until_kind("chat_message").await;
    }
    for id in [3, 5] {
        two.send(json!({"action": "delete", "message_id": id})).await;
        two.expect(deleted(id)).await;
    }
    assert_eq!(list(&server, "user_id=1").await["rooms"][0]["unread"], 2);
}

#[tokio::test]
async fn pages_have_each_room_once_also_where_many_are_of_one_moment() {
    let server = Server::start(&[]).await;
    let mut made = Vec::new();
    for other in 2..=8 {
        made.push(server.room(&[1, other]).await);
    }
    // The test gives all memberships the same `joined_at`. Among rooms with the same time, the list shows the newest
    // room first.
    let members = server.collection("members").await;
    let at = mongodb::bson::DateTime::now();
    members
        .update_many(mongodb::bson::doc! {}, mongodb::bson::doc! { "$set": { "joined_at": at } })
        .await
        .unwrap();
    made.reverse();
    for limit in [1, 2, 3, 7, 100] {
        let (mut seen, mut before) = (Vec::new(), String::new());
        loop {
            let page = list(&server, &format!("user_id=1&limit={limit}{before}")).await;
            let page_ids = ids(&page);
            assert!(page_ids.len() <= limit, "{page}");
            seen.extend(page_ids);
            assert_eq!(page["has_more"], json!(page["next"].is_string()), "{page}");
            let Some(next) = page["next"].as_str() else { break };
            before = format!("&before={next}");
        }
        assert_eq!(seen, made, "by pages of {limit}");
    }
}

#[tokio::test]
async fn a_list_that_cant_be_meant_is_400() {
    let server = Server::start(&[]).await;
    for query in [
        "",
        "user_id=",
        "user_id=1&limit=0",
        "user_id=1&limit=101",
        "user_id=1&limit=x",
        "user_id=1&before=",
        "user_id=1&before=5",
        "user_id=1&before=x-1",
        "user_id=1&before=1-x",
        "user_id=1&before=+1-1",
    ] {
        let refused = server.refused(Method::GET, &format!("/rooms?{query}"), Value::Null).await;
        assert_eq!(refused, refusal(400, "invalid_request"), "{query}");
    }
}

#[tokio::test]
async fn a_server_without_its_database_says_so() {
    let link = crate::support::Link::to_the_database().await;
    let settings = [
        ("MONGODB__URI", &*link.uri),
        ("MONGODB__OPERATION_MS", "1000"),
        ("MONGODB__SELECTION_MS", "500"),
        ("SHUTDOWN__DRAIN_SECONDS", "1"),
    ];
    let server = Server::start(&settings).await;
    let id = server.room(&[1, 2, 3]).await;
    link.set(crate::support::State::Held);
    let path = format!("/rooms/{id}");
    for (method, path, body) in [
        (Method::GET, path.clone(), Value::Null),
        (Method::PATCH, path.clone(), json!({"name": "x"})),
        (Method::DELETE, path.clone(), Value::Null),
        (Method::GET, "/rooms?user_id=1".to_owned(), Value::Null),
        (Method::PUT, format!("{path}/members/4"), json!({})),
        (Method::DELETE, format!("{path}/members/1"), Value::Null),
    ] {
        // If the database does not answer a write, the database may still apply this write later. Therefore Parlor
        // answers 504 (outcome unknown) to a write, and 503 to a read.
        let expected =
            if method == Method::GET { refusal(503, "unavailable") } else { refusal(504, "timeout") };
        let refused = server.refused(method.clone(), &path, body).await;
        assert_eq!(refused, expected, "{method} {path}");
    }
}

/// Waits until the client receives this message. Ignores all other frames.
pub(crate) async fn expect_message(client: &mut Client, id: i64, sender: i64, text: &str) {
    client.until(chat(id, sender, text)).await;
}
