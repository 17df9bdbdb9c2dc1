//! Shutdowns: the real binary gets a signal to shut down while clients use it.

mod reconnect_storm;
mod under_load;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Client, End, Link, Mongod, PATIENCE, Program, SLACK, State, ids_of};

/// Returns the ids of the received messages that the socket with this name has sent.
fn own(heard: &[Value], name: usize) -> BTreeSet<i64> {
    let prefix = format!("{name}/");
    let mine =
        |frame: &&Value| frame["message"]["text"].as_str().is_some_and(|text| text.starts_with(&prefix));
    let told = heard.iter().filter(|frame| frame["type"] == "chat_message").filter(mine);
    told.filter_map(|frame| frame["message"]["message_id"].as_i64()).collect()
}

async fn stored(program: &Program) -> Vec<Document> {
    let messages = program.collection("messages").await;
    messages.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}

/// Tells whether the server still accepts a WebSocket handshake.
async fn upgraded(address: SocketAddr, token: &str) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /ws/chat/?firts_user=1&second_user=2/ HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: Bearer, {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(status)
    };
    // A false result means that the server does not listen, does not answer, or refuses the handshake.
    matches!(timeout(PATIENCE, asked).await, Ok(Ok(status)) if status.ends_with(b"101"))
}

/// Shuts down a server by a signal while eight sockets send messages. Checks the close codes, the answers to the
/// messages, and the stored receipts.
async fn ends_well(signal: &str, overrides: &[(&str, &str)]) {
    let mut program = Program::start(overrides).await;
    program.room(&[1, 2]).await;
    let mut clients: Vec<Client> = Vec::new();
    for name in 0..8 {
        let user = if name % 2 == 0 { 1 } else { 2 };
        clients.push(program.join(user, 3 - user).await);
    }
    // The server receives some of the clients' messages before the signal. It receives other messages after the signal,
    // or not at all.
    let speaking = clients.into_iter().enumerate().map(async |(name, mut client)| {
        let mut heard = Vec::new();
        for n in 0..3 {
            client.say_and_hear(&format!("{name}/{n}"), &mut heard).await.unwrap();
        }
        for n in 3..23 {
            client.say(&format!("{name}/{n}")).await;
        }
        (client, heard)
    });
    let spoken = join_all(speaking).await;
    program.signal(signal);
    let sockets = join_all(spoken.into_iter().map(async |(mut client, mut heard)| {
        let (frames, end) = client.hear_out().await;
        heard.extend(frames);
        (heard, end)
    }))
    .await;
    assert_eq!(program.exit_code().await, Some(0));

    let stored = stored(&program).await;
    let texts: Vec<_> = stored.iter().map(|message| message.get_str("text").unwrap()).collect();
    for (name, (heard, end)) in sockets.iter().enumerate() {
        assert_eq!(*end, End::Closed(1012), "socket {name}");
        let prefix = format!("{name}/");
        let mine = (1..).zip(&texts).filter(|(_, text)| text.starts_with(&prefix)).map(|(n, _)| n);
        assert_eq!(
            own(heard, name),
            mine.collect(),
            "socket {name} was told of all it has written, and no more"
        );
        let ids = ids_of(heard, "chat_message");
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole or a double in {ids:?}");
    }
    // The receipts of delivered messages are stored.
    let members = program.collection("members").await;
    for user in [1, 2] {
        let told = sockets.iter().enumerate().filter(|(name, _)| (name % 2 == 0) == (user == 1));
        let of_others = told
            .flat_map(|(_, (heard, _))| heard.iter())
            .filter(|frame| frame["type"] == "chat_message" && frame["message"]["sender_id"] != user);
        let last = of_others.filter_map(|frame| frame["message"]["message_id"].as_i64()).max();
        let member = members.find_one(doc! { "_id.user": user }).await.unwrap().unwrap();
        assert_eq!(member.get_i64("read").ok(), last, "what user {user} was told is read");
    }
}

#[tokio::test]
async fn sigterm_finishes_what_is_being_done_and_says_goodbye() {
    ends_well("TERM", &[]).await;
}

#[tokio::test]
async fn sigint_does_the_same() {
    ends_well("INT", &[]).await;
}

#[tokio::test]
async fn messages_that_wait_for_their_turn_are_written_as_well() {
    ends_well("TERM", &[("LIMITS__BATCH", "1")]).await;
}

#[tokio::test]
async fn draining_server_refuses_sockets_and_finishes_started_work() {
    let mongod = Mongod::start().await;
    let mut program = Program::start_over(&mongod.uri("parlor"), &[]).await;
    program.room(&[1, 2]).await;
    let mut one = program.join(1, 2).await;
    one.say_alone(1, 1, "before").await;
    mongod.hold_up("parlor", "insert", Duration::from_secs(2)).await;
    one.say("under way").await;
    mongod.held_up().await;
    let token = program.token(1).sign();
    assert!(upgraded(program.address(), &token).await);
    program.signal("TERM");
    program.logged("shutting down").await;
    assert!(!upgraded(program.address(), &token).await, "a new socket was let in");
    let (heard, end) = one.hear_out().await;
    assert_eq!(end, End::Closed(1012));
    assert_eq!(ids_of(&heard, "chat_message"), [2]);
    assert_eq!(program.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("TERM", "INT")] {
        let link = Link::to_the_database().await;
        let mut program = Program::start_over(&link.uri, &[("SHUTDOWN__DRAIN_SECONDS", "60")]).await;
        // The first signal starts a shutdown. The shutdown does not end, because no bytes from the database arrive.
        link.set(State::Held);
        program.signal(first);
        program.logged("shutting down").await;
        let told = Instant::now();
        program.signal(second);
        let code = program.exit_code().await;
        assert!(code.is_some_and(|code| code != 0), "{first} and {second}: {code:?}");
        assert!(told.elapsed() < SLACK, "{first} and {second}: {:?}", told.elapsed());
    }
}

/// The value of `shutdown.drain_seconds` in the tests below.
const DRAIN: Duration = Duration::from_secs(3);

/// Checks that the shutdown ends in time while the database can't be reached or does not answer.
async fn ends_in_time(state: State, overrides: &[(&str, &str)]) {
    let link = Link::to_the_database().await;
    let overrides: Vec<_> = overrides.iter().copied().chain([("SHUTDOWN__DRAIN_SECONDS", "3")]).collect();
    let mut program = Program::start_over(&link.uri, &overrides).await;
    program.room(&[1, 2]).await;
    let (mut one, mut two) = (program.join(1, 2).await, program.join(2, 1).await);
    one.say("before").await;
    two.until_kind("chat_message").await;
    link.set(state);
    one.say("under way").await;
    program.signal("TERM");
    let told = Instant::now();
    for client in [&mut one, &mut two] {
        let (_, end) = client.hear_out().await;
        assert_eq!(end, End::Closed(1012), "with the database {state:?}");
    }
    assert_eq!(program.exit_code().await, Some(0), "with the database {state:?}");
    let took = told.elapsed();
    assert!(took < DRAIN + SLACK, "with the database {state:?} it took {took:?}");
}

#[tokio::test]
async fn shutdown_ends_in_time_while_the_database_is_away() {
    let soon =
        [("MONGODB__SELECTION_MS", "300"), ("MONGODB__OPERATION_MS", "600"), ("LIMITS__HANDLER_MS", "1000")];
    for state in [State::Cut, State::Held] {
        ends_in_time(state, &soon).await;
        ends_in_time(state, &[]).await;
    }
}

#[tokio::test]
async fn shutdown_ends_in_time_when_a_client_stopped_reading() {
    let mut program = Program::start(&[("SHUTDOWN__DRAIN_SECONDS", "3")]).await;
    program.room(&[1, 2]).await;
    let deaf = program.dial_as(2, "firts_user=2&second_user=1/").receive_buffer(4096).open().await;
    let mut one = program.join(1, 2).await;
    let text = "x".repeat(4096);
    for _ in 0..60 {
        one.say(&text).await;
        one.until_kind("chat_message").await;
    }
    program.signal("TERM");
    let told = Instant::now();
    assert_eq!(one.hear_out().await.1, End::Closed(1012));
    assert_eq!(program.exit_code().await, Some(0));
    assert!(told.elapsed() < DRAIN + SLACK, "it took {:?}", told.elapsed());
    drop(deaf);
}
