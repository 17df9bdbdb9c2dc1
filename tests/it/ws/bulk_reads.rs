//! Limits of one user's reads from the database. Bulk reads, such as first frames of inbox connections, resumes and
//! pages of rooms, are limited in number and rate. So one user's bulk reads do not slow down other users.

use std::time::Duration;

use mongodb::bson::doc;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Client, Dial, Mongod, Samples, Server, chat, eventually};

fn dial(server: &Server, user: i64) -> Dial {
    let token = server.token(user).sign();
    server.dial("/ws/?since=").called(format!("inbox of {user}")).token(&token)
}

/// Opens an inbox connection and reads its first frame.
async fn inbox(dial: Dial) -> Client {
    let mut client = dial.open().await;
    assert_eq!(client.next().await["type"], "ready");
    client
}

/// Connects, and returns the close code and reason with which the server refuses the connection.
async fn refused(server: &Server, user: i64) -> (u16, String) {
    dial(server, user).open().await.closed().await
}

async fn hits(samples: &Samples, bound: &str) -> u32 {
    samples.number(&format!("parlor_limits_hit_total{{bound=\"{bound}\"}}")).await
}

async fn group_of(server: &Server, members: i64) -> i64 {
    let members: Vec<_> = (1..=members).map(|user| json!({"user_id": user})).collect();
    let (status, room) =
        server.call(Method::POST, "/rooms", json!({"kind": "group", "members": members})).await;
    assert_eq!(status, 201, "{room}");
    room["room_id"].as_i64().unwrap()
}

/// Delays every aggregation of the server by this time.
async fn hold_up_aggregations(mongod: &Mongod, wait_ms: i64) {
    let data = doc! { "failCommands": ["aggregate"], "blockConnection": true, "blockTimeMS": wait_ms };
    mongod.fail("parlor", "alwaysOn", data).await;
}

fn spawn_inbox(server: &Server, user: i64) -> JoinHandle<Client> {
    tokio::spawn(inbox(dial(server, user)))
}

/// Waits until a limit was hit at least this often.
async fn until_hit(samples: &Samples, bound: &str, least: u32) {
    let what = format!("{bound} is hit {least} times");
    eventually(&what, async || hits(samples, bound).await, |hits| *hits >= least).await;
}

#[tokio::test]
async fn connects_over_the_rate_are_closed_with_4029() {
    let samples = Samples::new();
    let limits = [("ADMIN__LISTEN", &*samples.admin), ("LIMITS__CONNECTS_PER_MINUTE", "2")];
    let server = Server::start(&limits).await;
    server.room(&[1, 2]).await;
    for _ in 0..2 {
        inbox(dial(&server, 1)).await.leave().await;
    }
    let (code, reason) = refused(&server, 1).await;
    assert_eq!((code, reason.contains("retry")), (4029, true), "{reason}");
    assert_eq!(server.dial_as(1, "firts_user=1&second_user=2").refused().await, 4029);
    assert_eq!(hits(&samples, "connects_per_minute").await, 2);
    inbox(dial(&server, 2)).await;
}

#[tokio::test]
async fn reads_over_the_rate_are_refused_until_regained() {
    let samples = Samples::new();
    let limits = [("ADMIN__LISTEN", &*samples.admin), ("LIMITS__DOCUMENTS_PER_MINUTE", "1000")];
    let server = Server::start(&limits).await;
    group_of(&server, 1_000).await;
    // The first frame reads so many documents that the user must wait for some seconds before the next bulk read. Even
    // a slow machine handles the next frame before this wait is over.
    group_of(&server, 150).await;
    let other = server.room(&[2_001, 2_002]).await;
    let mut one = inbox(dial(&server, 1)).await;
    one.send(json!({"action": "rooms"})).await;
    let answer = one.until_kind("error").await;
    assert_eq!((&answer["code"], &answer["action"]), (&json!("rate_limited"), &json!("rooms")), "{answer}");
    let wait = answer["retry_after_ms"].as_u64().unwrap();
    assert!((1..60_000).contains(&wait), "{answer}");
    assert_eq!(refused(&server, 1).await.0, 4029);
    assert_eq!(hits(&samples, "documents_per_minute").await, 2);
    // Other users have their own rate. User 1's open socket stays open.
    let mut another = inbox(dial(&server, 2_001)).await;
    another.send(json!({"action": "rooms"})).await;
    assert_eq!(another.until_kind("rooms").await["rooms"][0]["room_id"], other);
    one.wait_before_retry(Duration::from_millis(wait)).await;
    one.send(json!({"action": "rooms"})).await;
    one.until_kind("rooms").await;
}

#[tokio::test]
async fn twenty_tabs_that_reconnect_meet_no_bound() {
    let samples = Samples::new();
    let server =
        Server::start(&[("ADMIN__LISTEN", &*samples.admin), ("LIMITS__SOCKETS_PER_USER", "100")]).await;
    group_of(&server, 200).await;
    // User 1's twenty tabs reconnect five times, as after a deploy or in a network that breaks repeatedly.
    for _ in 0..5 {
        let tabs: Vec<_> = (0..20).map(|_| spawn_inbox(&server, 1)).collect();
        for tab in tabs {
            tab.await.unwrap().leave().await;
        }
    }
    for bound in ["connects_per_minute", "documents_per_minute", "bulk_wait_ms"] {
        assert_eq!(hits(&samples, bound).await, 0, "{bound}");
    }
}

#[tokio::test]
async fn bulk_reads_leave_connections_to_edits() {
    let (mongod, samples) = (Mongod::start().await, Samples::new());
    let limits = [
        ("ADMIN__LISTEN", &*samples.admin),
        ("MONGODB__POOL_SIZE", "2"),
        ("LIMITS__BULK_READS", "2"),
        ("ROOMS__DIRECT", "on_connect"),
    ];
    let server = Server::start_over(&mongod.uri("parlor"), &limits).await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "before").await;
    for user in 10..16 {
        server.room(&[user, user + 100]).await;
    }
    hold_up_aggregations(&mongod, 4_000).await;
    let inboxes: Vec<_> = (10..16).map(|user| spawn_inbox(&server, user)).collect();
    until_hit(&samples, "bulk_reads", 4).await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "after"})).await;
    one.until_kind("message_edited").await;
    assert!(inboxes.iter().all(|inbox| !inbox.is_finished()), "an edit waited behind a bulk read");
    mongod.heal().await;
    for inbox in inboxes {
        inbox.await.unwrap();
    }
}

#[tokio::test]
async fn bulk_reads_of_one_user_take_turns() {
    let (mongod, samples) = (Mongod::start().await, Samples::new());
    let limits = [("ADMIN__LISTEN", &*samples.admin), ("LIMITS__BULK_READS", "2")];
    let server = Server::start_over(&mongod.uri("parlor"), &limits).await;
    server.room(&[1, 3]).await;
    server.room(&[2, 3]).await;
    hold_up_aggregations(&mongod, 500).await;
    let tabs: Vec<_> = (0..6).map(|_| spawn_inbox(&server, 1)).collect();
    until_hit(&samples, "bulk_reads_per_user", 5).await;
    inbox(dial(&server, 2)).await;
    let done = tabs.iter().filter(|tab| tab.is_finished()).count();
    assert!(done < 5, "{done} reads of one user came before the first of another");
    assert_eq!(hits(&samples, "bulk_reads").await, 0, "one user took all of the server's turns");
    mongod.heal().await;
    for tab in tabs {
        tab.await.unwrap();
    }
}

#[tokio::test]
async fn bulk_reads_that_wait_too_long_are_closed_with_1013() {
    let (mongod, samples) = (Mongod::start().await, Samples::new());
    let limits = [("ADMIN__LISTEN", &*samples.admin), ("LIMITS__BULK_WAIT_MS", "50")];
    let server = Server::start_over(&mongod.uri("parlor"), &limits).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.enter(2, room).await;
    hold_up_aggregations(&mongod, 3_000).await;
    let first = spawn_inbox(&server, 1);
    mongod.held_up().await;
    let (code, reason) = refused(&server, 1).await;
    assert_eq!((code, &*reason), (1013, "the server is busy; try again later"));
    assert_eq!(hits(&samples, "bulk_wait_ms").await, 1);
    mongod.heal().await;
    first.await.unwrap();
    two.say("still here").await;
    two.expect(chat(1, 2, "still here")).await;
}
