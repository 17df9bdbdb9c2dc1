//! A client that loses its connection a thousand times ends with exactly the content of its rooms. Sockets are dropped,
//! servers are killed, and the database steps down.

mod client_copy;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use tokio::sync::{RwLock, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::client_copy::{Copy, History, history};
use self::writer::{Writer, Written};
use crate::support::{Client, Dial, End, Mongod, PATIENCE, Program, SeededRng, encoded, seed};

/// The number of disconnects of the reading client.
const CUTS: usize = 1_000;

/// The disconnects at which the test kills the reader's server: the first one, and the number of disconnects from one
/// kill to the next. All other disconnects drop the reader's socket.
const KILLED: (usize, usize) = (50, 100);

/// The disconnects at which the test makes the database step down: the first one, and the number of disconnects from
/// one step-down to the next.
const STEPPED_DOWN: (usize, usize) = (200, 300);

/// At each disconnect, the writers make a random number of changes below this bound.
const CHANGES: usize = 4;

const READER: i64 = 3;

/// The longest time that all disconnects together may take.
const LIMIT: Duration = Duration::from_mins(4);

/// Returns whether a disconnect of this kind is due after this number of disconnects.
fn is_due(cuts: usize, (first, every): (usize, usize)) -> bool {
    cuts % every == first
}

/// Two server processes on one database. No client connects to a server that is restarting.
#[derive(Clone)]
struct Servers([Arc<RwLock<Program>>; 2]);

impl Servers {
    async fn start(mongod: &Mongod) -> Self {
        let one = Program::start_over(&mongod.uri("parlor"), &[("LIMITS__SEND_QUEUE", "10000")]).await;
        let two = one.again().await;
        Self([one, two].map(|program| Arc::new(RwLock::new(program))))
    }

    /// Returns a handshake with the wanted server, or with the other server while the wanted server restarts. Also
    /// returns the index of the chosen server.
    async fn dial(&self, wanted: usize, user: i64, since: &str) -> (usize, Dial) {
        let (at, program) = match self.0[wanted].try_read() {
            Ok(program) => (wanted, program),
            Err(_) => (1 - wanted, self.0[1 - wanted].read().await),
        };
        let token = program.token(user).sign();
        let dial = program.dial(&format!("/ws/?since={}", encoded(since))).token(&token);
        (at, dial.called(format!("inbox of {user}")))
    }

    /// Kills a server and restarts it. The other server keeps running.
    async fn kill(&self, at: usize) -> JoinHandle<()> {
        let mut program = self.0[at].clone().write_owned().await;
        program.signal("KILL");
        tokio::spawn(async move {
            assert_eq!(program.exit_code().await, None);
            let again = program.again().await;
            *program = again;
        })
    }
}

/// A client that loses its connection many times.
struct Reader {
    servers: Servers,
    rng: SeededRng,
    copy: Copy,
    /// The task that restarts a server, if one is restarting.
    starting: Option<JoinHandle<()>>,
}

impl Reader {
    /// Connects to a random server with the copy's cursor. Returns `None` if the connection fails.
    async fn dial(&mut self) -> Option<(usize, Client)> {
        let wanted = self.rng.below(2);
        let (at, dial) = self.servers.dial(wanted, READER, &self.copy.cursor).await;
        Some((at, dial.open_if_there().await?))
    }

    /// Opens the socket and applies its first frame. Returns `None` if the socket ended before the first frame.
    async fn open(&mut self) -> Option<(usize, Client)> {
        let (at, mut client) = self.dial().await?;
        let ready = client.next_or_end().await.ok()?;
        if !self.copy.begin(&ready) {
            self.copy.begin_anew(&ready, &mut client).await.ok()?;
        }
        Some((at, client))
    }

    /// Applies some of the frames that have arrived. Stops at a random point, so that the next resume must bring the
    /// remaining changes.
    async fn hear(&mut self, client: &mut Client) -> Result<(), End> {
        for _ in 0..self.rng.below(3) {
            client.try_send(serde_json::json!({"action": "ping"})).await;
            loop {
                let frame = client.next_or_end().await?;
                if frame["type"] == "pong" {
                    break;
                }
                self.copy.hear(&frame);
                if self.rng.below(8) == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Waits until no server is restarting.
    async fn restarted(&mut self) {
        if let Some(starting) = self.starting.take() {
            starting.await.unwrap();
        }
    }

    /// Loses the connection [`CUTS`] times. Each time, the writers may make a few changes.
    async fn follow(&mut self, mongod: &Mongod, changes: &Semaphore) {
        let mut cuts = 0;
        while cuts < CUTS {
            let (killed, stepped_down) = (is_due(cuts, KILLED), is_due(cuts, STEPPED_DOWN));
            if !killed && !stepped_down && self.rng.below(5) == 0 {
                // The test drops the socket before the client has read anything.
                cuts += usize::from(self.dial().await.is_some());
                continue;
            }
            let Some((at, mut client)) = self.open().await else { continue };
            changes.add_permits(self.rng.below(CHANGES));
            if stepped_down {
                self.restarted().await;
                let admin = mongod.database("admin").await;
                // The replica set has only this member, so this member is elected again a second later.
                admin.run_command(doc! { "replSetStepDown": 1, "force": true }).await.unwrap();
            }
            let heard = self.hear(&mut client).await;
            if killed {
                self.restarted().await;
                self.starting = Some(self.servers.kill(at).await);
            }
            if killed && heard.is_ok() {
                let (frames, _) = client.hear_out().await;
                for frame in &frames {
                    self.copy.hear(frame);
                }
            }
            cuts += 1;
        }
        self.restarted().await;
    }

    /// Returns the reader's copy of its rooms, and the rooms' final state on the server.
    async fn catch_up(&mut self) -> (History, History) {
        loop {
            let (_, dial) = self.servers.dial(0, READER, &self.copy.cursor).await;
            let Some(mut client) = dial.open_if_there().await else { continue };
            let Ok(ready) = client.next_or_end().await else { continue };
            assert!(self.copy.begin(&ready), "{ready}");
            let mut all = History::new();
            for room in self.copy.rooms() {
                all.insert(room, history(&mut client, room, |_| {}).await.unwrap());
            }
            return (self.copy.messages(), all);
        }
    }
}

/// Asserts that two histories are equal. Otherwise prints all differences.
fn assert_alike(one: &str, has: &History, other: &str, must: &History) {
    let of = |history: &History, room, id| history.get(&room).and_then(|all| all.get(&id)).cloned();
    let mut ids: Vec<_> =
        has.iter().chain(must).flat_map(|(room, all)| all.keys().map(|id| (*room, *id))).collect();
    ids.sort_unstable();
    ids.dedup();
    let differ = ids.into_iter().filter(|(room, id)| of(has, *room, *id) != of(must, *room, *id));
    let differ: Vec<_> = differ
        .map(|(room, id)| {
            let (has, must) = (of(has, room, id), of(must, room, id));
            format!("message {id} of room {room}: {one} has {has:?}, {other} {must:?}")
        })
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// Asserts that each room's message ids have no gap. The ids include those of deleted messages. For each `client_id`,
/// exactly one message must exist, with the id that the writer's acknowledgement named.
fn assert_made_once(stored: &[Document], made: &BTreeMap<(i64, String), i64>) {
    let mut last = BTreeMap::new();
    let mut found = BTreeMap::new();
    for message in stored {
        let id = message.get_document("_id").unwrap();
        let (room, n) = (id.get_i64("room").unwrap(), id.get_i64("n").unwrap());
        let before = last.insert(room, n).unwrap_or_default();
        assert_eq!(n, before + 1, "the numbers of room {room} have no hole");
        let client_id = message.get_str("client_id").unwrap().to_owned();
        let twice = found.insert((room, client_id), n);
        assert_eq!(twice, None, "message {n} of room {room} is there twice");
    }
    assert_eq!(found, *made);
}

/// The test prints the seed of its random numbers. `PARLOR_IT_SEED` sets another seed.
#[tokio::test]
async fn client_state_equals_the_rooms_after_1000_disconnects() {
    let seed = seed();
    let mongod = Mongod::start().await;
    let servers = Servers::start(&mongod).await;
    let (group, direct, database) = {
        let program = servers.0[0].read().await;
        let group = program.room(&[1, 2, READER]).await;
        (group, program.room(&[1, READER]).await, program.database().name.clone())
    };
    let changes = Arc::new(Semaphore::new(0));
    let writing = [(1, vec![group, direct]), (2, vec![group])].map(|(user, rooms)| {
        let rng = SeededRng::of(seed ^ u64::try_from(user).unwrap());
        tokio::spawn(Writer::of(user, rooms, &servers, rng).write(changes.clone()))
    });
    let mut reader = Reader { servers, rng: SeededRng::of(seed), copy: Copy::default(), starting: None };
    let followed = timeout(LIMIT, reader.follow(&mongod, &changes)).await;
    assert!(followed.is_ok(), "it was not cut off {CUTS} times within {LIMIT:?}");
    changes.close();
    let mut written = Written::default();
    for writer in writing {
        let of_one = timeout(4 * PATIENCE, writer).await.expect("a writer comes to an end").unwrap();
        written.made.extend(of_one.made);
        written.again += of_one.again;
        for (room, messages) in of_one.messages {
            written.messages.entry(room).or_default().extend(messages);
        }
    }
    let (copy, all) = timeout(4 * PATIENCE, reader.catch_up()).await.expect("the rooms can be read");
    eprintln!(
        "{} messages were made, frames were sent again {} times, the reader began anew {} times",
        written.made.len(),
        written.again,
        reader.copy.anew
    );
    assert_alike("the reader", &copy, "the rooms", &all);
    assert_alike("the rooms", &all, "who wrote", &written.messages);
    let messages = mongod.database(&database).await.collection::<Document>("messages");
    let stored = messages.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap();
    assert_made_once(&stored.try_collect::<Vec<_>>().await.unwrap(), &written.made);
}
