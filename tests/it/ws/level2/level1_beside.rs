//! Level 1 sockets receive exactly the documented frames while other sockets of the room use Level 2.

use serde_json::{Value, json};

use super::{Live, delete, edit, with_ref};
use crate::support::{Client, Server, chat, deleted, delivered, edited, error, listed, matches, read, said};

/// Asserts that all these sockets receive these events next: Level 1 sockets without a cursor, Level 2 sockets with a
/// cursor.
async fn hear(level1: &mut [Client], level2: &mut [Live], events: &[Value]) {
    for client in level1 {
        client.expect_all(events).await;
    }
    for live in level2 {
        live.hear_all(events).await;
    }
}

#[tokio::test]
async fn a_level_1_socket_sees_exactly_the_documented_keys() {
    let server = Server::start(&[]).await;
    let there = server.beside().await;
    let room = server.room(&[1, 2]).await;
    let mut level1 = [server.enter(1, room).await, there.enter(2, room).await];
    let mut level2 = [Live::fresh(&server, 2, room).await, Live::fresh(&there, 2, room).await];
    let mut one = Live::fresh(&there, 1, room).await;

    let hello = json!({"action": "send", "message": "Hello", "client_id": "a"});
    one.send(with_ref(hello.clone(), "x")).await;
    let [sent, marks @ ..] = said(1, 1, "Hello");
    one.hear(with_ref(sent.clone(), "x")).await;
    one.hear_all(&marks).await;
    hear(&mut level1, &mut level2, &said(1, 1, "Hello")).await;
    // The next frames are answers for one socket, and events that only Level 2 sockets receive. The Level 1 sockets
    // must not receive these frames.
    one.send(hello).await;
    assert_eq!(one.next().await["message"]["status"], "read");
    one.send(json!({"action": "typing"})).await;
    for live in &mut level2 {
        live.expect(json!({"type": "typing", "sender_id": 1})).await;
    }
    one.send(json!({"action": "history"})).await;
    assert_eq!(one.next().await["type"], "history");
    one.send(with_ref(edit(1, "Good evening"), "y")).await;
    one.hear(with_ref(edited(1, "Good evening"), "y")).await;
    hear(&mut level1, &mut level2, &[edited(1, "Good evening")]).await;
    let mut again = server.dial_as(1, &format!("room_id={room}")).open().await;
    let history = json!(again.history().await);
    assert!(matches(&json!([listed(1, 1, "Good evening", "read")]), &history), "{history}");
    one.send(with_ref(delete(1), "z")).await;
    one.hear(with_ref(deleted(1), "z")).await;
    hear(&mut level1, &mut level2, &[deleted(1)]).await;
    again.expect(deleted(1)).await;
    for client in &mut level1 {
        client.quiet().await;
    }
}

#[tokio::test]
async fn level_1_actions_reach_level_2_with_a_cursor() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut one = server.enter(1, room).await;
    let mut live = [Live::fresh(&server, 1, room).await, Live::fresh(&server, 2, room).await];
    one.say("Hello").await;
    hear(std::slice::from_mut(&mut one), &mut live, &said(1, 1, "Hello")).await;
    one.send(edit(1, "Good evening")).await;
    hear(std::slice::from_mut(&mut one), &mut live, &[edited(1, "Good evening")]).await;
    one.send(delete(1)).await;
    hear(std::slice::from_mut(&mut one), &mut live, &[deleted(1)]).await;
}

#[tokio::test]
async fn answers_on_level_2_carry_no_cursor() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let cursor = one.cursor.clone();
    one.send(json!({"action": "ping"})).await;
    one.expect(json!({"type": "pong"})).await;
    one.send(json!({"action": "history"})).await;
    one.expect(json!({"type": "history", "messages": [], "has_more": false})).await;
    one.send(json!({"action": "nonsense"})).await;
    one.expect(error("unknown_action", Some("nonsense"))).await;
    one.send_text("{").await;
    one.expect(error("bad_json", None)).await;
    assert_eq!(super::missed(&server, room, &cursor).await, super::Told::default());
}

#[tokio::test]
async fn events_have_cursors_of_their_own() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut two = Live::fresh(&server, 2, room).await;
    let mut changes = vec![one.cursor.clone()];
    for (frame, event) in [
        (json!({"action": "send", "message": "Hello"}), chat(1, 1, "Hello")),
        (edit(1, "Hi"), edited(1, "Hi")),
        (edit(1, "Hi"), edited(1, "Hi")),
        (delete(1), deleted(1)),
    ] {
        one.send(frame).await;
        one.hear(event.clone()).await;
        changes.push(one.cursor.clone());
        two.hear(event.clone()).await;
        if event["type"] == "chat_message" {
            for live in [&mut one, &mut two] {
                live.hear_all(&[delivered(1, 1, "Hello"), read(1, 1, "Hello")]).await;
            }
        }
    }
    let all = changes.len();
    changes.sort_unstable();
    changes.dedup();
    assert_eq!(changes.len(), all, "no two changes have the same cursor: {changes:?}");
}
