//! `kill -9`, of the server and of its database: what was acknowledged is there, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{Client, End, Link, Mongod, PATIENCE, Program, Server, State, ids_of, shared_uri};

/// What a socket said and what became of it, all that it heard, and how it ended where it didn't leave by itself.
type Spoken = (Outcomes, Vec<Value>, Option<End>);

/// What became of each text that was said: its number, or the code it was refused with; none where the end came
/// before either.
type Outcomes = BTreeMap<String, Result<i64, Option<String>>>;

/// How many of the things said were answered, and how.
#[derive(Clone, Copy, Default)]
struct Answered {
    acknowledged: usize,
    refused: usize,
}

/// Says one thing after another until `enough` or the socket ends, and counts the answers.
async fn speak(
    mut client: Client,
    name: usize,
    answered: Arc<watch::Sender<Answered>>,
    enough: watch::Receiver<bool>,
) -> Spoken {
    let (mut outcomes, mut heard) = (Outcomes::new(), Vec::new());
    for n in 0.. {
        if *enough.borrow() {
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
                // What it was told before its end counts as well.
                outcomes.insert(text, Err(None));
                return (outcomes, heard, Some(end));
            }
        };
        outcomes.insert(text, outcome);
    }
    (outcomes, heard, None)
}

/// Sockets that go on speaking.
struct Choir {
    answered: Arc<watch::Sender<Answered>>,
    enough: watch::Sender<bool>,
    voices: Vec<JoinHandle<Spoken>>,
}

impl Choir {
    async fn on(server: &Server) -> Self {
        let (enough, answered) = (watch::Sender::new(false), Arc::new(watch::Sender::default()));
        let mut voices = Vec::new();
        for name in 0..6 {
            let user = if name % 2 == 0 { 1 } else { 2 };
            let client = server.join(user, 3 - user).await;
            voices.push(tokio::spawn(speak(client, name, answered.clone(), enough.subscribe())));
        }
        Self { answered, enough, voices }
    }

    /// Waits until so many more have been acknowledged.
    async fn sings(&self, more: usize) {
        let wanted = self.answered.borrow().acknowledged + more;
        self.until(&format!("{wanted} acknowledged"), |count| count.acknowledged >= wanted).await;
    }

    /// Waits until someone has been refused.
    async fn is_refused(&self) {
        self.until("one refused", |count| count.refused > 0).await;
    }

    async fn until(&self, what: &str, reached: impl Fn(Answered) -> bool) {
        let mut answered = self.answered.subscribe();
        let answered = timeout(4 * PATIENCE, answered.wait_for(|count| reached(*count))).await;
        let Answered { acknowledged, refused } = *self.answered.borrow();
        assert!(answered.is_ok(), "expected {what}, got {acknowledged} acknowledged and {refused} refused");
    }

    /// Lets each end what it says, and no more.
    fn enough(&self) {
        self.enough.send_replace(true);
    }

    /// What became of everything that was said, and what each socket has heard, once all have ended.
    async fn outcomes(self) -> (Outcomes, Vec<Vec<Value>>, Vec<End>) {
        let (mut outcomes, mut heard, mut ends) = (Outcomes::new(), Vec::new(), Vec::new());
        for voice in join_all(self.voices).await {
            let (of_one, frames, end) = voice.unwrap();
            outcomes.extend(of_one);
            heard.push(frames);
            ends.extend(end);
        }
        (outcomes, heard, ends)
    }
}

/// The room's numbers have no hole, what was acknowledged is there once with its number, what was refused for
/// certain isn't, and all else is there once at most.
async fn assert_kept(messages: mongodb::Collection<Document>, outcomes: &Outcomes) {
    let all: Vec<Document> =
        messages.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap();
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

/// What is stored is what a new socket is shown.
async fn assert_shown(server: &Server, outcomes: &Outcomes) {
    let history = server.connect(1, 2).await.history().await;
    let last = outcomes.values().filter_map(|outcome| outcome.as_ref().ok()).max().unwrap();
    assert!(history[0]["message_id"].as_i64() >= Some(*last), "{}", history[0]);
    for message in &history {
        let outcome = &outcomes[message["text"].as_str().unwrap()];
        assert!(outcome.as_ref().map_or(true, |n| message["message_id"] == *n), "{message}: {outcome:?}");
    }
}

async fn until_status(server: &Server, path: &str, status: u16) {
    let reached = async { while server.get(path).await != status {} };
    let reached = timeout(4 * PATIENCE, reached).await;
    assert!(reached.is_ok(), "{path} was not {status} within {:?}", 4 * PATIENCE);
}

#[tokio::test]
async fn a_killed_server_has_lost_nothing_that_it_acknowledged() {
    let mut program = Program::start(&[]).await;
    program.room(&[1, 2]).await;
    let choir = Choir::on(&program).await;
    choir.sings(200).await;
    program.signal("KILL");
    let (outcomes, _, ends) = choir.outcomes().await;
    assert_eq!(ends, vec![End::Lost; 6]);
    assert_eq!(program.exit_code().await, None);

    let again = program.again().await;
    assert_kept(again.collection("messages").await, &outcomes).await;
    assert_shown(&again, &outcomes).await;
}

/// For servers that find out soon.
const HURRIED: [(&str, &str); 6] = [
    ("MONGODB__SELECTION_MS", "500"),
    ("MONGODB__OPERATION_MS", "2000"),
    ("LIMITS__HANDLER_MS", "3000"),
    ("FEED__HEARTBEAT_MS", "100"),
    ("FEED__STALE_MS", "1000"),
    ("LIMITS__SEND_QUEUE", "10000"),
];

/// Sockets that speak while something happens to the database, and one that only listens.
struct Ordeal {
    server: Server,
    listener: Client,
    choir: Choir,
}

impl Ordeal {
    async fn begin(uri: &str) -> Self {
        let server = Server::start_over(uri, &HURRIED).await;
        server.room(&[1, 2]).await;
        let listener = server.join(2, 1).await;
        let choir = Choir::on(&server).await;
        choir.sings(100).await;
        Self { server, listener, choir }
    }

    /// It is noticed, and said to who asks and to who speaks.
    async fn is_noticed(&self) {
        until_status(&self.server, "/readyz", 503).await;
        assert_eq!(self.server.get("/healthz").await, 200);
        self.choir.is_refused().await;
    }

    /// All goes on, for the same sockets; nothing that was acknowledged is lost, nothing is there twice, the order is
    /// kept, the numbers have no hole, and whoever was there has heard of each message once. `uri` leads to the database
    /// past whatever happened.
    async fn survived(self, uri: &str) {
        let Self { server, mut listener, choir } = self;
        until_status(&server, "/readyz", 200).await;
        choir.sings(100).await;
        choir.enough();
        let (outcomes, heard, ends) = choir.outcomes().await;
        assert_eq!(ends, [], "every socket stayed open");
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        let messages = client.database(&server.database().name).collection("messages");
        let last = i64::try_from(messages.count_documents(doc! {}).await.unwrap()).unwrap();
        assert_kept(messages, &outcomes).await;
        let all: Vec<i64> = (1..=last).collect();
        let mut told = Vec::new();
        while ids_of(&told, "chat_message").len() < all.len() {
            told.push(listener.next().await);
        }
        assert_eq!(ids_of(&told, "chat_message"), all);
        for heard in heard {
            let ids = ids_of(&heard, "chat_message");
            assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole or a double in {ids:?}");
        }
        assert_shown(&server, &outcomes).await;
    }
}

#[tokio::test]
async fn a_killed_database_is_waited_for_and_all_goes_on() {
    let mut mongod = Mongod::start().await;
    let ordeal = Ordeal::begin(&mongod.uri("parlor")).await;
    mongod.kill().await;
    ordeal.is_noticed().await;
    mongod.again().await;
    ordeal.survived(&mongod.uri("the-test")).await;
}

/// Another is elected; what only the first had written nobody was told of.
#[tokio::test]
async fn a_killed_primary_of_three_is_replaced_and_all_goes_on() {
    let mut three = Mongod::start_three().await;
    let hosts = three.each_ref().map(Mongod::host).join(",");
    let uri = format!("mongodb://{hosts}/?replicaSet=rs0&appName=parlor&heartbeatFrequencyMS=500");
    let ordeal = Ordeal::begin(&uri).await;
    three[0].kill().await;
    ordeal.choir.sings(100).await;
    // It is the primary again once it has what it missed.
    three[0].again().await;
    ordeal.survived(&uri).await;
}

/// The line to the database is cut, or carries nothing any more in one of its directions or both, and is whole again.
#[tokio::test]
async fn a_line_that_is_cut_or_hangs_is_waited_for_and_all_goes_on() {
    for state in State::FAULTS {
        let link = Link::to_the_database().await;
        let ordeal = Ordeal::begin(&link.uri).await;
        link.set(state);
        ordeal.is_noticed().await;
        link.set(State::Open);
        ordeal.survived(shared_uri()).await;
    }
}

#[tokio::test]
async fn a_server_and_its_database_killed_together_have_lost_nothing_acknowledged() {
    let mut mongod = Mongod::start().await;
    let mut program = Program::start_over(&mongod.uri("parlor"), &[]).await;
    program.room(&[1, 2]).await;
    let choir = Choir::on(&program).await;
    choir.sings(200).await;
    program.signal("KILL");
    mongod.kill().await;
    let (outcomes, _, ends) = choir.outcomes().await;
    assert_eq!(ends, vec![End::Lost; 6]);
    assert_eq!(program.exit_code().await, None);

    mongod.again().await;
    let again = program.again().await;
    let messages = mongod.database(&again.database().name).await.collection("messages");
    assert_kept(messages, &outcomes).await;
    assert_shown(&again, &outcomes).await;
}
