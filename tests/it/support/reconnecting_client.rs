//! A client that continues through faults of its server. It reconnects to any running server, and resumes by its
//! cursor. It repeats an unanswered message with the same `client_id`.
//!
//! The client also checks the protocol's promises. Each message arrives once, in order, and without a gap. An
//! acknowledged message keeps its id.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::transcript::Transcript;
use super::{Client, Dial, End, SeededRng, encoded};

/// The pause between two connection attempts, and between two frames of a sending client.
const PACE: Duration = Duration::from_millis(25);

/// The longest time that a client may take to reconnect. If it takes longer, the test fails.
const LIMIT: Duration = Duration::from_mins(2);

/// The addresses of the servers. A stopped server has `None`.
pub(crate) type ServerAddresses = watch::Receiver<Vec<Option<SocketAddr>>>;

/// The stage of a [`ClientPlan`], which decides the actions of all its clients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Sending clients send one message after another.
    Speak,
    /// Sending clients wait for the acknowledgement of their current message, and send no new message.
    Listen,
    /// Clients end after they have received the message with this id.
    Until(i64),
}

/// The ledger: all acknowledged messages of each room, each text with its id.
#[derive(Default)]
pub(crate) struct Ledger {
    said: Mutex<BTreeMap<i64, BTreeMap<String, i64>>>,
    count: watch::Sender<usize>,
}

impl Ledger {
    /// Returns the messages of a room that have been acknowledged so far.
    pub(crate) fn of(&self, room: i64) -> BTreeMap<String, i64> {
        self.said().get(&room).cloned().unwrap_or_default()
    }

    /// Returns the number of acknowledged messages so far.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until `more` further messages are acknowledged.
    pub(crate) async fn grows_by(&self, more: usize, limit: Duration) {
        let wanted = self.count() + more;
        let mut count = self.count.subscribe();
        // The result of the wait holds a lock on the count. `is_ok` drops the lock before the assertion's text reads
        // the count.
        let grown = timeout(limit, count.wait_for(|count| *count >= wanted)).await.is_ok();
        let count = self.count();
        assert!(grown, "{wanted} were to be acknowledged within {limit:?}, but {count} were");
    }

    /// Records an acknowledged message of a room.
    fn note(&self, room: i64, text: String, id: i64) {
        self.said().entry(room).or_default().insert(text, id);
        self.count.send_modify(|count| *count += 1);
    }

    fn said(&self) -> MutexGuard<'_, BTreeMap<i64, BTreeMap<String, i64>>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The plan that several clients share.
#[derive(Clone)]
pub(crate) struct ClientPlan {
    pub(crate) addresses: ServerAddresses,
    pub(crate) room: i64,
    pub(crate) stage: watch::Receiver<Stage>,
    /// The ledger of all clients.
    pub(crate) ledger: Arc<Ledger>,
    /// Further parameters of each connection's query.
    pub(crate) query: &'static str,
}

/// The report of one client at the end of its plan.
#[derive(Default)]
pub(crate) struct ClientReport {
    /// The texts that the client sent, with their message ids.
    pub(crate) said: BTreeMap<String, i64>,
    /// The id of the last received message. The client has also received all earlier messages.
    pub(crate) last: i64,
    /// The number of times that the client reconnected and resumed.
    pub(crate) returns: usize,
}

/// A client that reconnects and resumes until its plan ends.
pub(crate) struct ReconnectingClient {
    plan: ClientPlan,
    name: String,
    token: String,
    rng: SeededRng,
    cursor: String,
    /// The sent message that has no id yet.
    pending: Option<String>,
    report: ClientReport,
}

impl ReconnectingClient {
    pub(crate) fn new(plan: ClientPlan, name: String, token: String, rng: SeededRng) -> Self {
        Self { plan, name, token, rng, cursor: String::new(), pending: None, report: ClientReport::default() }
    }

    /// Receives events until the plan ends. Also sends messages if `speaks` is set.
    pub(crate) async fn travel(mut self, speaks: bool) -> ClientReport {
        // A failed test drops the sender of the plan's stage, and this ends the loop. The test itself prints the cause.
        while !self.is_over() && self.plan.stage.has_changed().is_ok() {
            let mut client = self.arrive().await;
            // An error means that the socket has ended. The loop then opens another socket.
            let _ = self.stay(&mut client, speaks).await;
        }
        self.report
    }

    /// Returns whether the client has received the plan's last message, and no sent message waits for its id.
    fn is_over(&self) -> bool {
        let heard = matches!(*self.plan.stage.borrow(), Stage::Until(last) if last <= self.report.last);
        heard && self.pending.is_none()
    }

    /// Sends and receives on one socket until the plan or the socket ends.
    async fn stay(&mut self, client: &mut Client, speaks: bool) -> Result<(), End> {
        let mut stage = self.plan.stage.clone();
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = false;
        while !self.is_over() {
            let says = speaks && !sent && (self.pending.is_some() || *stage.borrow() == Stage::Speak);
            tokio::select! {
                frame = client.next_in_the_end() => {
                    let frame = frame?;
                    self.hear(&frame);
                    // The client repeats its message after the errors `timeout` and `unavailable`. No other error may
                    // come.
                    let refused = frame["type"] == "error";
                    let code = frame["code"].as_str().unwrap_or_default();
                    assert!(!refused || ["timeout", "unavailable"].contains(&code), "{}: {frame}", self.name);
                    sent = sent && !refused && self.pending.is_some();
                }
                _ = ticks.tick(), if says => {
                    let next = || format!("{}/{}", self.name, self.report.said.len());
                    let text = self.pending.get_or_insert_with(next);
                    let frame = json!({"action": "send", "message": text, "client_id": text});
                    if !client.try_send(frame).await {
                        return Err(End::Lost);
                    }
                    sent = true;
                }
                changed = stage.changed() => if changed.is_err() { return Ok(()) },
            }
        }
        Ok(())
    }

    /// Opens a socket that resumes from the client's cursor. Tries again until a server accepts the socket.
    async fn arrive(&mut self) -> Client {
        let mut ticks = interval(PACE);
        let arrived = async {
            loop {
                ticks.tick().await;
                let addresses: Vec<_> = self.plan.addresses.borrow().iter().copied().flatten().collect();
                if addresses.is_empty() {
                    continue;
                }
                let ClientPlan { room, query, .. } = self.plan;
                let target = format!("/ws/chat/?room_id={room}&since={}{query}", encoded(&self.cursor));
                let dial = Dial::new(addresses[self.rng.below(addresses.len())], &target, Transcript::new());
                let dial = dial.called(self.name.clone()).token(&self.token);
                let Some(mut client) = dial.open_or_not().await else { continue };
                let Ok(first) = client.next_in_the_end().await else { continue };
                if self.take_up(&first, &mut client).await {
                    return client;
                }
            }
        };
        let client = timeout(LIMIT, arrived).await;
        client.unwrap_or_else(|_| panic!("{} was let in nowhere within {LIMIT:?}", self.name))
    }

    /// Handles the first frame, and loads the missed messages that did not fit into it. Returns false if the socket
    /// ended before all missed messages were loaded.
    async fn take_up(&mut self, first: &Value, client: &mut Client) -> bool {
        let resumed = first["resumed"] == true;
        if self.cursor.is_empty() {
            let newest =
                first["messages"].as_array().unwrap().iter().filter_map(|m| m["message_id"].as_i64());
            self.report.last = newest.max().unwrap_or_default();
        } else {
            assert!(resumed, "{}: the cursor {:?} was no good: {first}", self.name, self.cursor);
            self.report.returns += 1;
            for message in first["messages"].as_array().unwrap() {
                self.note(message);
            }
        }
        first["cursor"].as_str().unwrap().clone_into(&mut self.cursor);
        first["has_more"] != true || self.read_on(client).await
    }

    /// Reads the missed messages that did not fit into the first frame, page by page. Returns false if the socket
    /// ended.
    async fn read_on(&mut self, client: &mut Client) -> bool {
        let mut later = Vec::new();
        loop {
            let page = json!({"action": "history", "after": self.report.last, "limit": 200});
            if !client.try_send(page).await {
                return false;
            }
            loop {
                let Ok(frame) = client.next_in_the_end().await else { return false };
                match frame["type"].as_str() {
                    Some("history") => {
                        for message in frame["messages"].as_array().unwrap() {
                            self.note(message);
                        }
                        if frame["has_more"] == true {
                            break;
                        }
                        // A message whose event arrived between the pages may also be in a page. The client then drops
                        // the event.
                        later.retain(|event: &Value| {
                            event["type"] != "chat_message"
                                || event["message"]["message_id"].as_i64() > Some(self.report.last)
                        });
                        for event in later {
                            self.hear(&event);
                        }
                        return true;
                    }
                    Some("error") => break,
                    _ => later.push(frame),
                }
            }
        }
    }

    /// Records a missed message. Asserts that its id directly follows the id of the previous message.
    fn note(&mut self, message: &Value) {
        let id = message["message_id"].as_i64().unwrap();
        assert_eq!(id, self.report.last + 1, "{}: a hole or a double at {message}", self.name);
        self.report.last = id;
        self.settle(message, id);
    }

    /// If this client sent the message, records its id and adds the message to the ledger.
    fn settle(&mut self, message: &Value, id: i64) {
        let text = message["text"].as_str().unwrap();
        if let Some(said) = self.report.said.get(text) {
            assert_eq!(*said, id, "{}: {message} had another number", self.name);
        }
        if self.pending.take_if(|pending| pending == text).is_some() {
            self.report.said.insert(text.to_owned(), id);
            self.plan.ledger.note(self.plan.room, text.to_owned(), id);
        }
    }

    /// Handles an event, and asserts that each message comes once, in order. The answer to a repeated message is no
    /// event, so the answer has no cursor.
    fn hear(&mut self, event: &Value) {
        if event["type"] == "chat_message" {
            let id = event["message"]["message_id"].as_i64().unwrap();
            if event.get("cursor").is_some() {
                assert_eq!(id, self.report.last + 1, "{}: a hole or a double at {event}", self.name);
                self.report.last = id;
            }
            self.settle(&event["message"], id);
        }
        if let Some(cursor) = event["cursor"].as_str() {
            cursor.clone_into(&mut self.cursor);
        }
    }
}
