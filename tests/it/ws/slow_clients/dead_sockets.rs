//! A user with the maximum number of sockets connects once more. The server then closes a socket whose client no longer
//! answers pings, and accepts the new socket.

use tokio::time::timeout;

use super::{CLOSE, PING, PONG, SilentClient};
use crate::support::{Metered, PATIENCE, Server};

async fn server(metered: &Metered, most: &str) -> Server {
    let overrides = [metered.setting(), ("LIMITS__SOCKETS_PER_USER", most), ("SOCKETS__PROBE_MS", "500")];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    server
}

/// Starts a task that answers each ping until the server closes the socket. The task returns the close code.
fn alive(mut socket: SilentClient) -> tokio::task::JoinHandle<u16> {
    tokio::spawn(async move {
        loop {
            match socket.frame().await {
                (PING, _) => socket.send(PONG).await,
                (CLOSE, payload) => return u16::from_be_bytes([payload[0], payload[1]]),
                _ => {}
            }
        }
    })
}

#[tokio::test]
async fn the_socket_that_is_silent_for_longest_makes_room() {
    let metered = Metered::new();
    let server = server(&metered, "3").await;
    let token = server.token(2).sign();
    let mut dead = SilentClient::connect(server.address(), &token).await;
    let second = SilentClient::connect(server.address(), &token).await;
    let living = alive(SilentClient::connect(server.address(), &token).await);
    let newest = timeout(PATIENCE, SilentClient::connect(server.address(), &token))
        .await
        .expect("it gets a place in time");
    assert_eq!(dead.frame().await.0, PING);
    let (opcode, payload) = dead.frame().await;
    assert_eq!((opcode, &payload[..2]), (CLOSE, &1001_u16.to_be_bytes()[..]));
    assert_eq!(metered.hits("probe_ms").await, 1);
    metered.until("parlor_sockets", 3).await;
    assert!(!living.is_finished());
    drop((second, newest));
}

#[tokio::test]
async fn the_newest_is_4029_where_all_sockets_live() {
    let metered = Metered::new();
    let server = server(&metered, "2").await;
    let token = server.token(2).sign();
    let mut living = Vec::new();
    for _ in 0..2 {
        living.push(alive(SilentClient::connect(server.address(), &token).await));
    }
    assert_eq!(server.dial_as(2, "firts_user=2&second_user=1/").refused().await, 4029);
    assert_eq!((metered.hits("sockets_per_user").await, metered.hits("probe_ms").await), (1, 0));
    assert!(living.iter().all(|socket| !socket.is_finished()));
    metered.until("parlor_sockets", 2).await;
}

#[tokio::test]
async fn half_open_reconnects_all_get_a_place() {
    let metered = Metered::new();
    let server = server(&metered, "4").await;
    let token = server.token(2).sign();
    let mut lost = Vec::new();
    for _ in 0..10 {
        let next = timeout(PATIENCE, SilentClient::connect(server.address(), &token)).await;
        lost.push(next.expect("it gets a place in time"));
    }
    assert_eq!(metered.hits("sockets_per_user").await, 0);
    assert_eq!(metered.hits("probe_ms").await, 6);
}
