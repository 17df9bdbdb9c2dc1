//! The metrics count sockets, frames and actions, and each limit that is hit.

use mongodb::bson::{DateTime, doc};
use reqwest::Method;
use serde_json::json;

use crate::support::{Lines, Link, Samples, Server, State, error, free_port, room_with_one_socket};

fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

async fn hits(admin: &str, bound: &str) -> u32 {
    let name = format!("parlor_limits_hit_total{{bound=\"{bound}\"}}");
    Samples { admin: admin.to_owned() }.number(&name).await
}

#[tokio::test]
async fn sockets_frames_and_actions_are_counted() {
    let admin = free_address();
    let (_server, mut one) = room_with_one_socket(&[("ADMIN__LISTEN", &admin)]).await;
    one.say_alone(1, 1, "hello").await;
    one.quiet().await;
    let seen = Samples { admin: admin.clone() }.all().await;
    for (name, expected) in [
        (r"parlor_sockets", "1"),
        (r#"parlor_connects_total{outcome="open"}"#, "1"),
        (r#"parlor_frames_total{action="send",outcome="ok"}"#, "1"),
        (r#"parlor_frames_total{action="",outcome="unknown_action"}"#, "1"),
        (r#"parlor_action_duration_seconds_count{action="send"}"#, "1"),
        (r"parlor_write_batch_messages_sum", "1.0"),
        (r"parlor_commit_duration_seconds_count", "1"),
        (r"parlor_write_queue", "0"),
        (r"parlor_receipts_waiting", "0"),
    ] {
        assert_eq!(seen.get(name).map(String::as_str), Some(expected), "{name}: {seen:#?}");
    }
    let age: f64 = seen["parlor_heartbeat_age_seconds"].parse().unwrap();
    assert!((0.0..5.0).contains(&age), "a heartbeat came round a moment ago: {age}");
    let told: u32 = seen["parlor_feed_lag_seconds_count"].parse().unwrap();
    assert!(told >= 1, "the message came through the stream");
    let lag: f64 = seen["parlor_feed_lag_seconds_sum"].parse().unwrap();
    assert!(lag / f64::from(told) < 5.0, "{lag} s for {told}");
    one.leave().await;
}

#[tokio::test]
async fn rates_are_counted() {
    let admin = free_address();
    let limits = [
        ("ADMIN__LISTEN", &*admin),
        ("LIMITS__MESSAGES_PER_MINUTE", "1"),
        ("LIMITS__FRAMES_PER_MINUTE", "3"),
    ];
    let (_server, mut one) = room_with_one_socket(&limits).await;
    one.say_alone(1, 1, "my only one").await;
    one.say("too many").await;
    assert_eq!(one.next().await["code"], "rate_limited");
    assert_eq!(hits(&admin, "messages_per_minute").await, 1);
    one.send(json!({"action": "none"})).await;
    one.expect(error("unknown_action", Some("none"))).await;
    one.send(json!({"action": "none"})).await;
    assert_eq!(one.next().await["code"], "rate_limited");
    assert_eq!(hits(&admin, "frames_per_minute").await, 1);
}

#[tokio::test]
async fn sizes_and_places_are_counted() {
    let admin = free_address();
    let limits = [
        ("ADMIN__LISTEN", &*admin),
        ("LIMITS__SOCKETS", "2"),
        ("LIMITS__SOCKETS_PER_USER", "1"),
        ("SOCKETS__PROBE_MS", "0"),
        ("LIMITS__FRAME_BYTES", "1024"),
    ];
    let (server, mut one) = room_with_one_socket(&limits).await;
    assert_eq!(server.dial_as(1, "firts_user=1&second_user=2").refused().await, 4029);
    assert_eq!(hits(&admin, "sockets_per_user").await, 1);
    let _two = server.join(2, 1).await;
    assert_eq!(server.dial_as(2, "firts_user=2&second_user=1").rejected().await, 503);
    assert_eq!(hits(&admin, "sockets").await, 1);
    let (code, _) = one.closed_while_sending(format!(r#"{{"action":"{}"}}"#, "x".repeat(1024))).await;
    assert_eq!(code, 1009);
    assert_eq!(hits(&admin, "frame_bytes").await, 1);
}

#[tokio::test]
async fn oversized_api_requests_are_counted() {
    let admin = free_address();
    let server = Server::start(&[("ADMIN__LISTEN", &*admin), ("API__BODY_BYTES", "65536")]).await;
    let body = |count: i64, padding: usize| {
        let members: Vec<_> = (1..=count).map(|user| json!({"user_id": user})).collect();
        json!({"kind": "group", "members": members, "padding": "x".repeat(padding)})
    };
    assert_eq!(server.call(Method::POST, "/rooms", body(2, 64 * 1024)).await.0, 413);
    assert_eq!(hits(&admin, "api_body_bytes").await, 1);
    assert_eq!(server.call(Method::POST, "/rooms", body(1_001, 0)).await.0, 400);
    assert_eq!(hits(&admin, "room_members").await, 1);
    let (_, full) = server.call(Method::POST, "/rooms", body(1_000, 0)).await;
    let path = format!("/rooms/{}/members/1001", full["room_id"]);
    assert_eq!(server.call(Method::PUT, &path, json!({})).await.0, 409);
    assert_eq!(hits(&admin, "room_members").await, 2);
}

#[tokio::test]
async fn a_full_queue_of_writes_is_unavailable_and_counted() {
    let admin = free_address();
    let link = Link::to_the_database().await;
    let settings = [
        ("ADMIN__LISTEN", &*admin),
        ("MONGODB__URI", &*link.uri),
        ("LIMITS__WRITE_QUEUE", "1"),
        ("LIMITS__BATCH", "1"),
        ("LIMITS__HANDLER_MS", "3000"),
        ("SHUTDOWN__DRAIN_SECONDS", "1"),
    ];
    let (server, mut one) = room_with_one_socket(&settings).await;
    one.say_alone(1, 1, "before").await;
    one.quiet().await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(server.join(1, 2).await);
    }
    link.set(State::Held);
    // One write runs and one write waits in the queue. So at least two of the four messages find the queue full, and
    // are refused immediately.
    for client in others.iter_mut().chain([&mut one]) {
        client.say("now").await;
    }
    let mut unavailable = 0;
    for client in others.iter_mut().chain([&mut one]) {
        let answer = client.next().await;
        if answer["code"] == "unavailable" && answer["message"].as_str().unwrap().contains("overloaded") {
            unavailable += 1;
        }
    }
    assert!(unavailable >= 2, "{unavailable} of four were told");
    assert_eq!(hits(&admin, "write_queue").await, unavailable);
}

#[tokio::test]
async fn api_limits_are_counted_when_hit() {
    let admin = free_address();
    let settings = [("ADMIN__LISTEN", &*admin), ("LIMITS__SOCKETS", "1"), ("API__EXPORTS", "1")];
    let server = Server::start(&settings).await;
    server.room(&[1, 2]).await;
    let _events = Lines::of(server.api(Method::GET, "/rooms/1/events")).await;
    assert_eq!(server.api_get("/rooms/1/events").await.0, 503);
    assert_eq!(hits(&admin, "sockets").await, 1);
    let message = |n: i64| {
        let (text, now) = ("x".repeat(4096), DateTime::now());
        doc! { "_id": { "room": 1_i64, "n": n }, "sender": 1_i64, "text": text, "created_at": now, "updated_at": now }
    };
    let messages = server.collection("messages").await;
    for from in (1..=6000).step_by(1000) {
        messages.insert_many((from..from + 1000).map(message)).await.unwrap();
    }
    // The export is larger than the sockets' buffers, so it does not end while the client reads nothing.
    let _export = Lines::of(server.api(Method::GET, "/users/1/export")).await;
    assert_eq!(server.api_get("/users/1/export").await.0, 503);
    assert_eq!(hits(&admin, "exports").await, 1);
}
