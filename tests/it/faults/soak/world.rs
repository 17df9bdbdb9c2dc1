//! The servers, their database, those who travel, and the ledger of what they were told.

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
    Clock, Dice, Journey, Ledger, Link, Mongod, PATIENCE, Program, Server, Stage, Travelled, Traveller,
    Truth, eventually_within,
};

pub(super) const ROOMS: usize = 3;

/// Of each room: those who speak, and those who only listen.
const SPEAKERS: i64 = 3;
const LISTENERS: i64 = 12;

/// Messages that are acknowledged between a fault that was made good and the next.
const CALM: usize = 150;

/// How long it may take until all goes on after a fault.
const RECOVERY: Duration = Duration::from_mins(2);

/// As `SETTINGS` have it.
const STALE: Duration = Duration::from_secs(3);

/// `mongodb.operation_ms`, as they have it. Another primary may be elected in less than a heartbeat is missed in: then the
/// server is ready, but what was on a line when that began to hang is given up after so long, and who comes to the same
/// room waits behind it.
const OPERATION: Duration = Duration::from_secs(3);

/// By how much the resident memory of a server may be above what it was after its first calm.
const GROWTH_KIB: u64 = 64 << 10;

/// For servers that find out soon, but not by every hiccup of a busy machine.
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
    travellers: Vec<JoinHandle<Travelled>>,
}

pub(super) struct World {
    pub(super) set: [Mongod; 3],
    /// Each member is known to all, also to the other two, by a line that can be cut.
    pub(super) links: [Link; 3],
    pub(super) servers: [Program; 2],
    /// The second server's.
    pub(super) clock: Clock,
    pub(super) rooms: Vec<Room>,
    truths: [Option<Truth>; 2],
    /// What each server had in memory once it was in use.
    resident: [Option<u64>; 2],
    doors: watch::Sender<Vec<Option<SocketAddr>>>,
    ledger: Arc<Ledger>,
    began: Instant,
    suffered: BTreeMap<Fault, usize>,
    slowest: Duration,
}

impl World {
    pub(super) async fn begin(dice: &mut Dice) -> Self {
        let (set, links) = Mongod::start_three_behind_links().await;
        let hosts: Vec<_> = links.iter().map(|link| link.address.to_string()).collect();
        let uri =
            format!("mongodb://{}/?replicaSet=rs0&appName=parlor&heartbeatFrequencyMS=500", hosts.join(","));
        let clock = Clock::ahead_by(0);
        let second = Program::start_by(&clock, &uri, &SETTINGS).await;
        let first = second.again_by_everyones_clock().await;
        let servers = [first, second];
        let doors = watch::Sender::new(servers.iter().map(|server| Some(server.address())).collect());
        let ledger = Arc::new(Ledger::default());
        let mut rooms = Vec::new();
        for n in 0..ROOMS {
            let mut users: Vec<i64> = (1..=SPEAKERS + LISTENERS).collect();
            users.push(last_speaker(n));
            let room = servers[0].room(&users).await;
            users.pop();
            let stage = watch::Sender::new(Stage::Speak);
            let journey = Journey {
                doors: doors.subscribe(),
                room,
                stage: stage.subscribe(),
                ledger: ledger.clone(),
                query: "",
            };
            let travel = |user: i64| {
                let token = long_token(&servers[0], user);
                let seed = u64::try_from(dice.below(usize::MAX)).unwrap();
                let name = format!("{n}/{user}");
                let traveller = Traveller::new(journey.clone(), name, token, Dice::of(seed));
                tokio::spawn(traveller.travel(user <= SPEAKERS))
            };
            let travellers = users.into_iter().map(travel).collect();
            rooms.push(Room { room, stage, travellers });
        }
        let mut world = Self {
            set,
            links,
            servers,
            clock,
            rooms,
            truths: [None, None],
            resident: [None, None],
            doors,
            ledger,
            began: Instant::now(),
            suffered: BTreeMap::new(),
            slowest: Duration::ZERO,
        };
        world.calm().await;
        world
    }

    /// One fault, and all that must hold after it.
    pub(super) async fn suffers(&mut self, fault: Fault, dice: &mut Dice) {
        *self.suffered.entry(fault).or_default() += 1;
        let began = Instant::now();
        eprintln!("{:>5} s  {fault:?}", self.began.elapsed().as_secs());
        let unready = fault.is_of_the_database();
        self.truths.iter().flatten().filter(|_| unready).for_each(Truth::fault);
        self.inflict(fault, dice).await;
        self.truths.iter().flatten().filter(|_| unready).for_each(Truth::over);
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

    /// All goes on as ever: messages are acknowledged, fresh sockets served, `/readyz` told no lie, memory is what it was.
    async fn calm(&mut self) {
        self.sings(CALM).await;
        for at in 0..2 {
            if let Some(truth) = &self.truths[at] {
                truth.serves().await;
            }
            // What it has told until now is settled, and a new page begun.
            if let Some(truth) = self.truths[at].take() {
                truth.told().await;
            }
            let truth = Truth::of_one_that_may_hang(&self.servers[at], STALE, OPERATION).await;
            truth.serves().await;
            self.truths[at] = Some(truth);
            let now = self.servers[at].resident_kib();
            let first = *self.resident[at].get_or_insert(now);
            assert!(now < first + GROWTH_KIB, "server {at}: {first} KiB have become {now} KiB");
        }
    }

    /// Waits until so many more messages have been acknowledged.
    pub(super) async fn sings(&self, more: usize) {
        for room in &self.rooms {
            let ended = room.travellers.iter().any(JoinHandle::is_finished);
            assert!(!ended, "a traveller in room {} gave up; why stands above", room.room);
        }
        self.ledger.grows_by(more, RECOVERY).await;
    }

    /// Lets a fault last. Whether anything is acknowledged meanwhile is open.
    pub(super) async fn lasts(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

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

    pub(super) async fn server_ends(&mut self, at: usize, signal: &str) {
        if let Some(truth) = self.truths[at].take() {
            truth.told().await;
        }
        self.doors.send_modify(|doors| doors[at] = None);
        self.servers[at].signal(signal);
        let code = self.servers[at].exit_code().await;
        assert_eq!(code, if signal == "TERM" { Some(0) } else { None }, "server {at}");
    }

    pub(super) async fn server_begins(&mut self, at: usize) {
        self.servers[at] = self.servers[at].again().await;
        self.resident[at] = None;
        let address = self.servers[at].address();
        self.doors.send_modify(|doors| doors[at] = Some(address));
    }

    /// Each room's numbers have no hole, no text is there twice, and all is there that was acknowledged, with its number.
    async fn hold_to_the_ledger(&self) {
        for room in &self.rooms {
            let must = self.ledger.of(room.room);
            let stored = self.stored(room.room).await;
            let lacks = must.iter().find(|(text, id)| stored.get(*text) != Some(*id));
            assert_eq!(lacks, None, "it was acknowledged in room {}", room.room);
        }
    }

    /// The number of each text of a room, as a majority has it.
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

    /// All say no more, hear of all, and have what the database has.
    pub(super) async fn ends(mut self) {
        for truth in &mut self.truths {
            if let Some(truth) = truth.take() {
                truth.told().await;
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
            for traveller in std::mem::take(&mut self.rooms[n].travellers) {
                let travelled =
                    timeout(4 * PATIENCE, traveller).await.expect("each comes to the end").unwrap();
                assert!(travelled.last >= last);
                returns += travelled.returns;
                told.extend(travelled.said);
            }
            assert_eq!(self.stored(self.rooms[n].room).await, told, "what is there is what was acknowledged");
            said += told.len();
        }
        let faults: usize = self.suffered.values().sum();
        eprintln!(
            "{faults} faults in {} s, {said} messages acknowledged: none lost, none doubled, none out of order; travellers \
             returned {returns} times; the slowest fault was over after {:.1} s\n{:#?}",
            self.began.elapsed().as_secs(),
            self.slowest.as_secs_f64(),
            self.suffered
        );
    }
}

/// Who says the last word in a room, and is nowhere else: no two groups are of the same users.
fn last_speaker(room: usize) -> i64 {
    100 + i64::try_from(room).unwrap()
}

/// Good for longer than any soak.
fn long_token(server: &Server, user: i64) -> String {
    server.token(user).with("exp", crate::support::now().as_secs() + 30 * 86_400).sign()
}
