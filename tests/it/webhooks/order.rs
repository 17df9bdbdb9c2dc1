//! The events of the hooks `connected` and `disconnected` arrive in the order in which a user came online and went
//! offline.

use std::sync::{Arc, Mutex};

use mongodb::bson::doc;
use serde_json::Value;

use super::{accepting_receiver, received_events};
use crate::support::{Program, Receiver, ReceiverReply, Server, eventually_count};

const ROUND_TRIPS: [&str; 4] = ["connected", "disconnected", "connected", "disconnected"];

fn settings<'a>(came: &'a str, went: &'a str) -> [(&'a str, &'a str); 7] {
    [
        ("HOOKS__CONNECTED__URL", came),
        ("HOOKS__DISCONNECTED__URL", went),
        ("HOOKS__RETRY_MAX_MS", "200"),
        ("HOOKS__LEASE_MS", "1000"),
        ("HOOKS__CONNECTED__BREAKER_OPEN_MS", "100"),
        ("HOOKS__DISCONNECTED__BREAKER_OPEN_MS", "100"),
        ("PRESENCE__GRACE_MS", "100"),
    ]
}

/// Connects and disconnects user 1. Waits after each step until the database shows the new presence.
async fn come_and_go(server: &Server) {
    let presence = server.collection("presence").await;
    let until = async |online: bool| {
        let of = doc! { "_id": 1, "online": online };
        eventually_count(&presence, of.clone(), |count| count != 0).await;
    };
    let one = server.join(1, 2).await;
    until(true).await;
    one.leave().await;
    until(false).await;
}

fn types(bodies: &[Value]) -> Vec<&str> {
    bodies.iter().map(|body| body["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn comings_and_goings_are_told_in_order_after_an_outage() {
    let mut receiver = accepting_receiver().await;
    let url = receiver.url("/");
    let server = Server::start(&settings(&url, &url)).await;
    server.room(&[1, 2]).await;
    receiver.stop().await;
    for _ in 0..2 {
        come_and_go(&server).await;
    }
    receiver.start_again().await;
    assert_eq!(types(&received_events(&receiver, 4).await), ROUND_TRIPS);
}

#[tokio::test]
async fn a_going_waits_for_its_coming_when_they_have_two_receivers() {
    let order: Arc<Mutex<Vec<Value>>> = Arc::default();
    let note = |order: &Arc<Mutex<Vec<Value>>>| {
        let order = order.clone();
        move |asked: &crate::support::ReceivedRequest| {
            order.lock().unwrap().push(asked.json());
            ReceiverReply::Ok(String::new())
        }
    };
    let mut came = Receiver::start(note(&order)).await;
    let went = Receiver::start(note(&order)).await;
    let server = Server::start(&settings(&came.url("/"), &went.url("/"))).await;
    server.room(&[1, 2]).await;
    came.stop().await;
    for _ in 0..2 {
        come_and_go(&server).await;
    }
    came.start_again().await;
    went.until(|asked| asked.len() >= 2).await;
    let order = order.lock().unwrap().clone();
    assert_eq!(types(&order), ROUND_TRIPS);
}

#[tokio::test]
async fn the_order_holds_when_the_telling_server_is_killed() {
    let receiver = Receiver::start(|_| ReceiverReply::Status(503, String::new(), String::new())).await;
    let url = receiver.url("/");
    let mut first = Program::start(&settings(&url, &url)).await;
    first.room(&[1, 2]).await;
    let second = first.again().await;
    for _ in 0..2 {
        come_and_go(&second).await;
    }
    receiver.until(|asked| !asked.is_empty()).await;
    first.signal("KILL");
    first.exit_code().await;
    receiver.answers(|_| ReceiverReply::Ok(String::new()));
    assert_eq!(types(&received_events(&receiver, 4).await), ROUND_TRIPS);
}
