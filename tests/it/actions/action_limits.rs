//! The limits of single actions, which the configuration sets in `[actions.<name>]`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Client, Server, WORDS, edited, error, free_port, matches, next_error, room_with_one_socket,
};

/// Expects that the next frame is the error `rate_limited` for this action. Returns the time that the client must wait
/// before it tries again.
async fn told_to_wait(client: &mut Client, action: &str) -> Duration {
    let frame = client.next().await;
    let wait = frame["retry_after_ms"].as_u64().unwrap_or_default();
    let expected = json!({
        "type": "error", "code": "rate_limited", "message": WORDS, "action": action, "retry_after_ms": wait,
    });
    assert!(matches(&expected, &frame), "expected rate_limited, got {frame}");
    assert!((1..=60_000).contains(&wait), "{frame}");
    Duration::from_millis(wait)
}

fn edit(text: &str) -> Value {
    json!({"action": "edit", "message_id": 1, "text": text})
}

#[tokio::test]
async fn action_rate_counts_all_sockets_of_a_user_for_that_action() {
    let (server, mut one) = room_with_one_socket(&[("ACTIONS__EDIT__PER_MINUTE", "3")]).await;
    one.say_alone(1, 1, "something").await;
    let mut second = server.join(1, 2).await;
    for (client, other) in [(0, "a"), (1, "b"), (0, "c")] {
        let text = edited(1, other);
        let speaker = if client == 0 { &mut one } else { &mut second };
        speaker.send(edit(other)).await;
        for client in [&mut one, &mut second] {
            client.expect(text.clone()).await;
        }
    }
    for client in [&mut one, &mut second] {
        client.send(edit("too soon")).await;
        told_to_wait(client, "edit").await;
    }
    one.send(json!({"action": "delete", "message_id": 1})).await;
    assert_eq!(one.next().await["type"], "message_deleted", "another action has a rate of its own");
    // The edits of user 2 count against their own rate, so the rate does not refuse this edit. The edit fails because
    // the message is deleted.
    let mut two = server.join(2, 1).await;
    two.send(edit("not mine, and gone")).await;
    two.expect(error("not_found", Some("edit"))).await;
}

#[tokio::test]
async fn a_burst_is_a_sockets_own_and_is_regained_in_time() {
    let limits = [("ACTIONS__EDIT__PER_MINUTE", "60"), ("ACTIONS__EDIT__BURST", "2")];
    let (server, mut one) = room_with_one_socket(&limits).await;
    one.say_alone(1, 1, "something").await;
    for text in ["a", "b"] {
        one.send(edit(text)).await;
        one.expect(edited(1, text)).await;
    }
    one.send(edit("too soon")).await;
    let wait = told_to_wait(&mut one, "edit").await;
    assert!(wait <= Duration::from_secs(1), "one is regained each second: {wait:?}");
    one.wait_before_retry(wait).await;
    one.send(edit("c")).await;
    one.expect(edited(1, "c")).await;
    let mut second = server.join(1, 2).await;
    second.send(edit("d")).await;
    second.expect(edited(1, "d")).await;
}

#[tokio::test]
async fn frame_over_its_actions_size_is_refused_on_a_living_socket() {
    let (_server, mut one) = room_with_one_socket(&[("ACTIONS__SEND__MAX_BYTES", "100")]).await;
    let say = |letters: usize| json!({"action": "send", "message": "x".repeat(letters)});
    let bare = say(0).to_string().len();
    one.send(say(101 - bare)).await;
    next_error(&mut one, "invalid_request", "send", "100 bytes").await;
    one.say_alone(1, 1, &"x".repeat(100 - bare)).await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "y".repeat(200)})).await;
    one.expect(edited(1, &"y".repeat(200))).await;
}

#[tokio::test]
async fn socket_is_closed_with_4029_when_its_caller_ignores_the_rate() {
    let (server, mut one) =
        room_with_one_socket(&[("ACTIONS__EDIT__BURST", "1"), ("ACTIONS__EDIT__PER_MINUTE", "1")]).await;
    one.say_alone(1, 1, "something").await;
    one.send(edit("once")).await;
    one.expect(edited(1, "once")).await;
    for _ in 0..10 {
        one.send(edit("again")).await;
        told_to_wait(&mut one, "edit").await;
    }
    assert_eq!(one.closed().await.0, 4029);
    server.join(1, 2).await.quiet().await;
}

#[tokio::test]
async fn action_limits_are_counted() {
    let admin = format!("127.0.0.1:{}", free_port());
    let limits = [
        ("ADMIN__LISTEN", &*admin),
        ("ACTIONS__EDIT__PER_MINUTE", "1"),
        ("ACTIONS__DELETE__PER_MINUTE", "60"),
        ("ACTIONS__DELETE__BURST", "1"),
        ("ACTIONS__SEND__MAX_BYTES", "100"),
    ];
    let server = Server::start(&limits).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    for frame in [
        edit("none to edit"),
        edit("too soon"),
        json!({"action": "delete", "message_id": 1}),
        json!({"action": "delete", "message_id": 1}),
        json!({"action": "send", "message": "x".repeat(100)}),
    ] {
        one.send(frame).await;
        assert_eq!(one.next().await["type"], "error");
    }
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    for bound in ["action_per_minute", "action_burst", "action_max_bytes"] {
        let sample = format!("parlor_limits_hit_total{{bound=\"{bound}\"}} 1\n");
        assert!(page.contains(&sample), "{sample} is not in {page}");
    }
}
