//! WebSocket frames that are not a whole message: fragments and control frames. Each of these frames counts for the
//! limit of frames a minute. The number of fragments of a message is also limited.

use crate::support::{Metered, RawConnection, Server, chat, frame, piece};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

/// The number of fragments that a message may have before its last one (`limits.message_fragments`).
const MOST: usize = 128;

/// Returns a message with an unknown action, split into this number of WebSocket frames. Most of them are empty.
fn message(frames: usize) -> Vec<u8> {
    let mut bytes = piece(1, br#"{"action":"nobody"#);
    bytes.extend(piece(0, b"").repeat(frames - 2));
    bytes.extend(piece(0x80, br#""}"#));
    bytes
}

/// Reads the next answer, which must be an error, and returns its code.
async fn error(raw: &mut RawConnection) -> String {
    let heard = raw.next().await.expect("an answer");
    let answer: serde_json::Value = serde_json::from_slice(&heard.payload).expect("JSON");
    answer["code"].as_str().unwrap_or_else(|| panic!("no error: {answer}")).to_owned()
}

#[tokio::test]
async fn endless_empty_fragments_close_with_1009() {
    let metered = Metered::new();
    let server = Server::start(&[metered.setting()]).await;
    server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    for (what, first) in [("text", 1), ("binary", 2)] {
        let mut raw = RawConnection::open(server.address(), TARGET, &server.token(1).sign()).await;
        raw.say(&[piece(first, b"x"), piece(0, b"").repeat(100_000)].concat()).await;
        let close = raw.next().await.and_then(|heard| heard.code());
        assert_eq!(close, Some(1009), "{what}");
        assert!(raw.ends_cleanly().await, "{what}");
    }
    assert_eq!(metered.hits("message_fragments").await, 2);
    two.quiet().await;
}

#[tokio::test]
async fn fragments_up_to_the_bound_make_a_message() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut raw = RawConnection::open(server.address(), TARGET, &server.token(1).sign()).await;
    // Before the message with too many fragments, the server reads two whole messages. The server must still answer
    // these two.
    raw.say(&[message(MOST + 1), frame(1, br#"{"action":"nobody"}"#), message(MOST + 2)].concat()).await;
    assert_eq!(error(&mut raw).await, "unknown_action");
    assert_eq!(error(&mut raw).await, "unknown_action");
    assert_eq!(raw.next().await.and_then(|heard| heard.code()), Some(1009));
}

#[tokio::test]
async fn fragments_count_as_frames_of_the_rate() {
    let server = Server::start(&[("LIMITS__FRAMES_PER_MINUTE", "20")]).await;
    server.room(&[1, 2]).await;
    let mut raw = RawConnection::open(server.address(), TARGET, &server.token(1).sign()).await;
    raw.say(&message(18)).await;
    assert_eq!(error(&mut raw).await, "unknown_action");
    // At 20 frames a minute, one frame is regained every 3 s.
    raw.say(&message(10)).await;
    assert_eq!(error(&mut raw).await, "rate_limited");
    for _ in 0..9 {
        raw.say(&message(10)).await;
        assert_eq!(error(&mut raw).await, "rate_limited");
    }
    assert_eq!(raw.next().await.and_then(|heard| heard.code()), Some(4029));
}

#[tokio::test]
async fn fragments_between_pings_spend_frames_too() {
    let server = Server::start(&[("LIMITS__FRAMES_PER_MINUTE", "20")]).await;
    server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    let mut raw = RawConnection::open(server.address(), TARGET, &server.token(1).sign()).await;
    raw.say(&[piece(1, b"x"), piece(0, b"").repeat(30), frame(9, b"")].concat()).await;
    // First the pong arrives. The error after it shows that the limit of frames a minute is used up.
    assert_eq!(raw.next().await.map(|heard| heard.opcode), Some(10));
    assert_eq!(error(&mut raw).await, "rate_limited");
    two.say("meanwhile").await;
    two.until(chat(1, 2, "meanwhile")).await;
}
