//! One who speaks and listens in a room through whatever happens to its server: comes back to one that is there, takes up
//! where it left off, and says again what nobody has answered, by the same `client_id`. It holds what it is told to the
//! protocol's promises on the way: every message once, in order, without a hole, and what was acknowledged with its number.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::transcript::Transcript;
use super::{Client, Dial, Dice, End, encoded};

/// Between two tries to find a server that is there, and between two frames of one who speaks.
const PACE: Duration = Duration::from_millis(25);

/// How long all may go without an answer before that is a failure by itself.
const LIMIT: Duration = Duration::from_mins(2);

/// Where servers are; one that is away is none.
pub(crate) type Doors = watch::Receiver<Vec<Option<SocketAddr>>>;

/// What a journey has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Whoever speaks goes on speaking.
    Speak,
    /// What was said is seen to its acknowledgement, and nothing more is said.
    Listen,
    /// It ends with this message.
    Until(i64),
}

/// All that was acknowledged: of each room each text with its number.
#[derive(Default)]
pub(crate) struct Ledger {
    said: Mutex<BTreeMap<i64, BTreeMap<String, i64>>>,
    count: watch::Sender<usize>,
}

impl Ledger {
    /// What has been acknowledged in a room by now.
    pub(crate) fn of(&self, room: i64) -> BTreeMap<String, i64> {
        self.said().get(&room).cloned().unwrap_or_default()
    }

    /// How much has been by now.
    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until so much more has been.
    pub(crate) async fn grows_by(&self, more: usize, limit: Duration) {
        let wanted = self.count() + more;
        let mut count = self.count.subscribe();
        // What is waited for is borrowed, and nobody can be counted meanwhile.
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

/// What travellers share, and are watched by.
#[derive(Clone)]
pub(crate) struct Journey {
    pub(crate) doors: Doors,
    pub(crate) room: i64,
    pub(crate) stage: watch::Receiver<Stage>,
    /// What was acknowledged, of all.
    pub(crate) ledger: Arc<Ledger>,
    /// What stands in each query, besides.
    pub(crate) query: &'static str,
}

/// What became of a journey.
#[derive(Default)]
pub(crate) struct Travelled {
    /// The number of each thing said.
    pub(crate) said: BTreeMap<String, i64>,
    /// The last message heard of; all before it were heard, too.
    pub(crate) last: i64,
    /// Sockets that were opened after the first.
    pub(crate) returns: usize,
}

/// One of them.
pub(crate) struct Traveller {
    journey: Journey,
    name: String,
    token: String,
    dice: Dice,
    cursor: String,
    /// What was said, and has no number yet.
    pending: Option<String>,
    travelled: Travelled,
}

impl Traveller {
    pub(crate) fn new(journey: Journey, name: String, token: String, dice: Dice) -> Self {
        Self {
            journey,
            name,
            token,
            dice,
            cursor: String::new(),
            pending: None,
            travelled: Travelled::default(),
        }
    }

    /// Listens until the journey's end, and speaks on the way where it `speaks`.
    pub(crate) async fn travel(mut self, speaks: bool) -> Travelled {
        // Where nobody leads the journey any more it has failed, and why is said elsewhere.
        while !self.is_over() && self.journey.stage.has_changed().is_ok() {
            let mut client = self.arrive().await;
            // A socket that ended: on to the next one.
            let _ = self.stay(&mut client, speaks).await;
        }
        self.travelled
    }

    fn is_over(&self) -> bool {
        let heard = matches!(*self.journey.stage.borrow(), Stage::Until(last) if last <= self.travelled.last);
        heard && self.pending.is_none()
    }

    /// Until the journey's end, or that of the socket.
    async fn stay(&mut self, client: &mut Client, speaks: bool) -> Result<(), End> {
        let mut stage = self.journey.stage.clone();
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent = false;
        while !self.is_over() {
            let says = speaks && !sent && (self.pending.is_some() || *stage.borrow() == Stage::Speak);
            tokio::select! {
                frame = client.next_in_the_end() => {
                    let frame = frame?;
                    self.hear(&frame);
                    // Whoever is told `timeout` or `unavailable` says it again; nothing else may be answered.
                    let refused = frame["type"] == "error";
                    let code = frame["code"].as_str().unwrap_or_default();
                    assert!(!refused || ["timeout", "unavailable"].contains(&code), "{}: {frame}", self.name);
                    sent = sent && !refused && self.pending.is_some();
                }
                _ = ticks.tick(), if says => {
                    let next = || format!("{}/{}", self.name, self.travelled.said.len());
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

    /// Opens a socket that goes on where the last one ended.
    async fn arrive(&mut self) -> Client {
        let mut ticks = interval(PACE);
        let arrived = async {
            loop {
                ticks.tick().await;
                let doors: Vec<_> = self.journey.doors.borrow().iter().copied().flatten().collect();
                if doors.is_empty() {
                    continue;
                }
                let Journey { room, query, .. } = self.journey;
                let target = format!("/ws/chat/?room_id={room}&since={}{query}", encoded(&self.cursor));
                let dial = Dial::new(doors[self.dice.below(doors.len())], &target, Transcript::new());
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

    /// Takes the first frame; false where the socket ended before all was read.
    async fn take_up(&mut self, first: &Value, client: &mut Client) -> bool {
        let resumed = first["resumed"] == true;
        if self.cursor.is_empty() {
            let newest =
                first["messages"].as_array().unwrap().iter().filter_map(|m| m["message_id"].as_i64());
            self.travelled.last = newest.max().unwrap_or_default();
        } else {
            assert!(resumed, "{}: the cursor {:?} was no good: {first}", self.name, self.cursor);
            self.travelled.returns += 1;
            for message in first["messages"].as_array().unwrap() {
                self.note(message);
            }
        }
        first["cursor"].as_str().unwrap().clone_into(&mut self.cursor);
        first["has_more"] != true || self.read_on(client).await
    }

    /// Reads the rest by pages, of what a first frame has no room for.
    async fn read_on(&mut self, client: &mut Client) -> bool {
        let mut later = Vec::new();
        loop {
            let page = json!({"action": "history", "after": self.travelled.last, "limit": 200});
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
                        // What came meanwhile may stand in the pages, too.
                        later.retain(|event: &Value| {
                            event["type"] != "chat_message"
                                || event["message"]["message_id"].as_i64() > Some(self.travelled.last)
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

    /// What is told of what was missed begins with the next message, and has no hole.
    fn note(&mut self, message: &Value) {
        let id = message["message_id"].as_i64().unwrap();
        assert_eq!(id, self.travelled.last + 1, "{}: a hole or a double at {message}", self.name);
        self.travelled.last = id;
        self.settle(message, id);
    }

    /// Notes the number of one's own words.
    fn settle(&mut self, message: &Value, id: i64) {
        let text = message["text"].as_str().unwrap();
        if let Some(said) = self.travelled.said.get(text) {
            assert_eq!(*said, id, "{}: {message} had another number", self.name);
        }
        if self.pending.take_if(|pending| pending == text).is_some() {
            self.travelled.said.insert(text.to_owned(), id);
            self.journey.ledger.note(self.journey.room, text.to_owned(), id);
        }
    }

    /// An event; a message comes once, in its order. What is answered to a repeated message is no event.
    fn hear(&mut self, event: &Value) {
        if event["type"] == "chat_message" {
            let id = event["message"]["message_id"].as_i64().unwrap();
            if event.get("cursor").is_some() {
                assert_eq!(id, self.travelled.last + 1, "{}: a hole or a double at {event}", self.name);
                self.travelled.last = id;
            }
            self.settle(&event["message"], id);
        }
        if let Some(cursor) = event["cursor"].as_str() {
            cursor.clone_into(&mut self.cursor);
        }
    }
}
