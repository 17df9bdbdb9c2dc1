//! Direct rooms that one user made by connecting (`rooms.direct = "on_connect"`). The other user's email and presence
//! stay hidden until that user accepts the room. A user accepts a room, for example, by opening it or writing in it.

use mongodb::bson::doc;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Server, eventually_count, shared_uri};

const ON: [(&str, &str); 2] = [("ROOMS__DIRECT", "on_connect"), ("PRESENCE__GRACE_MS", "50")];

const ADDRESS: &str = "two@example.com";

/// Opens an inbox connection of a user whose token has an email. Returns the client and its first frame.
async fn inbox(server: &Server, user: i64, since: &str) -> (Client, Value) {
    let email = if user == 2 { ADDRESS } else { "one@example.com" };
    let token = server.token(user).with("email", email).sign();
    let mut client = server.dial(&format!("/ws/?since={since}")).token(&token).open().await;
    let ready = client.next().await;
    assert_eq!(ready["type"], "ready", "{ready}");
    (client, ready)
}

/// Returns a user's entry in the members of a room.
fn member(room: &Value, user: i64) -> &Value {
    let members = room["members"].as_array().unwrap();
    members.iter().find(|member| member["user_id"] == user).unwrap_or_else(|| panic!("no {user} in {room}"))
}

/// Asserts that a room shows neither the email nor the presence of user 2.
fn assert_unseen(room: &Value) {
    let two = member(room, 2);
    assert_eq!((&two["email"], &two["online"]), (&Value::Null, &json!(false)), "{room}");
}

/// Waits for the `room_changed` event that shows user 2 online. Earlier `room_changed` events must not show user 2's
/// email or presence. Adds all other frames to `before`.
async fn shown(one: &mut Client, before: &mut Vec<Value>) -> Value {
    loop {
        let frame = one.next().await;
        if frame["type"] != "room_changed" {
            before.push(frame);
        } else if member(&frame["room"], 2)["online"] == true {
            return frame;
        } else {
            // This event is about user 1's own email, and must not show user 2's email or presence.
            assert_unseen(&frame["room"]);
        }
    }
}

/// Makes the direct room of the users 1 and 2, by connecting as user 1. Returns its id.
async fn made_by_one(server: &Server) -> i64 {
    server.join(1, 2).await.leave().await;
    let (_, list) = server.api_get("/rooms?user_id=1").await;
    list["rooms"][0]["room_id"].as_i64().unwrap()
}

/// Waits until the database shows the user as online.
async fn online(server: &Server, user: i64) {
    let presence = server.collection("presence").await;
    eventually_count(&presence, doc! { "_id": user, "online": true }, |count| count != 0).await;
}

#[tokio::test]
async fn a_room_made_by_connecting_is_hidden_until_something_is_said() {
    let server = Server::start(&ON).await;
    let other = server.beside_over(shared_uri(), &ON).await;
    let (mut two, ready) = inbox(&other, 2, "").await;
    let cursor = ready["cursor"].as_str().unwrap().to_owned();
    let room = made_by_one(&server).await;
    for server in [&server, &other] {
        assert_eq!(server.api_get("/rooms?user_id=2").await.1["rooms"], json!([]));
        assert_eq!(inbox(server, 2, "").await.1["rooms"], json!([]));
        let (_, resumed) = inbox(server, 2, &cursor).await;
        assert_eq!((&resumed["rooms"], &resumed["room_ids"]), (&json!([]), &json!([])), "{resumed}");
    }
    two.send(json!({"action": "rooms"})).await;
    let page = two.until_kind("rooms").await;
    assert_eq!(page["rooms"], json!([]));
    two.send(json!({"action": "send", "room_id": room, "message": "a guess"})).await;
    assert_eq!(two.until_kind("error").await["code"], "not_found");

    let mut one = server.join(1, 2).await;
    one.say("hello").await;
    let added = two.until_kind("room_added").await;
    assert_eq!((&added["room_id"], &added["room"]["unread"]), (&json!(room), &json!(1)), "{added}");
    assert_eq!(added["room"]["last_message"]["text"], "hello");
    assert_eq!(other.api_get("/rooms?user_id=2").await.1["rooms"][0]["room_id"], room);
    let (_, ready) = inbox(&other, 2, "").await;
    assert_eq!(ready["rooms"][0]["room_id"], room);
    let (_, resumed) = inbox(&other, 2, &cursor).await;
    assert_eq!(resumed["rooms"][0]["added"], true, "{resumed}");
    // Later messages arrive as events, as in any other room.
    one.say("again").await;
    assert_eq!(two.until_kind("chat_message").await["message"]["text"], "again");
}

#[tokio::test]
async fn a_stranger_sees_neither_address_nor_presence() {
    let server = Server::start(&ON).await;
    let (mut two, _) = inbox(&server, 2, "").await;
    online(&server, 2).await;
    let room = made_by_one(&server).await;
    let (mut one, ready) = inbox(&server, 1, "").await;
    let cursor = ready["cursor"].as_str().unwrap().to_owned();
    assert_unseen(&ready["rooms"][0]);
    assert!(!ready["online"].as_array().unwrap().contains(&json!(2)), "{ready}");
    one.send(json!({"action": "send", "room_id": room, "message": "hello"})).await;
    assert_eq!(two.until_kind("room_added").await["room_id"], room);
    // A second device of user 2 connects with the email in its token, and disconnects. Then the first device also
    // disconnects.
    let (second, _) = inbox(&server, 2, "").await;
    second.leave().await;
    two.leave().await;
    let presence = server.collection("presence").await;
    eventually_count(&presence, doc! { "_id": 2, "online": false }, |count| count != 0).await;
    let (mut two, ready) = inbox(&server, 2, "").await;
    assert_eq!(ready["rooms"][0]["unread"], 1, "{ready}");
    online(&server, 2).await;
    let (_, resumed) = inbox(&server, 1, &cursor).await;
    assert!(!resumed["online"].as_array().unwrap().contains(&json!(2)), "{resumed}");
    let (_, listed) = server.api_get("/rooms?user_id=1").await;
    assert_eq!(member(&listed["rooms"][0], 2)["email"], Value::Null, "{listed}");

    // All earlier frames for user 1 come before the answer to this ping.
    one.send(json!({"action": "ping"})).await;
    loop {
        let frame = one.next().await;
        let kind = frame["type"].as_str().unwrap();
        assert!(kind != "presence" && !kind.starts_with("mark_message"), "nothing shows user 2: {frame}");
        match kind {
            "pong" => break,
            "room_changed" => assert_unseen(&frame["room"]),
            _ => {}
        }
    }
    two.send(json!({"action": "open", "room_id": room})).await;
    let mut before = Vec::new();
    let changed = shown(&mut one, &mut before).await;
    let seen = member(&changed["room"], 2);
    assert_eq!((&seen["email"], &seen["online"]), (&json!(ADDRESS), &json!(true)), "{changed}");
    let is_delivered = |frame: &Value| frame["type"] == "mark_message_as_delivered";
    if !before.iter().any(is_delivered) {
        assert_eq!(one.until_kind("mark_message_as_delivered").await["message"]["message_id"], 1);
    }
    two.leave().await;
    assert_eq!(one.until_kind("presence").await["online"], false);
}

#[tokio::test]
async fn opening_writing_and_the_api_accept_a_room() {
    for way in ["open", "send", "connect", "post", "api"] {
        let server = Server::start(&ON).await;
        let (mut two, _) = inbox(&server, 2, "").await;
        online(&server, 2).await;
        let room = made_by_one(&server).await;
        let (mut one, ready) = inbox(&server, 1, "").await;
        assert_unseen(&ready["rooms"][0]);
        one.send(json!({"action": "send", "room_id": room, "message": "hello"})).await;
        two.until_kind("room_added").await;
        match way {
            "open" => two.send(json!({"action": "open", "room_id": room})).await,
            "send" => two.send(json!({"action": "send", "room_id": room, "message": "hi"})).await,
            "connect" => {
                let token = server.token(2).with("email", ADDRESS).sign();
                let target = "/ws/chat/?firts_user=2&second_user=1";
                assert_eq!(server.dial(target).token(&token).open().await.history().await.len(), 1);
            }
            "post" => {
                let body = json!({"sender_id": 2, "text": "hi"});
                assert_eq!(server.api_post(&format!("/rooms/{room}/messages"), &body).await.0, 201);
            }
            _ => {
                let body = json!({"members": [{"user_id": 1}, {"user_id": 2}]});
                assert_eq!(server.call(Method::POST, "/rooms", body).await.0, 200);
            }
        }
        let changed = shown(&mut one, &mut Vec::new()).await;
        // The API call gives no email of user 2. The server learns the email from user 2's next token.
        let expected = if matches!(way, "post" | "api") { Value::Null } else { json!(ADDRESS) };
        let seen = member(&changed["room"], 2);
        assert_eq!((&seen["email"], &seen["online"]), (&expected, &json!(true)), "{way}: {changed}");
        let (_two, _) = inbox(&server, 2, "").await;
        if expected.is_null() {
            let changed = one.until_kind("room_changed").await;
            assert_eq!(member(&changed["room"], 2)["email"], ADDRESS, "{way}: {changed}");
        }
    }
}

#[tokio::test]
async fn a_room_made_by_the_api_shows_its_members_at_once() {
    let server = Server::start(&ON).await;
    let (mut two, _) = inbox(&server, 2, "").await;
    online(&server, 2).await;
    server.room_of(vec![json!({"user_id": 1}), json!({"user_id": 2, "email": ADDRESS})]).await;
    assert_eq!(two.until_kind("room_added").await["room"]["members"].as_array().unwrap().len(), 2);
    let (_, ready) = inbox(&server, 1, "").await;
    let seen = member(&ready["rooms"][0], 2);
    assert_eq!((&seen["email"], &seen["online"]), (&json!(ADDRESS), &json!(true)), "{ready}");
}
