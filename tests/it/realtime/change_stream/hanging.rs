//! The change stream hangs while other calls of the database work. The server opens the stream again, and refuses
//! removed members. It closes all sockets if no heartbeat (a periodic write of the servers) arrives for
//! `feed.close_ms`.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{End, Link, Metered, Mongod, PATIENCE, Server, Streams, chat, eventually_within};

/// Starts two servers on one database: one server whose link to the database can hang, and one server without faults.
async fn servers(mongod: &Mongod, own: &[(&str, &str)]) -> (Link, Server, Server) {
    let link = Link::to_one(&mongod.host()).await;
    let quick = [("FEED__HEARTBEAT_MS", "100"), ("FEED__OVERDUE_MS", "1000"), ("FEED__STALE_MS", "2000")];
    let server = Server::start_over(&link.uri, &[&quick, own].concat()).await;
    let other = server.beside_over(&mongod.uri("unharmed"), &[]).await;
    server.until_status("/readyz", 200).await;
    (link, server, other)
}

async fn remove(server: &Server, room: i64, user: i64) {
    let path = format!("/rooms/{room}/members/{user}");
    assert_eq!(server.call(Method::DELETE, &path, Value::Null).await.0, 204);
}

#[tokio::test]
async fn a_hanging_stream_is_opened_again_on_another_connection() {
    let mongod = Mongod::start().await;
    let (link, server, other) = servers(&mongod, &[]).await;
    let room = server.room(&[1, 2, 3]).await;
    let (mut one, mut three) = (server.enter(1, room).await, server.enter(3, room).await);
    let mut elsewhere = other.enter(2, room).await;
    // In each round, the open stream hangs. The server must then open another stream on another connection, by which
    // users 1 and 3 receive the message.
    for n in 1..=3 {
        link.set_streams(Streams::OpenOnesHang);
        let began = Instant::now();
        elsewhere.say("while it hangs").await;
        one.until(chat(n, 2, "while it hangs")).await;
        three.until(chat(n, 2, "while it hangs")).await;
        assert!(began.elapsed() < PATIENCE, "opened again after {:?}", began.elapsed());
        server.until_status("/readyz", 200).await;
    }
    remove(&other, room, 3).await;
    assert_eq!(three.hear_out().await.1, End::Closed(4003));
}

#[tokio::test]
async fn hanging_streams_are_bounded_and_counted() {
    let (mongod, metered) = (Mongod::start().await, Metered::new());
    let settings = [("FEED__HANGING", "1"), ("FEED__CLOSE_MS", "600000"), metered.setting()];
    let (link, server, other) = servers(&mongod, &settings).await;
    let room = server.room(&[1, 2]).await;
    let mut one = server.enter(1, room).await;
    let mut elsewhere = other.enter(2, room).await;
    // `feed.hanging` permits one hanging stream. The open stream hangs, so the server does not open another stream.
    link.set_streams(Streams::OpenOnesHang);
    elsewhere.say("while it hangs").await;
    metered.until_at_least("parlor_limits_hit_total{bound=\"feed_hanging\"}", 1).await;
    server.until_status("/readyz", 503).await;
    link.set_streams(Streams::Pass);
    one.until(chat(1, 2, "while it hangs")).await;
    server.until_status("/readyz", 200).await;
}

#[tokio::test]
async fn a_removed_member_is_refused_while_every_stream_hangs() {
    let mongod = Mongod::start().await;
    let (link, server, other) = servers(&mongod, &[("FEED__CLOSE_MS", "600000")]).await;
    let room = server.room(&[1, 2, 3]).await;
    let doomed = server.room(&[2, 4]).await;
    let (mut stays, mut writes) = (server.enter(1, room).await, server.enter(2, room).await);
    let mut reads = server.enter(3, room).await;
    let mut inside = server.enter(4, doomed).await;
    let mut inbox = server.dial("/ws/?since=").token(&server.token(2).sign()).open().await;
    inbox.next().await;
    link.set_streams(Streams::AllHang);
    server.until_status("/readyz", 503).await;
    remove(&other, room, 2).await;
    remove(&other, room, 3).await;
    assert_eq!(other.call(Method::DELETE, &format!("/rooms/{doomed}"), Value::Null).await.0, 204);

    writes.say("I am still here").await;
    assert_eq!(writes.hear_out().await, (Vec::new(), End::Closed(4003)));
    reads.send(json!({"action": "history", "before": 100})).await;
    assert_eq!(reads.hear_out().await, (Vec::new(), End::Closed(4003)));
    inside.say("is anyone here?").await;
    assert_eq!(inside.hear_out().await, (Vec::new(), End::Closed(4004)));
    inbox.send(json!({"action": "send", "room_id": room, "text": "nor by this", "ref": "r"})).await;
    // Presence events of members who connected earlier may come first.
    let answer = inbox.until_kind("error").await;
    assert_eq!((&answer["code"], &answer["ref"]), (&json!("not_found"), &json!("r")), "{answer}");
    stays.say("without them").await;
    link.set_streams(Streams::Pass);
    stays.until(chat(1, 1, "without them")).await;
    server.until_status("/readyz", 200).await;
}

#[tokio::test]
async fn sockets_are_closed_once_no_heartbeat_has_come_for_long() {
    let mongod = Mongod::start().await;
    let (link, server, other) = servers(&mongod, &[("FEED__CLOSE_MS", "2500")]).await;
    let room = server.room(&[1, 2]).await;
    let mut one = server.enter(1, room).await;
    let mut inbox = server.dial("/ws/?since=").token(&server.token(2).sign()).open().await;
    inbox.next().await;
    link.set_streams(Streams::AllHang);
    assert_eq!(one.hear_out().await.1, End::Closed(1013));
    assert_eq!(inbox.hear_out().await.1, End::Closed(1013));
    assert_eq!(server.dial_as(1, &format!("room_id={room}")).refused().await, 1013);
    // The other server works without interruption.
    let mut elsewhere = other.enter(1, room).await;
    elsewhere.say("here").await;
    elsewhere.until(chat(1, 1, "here")).await;
    link.set_streams(Streams::Pass);
    server.until_status("/readyz", 200).await;
    let query = format!("room_id={room}");
    let refused = async || server.dial_as(1, &query).open().await.refused_or_history().await;
    let limit = PATIENCE + Duration::from_secs(5);
    eventually_within(limit, "sockets are accepted again", refused, Option::is_none).await;
}
