//! Tests of the application's hooks: Parlor asks the hook `before_send` before it stores a message, and sends events to
//! the other hooks.

mod before_send;
mod events;
mod failures;
mod order;
mod outbound_requests;
mod set_aside;

use serde_json::Value;

use crate::support::{ReceivedRequest, Receiver, ReceiverReply};

/// The secret with which Parlor signs requests to hooks in these tests.
const SECRET: &str = "a secret of the tests for hooks, 32 bytes or more";

/// Starts a receiver (the application's server) that accepts all requests.
async fn accepting_receiver() -> Receiver {
    Receiver::start(|_| ReceiverReply::Ok(String::new())).await
}

/// Starts a receiver that answers all requests with status 500.
async fn failing_receiver() -> Receiver {
    Receiver::start(|_| failure()).await
}

fn failure() -> ReceiverReply {
    ReceiverReply::Status(500, String::new(), String::new())
}

/// Returns the ids of the received events, in the order of their first requests. Drops repetitions, as a real receiver
/// does.
fn ids(asked: &[ReceivedRequest]) -> Vec<String> {
    let mut ids = Vec::new();
    for asked in asked {
        let id = asked.json()["id"].as_str().unwrap().to_owned();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// Waits until the receiver has received this number of different events, and returns them. Drops repetitions, whose
/// bodies must be equal.
async fn received_events(receiver: &Receiver, events: usize) -> Vec<Value> {
    let asked = receiver.until(|asked| ids(asked).len() >= events).await;
    let mut told: Vec<Value> = Vec::new();
    for asked in asked {
        let body = asked.json();
        match told.iter().find(|other| other["id"] == body["id"]) {
            Some(first) => assert_eq!(*first, body, "a double is the same event"),
            None => told.push(body),
        }
    }
    told
}

/// Returns the id of the event `sent` for a message.
fn sent(room: i64, message: i64) -> String {
    format!("sent-{room}-{message}")
}

/// Returns the value of the sample with this name and these labels, or an empty text if there is no such sample.
async fn counted(admin: &str, sample: &str) -> String {
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    let found = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_default().to_owned()
}
