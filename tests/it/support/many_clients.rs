//! Sockets that send messages during a fault, and a record of each message's outcome. A message is acknowledged when
//! its sender receives its `chat_message` event.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Client, End, PATIENCE, Server, ids_of};

/// The result of one socket: its messages with their outcomes, and its received frames. If the server ended the socket,
/// also how it ended.
type Spoken = (Outcomes, Vec<Value>, Option<End>);

/// The outcome of each text: the message's id, or an error. The error is the code in the server's answer, or `None` if
/// the socket ended before an answer.
pub(crate) type Outcomes = BTreeMap<String, Result<i64, Option<String>>>;

/// The number of answered messages: those with an acknowledgement, and those with an error.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answered {
    pub(crate) acknowledged: usize,
    pub(crate) refused: usize,
}

/// Sends one message after another until `stop` is set or the socket ends. Counts the answers.
async fn speak(
    mut client: Client,
    name: usize,
    answered: Arc<watch::Sender<Answered>>,
    stop: watch::Receiver<bool>,
) -> Spoken {
    let (mut outcomes, mut heard) = (Outcomes::new(), Vec::new());
    for n in 0.. {
        if *stop.borrow() {
            break;
        }
        let text = format!("{name}/{n}");
        let outcome = match client.say_and_hear(&text, &mut heard).await {
            Ok(frame) if frame["type"] == "error" => {
                answered.send_modify(|count| count.refused += 1);
                Err(Some(frame["code"].as_str().unwrap().to_owned()))
            }
            Ok(frame) => {
                answered.send_modify(|count| count.acknowledged += 1);
                Ok(frame["message"]["message_id"].as_i64().unwrap())
            }
            Err(end) => {
                // `heard` already contains the frames before the end.
                outcomes.insert(text, Err(None));
                return (outcomes, heard, Some(end));
            }
        };
        outcomes.insert(text, outcome);
    }
    (outcomes, heard, None)
}

/// The number of sockets.
pub(crate) const CLIENTS: usize = 6;

/// Sockets that send messages until they are stopped.
pub(crate) struct ManyClients {
    answered: Arc<watch::Sender<Answered>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Spoken>>,
}

impl ManyClients {
    /// Opens [`CLIENTS`] sockets of the users 1 and 2 in their room, distributed over these servers.
    pub(crate) async fn on(servers: &[&Server]) -> Self {
        let (stop, answered) = (watch::Sender::new(false), Arc::new(watch::Sender::default()));
        let mut tasks = Vec::new();
        for name in 0..CLIENTS {
            let user = if name % 2 == 0 { 1 } else { 2 };
            let client = servers[name % servers.len()].join(user, 3 - user).await;
            tasks.push(tokio::spawn(speak(client, name, answered.clone(), stop.subscribe())));
        }
        Self { answered, stop, tasks }
    }

    /// Waits until `more` further messages are acknowledged.
    pub(crate) async fn until_acknowledged(&self, more: usize) {
        let wanted = self.answered.borrow().acknowledged + more;
        self.until(&format!("{wanted} acknowledged"), |count| count.acknowledged >= wanted).await;
    }

    /// Waits until at least one message is answered with an error.
    pub(crate) async fn until_refused(&self) {
        self.until("one refused", |count| count.refused > 0).await;
    }

    async fn until(&self, what: &str, reached: impl Fn(Answered) -> bool) {
        let mut answered = self.answered.subscribe();
        let answered = timeout(4 * PATIENCE, answered.wait_for(|count| reached(*count))).await.is_ok();
        let Answered { acknowledged, refused } = *self.answered.borrow();
        assert!(answered, "expected {what}, got {acknowledged} acknowledged and {refused} refused");
    }

    /// Tells each socket to send no more messages after its current one.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until all sockets are done. Returns the outcome of each message, the frames of each socket, and how the
    /// server ended sockets.
    pub(crate) async fn outcomes(self) -> (Outcomes, Vec<Vec<Value>>, Vec<End>) {
        let (mut outcomes, mut heard, mut ends) = (Outcomes::new(), Vec::new(), Vec::new());
        for task in join_all(self.tasks).await {
            let (of_one, frames, end) = task.unwrap();
            outcomes.extend(of_one);
            heard.push(frames);
            ends.extend(end);
        }
        (outcomes, heard, ends)
    }
}

/// Asserts that the room's message ids have no gap. An acknowledged message must be stored once, with its id. A message
/// that was refused as `unavailable` must not be stored. A message with another error, or without an answer, may be
/// stored at most once.
pub(crate) async fn assert_kept(messages: mongodb::Collection<Document>, room: i64, outcomes: &Outcomes) {
    let find = messages.find(doc! { "_id.room": room }).sort(doc! { "_id": 1 });
    let all: Vec<Document> = find.await.unwrap().try_collect().await.unwrap();
    let mut numbers: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (at, message) in all.iter().enumerate() {
        let n = message.get_document("_id").unwrap().get_i64("n").unwrap();
        assert_eq!(n, i64::try_from(at).unwrap() + 1, "the numbers have no hole");
        numbers.entry(message.get_str("text").unwrap()).or_default().push(n);
    }
    for (text, outcome) in outcomes {
        let stored = numbers.remove(text.as_str()).unwrap_or_default();
        match outcome {
            Ok(n) => assert_eq!(stored, [*n], "{text:?} was acknowledged with {n}"),
            Err(Some(code)) if code == "unavailable" => {
                assert!(stored.is_empty(), "{text:?} was `unavailable`, but is there as {stored:?}");
            }
            Err(Some(code)) => {
                assert_eq!(code, "timeout", "{text:?}");
                assert!(stored.len() <= 1, "{text:?} is there as {stored:?}");
            }
            Err(None) => assert!(stored.len() <= 1, "{text:?} is there as {stored:?}"),
        }
    }
    assert!(numbers.is_empty(), "nobody said {numbers:?}");
}

/// Asserts that the history of a new socket reaches at least to the last acknowledged message. Each message of the
/// history must have been sent. An acknowledged message must have the acknowledged id.
pub(crate) async fn assert_shown(server: &Server, outcomes: &Outcomes) {
    let history = server.connect(1, 2).await.history().await;
    let last = outcomes.values().filter_map(|outcome| outcome.as_ref().ok()).max().unwrap();
    assert!(history[0]["message_id"].as_i64() >= Some(*last), "{}", history[0]);
    for message in &history {
        let outcome = &outcomes[message["text"].as_str().unwrap()];
        assert!(outcome.as_ref().map_or(true, |n| message["message_id"] == *n), "{message}: {outcome:?}");
    }
}

/// Asserts that a socket received messages in order, without a gap and without a repetition.
pub(crate) fn assert_in_order(frames: &[Value]) {
    let ids = ids_of(frames, "chat_message");
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole or a double in {ids:?}");
}
