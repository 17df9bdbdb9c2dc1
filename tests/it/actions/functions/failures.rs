//! Functions (HTTP servers that execute the application's own actions) that are slow, unreachable or give invalid
//! answers. The caller must get an error, and other users must not be affected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{obedient, server_with, translate, two_sockets};
use crate::support::{
    Client, Link, Program, Receiver, ReceiverReply, State, WORDS, error, eventually, free_port, matches, said,
};

/// Calls the function, and expects an error with this code.
async fn expect_error(client: &mut Client, code: &str) -> Value {
    client.send(translate(&json!({}))).await;
    client.expect(error(code, Some("translate"))).await
}

fn answering(
    answer: &'static str,
) -> impl Fn(&crate::support::ReceivedRequest) -> ReceiverReply + Send + Sync + 'static {
    move |_| ReceiverReply::Ok(answer.to_owned())
}

#[tokio::test]
async fn a_malformed_answer_is_internal_and_nothing_of_it_is_done() {
    let receiver = obedient().await;
    let limits = [("LIMITS__TEXT_CHARS", "10"), ("LIMITS__EVENT_BYTES", "100")];
    let (_server, mut one, mut two) = two_sockets(&receiver, &limits).await;
    let long = format!(r#"{{"send":{{"message":"good"}},"event":{{"x":"{}"}}}}"#, "x".repeat(100));
    let long: &'static str = Box::leak(long.into_boxed_str());
    let deep: &'static str =
        Box::leak(format!(r#"{{"reply":{{"x":{}{}}}}}"#, "[".repeat(128), "]".repeat(128)).into_boxed_str());
    for answer in [
        "",
        "hello",
        "null",
        "[]",
        "1",
        r#"{"reply":{}"#,
        r#"{"reply":{}} {}"#,
        r#"{"repyl":{}}"#,
        r#"{"reply":{},"reply":{}}"#,
        r#"{"reply":"hello"}"#,
        r#"{"reply":null}"#,
        r#"{"reply":{"a":1,"a":2}}"#,
        r#"{"reply":{"ref":"mine"}}"#,
        r#"{"reply":{"a":1,"room_id":2}}"#,
        r#"{"reply":{"a":"\ud800"}}"#,
        r#"{"event":[]}"#,
        r#"{"event":{"type":"chat_message"}}"#,
        r#"{"event":{"name":"other"}}"#,
        r#"{"event":{"a":1,"a":2}}"#,
        r#"{"event":{"a":1e999}}"#,
        r#"{"reply":{"a":[-1e999]}}"#,
        r#"{"send":"hello"}"#,
        r#"{"send":{}}"#,
        r#"{"send":{"message":7}}"#,
        r#"{"send":{"message":" "}}"#,
        r#"{"send":{"message":"a\u0000"}}"#,
        r#"{"send":{"message":"12345678901"}}"#,
        r#"{"send":{"message":"a","sender_id":2}}"#,
        r#"{"send":{"message":"good"},"reply":7}"#,
        r#"{"send":{"message":"good"},"event":{"name":"other"}}"#,
        long,
        deep,
    ] {
        receiver.answers(answering(answer));
        let frame = expect_error(&mut one, "internal").await;
        let message = frame["message"].as_str().unwrap();
        assert!(message.starts_with("internal error ("), "the cause is for the log alone: {frame}");
    }
    receiver.answers(|_| ReceiverReply::Status(200, String::new(), "\u{feff}{}".to_owned()));
    expect_error(&mut one, "internal").await;
    for client in [&mut one, &mut two] {
        client.quiet().await;
    }
    receiver.answers(answering(" {\"send\" : {\"message\": \"1234567890\"} }\n"));
    one.send(translate(&json!({}))).await;
    two.expect_all(&said(1, 1, "1234567890")).await;
}

#[tokio::test]
async fn function_failures_have_their_codes() {
    let mut receiver = obedient().await;
    let limits = [
        ("FUNCTIONS__TRANSLATE__TIMEOUT_MS", "200"),
        ("FUNCTIONS__TRANSLATE__MAX_RESPONSE_BYTES", "100"),
        ("FUNCTIONS__TRANSLATE__BREAKER_FAILURES", "1000"),
    ];
    let (_server, mut one, mut two) = two_sockets(&receiver, &limits).await;
    let elsewhere = obedient().await;
    let location = format!("location: {}\r\n", elsewhere.url("/"));
    receiver.answers(move |_| ReceiverReply::Status(307, location.clone(), String::new()));
    expect_error(&mut one, "internal").await;
    assert_eq!(elsewhere.count(), 0, "a redirect is not followed");
    for (status, body) in [(204, ""), (404, "{}"), (500, "{}"), (503, r#"{"reply":{}}"#)] {
        receiver.answers(move |_| ReceiverReply::Status(status, String::new(), body.to_owned()));
        expect_error(&mut one, "internal").await;
    }
    receiver.answers(|_| ReceiverReply::Ok(json!({"reply": {"x": "x".repeat(100)}}).to_string()));
    expect_error(&mut one, "internal").await;
    receiver.answers(|_| ReceiverReply::HangUp);
    expect_error(&mut one, "internal").await;
    for slow in [ReceiverReply::Nothing, ReceiverReply::Half] {
        receiver.answers(move |_| slow.clone());
        expect_error(&mut one, "timeout").await;
    }
    receiver.stop().await;
    expect_error(&mut one, "unavailable").await;
    receiver.start_again().await;
    receiver.answers(answering(r#"{"reply":{}}"#));
    one.send(translate(&json!({}))).await;
    one.expect(json!({"type": "translate"})).await;
    two.quiet().await;
}

#[tokio::test]
async fn function_is_suspended_then_probed_when_calls_keep_failing() {
    let admin = format!("127.0.0.1:{}", free_port());
    let receiver = Receiver::start(|_| ReceiverReply::HangUp).await;
    let limits = [
        ("ADMIN__LISTEN", &*admin),
        ("FUNCTIONS__TRANSLATE__BREAKER_FAILURES", "3"),
        ("FUNCTIONS__TRANSLATE__BREAKER_CALLERS", "1"),
        ("FUNCTIONS__TRANSLATE__BREAKER_OPEN_MS", "1000"),
    ];
    let (_server, mut one, _two) = two_sockets(&receiver, &limits).await;
    for _ in 0..3 {
        expect_error(&mut one, "internal").await;
    }
    let opened = Instant::now();
    expect_error(&mut one, "unavailable").await;
    assert!(opened.elapsed() > Duration::from_millis(900) || receiver.count() == 3, "it is left alone");
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    for sample in [
        r#"parlor_outbound_breaker_open{receiver="functions.translate"} 1"#,
        r#"parlor_outbound_requests_total{receiver="functions.translate",outcome="broken"} 3"#,
        r#"parlor_outbound_requests_total{receiver="functions.translate",outcome="breaker_open"} 1"#,
        r#"parlor_outbound_duration_seconds_count{receiver="functions.translate"} 4"#,
        r#"parlor_limits_hit_total{bound="outbound_breaker_failures"} 1"#,
        r#"parlor_frames_total{action="translate",outcome="internal"} 3"#,
        r#"parlor_action_duration_seconds_count{action="translate"} 4"#,
    ] {
        assert!(page.contains(sample), "{sample} is not in {page}");
    }
    receiver.answers(answering(r#"{"reply":{}}"#));
    let answer = async || {
        one.send(translate(&json!({}))).await;
        let answer = one.next().await;
        assert!(answer["type"] == "translate" || answer["code"] == "unavailable", "{answer}");
        answer
    };
    eventually("the function is called again", answer, |answer| answer["type"] == "translate").await;
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    assert!(page.contains(r#"parlor_outbound_breaker_open{receiver="functions.translate"} 0"#), "{page}");
}

#[tokio::test]
async fn function_limits_are_counted() {
    let admin = format!("127.0.0.1:{}", free_port());
    let receiver = Receiver::start(|_| ReceiverReply::Nothing).await;
    let limits = [
        ("ADMIN__LISTEN", &*admin),
        ("LIMITS__EVENT_BYTES", "100"),
        ("FUNCTIONS__TRANSLATE__TIMEOUT_MS", "200"),
        ("FUNCTIONS__TRANSLATE__MAX_RESPONSE_BYTES", "300"),
    ];
    let (_server, mut one, _two) = two_sockets(&receiver, &limits).await;
    expect_error(&mut one, "timeout").await;
    receiver.answers(|_| ReceiverReply::Ok(json!({"event": {"x": "x".repeat(100)}}).to_string()));
    expect_error(&mut one, "internal").await;
    receiver.answers(|_| ReceiverReply::Ok("x".repeat(301)));
    expect_error(&mut one, "internal").await;
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    for bound in ["outbound_timeout_ms", "event_bytes", "outbound_max_response_bytes"] {
        let sample = format!("parlor_limits_hit_total{{bound=\"{bound}\"}} 1\n");
        assert!(page.contains(&sample), "{sample} is not in {page}");
    }
}

#[tokio::test]
async fn hanging_function_at_its_limit_slows_no_other_action() {
    let receiver = Receiver::start(|_| ReceiverReply::Nothing).await;
    let limits =
        [("FUNCTIONS__TRANSLATE__TIMEOUT_MS", "60000"), ("FUNCTIONS__TRANSLATE__MAX_IN_FLIGHT", "3")];
    let (server, mut one, mut two) = two_sockets(&receiver, &limits).await;
    let before = two.median_send_time(1, 2).await;
    let mut hogs = Vec::new();
    for n in 1..=3 {
        let mut hog = server.join(1, 2).await;
        hog.send(translate(&json!({}))).await;
        receiver.asked(n).await;
        hogs.push(hog);
    }
    one.send(translate(&json!({}))).await;
    let refused = one.until_kind("error").await;
    let expected = json!({
        "type": "error", "code": "rate_limited", "message": WORDS, "action": "translate", "retry_after_ms": 1500,
    });
    assert!(matches(&expected, &refused), "{refused}");
    let during = two.median_send_time(61, 2).await;
    // A `send` of user 2 must take as long as before the slow calls. The tolerance is for other load on the machine.
    assert!(during < 3 * before + Duration::from_millis(5), "{before:?} became {during:?}");
    assert_eq!(receiver.count(), 3);
}

#[tokio::test]
async fn function_caller_gets_an_error_while_the_database_is_away() {
    let receiver = obedient().await;
    let link = Link::to_the_database().await;
    let settings = [("MONGODB__URI", &*link.uri), ("MONGODB__SELECTION_MS", "200")];
    let server = server_with(&receiver, &settings).await;
    let mut one = server.join(1, 2).await;
    link.set(State::Cut);
    for answer in [json!({"event": {"n": 1}, "reply": {}}), json!({"send": {"message": "lost"}, "reply": {}})]
    {
        one.send(translate(&answer)).await;
        let refused = one.next().await;
        assert_eq!(
            (&refused["type"], &refused["action"]),
            (&json!("error"), &json!("translate")),
            "{refused}"
        );
        assert!(refused["code"] == "unavailable" || refused["code"] == "timeout", "{refused}");
    }
    one.send(translate(&json!({"reply": {}}))).await;
    one.expect(json!({"type": "translate"})).await;
}

#[tokio::test]
async fn the_log_says_what_was_wrong_but_nothing_of_what_was_said() {
    let receiver = obedient().await;
    let url = format!("{}?key=hunter2", receiver.url("/"));
    let settings = [
        ("LOG__FORMAT", "json"),
        ("LOG__FILTER", "debug"),
        ("FUNCTIONS__TRANSLATE__URL", &*url),
        ("FUNCTIONS__TRANSLATE__SECRET", super::SECRET),
    ];
    let mut program = Program::start(&settings).await;
    program.room(&[1, 2]).await;
    let mut one = program.join(1, 2).await;
    for (answer, fault) in [
        (
            json!({"send": {"message": {"hunter2": 1}}}),
            "functions.translate: `send` in its answer can't be done",
        ),
        (json!({"reply": "hunter2"}), "functions.translate: `reply` in its answer is not an object"),
        (json!({"event": {"type": "hunter2"}}), "functions.translate: `event` in its answer can't be sent"),
        (json!("hunter2"), "functions.translate: its answer is not an object of JSON"),
    ] {
        one.send(translate(&answer)).await;
        let frame = one.expect(error("internal", Some("translate"))).await;
        let id = frame["message"].as_str().unwrap().split(['(', ')']).nth(1).unwrap().to_owned();
        program.logged(fault).await;
        let log = program.log();
        let line = log.lines().find(|line| line.contains(fault)).unwrap();
        assert!(line.contains("ERROR") && line.contains(&id), "{line}");
        let asked = receiver.asked(receiver.count()).await.pop().unwrap();
        assert_eq!(asked.json()["request_id"], id, "its server knows it by the same id");
    }
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0));
    let log = program.log();
    assert!(!log.contains("hunter2") && !log.contains(super::SECRET), "{log}");
}

/// While the function is called, the server reads nothing from the caller's socket. So the server does not see the
/// client's answers to pings. Still, the server must not close the socket as dead.
#[tokio::test]
async fn caller_of_a_slow_function_is_not_disconnected() {
    let leave = Arc::new(Semaphore::new(0));
    let held = leave.clone();
    let receiver =
        Receiver::start(move |_| ReceiverReply::Held(held.clone(), r#"{"reply":{}}"#.to_owned())).await;
    let short = [("SOCKETS__PING_SECONDS", "1"), ("SOCKETS__DEAD_SECONDS", "1")];
    let (_server, mut one, _two) = two_sockets(&receiver, &short).await;
    one.send(translate(&json!({}))).await;
    let early = timeout(Duration::from_secs(4), one.next_or_end()).await;
    assert!(early.is_err(), "{early:?}");
    leave.add_permits(1);
    one.expect(json!({"type": "translate"})).await;
    // The socket also stays open after the function's answer.
    let early = timeout(Duration::from_secs(3), one.next_or_end()).await;
    assert!(early.is_err(), "{early:?}");
}

#[tokio::test]
async fn failing_calls_of_a_user_do_not_suspend_others() {
    let receiver = Receiver::start(|asked| {
        if asked.json()["user"]["id"] == 1 {
            ReceiverReply::Status(500, String::new(), String::new())
        } else {
            ReceiverReply::Ok(r#"{"reply":{}}"#.to_owned())
        }
    })
    .await;
    let settings = [
        ("FUNCTIONS__TRANSLATE__BREAKER_FAILURES", "3"),
        ("FUNCTIONS__TRANSLATE__BREAKER_OPEN_MS", "600000"),
    ];
    let (_server, mut one, mut two) = two_sockets(&receiver, &settings).await;
    for code in ["internal", "internal", "internal", "unavailable"] {
        one.send(translate(&json!({}))).await;
        one.expect(error(code, Some("translate"))).await;
    }
    two.send(translate(&json!({}))).await;
    two.expect(json!({"type": "translate"})).await;
    assert_eq!(receiver.count(), 4, "the failing caller is held back alone");
}
