//! The oplog (MongoDB's log of changes) rolls over while a server has no connection to the database. Then the server's
//! change stream can't resume (error 286). So the server reads the missed changes from the collections.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{HURRIED, STALE};
use crate::support::{
    Client, Link, Mongod, PATIENCE, Program, ReadinessProbe, Server, State, chat, deleted, edited, encoded,
    ids_of, matches,
};

/// The number of messages that the server misses.
const MISSED: i64 = 60;

/// Receives frames until the message with the id `last` arrives. Returns all received frames.
async fn hear(client: &mut Client, last: i64) -> Vec<Value> {
    let mut told = Vec::new();
    while ids_of(&told, "chat_message").last() != Some(&last) {
        told.push(client.next().await);
    }
    told
}

/// Sends `more` messages, and waits for the event of each message. The first message has the id `first`.
async fn says(client: &mut Client, first: i64, more: i64) {
    for id in first..first + more {
        client.say("missed").await;
        client.until(chat(id, 1, "missed")).await;
    }
}

/// Starts two servers, and creates a room of the users 1 and 2. The test can cut the link of the first server to the
/// database. The other server keeps its connection.
async fn two_servers(mongod: &Mongod, link: &Link) -> (Program, Server, i64) {
    let server = Program::start_over(&link.uri, &HURRIED).await;
    let other = server.beside_over(&mongod.uri("unharmed"), &HURRIED).await;
    let room = server.room(&[1, 2]).await;
    (server, other, room)
}

#[tokio::test]
async fn missed_events_arrive_once_in_order_after_an_oplog_rollover() {
    let mongod = Mongod::start_with_a_short_oplog().await;
    let link = Link::to_one(&mongod.host()).await;
    let (mut server, other, room) = two_servers(&mongod, &link).await;
    let readiness = ReadinessProbe::of(&server, STALE).await;
    let (mut one, mut elsewhere) = (server.join(1, 2).await, other.join(1, 2).await);
    // A Level 2 client disconnects before the fault, and resumes with its cursor after the fault.
    let mut live = server.dial_as(2, &format!("room_id={room}&since=")).open().await;
    live.next().await;
    says(&mut elsewhere, 1, 4).await;
    hear(&mut one, 4).await;
    let cursor = loop {
        let event = live.next().await;
        if matches(&chat(4, 1, "missed")["message"]["message_id"], &event["message"]["message_id"]) {
            break event["cursor"].as_str().unwrap().to_owned();
        }
    };
    live.leave().await;
    readiness.until_served().await;

    readiness.fault_begins();
    link.set(State::Cut);
    server.until_status("/readyz", 503).await;
    let cut = mongod.now().await;
    says(&mut elsewhere, 5, MISSED).await;
    elsewhere.send(json!({"action": "edit", "message_id": 1, "text": "edited"})).await;
    elsewhere.until(edited(1, "edited")).await;
    elsewhere.send(json!({"action": "delete", "message_id": 2})).await;
    elsewhere.until(deleted(2)).await;
    mongod.rolls_over(cut).await;
    link.set(State::Open);
    readiness.fault_ends();

    server.until_status("/readyz", 200).await;
    server.logged("history is lost").await;
    let last = 4 + MISSED;
    let mut told = hear(&mut one, last).await;
    assert_eq!(ids_of(&told, "chat_message"), (5..=last).collect::<Vec<_>>(), "each once, in order");
    let changed = |told: &[Value]| {
        [edited(1, "edited"), deleted(2)].iter().all(|want| told.iter().any(|event| matches(want, event)))
    };
    let all = timeout(PATIENCE, async {
        while !changed(&told) {
            told.push(one.next().await);
        }
    });
    all.await.expect("what was edited and deleted is told as well");
    // A client that resumes with a cursor from before the fault receives the changes from the collections, not from the
    // oplog.
    let mut back = server.dial_as(2, &format!("room_id={room}&since={}", encoded(&cursor))).open().await;
    let frame = back.next().await;
    assert_eq!(frame["resumed"], true, "{frame}");
    let missed = frame["messages"].as_array().unwrap().iter().map(|message| message["message_id"].as_i64());
    assert_eq!(missed.collect::<Option<Vec<_>>>().unwrap(), (5..=last).collect::<Vec<_>>());
    assert_eq!((&frame["edited"][0]["message_id"], &frame["deleted"]), (&json!(1), &json!([2])), "{frame}");

    says(&mut one, last + 1, 1).await;
    elsewhere.until(chat(last + 1, 1, "missed")).await;
    eprintln!("/readyz: {}", readiness.finish().await);
}
