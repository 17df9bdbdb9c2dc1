//! With `rooms.direct = "on_connect"`, the server makes a direct room when one of its two users connects to it. By
//! default, only the API makes rooms.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::rooms::expect_message;
use crate::support::Server;

const ON: (&str, &str) = ("ROOMS__DIRECT", "on_connect");

#[tokio::test]
async fn room_is_made_by_the_api_alone_by_default() {
    let server = Server::start(&[]).await;
    assert_eq!(server.dial_as(1, "firts_user=1&second_user=2").refused().await, 4004);
    assert_eq!(server.collection("rooms").await.count_documents(mongodb::bson::doc! {}).await.unwrap(), 0);
}

#[tokio::test]
async fn room_is_made_when_two_users_connect() {
    let server = Server::start(&[ON]).await;
    let token = server.token(1).with("email", "one@example.com").sign();
    let mut one = server.dial("/ws/chat/?firts_user=1&second_user=2/").token(&token).open().await;
    assert!(one.history().await.is_empty());
    one.say_alone(1, 1, "hello").await;
    let mut two = server.connect(2, 1).await;
    let history = two.history().await;
    assert_eq!(
        (&history[0]["text"], &history[0]["sender_email"]),
        (&json!("hello"), &json!("one@example.com"))
    );
    one.until_kind("mark_message_as_read").await;

    let (_, list) = server.call(Method::GET, "/rooms?user_id=2", Value::Null).await;
    let room = &list["rooms"][0];
    assert_eq!(room["kind"], "direct");
    let emails: Vec<_> = room["members"].as_array().unwrap().iter().map(|member| &member["email"]).collect();
    assert_eq!(emails, [&json!("one@example.com"), &Value::Null], "only the caller's token vouches");
    let made =
        server.call(Method::POST, "/rooms", json!({"members": [{"user_id": 1}, {"user_id": 2}]})).await;
    assert_eq!((made.0, &made.1["room_id"]), (200, &room["room_id"]));
}

#[tokio::test]
async fn connecting_makes_no_other_room() {
    let server = Server::start(&[ON]).await;
    for (query, code) in
        [("room_id=1", 4004), ("firts_user=2&second_user=1", 4003), ("firts_user=1&second_user=1", 4400)]
    {
        assert_eq!(server.dial_as(1, query).refused().await, code, "{query}");
    }
    assert_eq!(server.dial("/ws/chat/?firts_user=1&second_user=2").refused().await, 4001);
    assert_eq!(server.collection("rooms").await.count_documents(mongodb::bson::doc! {}).await.unwrap(), 0);
}

#[tokio::test]
async fn concurrent_connects_of_a_pair_share_one_room() {
    let server = Server::start(&[ON]).await;
    let beside = server.beside_over(crate::support::shared_uri(), &[ON]).await;
    let each = (0..8_i64).map(async |at| {
        let server = if at % 2 == 0 { &server } else { &beside };
        let user = 1 + at / 2 % 2;
        server.join(user, 3 - user).await
    });
    let mut sockets = join_all(each).await;
    sockets[0].say("all hear it").await;
    for socket in &mut sockets {
        expect_message(socket, 1, 1, "all hear it").await;
    }
}

#[tokio::test]
async fn rooms_over_the_limit_are_4029() {
    let admin = crate::support::free_port();
    let admin = format!("127.0.0.1:{admin}");
    let server = Server::start(&[ON, ("LIMITS__ROOMS_PER_MINUTE", "2"), ("ADMIN__LISTEN", &admin)]).await;
    for other in [2, 3] {
        server.join(1, other).await;
    }
    assert_eq!(server.dial_as(1, "firts_user=1&second_user=4").refused().await, 4029);
    // A connection to an existing room does not count for the limit, and another user has their own limit.
    server.join(1, 2).await;
    server.join(4, 1).await;
    server.join(1, 4).await;
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    assert!(page.contains(r#"parlor_limits_hit_total{bound="rooms_per_minute"} 1"#), "{page}");
}

#[tokio::test]
async fn a_room_that_was_deleted_is_made_anew() {
    let server = Server::start(&[ON]).await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "soon forgotten").await;
    let (_, list) = server.call(Method::GET, "/rooms?user_id=1", Value::Null).await;
    let room = &list["rooms"][0]["room_id"];
    assert_eq!(server.call(Method::DELETE, &format!("/rooms/{room}"), Value::Null).await.0, 204);
    assert_eq!(one.closed_in_the_end().await, 4004);
    assert!(server.connect(1, 2).await.history().await.is_empty());
}
