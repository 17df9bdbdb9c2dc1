//! The application's hooks: Parlor asks them before a message is written, and sends them events.

mod before_send;
mod events;
mod failures;
mod order;
mod set_aside;

use serde_json::Value;

use crate::support::{ReceivedRequest, Receiver, ReceiverReply};

/// What hooks are signed with here.
const SECRET: &str = "a secret of the tests for hooks, 32 bytes or more";

/// A receiver to whom all is well.
async fn content() -> Receiver {
    Receiver::start(|_| ReceiverReply::Ok(String::new())).await
}

/// A receiver who is never content.
async fn unhappy() -> Receiver {
    Receiver::start(|_| ill()).await
}

fn ill() -> ReceiverReply {
    ReceiverReply::Status(500, String::new(), String::new())
}

/// The ids of events in the order in which they were first told; doubles are dropped as a receiver drops them.
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

/// All that it was told once it has heard of so many events; the doubles are dropped, and their bodies the same.
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

/// The id of a message as `after_send` has it.
fn sent(room: i64, message: i64) -> String {
    format!("sent-{room}-{message}")
}

/// What is counted under this name and these labels; empty where nothing is.
async fn counted(admin: &str, sample: &str) -> String {
    let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    let found = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_default().to_owned()
}
