//! A client that survives the faults of its server. It reconnects to a running server, resumes by its cursor, and repeats an
//! unanswered message with the same `client_id`.
//!
//! It checks the protocol's promises on the way: each message comes once, in order, without a gap, and an acknowledged message
//! keeps its number.

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

/// The longest time without an answer. A longer silence fails the test.
const LIMIT: Duration = Duration::from_mins(2);

/// The addresses of the servers. A stopped server has none.
pub(crate) type ServerAddresses = watch::Receiver<Vec<Option<SocketAddr>>>;

/// The stage of a [`ClientPlan`]. It says what its clients do now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Sending clients send one message after another.
    Speak,
    /// Clients wait for the acknowledgement of their current message, and send no more.
    Listen,
    /// Clients end once they have received this message.
    Until(i64),
}

/// The acknowledged messages of each room: each text with its number.
#[derive(Default)]
pub(crate) struct Ledger {
    said: Mutex<BTreeMap<i64, BTreeMap<String, i64>>>,
    count: watch::Sender<usize>,
}

impl Ledger {
    /// Returns the messages that have been acknowledged in a room so far.
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
        // The failure text must not read the count while the wait still borrows it.
        let grown = timeout(limit, count.wait_for(|count| *count >= wanted)).await.is_ok();
        let count = self.count();
        assert!(grown, "{wanted} were to be acknowledged within {limit:?}, but {count} were");
    }

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
    /// The acknowledged messages of all clients.
    pub(crate) ledger: Arc<Ledger>,
    /// Further parameters of each connection's query.
    pub(crate) query: &'static str,
}

/// The result of one client.
#[derive(Default)]
pub(crate) struct ClientReport {
    /// The number of each sent message.
    pub(crate) said: BTreeMap<String, i64>,
    /// The last received message; the client has received all before it as well.
    pub(crate) last: i64,
    /// The number of reconnects.
    pub(crate) returns: usize,
}

/// A client that reconnects and resumes.
pub(crate) struct ReconnectingClient {
    plan: ClientPlan,
    name: String,
    token: String,
    rng: SeededRng,
    cursor: String,
    /// The sent message that has no number yet.
    pending: Option<String>,
    report: ClientReport,
}

impl ReconnectingClient {
    pub(crate) fn new(plan: ClientPlan, name: String, token: String, rng: SeededRng) -> Self {
        Self { plan, name, token, rng, cursor: String::new(), pending: None, report: ClientReport::default() }
    }

    /// Receives until the plan's end, and sends messages if `speaks`.
    pub(crate) async fn travel(mut self, speaks: bool) -> ClientReport {
        // A dropped plan means that the test has failed; the cause is printed elsewhere.
        while !self.is_over() && self.plan.stage.has_changed().is_ok() {
            let mut client = self.arrive().await;
            // The socket ended: open the next one.
            let _ = self.stay(&mut client, speaks).await;
        }
        self.report
    }

    fn is_over(&self) -> bool {
        let heard = matches!(*self.plan.stage.borrow(), Stage::Until(last) if last <= self.report.last);
        heard && self.pending.is_none()
    }

    /// Sends and receives until the plan or the socket ends.
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
                    // The client repeats after `timeout` and `unavailable`. No other error may come.
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

    /// Opens a socket that resumes from the last one.
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

    /// Reads the first frame. Returns false if the socket ended before everything was read.
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

    /// Reads the messages beyond the first frame, page by page.
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
                        // A page may repeat an event that came meanwhile.
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

    /// Records a missed message. Asserts that its id directly follows the id of the message before.
    fn note(&mut self, message: &Value) {
        let id = message["message_id"].as_i64().unwrap();
        assert_eq!(id, self.report.last + 1, "{}: a hole or a double at {message}", self.name);
        self.report.last = id;
        self.settle(message, id);
    }

    /// Records the id of a message that this client sent.
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

    /// Checks an event: each message comes once, in order. The answer to a repeated message has no cursor and is not
    /// an event.
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
