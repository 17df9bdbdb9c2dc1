//! The events of hooks when the receiver fails, when the sending server is killed, and when the change stream's history
//! is lost.

use std::sync::Arc;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, doc};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{accepting_receiver, counted, failing_receiver, failure, ids, received_events, sent};
use crate::support::{
    Mongod, Program, Receiver, ReceiverReply, Server, eventually, free_port, room_with_one_socket, shared_uri,
};

const URL: &str = "HOOKS__AFTER_SEND__URL";

/// Returns the event ids of a room's first `count` messages.
fn first_of(room: i64, count: i64) -> Vec<String> {
    (1..=count).map(|n| sent(room, n)).collect()
}

#[tokio::test]
async fn returning_receiver_gets_missed_events_in_order() {
    let mut receiver = accepting_receiver().await;
    let admin = format!("127.0.0.1:{}", free_port());
    let settings = [
        (URL, &*receiver.url("/")),
        ("HOOKS__WINDOW", "4"),
        ("HOOKS__RETRY_MAX_MS", "200"),
        ("HOOKS__LEASE_MS", "1000"),
        ("HOOKS__AFTER_SEND__BREAKER_OPEN_MS", "100"),
        ("ADMIN__LISTEN", &admin),
    ];
    let (_server, mut one) = room_with_one_socket(&settings).await;
    receiver.stop().await;
    for n in 1..=20 {
        one.say_alone(n, 1, "hello").await;
    }
    let full = r#"parlor_limits_hit_total{bound="hooks_window"}"#;
    eventually("the full window is counted", async || counted(&admin, full).await, |n| !n.is_empty()).await;
    let retried = r#"parlor_hook_events_total{hook="after_send",outcome="retried"}"#;
    eventually("a retry is counted", async || counted(&admin, retried).await, |n| !n.is_empty()).await;
    assert_eq!(counted(&admin, r#"parlor_hook_lease_held{hook="after_send"}"#).await, "1");
    let lag = r#"parlor_hook_lag_seconds{hook="after_send"}"#;
    let lag = async || counted(&admin, lag).await;
    eventually("the lag grows", &lag, |lag| lag.parse::<f64>().unwrap_or_default() > 0.0).await;
    receiver.start_again().await;
    received_events(&receiver, 20).await;
    assert_eq!(ids(&receiver.asked(20).await), first_of(1, 20));
    eventually("the lag ends", &lag, |lag| lag == "0.0").await;
}

#[tokio::test]
async fn refused_event_is_retried_and_delays_only_its_room() {
    let receiver = Receiver::start(|asked| {
        if asked.json()["room_id"] == 1 { failure() } else { ReceiverReply::Ok(String::new()) }
    })
    .await;
    let settings = [(URL, &*receiver.url("/")), ("HOOKS__RETRY_MAX_MS", "200"), ("HOOKS__MAX_TRIES", "0")];
    let (server, mut one) = room_with_one_socket(&settings).await;
    let other = server.room(&[1, 3]).await;
    one.say_alone(1, 1, "to a deaf ear").await;
    one.say_alone(2, 1, "and behind it").await;
    let mut elsewhere = server.enter(1, other).await;
    for n in 1..=10 {
        elsewhere.say_alone(n, 1, "hello").await;
    }
    let all = receiver.until(|asked| ids(asked).len() >= 11).await;
    let mut expected = first_of(other, 10);
    expected.insert(0, sent(1, 1));
    let mut heard = ids(&all);
    heard.sort_unstable();
    expected.sort_unstable();
    assert_eq!(heard, expected, "the second waits for the first");
    receiver.answers(|_| ReceiverReply::Ok(String::new()));
    received_events(&receiver, 12).await;
}

#[tokio::test]
async fn events_continue_when_the_sending_server_is_killed() {
    let receiver = failing_receiver().await;
    let url = receiver.url("/");
    let settings = [(URL, &*url), ("HOOKS__LEASE_MS", "1000"), ("HOOKS__RETRY_MAX_MS", "200")];
    let mut first = Program::start(&settings).await;
    let room = first.room(&[1, 2]).await;
    let hooks = first.collection("hooks").await;
    let holder = async || hooks.find_one(doc! {}).await.unwrap().unwrap().get_object_id("holder").ok();
    let held_first = eventually("a server holds the lease", &holder, Option::is_some).await;
    let second = first.again().await;
    let mut one = second.join(1, 2).await;
    for n in 1..=10 {
        one.say_alone(n, 1, "hello").await;
    }
    receiver.until(|asked| !asked.is_empty()).await;
    assert_eq!(holder().await, held_first, "the first holds on to it");
    first.signal("KILL");
    first.exit_code().await;
    for n in 11..=20 {
        one.say_alone(n, 1, "hello").await;
    }
    receiver.answers(|_| ReceiverReply::Ok(String::new()));
    let bodies = received_events(&receiver, 20).await;
    let heard: Vec<_> = bodies.iter().map(|body| body["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(heard, first_of(room, 20), "none is missing, and all in order");
    assert_ne!(holder().await, held_first, "the second took over");
}

#[tokio::test]
async fn events_without_a_sending_server_are_sent_later() {
    let receiver = accepting_receiver().await;
    let settings = [(URL, &*receiver.url("/"))];
    let mut server = Server::start(&settings).await;
    let room = server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "hello").await;
    received_events(&receiver, 1).await;
    let without = server.beside().await;
    server.shut_down();
    server.ended().await;
    let mut one = without.join(1, 2).await;
    for n in 2..=4 {
        one.say_alone(n, 1, "unheard").await;
    }
    let _with = without.beside_over(shared_uri(), &settings).await;
    received_events(&receiver, 4).await;
    assert_eq!(ids(&receiver.asked(4).await), first_of(room, 4), "a server that ends well makes no doubles");
}

/// Waits until the server no longer holds the lease. Only the server with the lease sends the hook's events.
async fn until_lease_is_lost(admin: &str) {
    let held = async || counted(admin, r#"parlor_hook_lease_held{hook="after_send"}"#).await;
    eventually("the server loses the lease", held, |held| held == "0").await;
}

/// Gives the lease to an unknown server for an hour, or ends the lease.
async fn set_lease(hooks: &mongodb::Collection<mongodb::bson::Document>, free: bool) {
    let until = DateTime::from_millis(if free { 0 } else { DateTime::now().timestamp_millis() + 3_600_000 });
    let lease = doc! { "$set": { "holder": ObjectId::new(), "until": until } };
    hooks.update_one(doc! { "_id": "after_send" }, lease).await.unwrap();
}

#[tokio::test]
async fn lost_history_is_logged_and_events_come_from_collections() {
    let receiver = accepting_receiver().await;
    let mongod = Mongod::start().await;
    let admin = format!("127.0.0.1:{}", free_port());
    let settings = [(URL, &*receiver.url("/")), ("HOOKS__LEASE_MS", "1000"), ("ADMIN__LISTEN", &admin)];
    let server = Server::start_over(&mongod.uri("the-teller"), &settings).await;
    let room = server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "hello").await;
    let before = received_events(&receiver, 1).await.remove(0);
    let hooks = mongod.database(&server.database().name).await.collection("hooks");
    set_lease(&hooks, false).await;
    until_lease_is_lost(&admin).await;
    for n in 2..=5 {
        one.say_alone(n, 1, "unheard").await;
    }
    one.send(json!({"action": "edit", "message_id": 2, "text": "new"})).await;
    one.until_kind("message_edited").await;
    one.send(json!({"action": "delete", "message_id": 3})).await;
    one.until_kind("message_deleted").await;
    assert_eq!(receiver.count(), 1, "nobody holds the lease");

    let lost = doc! { "failCommands": ["aggregate"], "errorCode": 286 };
    mongod.fail("the-teller", doc! { "times": 1 }, lost).await;
    set_lease(&hooks, true).await;
    let bodies = received_events(&receiver, 6).await;
    let heard: Vec<_> = bodies.iter().map(|body| body["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(bodies[0], before, "what comes twice is the same");
    assert_eq!((&*heard[1], &*heard[3]), (&*sent(room, 2), &*format!("deleted-{room}-3")), "{heard:?}");
    assert!(heard[2].starts_with(&format!("edited-{room}-2-")), "{heard:?}");
    assert_eq!(heard[4..], [sent(room, 4), sent(room, 5)]);
    let faults = r#"parlor_faults_total{place="hook_history_lost"}"#;
    assert_eq!(counted(&admin, faults).await, "1");
    one.say_alone(6, 1, "and on it goes").await;
    assert_eq!(received_events(&receiver, 7).await[6]["id"], sent(room, 6));
}

/// If the change stream's history is lost, the server reads missed events from the collections. This can take so long
/// that the history is lost a second time. Events that were already sent are not sent again.
#[tokio::test]
async fn recovery_continues_when_the_history_is_lost_again() {
    let leave = Arc::new(Semaphore::new(1));
    let held = leave.clone();
    let receiver = Receiver::start(move |_| ReceiverReply::Held(held.clone(), String::new())).await;
    let mongod = Mongod::start().await;
    let admin = format!("127.0.0.1:{}", free_port());
    let settings = [
        (URL, &*receiver.url("/")),
        ("HOOKS__LEASE_MS", "3000"),
        ("HOOKS__WINDOW", "2"),
        ("HOOKS__AFTER_SEND__TIMEOUT_MS", "60000"),
        ("ADMIN__LISTEN", &admin),
    ];
    let server = Server::start_over(&mongod.uri("the-teller"), &settings).await;
    let room = server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "hello").await;
    receiver.asked(1).await;
    let hooks = mongod.database(&server.database().name).await.collection("hooks");
    set_lease(&hooks, false).await;
    until_lease_is_lost(&admin).await;
    for n in 2..=5 {
        one.say_alone(n, 1, "unheard").await;
    }
    let lost = doc! { "failCommands": ["aggregate"], "errorCode": 286 };
    mongod.fail("the-teller", doc! { "times": 1 }, lost.clone()).await;
    set_lease(&hooks, true).await;
    // The receiver has two requests without an answer, as many as `hooks.window` allows. So the server can't send more
    // events, and has not finished reading the collections.
    receiver.until(|asked| asked.len() >= 2).await;
    mongod.fail("the-teller", doc! { "times": 1 }, lost).await;
    leave.add_permits(100);
    one.say_alone(6, 1, "and on it goes").await;
    receiver.until(|asked| asked.iter().any(|asked| asked.json()["id"] == sent(room, 6))).await;
    let faults =
        async |place: &str| counted(&admin, &format!("parlor_faults_total{{place=\"{place}\"}}")).await;
    assert_eq!((&*faults("hook_history_lost").await, &*faults("hooks").await), ("2", "0"));
}
