//! Functions: HTTP servers of the application that execute the application's own actions. The tests check the request
//! to a function, and the effects of the function's answer.

mod failures;
mod file_changes;
mod file_fetch;
mod file_hooks;
mod file_limits;
mod file_state;
mod files;
mod https;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Client, Database, Lines, Metered, ReceivedRequest, Receiver, ReceiverReply, Server};
use crate::support::{WORDS, chat, error, matches, said};

const SECRET: &str = "a secret of the tests for functions, 32 bytes or more";

/// Starts a Parlor server with the function `translate`, and creates room 1 of the users 1 and 2.
async fn server_with(receiver: &Receiver, overrides: &[(&str, &str)]) -> Server {
    let url = receiver.url("/translate");
    let own = [("FUNCTIONS__TRANSLATE__URL", &*url), ("FUNCTIONS__TRANSLATE__SECRET", SECRET)];
    let server = Server::start(&[&own, overrides].concat()).await;
    server.room(&[1, 2]).await;
    server
}

async fn two_sockets(receiver: &Receiver, overrides: &[(&str, &str)]) -> (Server, Client, Client) {
    let server = server_with(receiver, overrides).await;
    let (one, two) = (server.join(1, 2).await, server.join(2, 1).await);
    (server, one, two)
}

/// Starts a function that answers with the field `answer` of the client's frame.
async fn obedient() -> Receiver {
    Receiver::start(|asked| ReceiverReply::Ok(asked.json()["request"]["answer"].to_string())).await
}

fn translate(answer: &Value) -> Value {
    json!({"action": "translate", "answer": answer})
}

#[tokio::test]
async fn function_gets_the_call_and_only_its_caller_the_reply() {
    let receiver =
        Receiver::start(|_| ReceiverReply::Ok(r#"{"reply":{"text":"Hallo","sure":1.50}}"#.to_owned())).await;
    let (_server, mut one, mut two) = two_sockets(&receiver, &[]).await;
    one.send_text(r#" {"action":"translate", "message_id":7,"n":1.50, "to":["de",null]} "#).await;
    one.expect(json!({"type": "translate", "text": "Hallo", "sure": 1.5})).await;
    for client in [&mut one, &mut two] {
        client.quiet().await;
    }
    let asked = &receiver.asked(1).await[0];
    assert_eq!(asked.line, "POST /translate");
    let body = asked.json();
    let expected = json!({
        "request_id": WORDS, "action": "translate", "user": {"id": 1, "email": "user1@example.com"}, "room_id": 1,
        "request": {"action": "translate", "message_id": 7, "n": 1.5, "to": ["de", null]},
    });
    assert!(matches(&expected, &body), "{body}");
    let frame = r#""request":{"action":"translate", "message_id":7,"n":1.50, "to":["de",null]}"#;
    assert!(asked.body.contains(frame), "the frame stands there as it came: {}", asked.body);
    asked.is_signed_with(SECRET);
}

#[tokio::test]
async fn function_requests_have_unique_ids_and_accept_text_user_ids() {
    let receiver = obedient().await;
    let url = receiver.url("/");
    let server = Server::start(&[("FUNCTIONS__TRANSLATE__URL", &url)]).await;
    let room = server.room_of(vec![json!({"user_id": "auth0|1"}), json!({"user_id": 2})]).await;
    let mut one = server.join("auth0|1", 2).await;
    for _ in 0..2 {
        one.send(translate(&json!({"reply": {"type": "mine"}}))).await;
        one.expect(json!({"type": "mine"})).await;
    }
    let token = server.token(2).with("email", "new@example.com").sign();
    let query = "/ws/chat/?firts_user=2&second_user=auth0%7C1";
    let mut two = server.dial(query).called("user 2").token(&token).open().await;
    two.history().await;
    two.send(translate(&json!({}))).await;
    let asked: Vec<Value> = receiver.asked(3).await.iter().map(ReceivedRequest::json).collect();
    assert_eq!(asked[0]["user"], json!({"id": "auth0|1", "email": null}));
    assert_eq!(asked[2]["user"], json!({"id": 2, "email": "new@example.com"}), "as the token says");
    assert_eq!(asked[0]["room_id"], room);
    assert_ne!(asked[0]["request_id"], asked[1]["request_id"]);
}

#[tokio::test]
async fn function_message_is_sent_as_the_caller_and_counts_as_one() {
    let receiver = obedient().await;
    let (_server, mut one, mut two) = two_sockets(&receiver, &[("LIMITS__MESSAGES_PER_MINUTE", "2")]).await;
    let answer = json!({"send": {"message": " two\nlines é "}});
    for id in 1..=2 {
        two.send(translate(&answer)).await;
        for client in [&mut one, &mut two] {
            client.expect_all(&said(id, 2, " two\nlines é ")).await;
        }
    }
    two.send(translate(&json!({"send": {"message": "too many"}, "reply": {}, "event": {}}))).await;
    let refused = two.next().await;
    assert_eq!(
        (&refused["code"], &refused["action"]),
        (&json!("rate_limited"), &json!("translate")),
        "{refused}"
    );
    assert!(refused["retry_after_ms"].as_u64().unwrap() > 0, "{refused}");
    for client in [&mut one, &mut two] {
        client.quiet().await;
    }
}

#[tokio::test]
async fn function_event_reaches_the_whole_room_on_all_servers_only() {
    let receiver = obedient().await;
    let server = server_with(&receiver, &[]).await;
    let other_room = server.room(&[1, 3]).await;
    let other = server.beside_over(Database::uri(), &[]).await;
    let mut room =
        [server.join(1, 2).await, server.join(2, 1).await, other.join(1, 2).await, other.join(2, 1).await];
    let mut elsewhere = other.enter(3, other_room).await;
    room[0].send(translate(&json!({"event": {"text": "Hallo", "of": {"n": 7}}}))).await;
    for client in &mut room {
        client.expect(json!({"type": "custom", "name": "translate", "text": "Hallo", "of": {"n": 7}})).await;
        client.quiet().await;
    }
    elsewhere.quiet().await;
    assert!(other.connect(1, 2).await.history().await.is_empty(), "it is not stored");
    room[2].send(translate(&json!({}))).await;
    room[2].expect(error("unknown_action", Some("translate"))).await;
}

/// A function may indent its JSON answer. The event stream of the API writes each event on one line. So Parlor must
/// remove the line breaks from the event.
#[tokio::test]
async fn function_event_is_one_line_whatever_its_formatting() {
    let indented = "{\r\n  \"event\": {\r\n    \"of\": {\n      \"n\": \"a\\nb\"\n    }\n  }\n}\n";
    let receiver = Receiver::start(|_| ReceiverReply::Ok(indented.to_owned())).await;
    let (server, mut one, mut two) = two_sockets(&receiver, &[]).await;
    let mut lines = Lines::of(server.api(reqwest::Method::GET, "/rooms/1/events")).await;
    assert_eq!(lines.line().await["type"], "history");
    one.send(translate(&json!({}))).await;
    let event = json!({"type": "custom", "name": "translate", "of": {"n": "a\nb"}});
    for client in [&mut one, &mut two] {
        client.expect(event.clone()).await;
    }
    assert_eq!(lines.line().await, event);
    one.say("and on").await;
    assert_eq!(lines.line().await["type"], "chat_message");
}

#[tokio::test]
async fn a_ref_of_which_no_message_comes_is_forgotten() {
    let metered = Metered::new();
    let receiver = obedient().await;
    let many = [
        metered.setting(),
        ("LIMITS__FRAMES_PER_MINUTE", "100000"),
        ("FUNCTIONS__TRANSLATE__PER_MINUTE", "100000"),
        ("FUNCTIONS__TRANSLATE__BURST", "10000"),
    ];
    let (_server, mut one, _two) = two_sockets(&receiver, &many).await;
    for n in 0..1_001 {
        let mut call = translate(&json!({"reply": {"n": n}}));
        call["ref"] = n.to_string().into();
        one.send(call).await;
        one.expect(json!({"type": "translate", "n": n, "ref": n.to_string()})).await;
    }
    assert_eq!(metered.hits("refs").await, 0);
}

#[tokio::test]
async fn function_answer_may_hold_several_parts_or_none() {
    let receiver = obedient().await;
    let (_server, mut one, mut two) = two_sockets(&receiver, &[]).await;
    let answer = json!({"reply": {"n": 3}, "event": {"n": 2}, "send": {"message": "one"}});
    one.send(translate(&answer)).await;
    let event = json!({"type": "custom", "name": "translate", "n": 2});
    let mut heard = Vec::new();
    for client in [&mut one, &mut two] {
        heard.push(client.until(event.clone()).await);
    }
    assert!(matches(&chat(1, 1, "one"), &heard[1][0]), "the message is first: {heard:?}");
    let reply = json!({"type": "translate", "n": 3});
    if !heard[0].contains(&reply) {
        one.until(reply.clone()).await;
    }
    assert!(!heard[1].contains(&reply));
    let mut alone = {
        one.send(translate(&json!({}))).await;
        receiver.asked(2).await;
        one
    };
    // The server answers the unknown action `fence` with an error. If the empty answer of the function caused a frame,
    // this frame would arrive before the error. Only the receipt events of message 1, which the first call sent, may
    // arrive before the error.
    alone.send(json!({"action": "fence"})).await;
    let rest = alone.until(error("unknown_action", Some("fence"))).await;
    assert!(rest.iter().all(|frame| frame["type"] != "translate" && frame["code"] != "internal"), "{rest:?}");
}

#[tokio::test]
async fn reply_type_is_sent_as_it_is() {
    let receiver = obedient().await;
    let (_server, mut one, mut two) = two_sockets(&receiver, &[]).await;
    for kind in [json!("translated"), json!("chat_message"), json!(5), json!(null), json!({"a": 1})] {
        one.send(translate(&json!({"reply": {"type": kind, "n": 1}}))).await;
        one.expect(json!({"type": kind, "n": 1})).await;
    }
    two.quiet().await;
}

#[tokio::test]
async fn function_message_is_sent_when_its_caller_has_disconnected() {
    let leave = Arc::new(Semaphore::new(0));
    let held = leave.clone();
    let receiver = Receiver::start(move |_| {
        ReceiverReply::Held(held.clone(), r#"{"send":{"message":"late"}}"#.to_owned())
    })
    .await;
    let (mut server, mut one, mut two) = two_sockets(&receiver, &[]).await;
    one.send(translate(&json!({}))).await;
    receiver.asked(1).await;
    drop(one);
    leave.add_permits(1);
    two.expect(chat(1, 1, "late")).await;
    two.until_kind("mark_message_as_read").await;

    two.send(translate(&json!({}))).await;
    receiver.asked(2).await;
    server.shut_down();
    leave.add_permits(1);
    two.expect(chat(2, 2, "late")).await;
    assert_eq!(two.closed_in_the_end().await, 1012);
    server.ended().await;
}

#[tokio::test]
async fn function_sends_nothing_when_its_caller_was_removed_meanwhile() {
    let leave = Arc::new(Semaphore::new(0));
    let held = leave.clone();
    let says = r#"{"send":{"message":"late"},"event":{"n":1}}"#;
    let receiver = Receiver::start(move |_| ReceiverReply::Held(held.clone(), says.to_owned())).await;
    let server = server_with(&receiver, &[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let (mut one, mut two) = (server.enter(1, group).await, server.enter(2, group).await);
    one.send(translate(&json!({}))).await;
    receiver.asked(1).await;
    assert_eq!(server.api_delete(&format!("/rooms/{group}/members/1")).await.0, 204);
    assert_eq!(one.closed().await.0, 4003);
    leave.add_permits(1);
    two.quiet().await;
    two.say("on").await;
    two.expect(chat(1, 2, "on")).await;
}

#[tokio::test]
async fn function_is_limited_like_an_action() {
    let receiver = obedient().await;
    let limits = [
        ("FUNCTIONS__TRANSLATE__PER_MINUTE", "60"),
        ("FUNCTIONS__TRANSLATE__BURST", "2"),
        ("FUNCTIONS__TRANSLATE__MAX_BYTES", "100"),
    ];
    let (server, mut one, _two) = two_sockets(&receiver, &limits).await;
    one.send(json!({"action": "translate", "x": "x".repeat(100)})).await;
    let refused = one.expect(error("invalid_request", Some("translate"))).await;
    assert!(refused["message"].as_str().unwrap().contains("100 bytes"), "{refused}");
    for _ in 0..2 {
        one.send(translate(&json!({"reply": {}}))).await;
        one.expect(json!({"type": "translate"})).await;
    }
    one.send(translate(&json!({"reply": {}}))).await;
    let refused = one.next().await;
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    let mut again = server.join(1, 2).await;
    again.send(translate(&json!({"reply": {}}))).await;
    again.expect(json!({"type": "translate"})).await;
    assert_eq!(receiver.count(), 3, "what was refused was not asked");
}
