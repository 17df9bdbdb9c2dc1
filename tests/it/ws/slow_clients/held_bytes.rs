//! The memory that a server uses for clients that read slowly or not at all. The bytes of frames that wait are limited
//! for each socket, each user and the server.

use std::time::Duration;

use futures_util::future::join_all;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Timestamp, doc};
use serde_json::{Value, json};

use crate::support::{Client, Metered, PATIENCE, Program, Server, encoded};

/// A character that takes six bytes in JSON.
const CONTROL: &str = "\u{1}";

/// The number of sockets that a user may have.
const SOCKETS: usize = 20;

/// The memory that one user may cause a server to hold, in KiB: 32 MB.
const HELD_KIB: u64 = 31_250;

/// Inserts messages of user 2 into an empty room, in the form in which `store::documents` writes them.
async fn fill(server: &Server, room: i64, messages: i64, text: &str) {
    let at = DateTime::now();
    let stamp = Timestamp { time: u32::try_from(at.timestamp_millis() / 1000).unwrap(), increment: 1 };
    let message = |n: i64| {
        doc! {
            "_id": { "room": room, "n": n }, "sender": 2_i64, "text": text, "created_at": at, "updated_at": at,
            "write_id": ObjectId::new(), "stamp": stamp,
        }
    };
    let made = server.collection("messages").await.insert_many((1..=messages).map(message)).await;
    assert_eq!(i64::try_from(made.unwrap().inserted_ids.len()).unwrap(), messages);
}

fn ids(messages: &Value) -> Vec<i64> {
    messages.as_array().unwrap().iter().map(|message| message["message_id"].as_i64().unwrap()).collect()
}

/// Opens [`SOCKETS`] sockets of user 1, which use the four `targets` alternately. No client reads from its socket.
async fn open_all(program: &Program, room: i64, inbox: &str) -> Vec<Client> {
    let level_2 = format!("/ws/chat/?room_id={room}&since=r1.{room}.0.0");
    let targets = [
        level_2,
        format!("/ws/?since={}", encoded(inbox)),
        format!("/ws/chat/?room_id={room}"),
        "/ws/?since=".to_owned(),
    ];
    let token = program.token(1).sign();
    let dial =
        |at: usize| program.dial(&targets[at % targets.len()]).token(&token).receive_buffer(4096).open();
    join_all((0..SOCKETS).map(dial)).await
}

/// Asserts that the server's resident memory is less than [`HELD_KIB`] above `before`.
fn assert_bounded(program: &Program, before: u64, when: &str) {
    let now = program.resident_kib();
    eprintln!("{when}: {now} KiB, {} more than before", now.saturating_sub(before));
    assert!(now < before + HELD_KIB, "{when}: {before} KiB have become {now} KiB");
}

#[tokio::test]
async fn a_user_of_slow_sockets_holds_less_than_32_mb() {
    let metered = Metered::new();
    let overrides = [
        metered.setting(),
        ("LIMITS__SOCKETS_PER_USER", "20"),
        ("LIMITS__CONNECTS_PER_MINUTE", "10000"),
        ("LIMITS__DOCUMENTS_PER_MINUTE", "1000000"),
        ("LIMITS__WRITE_MS", "60000"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
    ];
    let program = Program::start(&overrides).await;
    let room = program.room(&[1, 2]).await;
    let token = program.token(1).sign();
    let mut first = program.dial("/ws/?since=").token(&token).open().await;
    let inbox = first.next().await["cursor"].as_str().unwrap().to_owned();
    first.leave().await;
    let text = CONTROL.repeat(4096);
    fill(&program, room, 1_000, &text).await;
    // The server keeps the memory of these first frames, so they are sent before the measurement begins.
    let mut two = program.enter(2, room).await;
    for at in 0..4 {
        let target = [
            format!("/ws/chat/?room_id={room}&since=r1.{room}.0.0"),
            format!("/ws/?since={}", encoded(&inbox)),
            format!("/ws/chat/?room_id={room}"),
            "/ws/?since=".to_owned(),
        ];
        let mut client = program.dial(&target[at]).token(&token).open().await;
        let first = client.next().await;
        assert!(first.to_string().len() < 1_300_000, "{at}: {} bytes", first.to_string().len());
        client.leave().await;
    }
    metered.until("parlor_sockets", 1).await;
    let before = program.resident_kib();

    let slow = open_all(&program, room, &inbox).await;
    metered.until("parlor_sockets", 1 + SOCKETS as u64).await;
    assert_bounded(&program, before, "twenty first frames");
    // Now events of 25 KB each wait behind the first frame of each slow socket.
    for n in 0..300 {
        two.say(&text).await;
        two.until_kind("chat_message").await;
        if n % 20 == 0 {
            assert_bounded(&program, before, &format!("{n} messages"));
        }
    }
    assert_bounded(&program, before, "all messages");
    let closed = metered.hits("user_bytes").await + metered.hits("send_queue_bytes").await;
    assert!(closed > 0, "what waits was too little to show anything");
    drop(slow);
    metered.until("parlor_sockets", 1).await;
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_too() {
    let metered = Metered::new();
    let overrides = [
        metered.setting(),
        ("LIMITS__SOCKETS_PER_USER", "20"),
        ("LIMITS__CONNECTS_PER_MINUTE", "10000"),
        ("LIMITS__WRITE_MS", "60000"),
        // This limit has room for one page on each socket. With the default limit, the last page would close its
        // socket.
        ("LIMITS__USER_BYTES", "25165824"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
    ];
    let program = Program::start(&overrides).await;
    let room = program.room(&[1, 2]).await;
    let text = CONTROL.repeat(4096);
    // User 2 has sent all messages. So user 2's sockets deliver nothing, and no receipts wait in addition to the pages.
    let token = program.token(2).sign();
    fill(&program, room, 400, &text).await;
    // The first frames are small: a room and its last message.
    let dial = |_| program.dial("/ws/?since=").token(&token).receive_buffer(4096).open();
    let mut slow = join_all((0..SOCKETS).map(dial)).await;
    for client in &mut slow {
        client.next().await;
    }
    let before = program.resident_kib();
    for client in &mut slow {
        for _ in 0..5 {
            client.send(json!({"action": "history", "room_id": room, "limit": 100})).await;
        }
    }
    // On each socket one answer waits, because the client doesn't read. Until that answer is written, the server reads
    // no further frame of the socket.
    metered.until_at_least("parlor_frames_total{action=\"history\",outcome=\"ok\"}", SOCKETS as u64).await;
    assert_bounded(&program, before, "pages");
    drop(slow);
    metered.until("parlor_sockets", 0).await;
}

#[tokio::test]
async fn a_resume_and_pages_are_cut_by_bytes() {
    let server = Server::start(&[("LIMITS__PAGE_BYTES", "65536")]).await;
    let room = server.room(&[1, 2]).await;
    fill(&server, room, 20, &CONTROL.repeat(4096)).await;
    let mut one = server.dial_as(1, &format!("room_id={room}&since=r1.{room}.0.0")).open().await;
    let first = one.next().await;
    assert_eq!((&first["resumed"], &first["has_more"]), (&json!(true), &json!(true)));
    let mut got = ids(&first["messages"]);
    assert!((1..=2).contains(&got.len()), "{got:?}");
    while let Some(last) = got.last().filter(|last| **last < 20) {
        one.send(json!({"action": "history", "after": last, "limit": 200})).await;
        let page = one.until_kind("history").await;
        let more = ids(&page["messages"]);
        assert!((1..=2).contains(&more.len()), "{more:?}");
        got.extend(more);
        assert_eq!(page["has_more"], json!(*got.last().unwrap() < 20));
    }
    assert_eq!(got, (1..=20).collect::<Vec<_>>());

    // A first frame that does not resume has the newest messages that fit.
    let mut one = server.dial_as(1, &format!("room_id={room}&since=")).open().await;
    let first = one.next().await;
    assert_eq!((&first["resumed"], &first["has_more"]), (&json!(false), &json!(true)));
    assert_eq!(ids(&first["messages"]).last(), Some(&20));
    assert!(ids(&first["messages"]).len() <= 2);
    // A Level 1 socket gets its whole array.
    assert_eq!(server.connect(1, 2).await.history().await.len(), 20);
}

#[tokio::test]
async fn a_first_frame_of_rooms_is_cut_by_bytes() {
    let server = Server::start(&[("LIMITS__PAGE_BYTES", "65536")]).await;
    let token = server.token(1).sign();
    let mut empty = server.dial("/ws/?since=").token(&token).open().await;
    let cursor = empty.next().await["cursor"].as_str().unwrap().to_owned();
    let mut rooms = Vec::new();
    for peer in 2..=8 {
        let room = server.room(&[1, peer]).await;
        let mut other = server.enter(peer, room).await;
        other.say(&CONTROL.repeat(4096)).await;
        other.until_kind("chat_message").await;
        rooms.push(room);
    }
    let of = |rooms: &Value| -> Vec<i64> {
        rooms.as_array().unwrap().iter().map(|room| room["room_id"].as_i64().unwrap()).collect()
    };
    let mut one = server.dial("/ws/?since=").token(&token).open().await;
    let ready = one.next().await;
    let (mut got, mut next) = (of(&ready["rooms"]), ready["next"].clone());
    assert!((1..=2).contains(&got.len()), "{got:?}");
    assert_eq!(ready["has_more"], true);
    while let Some(from) = next.as_str() {
        one.send(json!({"action": "rooms", "next": from})).await;
        let page = one.until_kind("rooms").await;
        got.extend(of(&page["rooms"]));
        next = page["next"].clone();
    }
    rooms.reverse();
    assert_eq!(got, rooms, "each once");

    // The client missed more than a resume may contain.
    let mut one = server.dial(&format!("/ws/?since={}", encoded(&cursor))).token(&token).open().await;
    let ready = one.next().await;
    assert_eq!((&ready["resumed"], &ready["has_more"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn an_inbox_resume_of_one_large_room_is_cut() {
    let server = Server::start(&[("LIMITS__PAGE_BYTES", "131072")]).await;
    let room = server.room(&[1, 2]).await;
    let token = server.token(1).sign();
    let mut one = server.dial("/ws/?since=").token(&token).open().await;
    let cursor = one.next().await["cursor"].as_str().unwrap().to_owned();
    let mut two = server.enter(2, room).await;
    for _ in 0..8 {
        two.say(&CONTROL.repeat(4096)).await;
        two.until_kind("chat_message").await;
    }
    let mut again = server.dial(&format!("/ws/?since={}", encoded(&cursor))).token(&token).open().await;
    let ready = again.next().await;
    assert_eq!(ready["resumed"], true, "{ready}");
    let missed = &ready["rooms"][0];
    assert_eq!((ids(&missed["messages"]), &missed["has_more"]), (vec![1, 2, 3], &json!(true)));
    again.send(json!({"action": "history", "room_id": room, "after": 3})).await;
    let page = again.until_kind("history").await;
    assert_eq!(ids(&page["messages"])[0], 4);
}

#[tokio::test]
async fn the_fullest_socket_ends_when_a_server_holds_too_much() {
    let metered = Metered::new();
    let overrides = [
        metered.setting(),
        ("LIMITS__SERVER_BYTES", "262144"),
        ("LIMITS__WRITE_MS", "60000"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
    ];
    let server = Server::start(&overrides).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let deaf = server.dial_as(2, "firts_user=2&second_user=1/").receive_buffer(4096).open().await;
    let text = "x".repeat(4096);
    let told = async {
        while metered.hits("server_bytes").await == 0 {
            one.say(&text).await;
            one.until_kind("chat_message").await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the bound is hit in time");
    metered.until("parlor_sockets", 1).await;
    one.say("still here").await;
    one.until_kind("chat_message").await;
    assert_eq!(metered.hits("server_bytes").await, 1);
    drop(deaf);
}

/// The limit `min_bytes_per_second` applies to the total time for which bytes wait for a socket. It does not start
/// again with each part of a write.
#[tokio::test]
async fn a_client_below_the_floor_is_let_go() {
    let metered = Metered::new();
    let overrides = [
        metered.setting(),
        ("LIMITS__WRITE_MS", "1500"),
        ("SOCKETS__MIN_BYTES_PER_SECOND", "1000000"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
    ];
    let server = Server::start(&overrides).await;
    let room = server.room(&[1, 2]).await;
    fill(&server, room, 50, &"x".repeat(4_000)).await;
    // `shake_hands` connects user 2, so the token must be of user 2.
    let token = server.token(2).sign();
    let mut slow = super::SilentClient::shake_hands(server.address(), &token).await;
    // The client reads each part of 16 KB well within the write limit, but reads all parts together too slowly.
    let ended = tokio::time::timeout(PATIENCE, slow.trickle(4096, Duration::from_millis(50))).await;
    let total = ended.expect("it is let go in time");
    assert!(total < 200_000, "all {total} bytes were sent");
    metered.until("parlor_limits_hit_total{bound=\"min_bytes_per_second\"}", 1).await;
}
