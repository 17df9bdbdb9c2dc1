//! The limits of plain HTTP: the number of connections, the size of a head, and the time for a head and a body. A head
//! is the request line with the headers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{API_KEY, Metered, PATIENCE, Server};

/// Opens a connection to the address and sends these bytes.
async fn said(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Reads until the server closes the connection, and returns all bytes.
async fn heard(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset also counts as the end of the connection.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes it in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn handshake(key: &str) -> String {
    format!(
        "GET /ws/chat/?firts_user=1&second_user=2/ HTTP/1.1\r\nHost: parlor\r\nConnection: Upgrade, close\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let server = Server::start(&[("HTTP__REQUEST_MS", "300")]).await;
    for head in ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: par"] {
        heard(said(server.address(), head).await).await;
    }
    assert_eq!(server.get("/healthz").await, 200);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let server = Server::start(&[("HTTP__REQUEST_MS", "300"), ("HTTP__DISCARD_MS", "300")]).await;
    let request = format!(
        "POST /api/v1/rooms HTTP/1.1\r\nHost: parlor\r\nAuthorization: Bearer {API_KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{\"members\""
    );
    let answer = heard(said(server.address(), &request).await).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("request_timeout"), "{answer}");
}

/// The client sends one byte of the body every 100 ms, and never reaches the end of the body.
#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let metered = Metered::new();
    let settings = [metered.setting(), ("HTTP__REQUEST_MS", "400"), ("HTTP__DISCARD_MS", "300")];
    let server = Server::start(&settings).await;
    let started = Instant::now();
    for idempotent in ["", "Idempotency-Key: a\r\n"] {
        let request = format!(
            "POST /api/v1/rooms HTTP/1.1\r\nHost: parlor\r\nAuthorization: Bearer {API_KEY}\r\n{idempotent}\
             Connection: close\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        );
        let (mut answer, mut body) = said(server.address(), &request).await.into_split();
        let mut drops = tokio::time::interval(Duration::from_millis(100));
        let dripping = async {
            loop {
                drops.tick().await;
                // The write fails after the server has stopped reading.
                if body.write_all(b" ").await.is_err() {
                    return std::future::pending().await;
                }
            }
        };
        let mut said = Vec::new();
        tokio::select! {
            () = dripping => unreachable!(),
            _ = timeout(PATIENCE, answer.read_to_end(&mut said)) => {}
        }
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 408") && said.contains("did not come within 400 ms"), "{said}");
        assert!(said.contains("\"request_timeout\"") && said.contains("connection: close\r\n"), "{said}");
    }
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(metered.hits("request_ms").await, 2);
}

#[tokio::test]
async fn a_head_over_the_bound_is_431() {
    let server = Server::start(&[("HTTP__HEAD_BYTES", "8192")]).await;
    let get = |bytes: usize| {
        let filling = "x".repeat(bytes);
        format!("GET /healthz HTTP/1.1\r\nHost: parlor\r\nConnection: close\r\nFilling: {filling}\r\n\r\n")
    };
    let answer = heard(said(server.address(), &get(4_000)).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = heard(said(server.address(), &get(20_000)).await).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn connection_over_the_limit_waits_and_sockets_do_not_count() {
    let server = Server::start(&[("HTTP__CONNECTIONS", "1"), ("HTTP__REQUEST_MS", "1500")]).await;
    let pair = r#"{"members":[{"user_id":1},{"user_id":2}]}"#;
    let made = format!(
        "POST /api/v1/rooms HTTP/1.1\r\nHost: parlor\r\nAuthorization: Bearer {API_KEY}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{pair}",
        pair.len()
    );
    let answer = heard(said(server.address(), &made).await).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(server.join(1, 2).await);
    }

    let mut idle = said(server.address(), "").await;
    let next =
        said(server.address(), "GET /healthz HTTP/1.1\r\nHost: parlor\r\nConnection: close\r\n\r\n").await;
    let answer = heard(next).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The limit is one connection. To serve this request, the server had to close the idle connection first.
    let mut byte = [0];
    let ended = match idle.try_read(&mut byte) {
        Ok(0) => true,
        Ok(_) => panic!("something was said to one who said nothing"),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(ended, "two connections were served at once");
    let _ = idle.shutdown().await;
    for socket in &mut sockets {
        socket.quiet().await;
    }
}

#[tokio::test]
async fn a_key_that_isnt_16_bytes_is_no_handshake() {
    let server = Server::start(&[]).await;
    for key in ["", "short", "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ=="] {
        let answer = heard(said(server.address(), &handshake(key)).await).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{key:?} answered {answer}");
    }
    let answer = heard(said(server.address(), &handshake("dGhlIHNhbXBsZSBub25jZQ==")).await).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
}
