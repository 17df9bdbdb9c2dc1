//! The hook `before_send`: the application's server accepts, rewrites or refuses a message before Parlor stores it.

use std::time::Duration;

use serde_json::json;

use super::{SECRET, accepting_receiver, counted};
use crate::support::{
    Receiver, ReceiverReply, Server, chat, deleted, edited, error, free_port, room_with_one_socket,
};

const URL: &str = "HOOKS__BEFORE_SEND__URL";
const ON_FAILURE: &str = "HOOKS__BEFORE_SEND__ON_FAILURE";

#[tokio::test]
async fn a_message_passes_is_rewritten_or_is_refused_with_the_reason() {
    let receiver = Receiver::start(|asked| {
        ReceiverReply::Ok(match asked.json()["text"].as_str().unwrap() {
            "bad" => json!({"reject": "no such words here"}).to_string(),
            "worse" => json!({"reject": "  "}).to_string(),
            "worst" => json!({"reject": "é".repeat(1000)}).to_string(),
            "a bit bad" => json!({"text": "***"}).to_string(),
            "fine" => "{}".to_owned(),
            _ => String::new(),
        })
    })
    .await;
    let admin = format!("127.0.0.1:{}", free_port());
    let settings =
        [(URL, &*receiver.url("/ask")), ("HOOKS__BEFORE_SEND__SECRET", SECRET), ("ADMIN__LISTEN", &admin)];
    let (_server, mut one) = room_with_one_socket(&settings).await;
    one.say_alone(1, 1, "fine").await;
    one.say("bad").await;
    let refused = one.expect(error("rejected", Some("send"))).await;
    assert_eq!(refused["message"], "no such words here");
    one.say("worse").await;
    assert_eq!(one.expect(error("rejected", Some("send"))).await["message"], "the message was rejected");
    one.say("worst").await;
    assert_eq!(one.expect(error("rejected", Some("send"))).await["message"], "é".repeat(200));
    one.say("a bit bad").await;
    one.expect(chat(2, 1, "***")).await;
    one.say_alone(3, 1, "better").await;
    one.quiet().await;

    let asked = receiver.asked(6).await;
    let body = asked[0].json();
    assert_eq!(asked[0].line, "POST /ask");
    assert!(asked[0].headers["parlor-signature"].starts_with("t="), "{asked:?}");
    assert_eq!(body["id"].as_str().unwrap().len(), 24, "the request's, as in the log: {body}");
    let rest = json!({"id": body["id"], "hook": "before_send", "room_id": 1, "sender_id": 1, "text": "fine"});
    assert_eq!(body, rest);
    for (outcome, count) in [("passed", "2"), ("rejected", "3"), ("rewritten", "1")] {
        let sample = format!(r#"parlor_hook_events_total{{hook="before_send",outcome="{outcome}"}}"#);
        assert_eq!(counted(&admin, &sample).await, count, "{outcome}");
    }
}

#[tokio::test]
async fn an_edit_is_asked_about_as_well() {
    let receiver = Receiver::start(|asked| {
        ReceiverReply::Ok(match asked.json()["text"].as_str().unwrap() {
            "bad" => json!({"reject": "no such words here"}).to_string(),
            "a bit bad" => json!({"text": "***"}).to_string(),
            _ => "{}".to_owned(),
        })
    })
    .await;
    let (_server, mut one) = room_with_one_socket(&[(URL, &*receiver.url("/ask"))]).await;
    one.say_alone(1, 1, "fine").await;
    let edit = |text: &str| json!({"action": "edit", "message_id": 1, "text": text});
    one.send(edit("bad")).await;
    assert_eq!(one.expect(error("rejected", Some("edit"))).await["message"], "no such words here");
    for (text, written) in [("a bit bad", "***"), ("better", "better")] {
        one.send(edit(text)).await;
        one.expect(edited(1, written)).await;
    }
    let asked = receiver.asked(4).await;
    let body = asked[1].json();
    let rest = json!({
        "id": body["id"], "hook": "before_send", "room_id": 1, "sender_id": 1, "message_id": 1, "text": "bad",
    });
    assert_eq!(body, rest);
}

/// Returns invalid answers of a receiver (the application's server).
fn bad_answers() -> Vec<ReceiverReply> {
    let ok = |text: &str| ReceiverReply::Ok(text.to_owned());
    vec![
        ok("garbage"),
        ok("[]"),
        ok(r#"{"rejct":"mistyped"}"#),
        ok(r#"{"text":" "}"#),
        ok(&json!({"text": "x".repeat(11)}).to_string()),
        ReceiverReply::Status(500, String::new(), String::new()),
        ReceiverReply::Status(302, "location: /\r\n".to_owned(), String::new()),
        ReceiverReply::HangUp,
        ReceiverReply::Half,
        ReceiverReply::Nothing,
    ]
}

#[tokio::test]
async fn message_passes_without_a_valid_answer_when_failing_open() {
    let receiver = accepting_receiver().await;
    let settings = [
        (URL, &*receiver.url("/")),
        (ON_FAILURE, "open"),
        ("LIMITS__TEXT_CHARS", "10"),
        ("HOOKS__BEFORE_SEND__TIMEOUT_MS", "200"),
        ("HOOKS__BEFORE_SEND__BREAKER_FAILURES", "1000"),
    ];
    let (_server, mut one) = room_with_one_socket(&settings).await;
    for (n, answer) in (1..).zip(bad_answers()) {
        receiver.answers(move |_| answer.clone());
        one.say_alone(n, 1, "hello").await;
    }
    assert_eq!(receiver.count(), bad_answers().len());
}

#[tokio::test]
async fn message_is_refused_without_valid_answer_when_failing_closed() {
    let receiver = accepting_receiver().await;
    let admin = format!("127.0.0.1:{}", free_port());
    let settings = [
        (URL, &*receiver.url("/")),
        (ON_FAILURE, "closed"),
        ("LIMITS__TEXT_CHARS", "10"),
        ("HOOKS__BEFORE_SEND__TIMEOUT_MS", "200"),
        ("HOOKS__BEFORE_SEND__BREAKER_FAILURES", "1000"),
        ("ADMIN__LISTEN", &admin),
    ];
    let (_server, mut one) = room_with_one_socket(&settings).await;
    for answer in bad_answers() {
        receiver.answers(move |_| answer.clone());
        one.say("hello").await;
        one.expect(error("unavailable", Some("send"))).await;
    }
    receiver.answers(|_| ReceiverReply::Ok(String::new()));
    one.say_alone(1, 1, "at last").await;
    let sample = r#"parlor_hook_events_total{hook="before_send",outcome="failed_closed"}"#;
    assert_eq!(counted(&admin, sample).await, bad_answers().len().to_string());
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_soon_left_alone() {
    let mut receiver = accepting_receiver().await;
    let settings = [
        (URL, &*receiver.url("/")),
        (ON_FAILURE, "closed"),
        ("HOOKS__BEFORE_SEND__BREAKER_FAILURES", "2"),
        ("HOOKS__BEFORE_SEND__BREAKER_OPEN_MS", "600000"),
    ];
    let (_server, mut one) = room_with_one_socket(&settings).await;
    receiver.stop().await;
    for _ in 0..2 {
        one.say("hello").await;
        one.expect(error("unavailable", Some("send"))).await;
    }
    receiver.start_again().await;
    one.say("hello").await;
    one.expect(error("unavailable", Some("send"))).await;
    assert_eq!(receiver.count(), 0, "it is given time");
}

#[tokio::test]
async fn the_hook_leaves_the_writing_its_time() {
    let receiver = Receiver::start(|_| ReceiverReply::Nothing).await;
    let settings = [
        (URL, &*receiver.url("/")),
        (ON_FAILURE, "open"),
        ("HOOKS__BEFORE_SEND__TIMEOUT_MS", "60000"),
        ("ACTIONS__SEND__TIMEOUT_MS", "2000"),
    ];
    let (_server, mut one) = room_with_one_socket(&settings).await;
    let began = std::time::Instant::now();
    one.say_alone(1, 1, "hello").await;
    assert!(began.elapsed() >= Duration::from_millis(900), "it was waited for: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_delete_is_not_asked_about() {
    let receiver = accepting_receiver().await;
    let (_server, mut one) = room_with_one_socket(&[(URL, &receiver.url("/"))]).await;
    one.say_alone(1, 1, "hello").await;
    one.send(json!({"action": "delete", "message_id": 1})).await;
    one.expect(deleted(1)).await;
    receiver.asked(1).await;
}

/// The client lost the answer to its first send, so it repeats the send. Meanwhile, the receiver has begun to refuse
/// messages. The server still acknowledges the repeated send, because all users have already received the message.
#[tokio::test]
async fn repeated_send_is_answered_without_asking_the_hook_again() {
    let receiver = accepting_receiver().await;
    for failure in [
        ReceiverReply::Ok(json!({"reject": "said before"}).to_string()),
        ReceiverReply::Status(500, String::new(), String::new()),
    ] {
        receiver.answers(|_| ReceiverReply::Ok(String::new()));
        let settings = [(URL, &*receiver.url("/")), (ON_FAILURE, "closed")];
        let (server, mut listener) = room_with_one_socket(&settings).await;
        let mut one = server.dial_as(1, "room_id=1&since=").open().await;
        assert_eq!(one.next().await["type"], "resumed");
        let hello = json!({"action": "send", "message": "hello", "client_id": "a"});
        one.send(hello.clone()).await;
        assert_eq!(one.next().await["message"]["message_id"], 1);
        listener.expect(chat(1, 1, "hello")).await;
        receiver.answers(move |_| failure.clone());
        one.send(hello).await;
        let again = one.next().await;
        assert_eq!(
            (&again["type"], &again["message"]["message_id"]),
            (&json!("chat_message"), &json!(1)),
            "{again}"
        );
        one.send(json!({"action": "send", "message": "hello", "client_id": "b"})).await;
        assert_eq!(one.next().await["type"], "error");
        listener.quiet().await;
    }
}

/// User 1 sends messages for which the hook fails. The hook must still check another user's messages.
#[tokio::test]
async fn messages_of_others_are_checked_despite_one_users_poison() {
    for on_failure in ["open", "closed"] {
        let receiver = Receiver::start(|asked| match asked.json()["text"].as_str().unwrap() {
            "poison" => ReceiverReply::Status(500, String::new(), String::new()),
            "bad" => ReceiverReply::Ok(json!({"reject": "no such words here"}).to_string()),
            _ => ReceiverReply::Ok(String::new()),
        })
        .await;
        let settings = [
            (URL, &*receiver.url("/")),
            (ON_FAILURE, on_failure),
            ("HOOKS__BEFORE_SEND__BREAKER_FAILURES", "3"),
            ("HOOKS__BEFORE_SEND__BREAKER_OPEN_MS", "600000"),
        ];
        let server = Server::start(&settings).await;
        let (room, other) = (server.room(&[1, 2, 3]).await, server.room(&[2, 3, 4]).await);
        let mut one = server.enter(1, room).await;
        let mut two = server.enter(2, other).await;
        for n in 1..=3 {
            one.say("poison").await;
            match on_failure {
                "open" => one.expect(chat(n, 1, "poison")).await,
                _ => one.expect(error("unavailable", Some("send"))).await,
            };
        }
        two.say("bad").await;
        assert_eq!(two.expect(error("rejected", Some("send"))).await["message"], "no such words here");
        two.say_alone(1, 2, "fine").await;
        // After three failures, the server refuses user 1's messages without asking the hook. Even with `on_failure =
        // "open"`, the server does not store such a message unchecked.
        let asked = receiver.count();
        one.say("bad").await;
        one.expect(error("unavailable", Some("send"))).await;
        assert_eq!(receiver.count(), asked, "the sender is held back");
    }
}
