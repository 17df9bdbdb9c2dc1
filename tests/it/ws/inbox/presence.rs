//! Presence events on an inbox connection: only users who share a room receive them.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use serde_json::json;

use super::inbox;
use crate::support::{Program, SLACK, Server, eventually_count, shared_uri};

/// The longest time from a change until the connection must show the right presence of every user (docs/protocol.md,
/// Events).
const WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn presence_reaches_only_users_who_share_a_room() {
    let server = Server::start(&[("PRESENCE__GRACE_MS", "50")]).await;
    let other = server.beside().await;
    server.room(&[1, 2]).await;
    let (mut one, _) = inbox(&server, 1).await;
    let (mut stranger, _) = inbox(&server, 3).await;
    let two = other.join(2, 1).await;
    let came = one.until_kind("presence").await;
    assert_eq!(came, json!({"type": "presence", "user_id": 2, "online": true}));
    let (_, ready) = inbox(&server, 1).await;
    let members = ready["rooms"][0]["members"].as_array().unwrap();
    assert!(members.iter().any(|member| member["user_id"] == 2 && member["online"] == true), "{ready}");
    two.leave().await;
    let went = one.until_kind("presence").await;
    assert_eq!((&went["user_id"], &went["online"]), (&json!(2), &json!(false)));
    assert!(went["last_seen"].as_str().is_some_and(|seen| seen.ends_with('Z')), "{went}");
    stranger.quiet().await;
}

#[tokio::test]
async fn a_reload_of_a_page_is_neither_a_coming_nor_a_going() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let (mut one, _) = inbox(&server, 1).await;
    let two = server.join(2, 1).await;
    one.until_kind("presence").await;
    two.leave().await;
    let mut two = server.join(2, 1).await;
    two.say("back").await;
    let mut frame = one.next().await;
    while frame["type"] != "chat_message" {
        assert_ne!(frame["type"], "presence", "{frame}");
        frame = one.next().await;
    }
}

#[tokio::test]
async fn offline_of_a_dead_servers_users_is_sent_within_5_s() {
    let mut dying = Program::start(&[]).await;
    dying.room(&[1, 2]).await;
    let survivor = dying.beside().await;
    let (mut one, _) = inbox(&survivor, 1).await;
    let _two = dying.join(2, 1).await;
    assert_eq!(one.until_kind("presence").await["online"], true);
    dying.signal("KILL");
    let killed = Instant::now();
    dying.exit_code().await;
    let gone = one.until_kind("presence").await;
    assert_eq!((&gone["user_id"], &gone["online"]), (&json!(2), &json!(false)));
    assert!(killed.elapsed() < WITHIN + SLACK, "{:?}", killed.elapsed());
}

#[tokio::test]
async fn presence_is_not_sent_when_one_of_two_devices_leaves() {
    let short = [("PRESENCE__GRACE_MS", "50")];
    let server = Server::start(&short).await;
    let other = server.beside_over(shared_uri(), &short).await;
    server.room(&[1, 2]).await;
    let (mut one, _) = inbox(&server, 1).await;
    let presences = server.collection("presence").await;
    let here = async |servers: i32| {
        let filter = doc! { "_id": 2, "servers": { "$size": servers } };
        eventually_count(&presences, filter.clone(), |count| count != 0).await;
    };
    for _ in 0..3 {
        let (phone, laptop) = (server.join(2, 1).await, other.join(2, 1).await);
        assert_eq!(one.until_kind("presence").await["online"], true);
        here(2).await;
        phone.leave().await;
        here(1).await;
        laptop.leave().await;
        let next = one.until_kind("presence").await;
        assert_eq!(next["online"], false, "nothing has changed before: {next}");
        here(0).await;
    }
}
