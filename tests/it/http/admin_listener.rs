//! The limits of the admin listener (`/metrics` and health, on its own port). Connections to the admin listener do not
//! count for the limits of the main listener, which clients use.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{Metered, RawConnection, Server, eventually_some};

const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THREE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

fn address(metered: &Metered) -> SocketAddr {
    metered.setting().1.parse().unwrap()
}

/// Connects from this address again and again, until the server answers. Returns the open connection.
async fn admitted(from: Ipv4Addr, address: SocketAddr) -> RawConnection {
    let dial = async || {
        let mut raw = RawConnection::from(from, address).await;
        raw.say(b"GET /healthz HTTP/1.1\r\nHost: parlor\r\n\r\n").await;
        raw.is_answered().await.then_some(raw)
    };
    eventually_some("a connection's permit is returned", dial).await
}

#[tokio::test]
async fn admin_connections_over_the_bounds_are_closed() {
    let metered = Metered::new();
    let bounds = [("ADMIN__CONNECTIONS", "6"), ("ADMIN__CONNECTIONS_PER_ADDRESS", "4")];
    let server = Server::start(&[&bounds[..], &[metered.setting()]].concat()).await;
    server.room(&[1, 2]).await;
    let admin = address(&metered);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(admitted(TWO, admin).await);
    }
    assert!(RawConnection::from(TWO, admin).await.heard_out().await.is_empty());
    for _ in 0..2 {
        open.push(admitted(THREE, admin).await);
    }
    assert!(RawConnection::from(THREE, admin).await.heard_out().await.is_empty());
    // The full admin listener does not affect clients on the main listener.
    let mut one = server.join(1, 2).await;
    one.quiet().await;

    open.truncate(1);
    drop(admitted(Ipv4Addr::LOCALHOST, admin).await);
    drop(admitted(TWO, admin).await);
    assert_eq!(metered.hits("admin_connections_per_address").await, 1);
    assert!(metered.hits("admin_connections").await >= 1);
}

#[tokio::test]
async fn silent_admin_connections_are_closed_in_time() {
    let metered = Metered::new();
    let server = Server::start(&[metered.setting(), ("HTTP__REQUEST_MS", "300")]).await;
    server.until_status("/healthz", 200).await;
    for said in ["", "GET /metrics HT", "GET /healthz HTTP/1.1\r\nHost: parlor\r\n\r\n"] {
        let mut raw = RawConnection::to(address(&metered)).await;
        raw.say(said.as_bytes()).await;
        raw.heard_out().await;
    }
}
