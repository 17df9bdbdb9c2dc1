//! The application's hooks: Parlor asks them before a message is written, and sends them events.

mod before_send;
mod events;
mod failures;
mod order;
mod set_aside;

use serde_json::Value;

use crate::support::{ReceivedRequest, Receiver, ReceiverReply};

/// The secret of the hooks in these tests.
const SECRET: &str = "a secret of the tests for hooks, 32 bytes or more";

/// Starts a receiver that accepts all requests.
async fn accepting_receiver() -> Receiver {
    Receiver::start(|_| ReceiverReply::Ok(String::new())).await
}

/// Starts a receiver that refuses all requests.
async fn failing_receiver() -> Receiver {
    Receiver::start(|_| failure()).await
}

fn failure() -> ReceiverReply {
    ReceiverReply::Status(500, String::new(), String::new())
}

/// Returns the ids of events in the order of their first requests. Repetitions are dropped, as a receiver drops them.
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

/// Waits for this number of events and returns them. Repetitions are dropped; their bodies must be equal.
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

/// Returns the event id of a message in `after_send`.
fn sent(room: i64, message: i64) -> String {
    format!("sent-{room}-{message}")
}

/// Returns the sample with this name and these labels, or an empty string if there is none.
async fn counted(admin: &str, sample: &str) -> String {
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    let found = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_default().to_owned()
}
