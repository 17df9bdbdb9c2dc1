//! The events that Parlor sends to hooks while nothing fails: messages, presence, and missed messages (`offline`).

use serde_json::{Value, json};

use super::{SECRET, accepting_receiver, ids, received_events, sent};
use crate::support::{
    Receiver, ReceiverReply, Server, deleted, edited, eventually_count, matches, room_with_one_socket,
    shared_uri,
};

#[tokio::test]
async fn message_events_are_sent_once_in_order_by_one_of_two_servers() {
    let receiver = accepting_receiver().await;
    let url = receiver.url("/told");
    let settings = [("HOOKS__AFTER_SEND__URL", &*url), ("HOOKS__AFTER_SEND__SECRET", SECRET)];
    let server = Server::start(&settings).await;
    let room = server.room(&[1, 2]).await;
    let other = server.beside_over(shared_uri(), &settings).await;
    let (mut one, mut two) = (server.join(1, 2).await, other.join(2, 1).await);
    one.say("hello").await;
    two.until_kind("chat_message").await;
    two.say("hi").await;
    two.until_kind("chat_message").await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "hello!"})).await;
    two.until(edited(1, "hello!")).await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "hello!"})).await;
    two.until(edited(1, "hello!")).await;
    two.send(json!({"action": "delete", "message_id": 2})).await;
    one.until(deleted(2)).await;

    let bodies = received_events(&receiver, 5).await;
    let time = "<time>";
    for (body, expected) in bodies.iter().zip([
        json!({"type": "sent", "room_id": room, "message_id": 1, "sender_id": 1, "text": "hello", "created_at": time}),
        json!({"type": "sent", "room_id": room, "message_id": 2, "sender_id": 2, "text": "hi", "created_at": time}),
        json!({"type": "edited", "room_id": room, "message_id": 1, "text": "hello!", "updated_at": time}),
        json!({"type": "edited", "room_id": room, "message_id": 1, "text": "hello!", "updated_at": time}),
        json!({"type": "deleted", "room_id": room, "message_id": 2, "deleted_at": time}),
    ]) {
        assert_eq!(body["hook"], "after_send");
        assert!(same(body, &expected), "expected\n  {expected}\ngot\n  {body}");
    }
    let asked = receiver.asked(5).await;
    assert_eq!(asked[0].line, "POST /told");
    assert!(asked[0].headers["parlor-signature"].contains(",v1="), "{asked:?}");
    assert_eq!(ids(&asked)[0], sent(room, 1));
    assert_eq!(ids(&asked).len(), 5, "nothing is told twice: {:?}", ids(&asked));
}

/// Returns whether an event's body is as expected, apart from its `id` and `hook`. `<time>` stands for any time.
fn same(body: &Value, expected: &Value) -> bool {
    let (Value::Object(body), Value::Object(expected)) = (body, expected) else { return false };
    let field = |(key, value): (&String, &Value)| match value.as_str() {
        Some("<time>") => body[key].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')),
        _ => body.get(key).is_some_and(|given| matches(value, given)),
    };
    body.len() == expected.len() + 2 && expected.iter().all(field)
}

#[tokio::test]
async fn connected_and_disconnected_are_sent_but_no_page_reload() {
    let (came, went) = (accepting_receiver().await, accepting_receiver().await);
    let settings = [
        ("HOOKS__CONNECTED__URL", &*came.url("/")),
        ("HOOKS__DISCONNECTED__URL", &*went.url("/")),
        ("PRESENCE__GRACE_MS", "1000"),
    ];
    let server = Server::start(&settings).await;
    server.room(&[1, 2]).await;
    let one = server.join(1, 2).await;
    let first = received_events(&came, 1).await.remove(0);
    assert_eq!((&first["hook"], &first["type"]), (&json!("connected"), &json!("connected")));
    assert_eq!(first["user_id"], 1);
    let again = server.join(1, 2).await;
    one.leave().await;
    again.leave().await;
    let again = server.join(1, 2).await;
    again.leave().await;
    let gone = received_events(&went, 1).await.remove(0);
    assert_eq!((&gone["hook"], &gone["user_id"]), (&json!("disconnected"), &json!(1)));
    assert!(gone["last_seen"].as_str().unwrap() > first["at"].as_str().unwrap(), "{first} {gone}");
    let _two = server.join(2, 1).await;
    assert_eq!(received_events(&came, 2).await[1]["user_id"], 2);
    let _back = server.join(1, 2).await;
    assert_eq!(received_events(&came, 3).await[2]["user_id"], 1);
    came.asked(3).await;
    went.asked(1).await;
}

#[tokio::test]
async fn a_message_for_whoever_is_not_there_is_told_and_only_then() {
    let receiver = accepting_receiver().await;
    let settings = [
        ("HOOKS__OFFLINE__URL", &*receiver.url("/")),
        ("HOOKS__OFFLINE__WAIT_MS", "1000"),
        ("PRESENCE__GRACE_MS", "100"),
    ];
    let server = Server::start(&settings).await;
    let group = server.room(&[1, 2, 3, 4]).await;
    let other_room = server.room(&[3, 4]).await;
    let other = server.beside_over(shared_uri(), &settings).await;
    let mut one = server.enter(1, group).await;
    let _elsewhere = other.enter(3, other_room).await;
    let second = server.enter(2, group).await;
    let presences = server.collection("presence").await;
    let online = mongodb::bson::doc! { "online": true };
    eventually_count(&presences, online.clone(), |count| count >= 3).await;

    one.say("for 4 alone").await;
    one.until_kind("chat_message").await;
    let first = received_events(&receiver, 1).await.remove(0);
    assert_eq!(first["id"], format!("offline-{group}-1-4"));
    assert_eq!(
        (&first["hook"], &first["user_id"], &first["sender_id"]),
        (&json!("offline"), &json!(4), &json!(1))
    );
    assert_eq!((&first["room_id"], &first["message_id"]), (&json!(group), &json!(1)));
    assert_eq!(first["text"], "for 4 alone");

    second.leave().await;
    eventually_count(&presences, online.clone(), |count| count <= 2).await;
    one.say("for 2 and 4").await;
    one.until_kind("chat_message").await;
    let mut ids: Vec<_> =
        received_events(&receiver, 3).await[1..].iter().map(|body| body["id"].clone()).collect();
    ids.sort_by_key(Value::to_string);
    assert_eq!(ids, [json!(format!("offline-{group}-2-2")), json!(format!("offline-{group}-2-4"))]);

    one.say("4 comes in time").await;
    one.until_kind("chat_message").await;
    let _fourth = other.enter(4, group).await;
    one.say("for 2 alone").await;
    let last = received_events(&receiver, 5).await;
    let ids: Vec<_> = last[3..].iter().map(|body| body["id"].clone()).collect();
    assert_eq!(ids, [json!(format!("offline-{group}-3-2")), json!(format!("offline-{group}-4-2"))]);
}

#[tokio::test]
async fn a_hook_that_hangs_keeps_no_other_from_being_told() {
    let hanging = Receiver::start(|_| ReceiverReply::Nothing).await;
    let receiver = accepting_receiver().await;
    let settings = [
        ("HOOKS__CONNECTED__URL", &*hanging.url("/")),
        ("HOOKS__CONNECTED__TIMEOUT_MS", "600000"),
        ("HOOKS__AFTER_SEND__URL", &*receiver.url("/")),
    ];
    let (_server, mut one) = room_with_one_socket(&settings).await;
    hanging.asked(1).await;
    for n in 1..=20 {
        one.say_alone(n, 1, "hello").await;
    }
    receiver.asked(20).await;
}

/// If a message is deleted within the waiting time (`hooks.offline.wait_ms`), Parlor sends no `offline` event.
#[tokio::test]
async fn offline_event_is_not_sent_when_its_message_was_deleted() {
    let receiver = accepting_receiver().await;
    let settings = [("HOOKS__OFFLINE__URL", &*receiver.url("/")), ("HOOKS__OFFLINE__WAIT_MS", "1000")];
    let server = Server::start(&settings).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.say("taken back").await;
    one.until_kind("chat_message").await;
    one.send(json!({"action": "delete", "message_id": 1})).await;
    one.until_kind("message_deleted").await;
    one.say("meant").await;
    let first = received_events(&receiver, 1).await.remove(0);
    assert_eq!((&first["message_id"], &first["text"]), (&json!(2), &json!("meant")), "{first}");
}
