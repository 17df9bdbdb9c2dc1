//! A storm of reconnects. One of two servers shuts down. Then all clients of this server connect to the other server at
//! the same time, each with its cursor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{
    Client, ClientPlan, ClientReport, PATIENCE, Program, ReadinessProbe, ReconnectingClient, Samples,
    SeededRng, Server, ServerAddresses, Stage, chat, may_open_many_files,
};

/// The number of sockets on each of the two servers.
const SOCKETS: usize = 500;

/// The number of rooms. The sockets of both servers are spread over these rooms.
const ROOMS: usize = 10;

/// The time in which the other server must accept all clients of the first server. The test runs a debug build, which
/// shares the machine with the database and other tests. A release build accepts thousands of sockets in a second.
const IN_TIME: Duration = Duration::from_mins(1);

/// The default of `feed.stale_ms`: a server that receives no heartbeat for this time is not ready.
const STALE: Duration = Duration::from_secs(5);

/// A room, a client that sends messages in the room, and the reconnecting clients that receive them.
struct Room {
    talker: Client,
    said: i64,
    stage: watch::Sender<Stage>,
    clients: Vec<tokio::task::JoinHandle<ClientReport>>,
}

impl Room {
    /// Opens half of the room's sockets on each server. When `addresses` changes, the clients of the first server
    /// reconnect to the new address.
    async fn begin(servers: [&Server; 2], n: usize, addresses: &ServerAddresses) -> Self {
        let (user, peer) = (1, i64::try_from(n).unwrap() + 10);
        let room = servers[1].room(&[user, peer]).await;
        let talker = servers[1].enter(user, room).await;
        let (stage, token) = (watch::Sender::new(Stage::Speak), servers[0].token(peer).sign());
        let mut clients = Vec::new();
        for at in 0..2 * SOCKETS / ROOMS {
            let plan = ClientPlan {
                addresses: if at % 2 == 0 { addresses.clone() } else { door(servers[1].address()) },
                room,
                stage: stage.subscribe(),
                ledger: Arc::default(),
                query: "&receipts=manual",
            };
            let name = format!("{n}/{at}");
            let client = ReconnectingClient::new(plan, name, token.clone(), SeededRng::of(0));
            clients.push(tokio::spawn(client.travel(false)));
        }
        Self { talker, said: 0, stage, clients }
    }

    /// Sends a message, and waits until the sender receives it.
    async fn say(&mut self) {
        self.said += 1;
        self.talker.say("on and on").await;
        self.talker.until(chat(self.said, 1, "on and on")).await;
    }
}

/// Returns the addresses for a client that always connects to the same server.
fn door(address: SocketAddr) -> ServerAddresses {
    watch::Sender::new(vec![Some(address)]).subscribe()
}

/// Sends messages in all rooms until a server has this number of sockets, within `limit`.
async fn until_has(samples: &Samples, rooms: &mut [Room], sockets: usize, limit: Duration) {
    let began = Instant::now();
    while usize::try_from(samples.number("parlor_sockets").await).unwrap() < sockets {
        join_all(rooms.iter_mut().map(Room::say)).await;
        assert!(began.elapsed() < limit, "{sockets} sockets were not open within {limit:?}");
    }
}

#[tokio::test]
async fn sockets_get_each_message_once_when_a_deploy_moves_500() {
    may_open_many_files();
    let samples = [Samples::new(), Samples::new()];
    let mut old = Program::start(&[("ADMIN__LISTEN", &samples[0].admin)]).await;
    let stays = old.again_with(&[("ADMIN__LISTEN", &samples[1].admin)]).await;
    let addresses = watch::Sender::new(vec![Some(old.address())]);
    let mut rooms = Vec::new();
    for n in 0..ROOMS {
        rooms.push(Room::begin([&old, &stays], n, &addresses.subscribe()).await);
    }
    until_has(&samples[0], &mut rooms, SOCKETS, 2 * PATIENCE).await;
    until_has(&samples[1], &mut rooms, SOCKETS + ROOMS, 2 * PATIENCE).await;
    let readiness = ReadinessProbe::of(&stays, STALE).await;
    readiness.until_served().await;

    old.signal("TERM");
    let told = Instant::now();
    addresses.send_replace(vec![Some(stays.address())]);
    until_has(&samples[1], &mut rooms, 2 * SOCKETS + ROOMS, IN_TIME).await;
    let back = told.elapsed();
    assert_eq!(old.exit_code().await, Some(0));
    readiness.until_served().await;
    // The other server has no failure, so `/readyz` must answer 200 all the time.
    eprintln!("{SOCKETS} sockets were back in {back:?}; /readyz: {}", readiness.finish().await);
    let (mut all, mut returns) = (0, 0);
    for room in rooms {
        room.stage.send_replace(Stage::Until(room.said));
        let report = timeout(2 * PATIENCE, join_all(room.clients)).await.expect("all hear the last message");
        for report in report {
            let report = report.unwrap();
            assert_eq!(report.last, room.said, "each was heard, once and in order");
            returns += report.returns;
            all += 1;
        }
    }
    assert_eq!((all, returns), (2 * SOCKETS, SOCKETS), "each of the one server's came back once");
}
