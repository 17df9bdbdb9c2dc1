//! The limits of rates and sizes. A frame that exceeds a rate gets an error. If the client ignores ten of these errors,
//! the server closes the socket. A frame over the size limit closes the socket.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Server, WORDS, chat, edited, error, matches, room_with_one_socket};

const KIB: usize = 1024;

/// Returns a frame of exactly this number of bytes, with an unknown action.
fn frame_of(bytes: usize) -> String {
    let bare = r#"{"action":"padded","padding":""}"#;
    bare.replace(r#""""#, &format!(r#""{}""#, "x".repeat(bytes - bare.len())))
}

/// Asserts that the next frame is `rate_limited`, and returns the wait in its `retry_after_ms`.
async fn told_to_wait(client: &mut Client, action: &str) -> Duration {
    let frame = client.next().await;
    let wait = frame["retry_after_ms"].as_u64().unwrap_or_default();
    let expected = json!({
        "type": "error", "code": "rate_limited", "message": WORDS, "action": action,
        "retry_after_ms": wait,
    });
    assert!(matches(&expected, &frame), "expected rate_limited, got {frame}");
    assert!((1..=60_000).contains(&wait), "retry_after_ms is a time within the minute: {frame}");
    Duration::from_millis(wait)
}

#[tokio::test]
async fn messages_over_the_limit_are_told_and_nothing_is_written() {
    let (server, mut one) = room_with_one_socket(&[("LIMITS__MESSAGES_PER_MINUTE", "3")]).await;
    for id in 1..=3 {
        one.say_alone(id, 1, "in time").await;
    }
    one.say("too soon").await;
    told_to_wait(&mut one, "send").await;
    // An edit does not count as a message, and another user has their own limits.
    one.send(json!({"action": "edit", "message_id": 3, "text": "still allowed"})).await;
    one.expect(edited(3, "still allowed")).await;
    let history = server.connect(2, 1).await.history().await;
    assert_eq!(history.len(), 3, "{history:?}");
    let mut two = server.join(2, 1).await;
    two.say("my first").await;
    two.until(chat(4, 2, "my first")).await;
}

#[tokio::test]
async fn a_users_limit_counts_over_all_of_their_sockets() {
    let (server, mut one) = room_with_one_socket(&[("LIMITS__MESSAGES_PER_MINUTE", "2")]).await;
    let mut second = server.join(1, 2).await;
    one.say_alone(1, 1, "here").await;
    second.expect(chat(1, 1, "here")).await;
    second.say_alone(2, 1, "there").await;
    second.say("too soon").await;
    told_to_wait(&mut second, "send").await;
}

#[tokio::test]
async fn a_frame_passes_after_the_time_that_was_told() {
    const PER_MINUTE: usize = 120;
    let (_server, mut one) =
        room_with_one_socket(&[("LIMITS__FRAMES_PER_MINUTE", &PER_MINUTE.to_string())]).await;
    let mut passed = 0;
    let wait = loop {
        one.send(json!({"action": "nobody"})).await;
        let frame = one.next().await;
        if frame["code"] != "unknown_action" {
            assert_eq!(frame["code"], "rate_limited", "{frame}");
            break Duration::from_millis(frame["retry_after_ms"].as_u64().unwrap());
        }
        passed += 1;
        assert!(passed < 2 * PER_MINUTE, "{passed} frames passed at once");
    };
    assert!(passed >= PER_MINUTE, "only {passed} frames passed");
    one.wait_before_retry(wait).await;
    one.quiet().await;
}

#[tokio::test]
async fn socket_is_closed_with_4029_after_ten_ignored_errors() {
    let server = Server::start(&[("LIMITS__FRAMES_PER_MINUTE", "5")]).await;
    server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    let mut one = server.join(1, 2).await;
    for _ in 0..5 {
        one.quiet().await;
    }
    for _ in 0..10 {
        one.send(json!({"action": "nobody"})).await;
        told_to_wait(&mut one, "nobody").await;
    }
    // The server closes the socket at the tenth error, or at the frame after this error.
    one.try_send(json!({"action": "nobody"})).await;
    let (code, reason) = one.closed().await;
    assert_eq!(code, 4029);
    assert!(!reason.is_empty(), "4029 came without a reason");
    two.quiet().await;
}

#[tokio::test]
async fn a_frame_may_have_64_kib() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    for bytes in [64 * KIB - 1, 64 * KIB] {
        one.send_text(&frame_of(bytes)).await;
        one.expect(error("unknown_action", Some("padded"))).await;
    }
}

#[tokio::test]
async fn a_larger_frame_is_closed_with_1009() {
    let (server, mut other) = room_with_one_socket(&[]).await;
    for bytes in [64 * KIB + 1, 200 * KIB, KIB * KIB] {
        let mut one = server.join(1, 2).await;
        assert_eq!(one.closed_while_sending(frame_of(bytes)).await.0, 1009, "{bytes} bytes");
    }
    other.quiet().await;
}

#[tokio::test]
async fn a_larger_message_in_fragments_is_closed_with_1009() {
    let (server, mut other) = room_with_one_socket(&[]).await;
    for (fragments, bytes) in [(2, 64 * KIB + 1), (2, 80 * KIB), (100, 100 * KIB), (32, KIB * KIB)] {
        let frame = frame_of(bytes);
        let parts: Vec<_> = frame.as_bytes().chunks(bytes.div_ceil(fragments)).collect();
        let parts: Vec<_> = parts.into_iter().map(|part| std::str::from_utf8(part).unwrap()).collect();
        let mut one = server.join(1, 2).await;
        one.send_fragments(&parts).await;
        assert_eq!(one.closed().await.0, 1009, "{bytes} bytes in {fragments} fragments");
    }
    other.quiet().await;
}

#[tokio::test]
async fn a_message_in_fragments_is_one_frame() {
    let (_server, mut one) = room_with_one_socket(&[]).await;
    one.send_fragments(&[r#"{"action":"se"#, r#"nd","mess"#, "", r#"age":"in parts"}"#]).await;
    one.expect(chat(1, 1, "in parts")).await;
    let frame = frame_of(64 * KIB);
    let (first, second) = frame.split_at(40 * KIB);
    one.send_fragments(&[first, second]).await;
    one.expect(error("unknown_action", Some("padded"))).await;
}

#[tokio::test]
async fn the_largest_frame_is_configurable() {
    let (server, mut one) = room_with_one_socket(&[("LIMITS__FRAME_BYTES", "2048")]).await;
    one.send_text(&frame_of(2048)).await;
    one.expect(error("unknown_action", Some("padded"))).await;
    assert_eq!(one.closed_while_sending(frame_of(2049)).await.0, 1009);
    let history: Vec<Value> = server.connect(1, 2).await.history().await;
    assert!(history.is_empty(), "{history:?}");
}
