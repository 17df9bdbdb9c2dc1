//! The soak test's servers, their database, the clients, and the ledger (the record of acknowledged messages).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::faults::Fault;
use crate::support::{
    ClientPlan, ClientReport, Clock, Ledger, Link, Mongod, PATIENCE, Program, ReadinessProbe,
    ReconnectingClient, SeededRng, Server, Stage, eventually_within,
};

pub(super) const ROOMS: usize = 3;

/// The number of clients in each room that send and receive, and the number of clients that only receive.
const SPEAKERS: i64 = 3;
const LISTENERS: i64 = 12;

/// The number of messages that must be acknowledged between the end of a fault and the next fault.
const CALM: usize = 150;

/// The longest time that a recovery from a fault may take.
const RECOVERY: Duration = Duration::from_mins(2);

/// The value of `FEED__STALE_MS` in [`SETTINGS`].
const STALE: Duration = Duration::from_secs(3);

/// The value of `MONGODB__OPERATION_MS` in [`SETTINGS`]. The replica set may elect a new primary so soon that the
/// servers miss no heartbeat and stay ready. But an operation on a hanging database connection fails only after this
/// time. If the operation loads a room, each client that connects to this room waits for it.
const OPERATION: Duration = Duration::from_secs(3);

/// The allowed growth of a server's resident memory since the server first worked after its start.
const GROWTH_KIB: u64 = 64 << 10;

/// Settings with which servers notice a fault within seconds, but don't react to each delay of a busy machine.
const SETTINGS: [(&str, &str); 6] = [
    ("MONGODB__SELECTION_MS", "1000"),
    ("MONGODB__OPERATION_MS", "3000"),
    ("LIMITS__HANDLER_MS", "5000"),
    ("FEED__HEARTBEAT_MS", "250"),
    ("FEED__STALE_MS", "3000"),
    ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
];

pub(super) struct Room {
    pub(super) room: i64,
    stage: watch::Sender<Stage>,
    clients: Vec<JoinHandle<ClientReport>>,
}

pub(super) struct World {
    pub(super) set: [Mongod; 3],
    /// The links to the members of the replica set, one for each member. The servers and the two other members reach a
    /// member only through its link. A test can cut a link.
    pub(super) links: [Link; 3],
    pub(super) servers: [Program; 2],
    /// The clock of the second server.
    pub(super) clock: Clock,
    pub(super) rooms: Vec<Room>,
    probes: [Option<ReadinessProbe>; 2],
    /// The resident memory of each server when it first worked after its start, in KiB.
    resident: [Option<u64>; 2],
    addresses: watch::Sender<Vec<Option<SocketAddr>>>,
    ledger: Arc<Ledger>,
    began: Instant,
    suffered: BTreeMap<Fault, usize>,
    slowest: Duration,
}

impl World {
    /// Starts the replica set, the servers and the clients, and waits until all of them work.
    pub(super) async fn begin(rng: &mut SeededRng) -> Self {
        let (set, links) = Mongod::start_three_behind_links().await;
        let hosts: Vec<_> = links.iter().map(|link| link.address.to_string()).collect();
        let uri =
            format!("mongodb://{}/?replicaSet=rs0&appName=parlor&heartbeatFrequencyMS=500", hosts.join(","));
        let clock = Clock::ahead_by(0);
        let second = Program::start_by(&clock, &uri, &SETTINGS).await;
        let first = second.again_by_everyones_clock().await;
        let servers = [first, second];
        let addresses = watch::Sender::new(servers.iter().map(|server| Some(server.address())).collect());
        let ledger = Arc::new(Ledger::default());
        let mut rooms = Vec::new();
        for n in 0..ROOMS {
            let mut users: Vec<i64> = (1..=SPEAKERS + LISTENERS).collect();
            users.push(last_speaker(n));
            let room = servers[0].room(&users).await;
            users.pop();
            let stage = watch::Sender::new(Stage::Speak);
            let plan = ClientPlan {
                addresses: addresses.subscribe(),
                room,
                stage: stage.subscribe(),
                ledger: ledger.clone(),
                query: "",
            };
            let travel = |user: i64| {
                let token = long_token(&servers[0], user);
                let seed = u64::try_from(rng.below(usize::MAX)).unwrap();
                let name = format!("{n}/{user}");
                let client = ReconnectingClient::new(plan.clone(), name, token, SeededRng::of(seed));
                tokio::spawn(client.travel(user <= SPEAKERS))
            };
            let clients = users.into_iter().map(travel).collect();
            rooms.push(Room { room, stage, clients });
        }
        let mut world = Self {
            set,
            links,
            servers,
            clock,
            rooms,
            probes: [None, None],
            resident: [None, None],
            addresses,
            ledger,
            began: Instant::now(),
            suffered: BTreeMap::new(),
            slowest: Duration::ZERO,
        };
        world.calm().await;
        world
    }

    /// Causes one fault, waits for the recovery, and compares the ledger with the database.
    pub(super) async fn suffers(&mut self, fault: Fault, rng: &mut SeededRng) {
        *self.suffered.entry(fault).or_default() += 1;
        let began = Instant::now();
        eprintln!("{:>5} s  {fault:?}", self.began.elapsed().as_secs());
        let unready = fault.is_of_the_database();
        self.probes.iter().flatten().filter(|_| unready).for_each(ReadinessProbe::fault_begins);
        self.inflict(fault, rng).await;
        self.probes.iter().flatten().filter(|_| unready).for_each(ReadinessProbe::fault_ends);
        self.calm().await;
        let took = began.elapsed();
        self.slowest = self.slowest.max(took);
        self.hold_to_the_ledger().await;
        eprintln!(
            "{:>5} s  all went on after {:.1} s; {} acknowledged; {:?} KiB",
            self.began.elapsed().as_secs(),
            took.as_secs_f64(),
            self.ledger.count(),
            self.servers.each_ref().map(Program::resident_kib),
        );
    }

    /// Asserts that both servers work: messages are acknowledged, and new sockets are served. All answers of `/readyz`
    /// were correct, and the memory has not grown by more than [`GROWTH_KIB`].
    async fn calm(&mut self) {
        self.until_acknowledged(CALM).await;
        for at in 0..2 {
            if let Some(readiness) = &self.probes[at] {
                readiness.until_served().await;
            }
            // Checks the answers that the probe has received so far. Then a new probe starts.
            if let Some(readiness) = self.probes[at].take() {
                readiness.finish().await;
            }
            let readiness = ReadinessProbe::of_hanging(&self.servers[at], STALE, OPERATION).await;
            readiness.until_served().await;
            self.probes[at] = Some(readiness);
            let now = self.servers[at].resident_kib();
            let first = *self.resident[at].get_or_insert(now);
            assert!(now < first + GROWTH_KIB, "server {at}: {first} KiB have become {now} KiB");
        }
    }

    /// Waits until `more` further messages are acknowledged.
    pub(super) async fn until_acknowledged(&self, more: usize) {
        for room in &self.rooms {
            let ended = room.clients.iter().any(JoinHandle::is_finished);
            assert!(!ended, "a client in room {} gave up; the reason stands above", room.room);
        }
        self.ledger.grows_by(more, RECOVERY).await;
    }

    /// Waits for this time while a fault lasts. During the fault, messages may be acknowledged or not.
    pub(super) async fn lasts(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Returns the index of the primary. Waits while a primary is being elected.
    pub(super) async fn primary(&self) -> usize {
        let primary = async || {
            for (at, mongod) in self.set.iter().enumerate() {
                if mongod.is_primary_now().await {
                    return Some(at);
                }
            }
            None
        };
        eventually_within(RECOVERY, "a primary is elected", primary, Option::is_some).await.unwrap()
    }

    /// Stops server `at` with this signal. The clients no longer connect to this server.
    pub(super) async fn server_ends(&mut self, at: usize, signal: &str) {
        if let Some(readiness) = self.probes[at].take() {
            readiness.finish().await;
        }
        self.addresses.send_modify(|addresses| addresses[at] = None);
        self.servers[at].signal(signal);
        let code = self.servers[at].exit_code().await;
        assert_eq!(code, if signal == "TERM" { Some(0) } else { None }, "server {at}");
    }

    /// Starts server `at` again. The clients may connect to this server again.
    pub(super) async fn server_begins(&mut self, at: usize) {
        self.servers[at] = self.servers[at].again().await;
        self.resident[at] = None;
        let address = self.servers[at].address();
        self.addresses.send_modify(|addresses| addresses[at] = Some(address));
    }

    /// Asserts that each room's message ids have no gap and no text is stored twice. Each acknowledged message must be
    /// stored with its id.
    async fn hold_to_the_ledger(&self) {
        for room in &self.rooms {
            let must = self.ledger.of(room.room);
            let stored = self.stored(room.room).await;
            let lacks = must.iter().find(|(text, id)| stored.get(*text) != Some(*id));
            assert_eq!(lacks, None, "it was acknowledged in room {}", room.room);
        }
    }

    /// Returns each text of a room with its message id, as stored by a majority of the replica set.
    async fn stored(&self, room: i64) -> BTreeMap<String, i64> {
        let primary = &self.set[self.primary().await];
        let messages =
            primary.database(&self.servers[0].database().name).await.collection::<Document>("messages");
        let find = messages.find(doc! { "_id.room": room }).sort(doc! { "_id": 1 });
        let find = find.read_concern(mongodb::options::ReadConcern::majority());
        let found: Vec<Document> = find.await.unwrap().try_collect().await.unwrap();
        let mut texts = BTreeMap::new();
        for (message, n) in found.iter().zip(1..) {
            let number = message.get_document("_id").unwrap().get_i64("n").unwrap();
            assert_eq!(number, n, "the numbers of room {room} have no hole");
            let text = message.get_str("text").unwrap().to_owned();
            assert_eq!(texts.insert(text.clone(), n), None, "{text} is in room {room} twice");
        }
        texts
    }

    /// Stops all clients. Asserts that the acknowledged messages are exactly the stored messages, and that each client
    /// has received the last message.
    pub(super) async fn ends(mut self) {
        for readiness in &mut self.probes {
            if let Some(readiness) = readiness.take() {
                readiness.finish().await;
            }
        }
        let (mut said, mut returns) = (0, 0);
        for n in 0..ROOMS {
            self.rooms[n].stage.send_replace(Stage::Listen);
            let mut last = self.servers[0].enter(last_speaker(n), self.rooms[n].room).await;
            let last = last.say_and_hear("the end", &mut Vec::new()).await.unwrap();
            let last = last["message"]["message_id"].as_i64().unwrap();
            self.rooms[n].stage.send_replace(Stage::Until(last));
            let mut told = BTreeMap::from([("the end".to_owned(), last)]);
            for client in std::mem::take(&mut self.rooms[n].clients) {
                let report = timeout(4 * PATIENCE, client).await.expect("each comes to the end").unwrap();
                assert!(report.last >= last);
                returns += report.returns;
                told.extend(report.said);
            }
            assert_eq!(self.stored(self.rooms[n].room).await, told, "what is there is what was acknowledged");
            said += told.len();
        }
        let faults: usize = self.suffered.values().sum();
        eprintln!(
            "{faults} faults in {} s, {said} messages acknowledged: none lost, none doubled, none out of order; clients \
             returned {returns} times; the slowest fault was over after {:.1} s\n{:#?}",
            self.began.elapsed().as_secs(),
            self.slowest.as_secs_f64(),
            self.suffered
        );
    }
}

/// Returns the user who sends the last message of a room. Each room has a different last speaker, so no two groups have
/// the same members.
fn last_speaker(room: usize) -> i64 {
    100 + i64::try_from(room).unwrap()
}

/// Returns a token that is valid for 30 days, longer than any soak test.
fn long_token(server: &Server, user: i64) -> String {
    server.token(user).with("exp", crate::support::now().as_secs() + 30 * 86_400).sign()
}
