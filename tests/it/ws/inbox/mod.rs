//! The inbox connection (Level 3, one socket for all rooms of a user): its first frame, its events and its actions.

mod database_cost;
mod device_model;
mod lost_connections;
mod membership;
mod membership_model;
mod pages;
mod presence;
mod rejoin;
mod resume;
mod unread;
mod unread_crash;
mod unread_model;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Server, chat, delivered, edited, error, matches};

/// Opens an inbox connection. Returns it with its first frame, `ready`.
async fn inbox(server: &Server, user: i64) -> (Client, Value) {
    let token = server.token(user).sign();
    let mut client = server.dial("/ws/?since=").called(format!("inbox of {user}")).token(&token).open().await;
    let ready = client.next().await;
    assert_eq!(ready["type"], "ready", "{ready}");
    (client, ready)
}

/// Returns the next frame that is no `presence` event. Other users cause these events at any time.
async fn next(client: &mut Client) -> Value {
    loop {
        let frame = client.next().await;
        if frame["type"] != "presence" {
            return frame;
        }
    }
}

/// Returns an expected frame in the form of an inbox connection: with the room's id, and with a placeholder for any
/// cursor.
fn in_room(room: i64, mut frame: Value) -> Value {
    frame["room_id"] = room.into();
    frame["cursor"] = "<a cursor>".into();
    frame
}

/// Asserts that the next frame is `frame`, with this room's id and any cursor. Skips `presence` events. Returns the
/// received frame.
async fn expect(client: &mut Client, room: i64, frame: Value) -> Value {
    let mut came = next(client).await;
    let told = came.clone();
    if came["cursor"].as_str().is_some_and(|cursor| !cursor.is_empty()) {
        came["cursor"] = "<a cursor>".into();
    }
    assert!(matches(&in_room(room, frame.clone()), &came), "expected {frame} in room {room}, got {told}");
    told
}

#[tokio::test]
async fn the_first_frame_has_the_rooms_the_latest_first() {
    let server = Server::start(&[]).await;
    let (first, second) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    let group = server.room(&[2, 3, 4]).await;
    let mut two = server.connect(2, 1).await;
    two.history().await;
    two.say_alone(1, 2, "hello").await;
    let (_, ready) = inbox(&server, 1).await;
    assert_eq!(
        (&ready["user_id"], &ready["resumed"], &ready["has_more"]),
        (&json!(1), &json!(false), &json!(false))
    );
    assert!(ready["cursor"].as_str().is_some_and(|cursor| !cursor.is_empty()), "{ready}");
    let rooms = ready["rooms"].as_array().unwrap();
    assert_eq!(rooms.iter().map(|room| &room["room_id"]).collect::<Vec<_>>(), [first, second]);
    assert!(!rooms.iter().any(|room| room["room_id"] == group));
    let room = &rooms[0];
    assert_eq!(
        (&room["kind"], &room["name"], &room["unread"], &room["read"]),
        (&json!("direct"), &json!(null), &json!(1), &json!(0))
    );
    assert_eq!(
        (&room["last_message"]["text"], &room["last_message"]["status"]),
        (&json!("hello"), &json!("send"))
    );
    let members = room["members"].as_array().unwrap();
    let two = members.iter().find(|member| member["user_id"] == 2).unwrap();
    assert_eq!((&two["delivered"], &two["role"]), (&json!(0), &json!("member")), "{two}");
    assert_eq!(members.len(), 2);
}

#[tokio::test]
async fn events_of_all_rooms_name_their_room() {
    let server = Server::start(&[]).await;
    let (first, second) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    let (mut one, _) = inbox(&server, 1).await;
    let (mut two, mut three) = (server.join(2, 1).await, server.join(3, 1).await);
    two.say("from two").await;
    expect(&mut one, first, chat(1, 2, "from two")).await;
    expect(&mut one, first, delivered(1, 2, "from two")).await;
    three.say("from three").await;
    expect(&mut one, second, chat(1, 3, "from three")).await;
    expect(&mut one, second, delivered(1, 3, "from three")).await;
    two.send(json!({"action": "edit", "message_id": 1, "text": "changed"})).await;
    expect(&mut one, first, edited(1, "changed")).await;
}

#[tokio::test]
async fn actions_name_their_room_and_are_answered_there() {
    let server = Server::start(&[]).await;
    let (first, second) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    let (mut one, _) = inbox(&server, 1).await;
    let mut two = server.join(2, 1).await;
    one.send(json!({"action": "send", "room_id": first, "message": "hi", "ref": "a"})).await;
    let told = next(&mut one).await;
    assert_eq!(
        (&told["ref"], &told["room_id"], &told["message"]["text"]),
        (&json!("a"), &json!(first), &json!("hi"))
    );
    two.expect(chat(1, 1, "hi")).await;
    one.until_kind("mark_message_as_read").await;
    one.send(json!({"action": "send", "room_id": second, "message": "there", "client_id": "x"})).await;
    expect(&mut one, second, chat(1, 1, "there")).await;
    one.send(json!({"action": "send", "room_id": second, "message": "there", "client_id": "x", "ref": "b"}))
        .await;
    let again = next(&mut one).await;
    assert_eq!(
        (&again["ref"], &again["room_id"], &again["message"]["message_id"]),
        (&json!("b"), &json!(second), &json!(1))
    );
    one.send(json!({"action": "history", "room_id": first})).await;
    let history = next(&mut one).await;
    assert_eq!(
        (&history["type"], &history["room_id"], &history["messages"][0]["text"]),
        (&json!("history"), &json!(first), &json!("hi"))
    );
}

#[tokio::test]
async fn foreign_room_is_not_found_and_a_missing_id_is_invalid() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let others = server.room(&[2, 3]).await;
    let (mut one, _) = inbox(&server, 1).await;
    for room in [others, 999] {
        for action in ["send", "edit", "delete", "history", "read", "typing", "open", "close"] {
            one.send(
                json!({"action": action, "room_id": room, "message": "x", "text": "x", "message_id": 1}),
            )
            .await;
            one.expect(error("not_found", Some(action))).await;
        }
    }
    for (action, field) in
        [("send", "room_id"), ("typing", "room_id"), ("open", "room_id"), ("close", "room_id")]
    {
        one.send(json!({"action": action, "message": "x"})).await;
        let refused = one.next().await;
        assert_eq!(refused["code"], "invalid_request", "{refused}");
        assert!(refused["message"].as_str().unwrap().starts_with(field), "{refused}");
    }
    for bad in [json!(0), json!("7"), json!(1.5), json!(null), json!({})] {
        one.send(json!({"action": "send", "message": "x", "room_id": bad})).await;
        one.expect(error("invalid_request", Some("send"))).await;
    }
    one.send(json!({"action": "ping"})).await;
    one.expect(json!({"type": "pong"})).await;
}

#[tokio::test]
async fn rooms_beyond_the_first_frame_come_by_pages() {
    let server = Server::start(&[]).await;
    let mut made = Vec::new();
    for other in 2..=55 {
        made.push(server.room(&[1, other]).await);
    }
    let (mut one, ready) = inbox(&server, 1).await;
    let mut seen: Vec<i64> =
        ready["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].as_i64().unwrap()).collect();
    assert_eq!((seen.len(), &ready["has_more"]), (50, &json!(true)));
    let last = &ready["rooms"][49];
    one.send(json!({"action": "rooms", "before": last["last_activity"], "before_room": last["room_id"]}))
        .await;
    let more = one.next().await;
    assert_eq!((&more["type"], &more["has_more"]), (&json!("rooms"), &json!(false)));
    seen.extend(more["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].as_i64().unwrap()));
    seen.sort_unstable();
    assert_eq!(seen, made);
    one.send(json!({"action": "rooms", "before": "yesterday"})).await;
    one.expect(error("invalid_request", Some("rooms"))).await;
}

#[tokio::test]
async fn a_socket_of_one_room_opened_beside_it_misses_nothing_either() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let (mut one, _) = inbox(&server, 1).await;
    for round in 0..10 {
        let (_, _) = server
            .call(
                Method::POST,
                &format!("/rooms/{room}/messages"),
                json!({"sender_id": 2, "text": format!("{round}")}),
            )
            .await;
        let mut two = server.connect(2, 1).await;
        let history = two.history().await;
        assert_eq!(history.len(), round + 1);
        two.leave().await;
    }
    let mut texts = Vec::new();
    while texts.len() < 10 {
        let frame = one.until_kind("chat_message").await;
        texts.push(frame["message"]["text"].as_str().unwrap().to_owned());
    }
    assert_eq!(texts, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn inbox_connection_is_refused_without_a_valid_token() {
    let server = Server::start(&[]).await;
    let mut client = server.dial("/ws/").called("nobody").protocols("Bearer, nonsense").open().await;
    assert_eq!(client.closed().await.0, 4001);
    let mut bare = server.dial("/ws").called("1").token(&server.token(1).sign()).open().await;
    assert_eq!(bare.next().await["rooms"], json!([]));
    assert_eq!(server.get("/ws/").await, 426);
}

#[tokio::test]
async fn caller_is_a_member_in_ready_and_gets_no_own_presence() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let (mut one, ready) = inbox(&server, 1).await;
    let members = ready["rooms"][0]["members"].as_array().unwrap();
    let ids: Vec<_> = members.iter().map(|member| &member["user_id"]).collect();
    assert_eq!(ids, [1, 2], "{ready}");
    // User 1 came online earlier. The first presence event is about user 2, so the server sent user 1 no event about
    // user 1.
    let (mut two, _) = inbox(&server, 2).await;
    let came = one.next().await;
    assert_eq!(came, json!({"type": "presence", "user_id": 2, "online": true}));
    two.send(json!({"action": "send", "room_id": room, "message": "hello"})).await;
    assert_eq!(one.next().await["type"], "chat_message");
}
