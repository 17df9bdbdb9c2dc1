//! One address opens connections without end. This address must get only its share of the connections, so that the
//! server still serves other addresses.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{Client, Dial, Metered, RawConnection, Server, chat, handshake};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

/// The number of connections that a flood opens.
const FLOOD: usize = 2_000;

/// The limit of connections for one address in these tests. `TOO_MANY` is the number of a flood's connections that
/// exceed the limit.
const MOST: usize = 50;
const TOO_MANY: u64 = (FLOOD - MOST) as u64;

/// The time for a request. This time is longer than any test of this file. So the server does not close a connection of
/// a flood for being silent.
const REQUEST_MS: &str = "60000";

/// The address from which the flood comes, and the address of the honest clients.
const FLOODED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
const ELSEWHERE: [u8; 4] = [127, 0, 0, 2];

async fn server(metered: &Metered, overrides: &[(&str, &str)]) -> Server {
    let most = MOST.to_string();
    let own = [
        metered.setting(),
        ("HTTP__CONNECTIONS_PER_ADDRESS", most.as_str()),
        ("HTTP__CONNECTIONS", "200"),
        ("HTTP__REQUEST_MS", REQUEST_MS),
    ];
    let kept = own.iter().filter(|(key, _)| !overrides.iter().any(|(other, _)| other == key));
    let settings: Vec<_> = kept.chain(overrides).copied().collect();
    let server = Server::start(&settings).await;
    server.room(&[1, 2]).await;
    metered.until("parlor_connections", 1).await;
    server
}

fn dial(server: &Server) -> Dial {
    server.dial(TARGET).token(&server.token(1).sign()).from(ELSEWHERE)
}

/// Opens the connections of a flood, one after another, and sends the same bytes on each connection.
async fn flood(server: &Server, says: &[u8]) -> Vec<RawConnection> {
    let mut wires = Vec::with_capacity(FLOOD);
    for _ in 0..FLOOD {
        let mut raw = RawConnection::from(FLOODED, server.address()).await;
        raw.say(says).await;
        wires.push(raw);
    }
    wires
}

/// Returns the connections that the server has not closed.
async fn left(wires: Vec<RawConnection>) -> Vec<RawConnection> {
    let looked = wires.into_iter().map(|mut raw| async {
        let ended = raw.ends_within(Duration::from_secs(1)).await;
        (!ended).then_some(raw)
    });
    join_all(looked).await.into_iter().flatten().collect()
}

/// Asserts that an honest client sends a message and receives it with this id.
async fn is_served(one: &mut Client, id: i64) {
    one.say("meanwhile").await;
    one.expect(chat(id, 1, "meanwhile")).await;
}

/// Returns the number of open connections. The number includes connections of the HTTP client that created the room.
/// This client may keep or close its connections.
async fn without_the_flood(metered: &Metered) -> u64 {
    metered.sample("parlor_connections").await
}

#[tokio::test]
async fn silent_address_has_a_share_of_the_connections() {
    for says in [&b""[..], b"GET /healthz HT", &handshake(TARGET, "").as_bytes()[..90]] {
        let metered = Metered::new();
        let server = server(&metered, &[]).await;
        let mut before = dial(&server).open().await;
        before.history().await;
        let honest = without_the_flood(&metered).await;

        let left = left(flood(&server, says).await).await;
        assert_eq!(left.len(), MOST, "after {:?}", String::from_utf8_lossy(says));
        assert_eq!(metered.hits("connections_per_address").await, TOO_MANY);
        assert_eq!(without_the_flood(&metered).await, honest + MOST as u64);
        is_served(&mut before, 1).await;
        let mut after = dial(&server).open().await;
        assert_eq!(after.history().await.len(), 1);
        is_served(&mut after, 2).await;
        assert!(
            RawConnection::from(FLOODED, server.address()).await.ends_within(Duration::from_secs(5)).await
        );

        // When the connections of the address have ended, the address may connect again.
        drop(left);
        metered.until("parlor_connections", honest).await;
        dial(&server).from(FLOODED.octets()).open().await.history().await;
    }
}

#[tokio::test]
async fn rejected_handshake_keeps_its_permit_until_its_answer_is_read() {
    let metered = Metered::new();
    let server = server(&metered, &[]).await;
    let mut before = dial(&server).open().await;
    before.history().await;
    let honest = without_the_flood(&metered).await;
    let forged = server.token(1).secret("somebody else's secret, of 32 bytes").sign();
    let hello = handshake(TARGET, &format!("Authorization: Bearer {forged}\r\n"));
    // The clients of the flood don't read their answers, and don't reply to the close frame.
    let wires = flood(&server, hello.as_bytes()).await;
    let there = without_the_flood(&metered).await;
    assert!(there <= honest + MOST as u64, "{there} at once");
    is_served(&mut before, 1).await;
    dial(&server).open().await.history().await;
    let told = metered.sample(r#"parlor_connects_total{outcome="unauthorized"}"#).await;
    let closed = metered.hits("connections_per_address").await;
    assert_eq!(told + closed, FLOOD as u64, "each is told, or closed before it is read");
    assert!(closed > 0);
    // The server doesn't wait for a client that never answers the close.
    metered.until("parlor_connections", honest).await;
    assert_eq!(metered.sample("parlor_sockets").await, 1);
    drop(wires);
}

#[tokio::test]
async fn sockets_are_not_counted_and_the_bound_may_be_another_or_none() {
    let metered = Metered::new();
    let server = server(&metered, &[("HTTP__CONNECTIONS_PER_ADDRESS", "2")]).await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = dial(&server).open().await;
        socket.history().await;
        sockets.push(socket);
    }
    for socket in &mut sockets {
        socket.quiet().await;
    }
    let free = Metered::new();
    let settings = [("HTTP__CONNECTIONS_PER_ADDRESS", "0"), ("HTTP__CONNECTIONS", "10000")];
    let server = self::server(&free, &settings).await;
    assert_eq!(left(flood(&server, b"").await).await.len(), FLOOD);
    assert_eq!(free.hits("connections_per_address").await, 0);
}

#[tokio::test]
async fn proxies_are_not_held_to_it() {
    let metered = Metered::new();
    let flooded = FLOODED.to_string();
    let server = server(&metered, &[("HTTP__PROXIES", &flooded), ("HTTP__CONNECTIONS", "10000")]).await;
    assert_eq!(left(flood(&server, b"").await).await.len(), FLOOD);
    assert_eq!(metered.hits("connections_per_address").await, 0);
    dial(&server).open().await.history().await;
}
