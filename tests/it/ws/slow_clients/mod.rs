//! Clients that stopped reading or are dead: they must not delay other clients. The server closes their sockets. A
//! closed socket no longer counts for the limit of sockets.

mod dead_sockets;
mod held_bytes;
mod thousand_sockets;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::{Client, Metered, PATIENCE, Server, chat, eventually_some, read};

/// A client that opens a socket and then sends nothing by itself. It does not answer pings.
struct SilentClient {
    stream: TcpStream,
}

impl SilentClient {
    async fn connect(address: SocketAddr, token: &str) -> Self {
        let mut silent_client = Self::shake_hands(address, token).await;
        assert_eq!(silent_client.frame().await.0, 1, "the history is a text frame");
        silent_client
    }

    /// Sends the handshake of user 2 and reads its answer. The kernel buffers only 4 KiB for the socket.
    async fn shake_hands(address: SocketAddr, token: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request = format!(
            "GET /ws/chat/?firts_user=2&second_user=1/ HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: Bearer, {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        Self { stream }
    }

    /// Returns the opcode and the payload of the next frame (RFC 6455, 5.2). The payload must be shorter than 126
    /// bytes.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let head = self.stream.read_u8().await?;
            let len = self.stream.read_u8().await?;
            let mut payload = vec![0; usize::from(len)];
            self.stream.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>((head & 0x0F, payload))
        };
        timeout(PATIENCE, read).await.expect("a frame comes in time").unwrap()
    }

    /// Waits for this number of pings, and answers each of them.
    async fn answer_pings(&mut self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.frame().await.0, PING);
            self.send(PONG).await;
        }
    }

    /// Reads up to this number of bytes after each pause, until the connection ends. Returns the total number of bytes.
    async fn trickle(&mut self, bytes: usize, pause: Duration) -> usize {
        let (mut read, mut total) = (vec![0; bytes], 0);
        loop {
            // The pause makes the client slow.
            tokio::time::sleep(pause).await;
            match self.stream.read(&mut read).await {
                Ok(0) | Err(_) => return total,
                Ok(more) => total += more,
            }
        }
    }

    /// Sends a frame without a payload. Its mask is zero.
    async fn send(&mut self, opcode: u8) {
        self.stream.write_all(&[0x80 | opcode, 0x80, 0, 0, 0, 0]).await.unwrap();
    }
}

/// Connects again and again until the server's limit of sockets allows it. Reads the history.
async fn until_let_in(server: &Server, user: i64, peer: i64) -> Client {
    let query = format!("firts_user={user}&second_user={peer}/");
    let dial = async || server.dial_as(user, &query).open_unless(503).await;
    let mut client = eventually_some("a socket's permit is returned", dial).await;
    client.history().await;
    client
}

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;
const CLOSE: u8 = 8;

#[tokio::test]
async fn a_dead_peer_is_let_go_and_its_place_is_given_back() {
    let overrides =
        [("SOCKETS__PING_SECONDS", "1"), ("SOCKETS__DEAD_SECONDS", "1"), ("LIMITS__SOCKETS", "1")];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    let token = server.token(2).sign();
    let mut silent_client = SilentClient::connect(server.address(), &token).await;
    let began = Instant::now();
    assert_eq!(silent_client.frame().await.0, PING);
    assert!((0.9..10.0).contains(&began.elapsed().as_secs_f64()), "a ping after {:?}", began.elapsed());
    assert_eq!(server.dial_as(1, "firts_user=1&second_user=2/").rejected().await, 503);

    let (opcode, payload) = silent_client.frame().await;
    assert_eq!((opcode, &payload[..2]), (CLOSE, &1001_u16.to_be_bytes()[..]), "{payload:?}");
    assert!((1.9..20.0).contains(&began.elapsed().as_secs_f64()), "given up after {:?}", began.elapsed());
    until_let_in(&server, 1, 2).await.quiet().await;
}

#[tokio::test]
async fn a_peer_that_answers_pings_lives_on() {
    let overrides = [("SOCKETS__PING_SECONDS", "1"), ("SOCKETS__DEAD_SECONDS", "1")];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    let token = server.token(2).sign();
    let mut silent_client = SilentClient::connect(server.address(), &token).await;
    silent_client.answer_pings(3).await;
    let mut one = server.join(1, 2).await;
    one.say("hi").await;
    one.until_kind("mark_message_as_read").await;
}

#[tokio::test]
async fn pings_count_as_frames_and_pongs_do_not() {
    let overrides = [("SOCKETS__PING_SECONDS", "1"), ("LIMITS__FRAMES_PER_MINUTE", "2")];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    let token = server.token(2).sign();
    let mut silent_client = SilentClient::connect(server.address(), &token).await;
    silent_client.answer_pings(3).await;
    for _ in 0..2 {
        silent_client.send(PING).await;
        assert_eq!(silent_client.frame().await.0, PONG);
    }
    silent_client.send(PING).await;
    let heard = [silent_client.frame().await, silent_client.frame().await];
    let told = heard.iter().find(|(opcode, _)| *opcode == TEXT).expect("an error frame comes");
    let told: serde_json::Value = serde_json::from_slice(&told.1).unwrap();
    assert_eq!(told["code"], "rate_limited", "{told}");
}

#[tokio::test]
async fn a_peer_that_is_cut_off_gives_its_place_back() {
    let server = Server::start(&[("LIMITS__SOCKETS", "1")]).await;
    server.room(&[1, 2]).await;
    for _ in 0..5 {
        // The connection breaks without a close frame.
        drop(until_let_in(&server, 1, 2).await);
    }
    // A socket that the server refused does not count for the limit. The test checks every kind of refusal.
    for query in ["", "firts_user=1", "firts_user=2&second_user=1", "firts_user=1&second_user=9"] {
        let dial = async || server.dial_as(1, query).open_unless(503).await;
        eventually_some("a socket's permit is returned", dial).await.closed().await;
    }
    until_let_in(&server, 1, 2).await.quiet().await;
}

#[tokio::test]
async fn socket_is_closed_when_its_history_is_never_read() {
    let overrides = [
        ("LIMITS__SEND_QUEUE", "16"),
        ("LIMITS__SOCKETS", "2"),
        ("LIMITS__WRITE_MS", "60000"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
    ];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let text = "x".repeat(4096);
    for id in 1..=50 {
        one.say(&text).await;
        one.until(chat(id, 1, &text)).await;
    }
    let _deaf = server.dial_as(2, "firts_user=2&second_user=1/").receive_buffer(4096).open().await;
    let let_in = async {
        for id in 51.. {
            one.say(&text).await;
            one.until(chat(id, 1, &text)).await;
            if server.dial_as(1, "firts_user=1&second_user=2/").open_unless(503).await.is_some() {
                break;
            }
        }
    };
    timeout(PATIENCE, let_in).await.expect("its place is free in time");
}

/// The first frame takes longer than the limit of one write, but no single write waits for that long.
#[tokio::test]
async fn a_peer_that_reads_slowly_gets_its_whole_history() {
    let overrides = [("LIMITS__WRITE_MS", "400"), ("SOCKETS__SEND_BUFFER_BYTES", "8192")];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let text = "x".repeat(4_000);
    for id in 1..=50 {
        one.say(&text).await;
        one.until(chat(id, 1, &text)).await;
    }
    let token = server.token(2).sign();
    let mut slow = SilentClient::shake_hands(server.address(), &token).await;
    let began = Instant::now();
    let (mut read, mut total) = (vec![0; 4 * 1024], 0);
    while total < 50 * text.len() {
        // The pause makes the client slow.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let more = timeout(PATIENCE, slow.stream.read(&mut read)).await.expect("it goes on").unwrap();
        assert_ne!(more, 0, "it was cut off after {total} bytes");
        total += more;
    }
    assert!(
        began.elapsed() > Duration::from_millis(800),
        "{:?} is too fast to show anything",
        began.elapsed()
    );
}

#[tokio::test]
async fn silent_client_slows_nobody_and_returns_its_permit() {
    let overrides =
        [("LIMITS__SEND_QUEUE", "16"), ("LIMITS__SOCKETS", "3"), ("SOCKETS__SEND_BUFFER_BYTES", "8192")];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let mut two = server.join(2, 1).await;
    let deaf = server.dial_as(2, "firts_user=2&second_user=1/").receive_buffer(4096).open().await;
    assert_eq!(server.dial_as(1, "firts_user=1&second_user=2/").rejected().await, 503);
    let text = "x".repeat(4096);
    let mut slowest = Duration::ZERO;
    for id in 1..=100 {
        let said = Instant::now();
        one.say(&text).await;
        // Both clients read up to the last event of the message. So the next measurement includes only one message.
        for client in [&mut one, &mut two] {
            client.until(read(id, 1, &text)).await;
        }
        slowest = slowest.max(said.elapsed());
    }
    // This time is far below `limits.write_ms`, so neither user waited for the silent client.
    assert!(slowest < Duration::from_secs(5), "a message took {slowest:?}");
    until_let_in(&server, 1, 2).await.quiet().await;
    drop(deaf);
}

#[tokio::test]
async fn slow_write_closes_the_socket_even_in_a_quiet_room() {
    let metered = Metered::new();
    let overrides = [
        metered.setting(),
        ("LIMITS__WRITE_MS", "500"),
        ("LIMITS__SOCKETS", "2"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
        ("LIMITS__SEND_QUEUE", "100000"),
    ];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let deaf = server.dial_as(2, "firts_user=2&second_user=1/").receive_buffer(4096).open().await;
    let text = "x".repeat(4096);
    for id in 1..=40 {
        one.say(&text).await;
        one.until(chat(id, 1, &text)).await;
    }
    until_let_in(&server, 1, 2).await.quiet().await;
    assert_eq!(metered.hits("write_ms").await, 1);
    drop(deaf);
}
