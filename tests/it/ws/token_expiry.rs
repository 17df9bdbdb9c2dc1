//! A socket ends when its token expires, even while the server is busy with a client that reads slowly or not at all.

use std::time::Duration;

use mongodb::bson::DateTime;
use serde_json::Value;

use crate::support::{Client, End, Server, chat, eventually, now};

/// The time for which the server still accepts the token, in seconds. The token has already expired, and this time is
/// the rest of the leeway.
const LEFT: u64 = 3;

/// The longest allowed time from the token's end to the socket's close. It covers frames that are still on their way.
const LATE: Duration = Duration::from_secs(2);

const QUERY: &str = "firts_user=1&second_user=2/";

/// Returns a text so long that a few dozen messages are more than the kernel buffers for one socket.
fn long() -> String {
    "x".repeat(4096)
}

/// Starts a server with small buffers, so that the server soon notices a slow reader. Its other limits are high.
async fn server(overrides: &[(&str, &str)]) -> Server {
    let patient = [
        ("LIMITS__SEND_QUEUE", "10000"),
        ("LIMITS__WRITE_MS", "60000"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
    ];
    let server = Server::start(&[&patient, overrides].concat()).await;
    server.room(&[1, 2]).await;
    server
}

/// Returns a token of user 2 that soon expires, and the time when the server stops accepting it.
fn dying(server: &Server) -> (String, Duration) {
    let ends = now().as_secs() + LEFT;
    (server.token(2).with("exp", ends - 5).sign(), Duration::from_secs(ends))
}

/// Opens a socket of user 2 with a small receive buffer, and reads its history.
async fn join_slowly(server: &Server, token: &str) -> Client {
    let dial = server.dial("/ws/chat/?firts_user=2&second_user=1/").called("slow").token(token);
    let mut slow = dial.receive_buffer(4096).open().await;
    slow.history().await;
    slow
}

/// Sends this number of messages, one after another.
async fn flood(one: &mut Client, count: i64) {
    for id in 1..=count {
        one.say(&long()).await;
        one.until(chat(id, 1, &long())).await;
    }
}

/// Returns the time at which a message was created, since 1970.
fn created_at(frame: &Value) -> Duration {
    let made = frame["message"]["created_at"].as_str().expect("a message has its time");
    let made = DateTime::parse_rfc3339_str(made).unwrap().timestamp_millis();
    Duration::from_millis(made.try_into().unwrap())
}

#[tokio::test]
async fn lagging_reader_gives_receipts_until_its_token_expires() {
    let server = server(&[]).await;
    let mut one = server.join(1, 2).await;
    let (token, ends) = dying(&server);
    let mut slow = join_slowly(&server, &token).await;
    flood(&mut one, 100).await;
    let (mut last, mut read) = (100, 0);
    let end = 'closed: loop {
        assert!(now() < ends + LATE, "not closed {LATE:?} after the token's end; {read} messages were read");
        // User 1 sends a new message each time before the slow client reads one. So messages always wait for the slow
        // client.
        last += 1;
        one.say(&long()).await;
        for frame in one.until(chat(last, 1, &long())).await {
            read += usize::from(frame["type"] == "mark_message_as_read");
        }
        loop {
            match slow.next_or_end().await {
                Ok(frame) if frame["type"] == "chat_message" => {
                    assert!(created_at(&frame) < ends + LATE, "told after the token's end: {frame}");
                    break;
                }
                Ok(_) => {}
                Err(end) => break 'closed end,
            }
        }
    };
    assert_eq!(end, End::Closed(4001));
    assert!(now() >= ends, "closed before its time");
    assert!(read > 0, "nothing of what it was told became read");
}

#[tokio::test]
async fn a_write_that_stalls_ends_with_the_token() {
    let server = server(&[("LIMITS__SOCKETS", "2")]).await;
    let mut one = server.join(1, 2).await;
    let (token, ends) = dying(&server);
    let deaf = join_slowly(&server, &token).await;
    flood(&mut one, 40).await;
    let accepted = async || server.dial_as(1, QUERY).open_unless(503).await.is_some();
    eventually("the silent socket's permit is returned", accepted, |accepted| *accepted).await;
    let over = now();
    assert!(over >= ends, "closed before its time");
    // This client doesn't read, so the server waits in vain to send its close frame. Therefore the test allows twice
    // [`LATE`].
    assert!(over < ends + 2 * LATE, "closed at {over:?}, the token ended at {ends:?}");
    drop(deaf);
}
