//! Members of groups in the HTTP API: adding, removing, changing roles, and the events that the members' sockets
//! receive.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::rooms::expect_message;
use crate::support::{API_KEY, Server, deleted, error};

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn put(server: &Server, room: i64, user: &str, body: Value) -> (u16, Value) {
    server.call(Method::PUT, &format!("/rooms/{room}/members/{user}"), body).await
}

async fn remove(server: &Server, room: i64, user: i64) {
    let path = format!("/rooms/{room}/members/{user}");
    assert_eq!(server.call(Method::DELETE, &path, Value::Null).await.0, 204);
}

#[tokio::test]
async fn late_member_has_no_unread_messages_and_makes_none_unread() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    let mut one = server.enter(1, room).await;
    let (_two, _three) = (server.enter(2, room).await, server.enter(3, room).await);
    one.say("before").await;
    one.until_kind("mark_message_as_read").await;
    let (status, member) = put(&server, room, "4", json!({"email": "four@example.com"})).await;
    let expected =
        json!({"user_id": 4, "email": "four@example.com", "role": "member", "delivered": 1, "read": 1});
    assert_eq!((status, member), (201, expected));

    let (_, list) = server.call(Method::GET, "/rooms?user_id=4", Value::Null).await;
    assert_eq!(list["rooms"][0]["unread"], 0, "{list}");
    let again = server.dial_as(1, &format!("room_id={room}")).open().await.history().await;
    assert_eq!(again[0]["status"], "read", "it stays read: {again:?}");
    // A message that is sent after user 4 became a member becomes `read` only after user 4 has read the message.
    one.say("after").await;
    expect_message(&mut one, 2, 1, "after").await;
    one.quiet().await;
    let mut four = server.dial_as(4, &format!("room_id={room}")).open().await;
    let history = four.history().await;
    assert_eq!((history.len(), &history[1]["text"]), (2, &json!("before")), "{history:?}");
    let read = one.until_kind("mark_message_as_read").await;
    assert_eq!(read["message"]["text"], "after");
}

#[tokio::test]
async fn a_member_is_changed_by_what_is_given() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    for (body, role, email) in [
        (json!({"role": "admin"}), "admin", "user1@example.com"),
        (json!({"email": "new@example.com"}), "admin", "new@example.com"),
        (json!({}), "admin", "new@example.com"),
        (json!({"role": "member", "email": "x@example.com"}), "member", "x@example.com"),
    ] {
        let (status, member) = put(&server, room, "1", body.clone()).await;
        assert_eq!((status, &member["role"], &member["email"]), (200, &json!(role), &json!(email)), "{body}");
    }
    for body in [json!({"role": "owner"}), json!({"email": ""}), json!({"email": 1})] {
        let refused = server.refused(Method::PUT, &format!("/rooms/{room}/members/1"), body.clone()).await;
        assert_eq!(refused, refusal(400, "invalid_request"), "{body}");
    }
}

#[tokio::test]
async fn a_users_id_is_what_the_path_decodes_to() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    for (path, id) in [("auth0%7C4", "auth0|4"), ("a%2Fb", "a/b"), ("%D0%AF%20x", "Я x"), ("007", "007")] {
        let (status, member) = put(&server, room, path, json!({})).await;
        assert_eq!((status, &member["user_id"]), (201, &json!(id)));
        let mut socket = server.dial_as(id, &format!("room_id={room}")).open().await;
        assert!(socket.history().await.is_empty());
    }
    let refused = server.refused(Method::PUT, &format!("/rooms/{room}/members/a%0Ab"), json!({})).await;
    assert_eq!(refused, refusal(400, "invalid_request"));
}

#[tokio::test]
async fn a_removed_members_sockets_close_in_that_room_on_every_server() {
    let server = Server::start(&[]).await;
    let beside = server.beside().await;
    let (room, other) = (server.room(&[1, 2, 3]).await, server.room(&[1, 2, 4]).await);
    let mut here = server.enter(2, room).await;
    let mut there = beside.enter(2, room).await;
    let mut elsewhere = beside.enter(2, other).await;
    let mut one = server.enter(1, room).await;
    one.say("before").await;
    expect_message(&mut here, 1, 1, "before").await;
    expect_message(&mut there, 1, 1, "before").await;

    remove(&server, room, 2).await;
    assert_eq!(here.closed_in_the_end().await, 4003);
    assert_eq!(there.closed_in_the_end().await, 4003);
    for server in [&server, &beside] {
        assert_eq!(server.dial_as(2, &format!("room_id={room}")).refused().await, 4003);
    }
    elsewhere.say("still here").await;
    expect_message(&mut elsewhere, 1, 2, "still here").await;
    one.say("without them").await;
    expect_message(&mut one, 2, 1, "without them").await;

    let path = format!("/rooms/{room}/members/2");
    assert_eq!(server.refused(Method::DELETE, &path, Value::Null).await, refusal(404, "not_found"));
    // The backend adds the member again. The earlier removal must not close a socket that the member opens afterwards.
    for _ in 0..5 {
        assert_eq!(put(&server, room, "2", json!({})).await.0, 201);
        let mut back = beside.enter(2, room).await;
        back.say("back").await;
        back.until_kind("chat_message").await;
        remove(&server, room, 2).await;
        assert_eq!(back.closed_in_the_end().await, 4003);
    }
}

#[tokio::test]
async fn message_becomes_read_when_its_last_reader_left() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    let mut one = server.enter(1, room).await;
    let _two = server.enter(2, room).await;
    one.say("hello").await;
    expect_message(&mut one, 1, 1, "hello").await;
    one.quiet().await;
    remove(&server, room, 3).await;
    assert_eq!(one.until_kind("mark_message_as_read").await["message"]["message_id"], 1);
}

#[tokio::test]
async fn a_direct_rooms_members_stay() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    for user in [1, 3] {
        let path = format!("/rooms/{room}/members/{user}");
        let direct = refusal(409, "direct_room");
        assert_eq!(server.refused(Method::PUT, &path, json!({"role": "admin"})).await, direct);
        assert_eq!(server.refused(Method::DELETE, &path, Value::Null).await, direct);
    }
    let (_, unchanged) = server.call(Method::GET, &format!("/rooms/{room}"), Value::Null).await;
    assert_eq!(unchanged["members"].as_array().unwrap().len(), 2, "{unchanged}");
    assert_eq!(unchanged["members"][0]["role"], "member");
    for method in [Method::PUT, Method::DELETE] {
        let refused = server.refused(method, "/rooms/999/members/1", json!({})).await;
        assert_eq!(refused, refusal(404, "not_found"));
    }
}

#[tokio::test]
async fn member_limit_holds_when_many_join_concurrently() {
    let server = Server::start(&[]).await;
    let beside = server.beside().await;
    let room = server.room(&(1..=998).collect::<Vec<_>>()).await;
    let users: Vec<_> = (2000..2006).map(|user| user.to_string()).collect();
    let each = users.iter().enumerate();
    let answers =
        join_all(each.map(|(at, user)| put([&server, &beside][at % 2], room, user, json!({})))).await;
    let count = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!((count(201), count(409)), (2, 4), "{answers:?}");
    let full = answers.iter().find(|answer| answer.0 == 409).unwrap();
    assert_eq!(full.1["code"], "too_many_members");
    // A `PUT` for an existing member succeeds even in a full room.
    assert_eq!(put(&server, room, "1", json!({"role": "admin"})).await.0, 200);
}

#[tokio::test]
async fn admins_delete_what_others_said() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2, 3]).await;
    let (mut one, mut two) = (server.enter(1, room).await, server.enter(2, room).await);
    one.say("first").await;
    one.say("second").await;
    expect_message(&mut two, 2, 1, "second").await;
    let delete = |id: i64| json!({"action": "delete", "message_id": id});
    let refused = error("not_author", Some("delete"));
    two.send(delete(1)).await;
    two.until(refused.clone()).await;
    assert_eq!(put(&server, room, "2", json!({"role": "admin"})).await.0, 200);
    two.send(delete(1)).await;
    one.until(deleted(1)).await;
    // An admin can't edit messages of others, because only the sender of a message can edit it.
    two.send(json!({"action": "edit", "message_id": 2, "text": "mine"})).await;
    two.until(error("not_author", Some("edit"))).await;
    assert_eq!(put(&server, room, "2", json!({"role": "member"})).await.0, 200);
    two.send(delete(2)).await;
    two.until(refused).await;
    let (status, ..) =
        server.request(Method::DELETE, &format!("/api/v1/rooms/{room}/members/2"), Some(API_KEY), "").await;
    assert_eq!(status, 204);
}
