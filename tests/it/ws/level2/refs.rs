//! The field `ref`: the answer to a frame repeats the frame's `ref`, but only on the socket that sent it.

use serde_json::{Value, json};

use super::{Live, delete, edit, room, with_cursor, with_ref};
use crate::support::{Client, Server, WORDS, chat, deleted, edited, error, matches, said};

fn send(text: &str) -> Value {
    json!({"action": "send", "message": text})
}

#[tokio::test]
async fn an_event_carries_the_ref_to_the_socket_that_caused_it_alone() {
    let (server, room) = room(&[]).await;
    let there = server.beside().await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut others = [Live::fresh(&server, 1, room).await, Live::fresh(&there, 1, room).await];
    let mut level1 = server.enter(1, room).await;
    for (frame, event, name) in [
        (send("first"), chat(1, 1, "first"), "a"),
        (edit(1, "second"), edited(1, "second"), "b"),
        (delete(1), deleted(1), "c"),
    ] {
        one.send(with_ref(frame, name)).await;
        one.hear(with_ref(event.clone(), name)).await;
        for other in &mut others {
            other.hear(event.clone()).await;
        }
        level1.expect(event).await;
    }
    // The server doesn't reuse a `ref` for a later frame without one.
    one.say_alone(2, 1, "third").await;
}

#[tokio::test]
async fn a_mark_carries_no_ref() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut two = Live::fresh(&server, 2, room).await;
    one.send(with_ref(send("Hello"), "a")).await;
    let [sent, marks @ ..] = said(1, 1, "Hello");
    one.hear(with_ref(sent.clone(), "a")).await;
    one.hear_all(&marks).await;
    two.hear(sent).await;
    two.hear_all(&marks).await;
}

/// Returns an error frame with the `ref` "mine".
fn failed(code: &str, action: &str) -> Value {
    with_ref(error(code, Some(action)), "mine")
}

#[tokio::test]
async fn errors_and_replies_carry_it_on_any_socket() {
    let (server, room) = room(&[]).await;
    let token = server.token(1).sign();
    let mut two = server.enter(2, room).await;
    two.say_alone(1, 2, "of two").await;
    for level in [1, 2] {
        let mut one =
            if level == 1 { server.enter(1, room).await } else { Live::fresh(&server, 1, room).await.client };
        if level == 1 {
            // User 1's Level 1 socket makes user 2's earlier message delivered and read, which causes two events.
            one.take(2).await;
        }
        for (frame, answer) in [
            (json!({"action": "ping"}), json!({"type": "pong", "ref": "mine"})),
            (json!({"action": "nonsense"}), failed("unknown_action", "nonsense")),
            (send(" "), failed("invalid_request", "send")),
            (edit(1, "not mine"), failed("not_author", "edit")),
            (edit(77, "not there"), failed("not_found", "edit")),
            (delete(77), failed("not_found", "delete")),
            (json!({"action": "delete"}), failed("invalid_request", "delete")),
            (json!({}), with_ref(error("unknown_action", None), "mine")),
        ] {
            one.send(with_ref(frame, "mine")).await;
            one.expect(answer).await;
        }
        if level == 2 {
            one.send(with_ref(json!({"action": "history", "after": 1}), "mine")).await;
            one.expect(json!({"type": "history", "messages": [], "has_more": false, "ref": "mine"})).await;
            one.send(with_ref(json!({"action": "history", "limit": 0}), "mine")).await;
            one.expect(failed("invalid_request", "history")).await;
            one.send(with_ref(json!({"action": "auth", "token": token}), "mine")).await;
            one.expect(json!({"type": "auth", "expires_at": WORDS, "ref": "mine"})).await;
            one.send(with_ref(json!({"action": "auth", "token": "nonsense"}), "mine")).await;
            one.expect(failed("invalid_token", "auth")).await;
        }
        // The answer to a frame without a `ref` has none.
        one.send(json!({"action": "ping"})).await;
        one.expect(json!({"type": "pong"})).await;
    }
}

#[tokio::test]
async fn on_a_level_1_socket_an_event_carries_the_ref_and_no_cursor() {
    let (server, room) = room(&[]).await;
    let mut one = server.enter(1, room).await;
    let frames = [
        (send("first"), chat(1, 1, "first")),
        (edit(1, "second"), edited(1, "second")),
        (delete(1), deleted(1)),
    ];
    for (frame, event) in frames {
        one.send(with_ref(frame, "mine")).await;
        one.expect(with_ref(event, "mine")).await;
    }
    one.say_alone(2, 1, "plain").await;
}

#[tokio::test]
async fn up_to_64_characters_come_back_exactly() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let longest = "\u{1F980}".repeat(64);
    for name in ["a", "7", " \" \\ \n", "null", &"x".repeat(64), &longest, ""] {
        one.send(with_ref(json!({"action": "ping"}), name)).await;
        one.expect(json!({"type": "pong", "ref": name})).await;
    }
    one.send(with_ref(send("Hello"), &longest)).await;
    one.hear(with_ref(chat(1, 1, "Hello"), &longest)).await;
}

#[tokio::test]
async fn invalid_ref_is_refused_and_nothing_is_written() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await.client;
    let bad = [json!(5), json!(true), json!(["a"]), json!({}), json!("x".repeat(65)), json!("é".repeat(65))];
    for name in bad {
        for (mut frame, action) in [(send("x"), "send"), (json!({"action": "ping"}), "ping")] {
            frame["ref"] = name.clone();
            one.send(frame).await;
            let refused = one.expect(error("invalid_request", Some(action))).await;
            assert!(refused["message"].as_str().unwrap().starts_with("ref"), "{refused}");
        }
    }
    for frame in [r#"{"action":"ping","ref":"a","ref":"b"}"#, r#"{"action":"ping","ref":"a\u0000"}"#] {
        one.send_text(frame).await;
        assert_eq!(one.next().await["code"], "invalid_request", "{frame}");
    }
    Live::fresh(&server, 1, room).await.say_alone(1, 1, "the first that is written").await;
}

/// Edits message 1 this number of times, each time with a `ref`. Reads the events of both editing sockets. Returns the
/// events with a `ref`.
async fn edit_with_refs(one: &mut Client, name: &str, count: usize) -> Vec<Value> {
    for n in 0..count {
        let text = format!("{name} {n}");
        one.send(with_ref(edit(1, &text), &text)).await;
    }
    let mut own = one.take(2 * count).await;
    own.retain(|frame| frame.get("ref").is_some());
    own
}

#[tokio::test]
async fn sockets_that_edit_the_same_at_once_get_their_own_refs() {
    const EACH: usize = 20;
    let (server, room) = room(&[]).await;
    let there = server.beside().await;
    let mut one = Live::fresh(&server, 1, room).await;
    one.say_alone(1, 1, "Hello").await;
    let mut other = Live::fresh(&there, 1, room).await;
    let (of_one, of_other) =
        tokio::join!(edit_with_refs(&mut one, "one", EACH), edit_with_refs(&mut other, "other", EACH),);
    for (name, own) in [("one", of_one), ("other", of_other)] {
        assert_eq!(own.len(), EACH, "{own:?}");
        for (n, frame) in own.iter().enumerate() {
            let text = format!("{name} {n}");
            let expected = with_cursor(with_ref(edited(1, &text), &text));
            assert!(matches(&expected, frame), "expected\n  {expected}\ngot\n  {frame}");
        }
    }
}

#[tokio::test]
async fn frames_at_once_have_each_its_own_ref() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    for n in 1..=40 {
        one.send(with_ref(send("the same"), &n.to_string())).await;
    }
    for n in 1..=40 {
        one.hear(with_ref(chat(n, 1, "the same"), &n.to_string())).await;
    }
}
