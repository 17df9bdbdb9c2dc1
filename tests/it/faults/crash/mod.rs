//! Failures of the server and its database: `kill -9`, step-downs of the primary, and connections that are cut or hang.
//! After each failure, every acknowledged write must be stored once, and `/readyz` must have been right all the time.
//! Submodules test clocks, the disk, and an oplog (MongoDB's log of changes) that rolled over.

mod clocks;
mod embedded_mongod;
mod full_disk;
mod oplog_rollover;

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{
    Client, End, Link, ManyClients, Mongod, PATIENCE, Program, ReadinessProbe, State, assert_in_order,
    assert_kept, assert_shown, ids_of, shared_uri,
};

#[tokio::test]
async fn acknowledged_writes_survive_a_killed_server() {
    let mut program = Program::start(&[]).await;
    let room = program.room(&[1, 2]).await;
    let many_clients = ManyClients::on(&[&program]).await;
    many_clients.until_acknowledged(200).await;
    program.signal("KILL");
    let (outcomes, _, ends) = many_clients.outcomes().await;
    assert_eq!(ends, vec![End::Lost; 6]);
    assert_eq!(program.exit_code().await, None);

    let again = program.again().await;
    assert_kept(again.collection("messages").await, room, &outcomes).await;
    assert_shown(&again, &outcomes).await;
}

/// Settings with short limits, by which a server soon notices a fault.
const HURRIED: [(&str, &str); 6] = [
    ("MONGODB__SELECTION_MS", "500"),
    ("MONGODB__OPERATION_MS", "2000"),
    ("LIMITS__HANDLER_MS", "3000"),
    ("FEED__HEARTBEAT_MS", "100"),
    ("FEED__STALE_MS", "2000"),
    ("LIMITS__SEND_QUEUE", "10000"),
];

/// The value of `FEED__STALE_MS` in [`HURRIED`].
const STALE: Duration = Duration::from_secs(2);

/// The allowed growth of a server's resident memory during a fault. The numbers of sockets and rooms do not grow.
/// Memory that the allocator keeps after the peak, and new connections to the database, cause the growth.
const GROWTH_KIB: u64 = 8 << 10;

/// The text of the last message in a test.
const LAST: &str = "that was all";

/// Returns all events of a socket up to the last message.
async fn listen(mut client: Client) -> Vec<Value> {
    let mut told = Vec::new();
    loop {
        let frame = client.next_in_the_end().await.expect("it stays open");
        let last = frame["type"] == "chat_message" && frame["message"]["text"] == LAST;
        told.push(frame);
        if last {
            return told;
        }
    }
}

/// A test in which the database has a fault. Several sockets send messages, one socket only receives, and a probe
/// requests `/readyz` all the time.
struct FaultTest {
    server: Program,
    room: i64,
    listener: JoinHandle<Vec<Value>>,
    many_clients: ManyClients,
    readiness: ReadinessProbe,
    resident: u64,
}

impl FaultTest {
    async fn begin(uri: &str) -> Self {
        Self::of(Program::start_over(uri, &HURRIED).await).await
    }

    async fn of(server: Program) -> Self {
        let room = server.room(&[1, 2]).await;
        let listener = tokio::spawn(listen(server.join(2, 1).await));
        let readiness = ReadinessProbe::of(&server, STALE).await;
        let many_clients = ManyClients::on(&[&server]).await;
        many_clients.until_acknowledged(100).await;
        readiness.until_served().await;
        let resident = server.resident_kib();
        Self { server, room, listener, many_clients, readiness, resident }
    }

    /// Waits until the server has noticed the fault: `/readyz` answers 503, and a message is refused.
    async fn until_noticed(&self) {
        self.server.until_status("/readyz", 503).await;
        assert_eq!(self.server.get("/healthz").await, 200);
        self.many_clients.until_refused().await;
    }

    /// Asserts that all sockets stayed open during the fault and work after it. No acknowledged message is lost, and no
    /// message is stored twice. The message ids have no gap, and each socket received each message once, in order.
    /// `/readyz` was right all the time, and the memory has not grown by more than [`GROWTH_KIB`]. `uri` is an address
    /// of the database that the fault does not affect.
    async fn assert_survived(self, uri: &str) {
        let Self { server, room, listener, many_clients, readiness, resident } = self;
        readiness.fault_ends();
        server.until_status("/readyz", 200).await;
        many_clients.until_acknowledged(100).await;
        readiness.until_served().await;
        let now = server.resident_kib();
        many_clients.stop();
        let (mut outcomes, mut heard, ends) = many_clients.outcomes().await;
        assert_eq!(ends, [], "every socket stayed open");
        let last = server.join(1, 2).await.say_and_hear(LAST, &mut Vec::new()).await.unwrap();
        outcomes.insert(LAST.to_owned(), Ok(last["message"]["message_id"].as_i64().unwrap()));
        eprintln!("/readyz: {}; resident: {resident} KiB before, {now} KiB after", readiness.finish().await);
        assert!(now < resident + GROWTH_KIB, "{resident} KiB have become {now} KiB");
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        let messages = client.database(&server.database().name).collection("messages");
        assert_kept(messages, room, &outcomes).await;
        let told = timeout(PATIENCE, listener).await.expect("the last word is heard").unwrap();
        assert_eq!(ids_of(&told, "chat_message").first(), Some(&1));
        heard.push(told);
        for heard in heard {
            assert_in_order(&heard);
        }
        assert_shown(&server, &outcomes).await;
    }
}

#[tokio::test]
async fn server_recovers_when_its_database_was_killed() {
    let mut mongod = Mongod::start().await;
    let fault_test = FaultTest::begin(&mongod.uri("parlor")).await;
    fault_test.readiness.fault_begins();
    mongod.kill().await;
    fault_test.until_noticed().await;
    mongod.again().await;
    fault_test.assert_survived(&mongod.uri("the-test")).await;
}

/// Another member of the replica set becomes the primary. No client may have received an event of a write that only the
/// killed primary had.
#[tokio::test]
async fn server_recovers_when_a_primary_of_three_was_killed() {
    let mut three = Mongod::start_three().await;
    let uri = Mongod::uri_of(&three, "parlor");
    let fault_test = FaultTest::begin(&uri).await;
    fault_test.readiness.fault_begins();
    three[0].kill().await;
    fault_test.many_clients.until_acknowledged(100).await;
    // This member has the highest priority. So it becomes the primary again when it has loaded the writes that it
    // missed.
    three[0].again().await;
    fault_test.assert_survived(&uri).await;
}

/// The only member of the replica set steps down, and is elected again. Writes that run during this time fail, or have
/// an unknown outcome.
#[tokio::test]
async fn server_recovers_when_its_database_keeps_stepping_down() {
    let mongod = Mongod::start().await;
    let fault_test = FaultTest::begin(&mongod.uri("parlor")).await;
    fault_test.readiness.fault_begins();
    for _ in 0..2 {
        mongod.steps_down().await;
        mongod.is_primary().await;
        fault_test.many_clients.until_acknowledged(50).await;
    }
    fault_test.assert_survived(&mongod.uri("the-test")).await;
}

/// Another member becomes the primary. The first member has the highest priority, so it becomes the primary again as
/// soon as possible.
#[tokio::test]
async fn server_recovers_when_a_primary_of_three_steps_down() {
    let three = Mongod::start_three().await;
    let uri = Mongod::uri_of(&three, "parlor");
    let fault_test = FaultTest::begin(&uri).await;
    fault_test.readiness.fault_begins();
    three[0].steps_down().await;
    fault_test.many_clients.until_acknowledged(100).await;
    three[0].is_primary().await;
    fault_test.assert_survived(&uri).await;
}

/// The link to the database is cut, or carries no bytes in one direction or in both directions. Later the link works
/// again.
#[tokio::test]
async fn server_recovers_when_its_database_link_is_cut_or_hangs() {
    for state in State::FAULTS {
        let link = Link::to_the_database().await;
        let fault_test = FaultTest::begin(&link.uri).await;
        fault_test.readiness.fault_begins();
        link.set(state);
        fault_test.until_noticed().await;
        link.set(State::Open);
        fault_test.assert_survived(shared_uri()).await;
    }
}

/// The MongoDB driver notices the fault before the operation's time limit, and aborts the operation. The database may
/// already have executed the operation.
#[tokio::test]
async fn aborted_write_is_a_timeout_and_never_unavailable() {
    let link = Link::to_the_database().await;
    let fault_test = FaultTest::begin(&format!("{}&heartbeatFrequencyMS=500", link.uri)).await;
    fault_test.readiness.fault_begins();
    link.set(State::HeldBack);
    fault_test.until_noticed().await;
    link.set(State::Open);
    fault_test.assert_survived(shared_uri()).await;
}

#[tokio::test]
async fn acknowledged_writes_survive_a_killed_server_and_database() {
    let mut mongod = Mongod::start().await;
    let mut program = Program::start_over(&mongod.uri("parlor"), &[]).await;
    let room = program.room(&[1, 2]).await;
    let many_clients = ManyClients::on(&[&program]).await;
    many_clients.until_acknowledged(200).await;
    program.signal("KILL");
    mongod.kill().await;
    let (outcomes, _, ends) = many_clients.outcomes().await;
    assert_eq!(ends, vec![End::Lost; 6]);
    assert_eq!(program.exit_code().await, None);

    mongod.again().await;
    let again = program.again().await;
    let messages = mongod.database(&again.database().name).await.collection("messages");
    assert_kept(messages, room, &outcomes).await;
    assert_shown(&again, &outcomes).await;
}
