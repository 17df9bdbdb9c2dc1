//! The server answers a client's close frame. The server's own close frame also reaches a client that still sends.

use crate::support::{End, RawConnection, Server, frame, handshake, piece, room_with_one_socket};

#[tokio::test]
async fn a_clients_close_is_answered_with_its_code() {
    let (server, mut other) = room_with_one_socket(&[]).await;
    for code in [None, Some(1000), Some(1001), Some(3000), Some(4999)] {
        let one = server.join(1, 2).await;
        // 1005 stands for a close frame without a code (RFC 6455, 7.1.5).
        assert_eq!(one.goodbye(code).await, End::Closed(code.unwrap_or(1005)), "after {code:?}");
    }
    other.quiet().await;
}

#[tokio::test]
async fn a_close_is_answered_behind_what_was_to_be_told() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    for n in 0..20 {
        one.say(&format!("one last word {n}")).await;
    }
    assert_eq!(one.goodbye(Some(1000)).await, End::Closed(1000));
    // The server has stored all messages that the client sent before its close frame.
    let mut two = server.connect(2, 1).await;
    assert_eq!(two.history().await.len(), 20);
}

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

/// A number of bytes that is larger than the buffers of a connection, so that the sender must wait.
const MORE: usize = 64 * 1024;

/// Returns frames that a client sends after the frame that ends its socket.
fn more() -> Vec<u8> {
    frame(1, br#"{"action":"nobody"}"#).repeat(MORE / 25)
}

#[tokio::test]
async fn a_close_reaches_a_client_that_sends_on() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    for (what, bytes, code) in [
        ("a frame that is not masked", vec![0x81, 1, b'x'], 1002),
        ("a reserved opcode", frame(3, b"x"), 1002),
        ("a lone continuation", frame(0, b"x"), 1002),
        ("a ping that is too long", frame(9, &[b'x'; 126]), 1002),
        ("bytes that are not UTF-8", frame(1, b"\xff\xfe"), 1007),
        ("a frame that is too large", frame(1, &vec![b'x'; 65_537]), 1009),
        (
            "a message of too many fragments",
            piece(1, b"").iter().copied().chain(piece(0, b"").repeat(500)).collect(),
            1009,
        ),
    ] {
        let mut raw = RawConnection::open(server.address(), TARGET, &server.token(1).sign()).await;
        raw.say(&[bytes, more()].concat()).await;
        assert_eq!(raw.next().await.and_then(|heard| heard.code()), Some(code), "{what}");
        assert!(raw.ends_cleanly().await, "{what}: the connection was reset");
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_sends_on() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let forged = server.token(1).secret("somebody else's secret, of 32 bytes").sign();
    for (what, token, code) in
        [("a forged token", forged, 4001), ("another user's token", server.token(3).sign(), 4003)]
    {
        // The bytes after the handshake are valid frames, or bytes that are no frames.
        for rest in [more(), vec![0xFF; MORE]] {
            let mut raw = RawConnection::to(server.address()).await;
            let head = handshake(TARGET, &format!("Authorization: Bearer {token}\r\n"));
            raw.say(&[head.as_bytes(), &rest].concat()).await;
            raw.head().await;
            assert_eq!(raw.next().await.and_then(|heard| heard.code()), Some(code), "{what}");
            // The client's close frame comes after all bytes that the client had sent before.
            raw.say(&frame(8, &code.to_be_bytes())).await;
            assert!(raw.ends_cleanly().await, "{what}: the connection was reset");
        }
    }
}

#[tokio::test]
async fn a_close_for_a_rate_reaches_a_client_that_sends_on() {
    let server = Server::start(&[("LIMITS__FRAMES_PER_MINUTE", "5")]).await;
    server.room(&[1, 2]).await;
    let mut raw = RawConnection::open(server.address(), TARGET, &server.token(1).sign()).await;
    raw.say(&more()).await;
    let code = loop {
        if let Some(code) = raw.next().await.expect("a close frame before the end").code() {
            break code;
        }
    };
    assert_eq!(code, 4029);
    raw.say(&frame(8, &code.to_be_bytes())).await;
    assert!(raw.ends_cleanly().await, "the connection was reset");
}
