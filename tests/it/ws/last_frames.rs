//! A client ends its connection before the server has answered its frames. The server still handles each frame that has
//! arrived, once.

use serde_json::json;

use crate::support::{Client, Metered, RawConnection, Server, chat, frame};

const FRAMES: i64 = 30;

/// Opens a socket of user 1, sends [`FRAMES`] messages in one write, and drops the connection. The bytes `between`
/// follow each message.
async fn say_and_end(server: &Server, target: &str, room: Option<i64>, between: &[u8]) {
    let mut raw = RawConnection::open(server.address(), target, &server.token(1).sign()).await;
    let mut bytes = Vec::new();
    for n in 1..=FRAMES {
        let mut said = json!({"action": "send", "message": format!("last word {n}")});
        if let Some(room) = room {
            said["room_id"] = room.into();
        }
        bytes.extend(frame(1, said.to_string().as_bytes()));
        bytes.extend(between);
    }
    raw.say(&bytes).await;
}

/// Asserts that user 2 receives the [`FRAMES`] messages of user 1 once, in their order. `first` is the last message id
/// before these messages.
async fn is_told(two: &mut Client, first: i64) {
    for n in 1..=FRAMES {
        let text = format!("last word {n}");
        let told = two.until_kind("chat_message").await;
        assert_eq!(
            (&told["message"]["text"], &told["message"]["message_id"]),
            (&json!(text), &json!(first + n))
        );
    }
}

#[tokio::test]
async fn frames_before_the_end_of_a_connection_are_done() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    let pair = "/ws/chat/?firts_user=1&second_user=2/";
    let level_2 = format!("{pair}&since=");
    // The server can't write the pong, because the client has disconnected. The server must still read the frames
    // behind the ping.
    let ping = frame(9, b"are you there?");
    for (at, (target, room, between)) in [
        (pair, None, &[][..]),
        (pair, None, &ping),
        (&level_2, None, &[]),
        ("/ws/?since=", Some(room), &ping),
    ]
    .into_iter()
    .enumerate()
    {
        say_and_end(&server, target, room, between).await;
        is_told(&mut two, i64::try_from(at).unwrap() * FRAMES).await;
    }
    two.say("and that is all").await;
    let told = two.until_kind("chat_message").await;
    assert_eq!(told["message"]["message_id"], json!(4 * FRAMES + 1));
}

#[tokio::test]
async fn frames_after_the_end_are_held_to_the_rates() {
    let metered = Metered::new();
    let server = Server::start(&[metered.setting(), ("LIMITS__MESSAGES_PER_MINUTE", "10")]).await;
    server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    say_and_end(&server, "/ws/chat/?firts_user=1&second_user=2/", None, &[]).await;
    for n in 1..=10 {
        two.until(chat(n, 1, &format!("last word {n}"))).await;
    }
    metered.until("parlor_sockets", 1).await;
    two.say("and that is all").await;
    two.until(chat(11, 2, "and that is all")).await;
}

#[tokio::test]
async fn messages_are_not_read_for_a_client_that_has_ended() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut two = server.join(2, 1).await;
    say_and_end(&server, "/ws/chat/?firts_user=1&second_user=2/", None, &[]).await;
    is_told(&mut two, 0).await;
    two.say("do you read this?").await;
    two.until(chat(FRAMES + 1, 2, "do you read this?")).await;
    // User 1's client has ended its connection. So this message of user 2 does not become read.
    let mut third = server.connect(2, 1).await;
    let history = third.history().await;
    assert_eq!(history[0]["status"], "send", "{:?}", history[0]);
}
