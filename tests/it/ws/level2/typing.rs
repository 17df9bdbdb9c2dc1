//! The action `typing`: the server sends an event to the other members who can receive it. The rate of these events is
//! limited, and the server does not store them.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use serde_json::{Value, json};
use tokio::time::interval;

use super::{Live, Told, missed, room};
use crate::support::{PATIENCE, Server, chat, shared_uri};

/// The server sends at most one `typing` event for each user and room in this time.
const PACE: Duration = Duration::from_secs(3);

/// The test measures the time between two arrivals. This time is shorter than [`PACE`] if the first event arrives late.
/// The test allows a difference up to this value.
const SLACK: Duration = Duration::from_millis(500);

fn typing() -> Value {
    json!({"action": "typing"})
}

fn typed_by(user: i64) -> Value {
    json!({"type": "typing", "sender_id": user})
}

#[tokio::test]
async fn typing_reaches_level_2_sockets_of_others_on_all_servers() {
    let server = Server::start(&[]).await;
    let there = server.beside().await;
    let room = server.room(&[1, 2, 3]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut own = [Live::fresh(&server, 1, room).await, Live::fresh(&there, 1, room).await];
    let mut others = [
        Live::fresh(&server, 2, room).await,
        Live::fresh(&there, 2, room).await,
        Live::by_hand(&there, 3, room).await,
    ];
    let mut level1 = [server.enter(2, room).await, there.enter(3, room).await];
    one.send(typing()).await;
    for other in &mut others {
        other.expect(typed_by(1)).await;
    }
    // User 1's own sockets and the Level 1 sockets got no `typing`: the first event that they receive is the message.
    one.say("done").await;
    one.hear(chat(1, 1, "done")).await;
    for live in own.iter_mut().chain(&mut others) {
        live.hear(chat(1, 1, "done")).await;
    }
    for client in &mut level1 {
        client.expect(chat(1, 1, "done")).await;
    }
}

#[tokio::test]
async fn typing_stays_in_its_room_and_is_paced_by_room() {
    let server = Server::start(&[]).await;
    let (room, other) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    let (mut one, mut two) = (Live::fresh(&server, 1, room).await, Live::fresh(&server, 2, room).await);
    let (mut beside, mut three) =
        (Live::fresh(&server, 1, other).await, Live::fresh(&server, 3, other).await);
    one.send(typing()).await;
    two.expect(typed_by(1)).await;
    three.quiet().await;
    beside.send(typing()).await;
    three.expect(typed_by(1)).await;
    // One user's typing does not delay the typing of another user.
    two.send(typing()).await;
    one.expect(typed_by(2)).await;
    two.quiet().await;
}

#[tokio::test]
async fn at_most_one_in_3_s_is_passed_on() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut two = Live::fresh(&server, 2, room).await;
    // The client sends `typing` every 250 ms, as a client does while its user types.
    let mut keys = interval(Duration::from_millis(250));
    let typing_on = async {
        loop {
            keys.tick().await;
            one.send(typing()).await;
        }
    };
    let listening = async {
        two.expect(typed_by(1)).await;
        let first = Instant::now();
        two.expect(typed_by(1)).await;
        first.elapsed()
    };
    let apart = tokio::select! {
        () = typing_on => unreachable!(),
        apart = listening => apart,
    };
    assert!(apart + SLACK >= PACE, "passed on again after {apart:?}");
    assert!(apart < PATIENCE);
    two.say("I see").await;
    two.hear(chat(1, 2, "I see")).await;
}

#[tokio::test]
async fn typing_on_several_sockets_counts_as_one_user() {
    let (server, room) = room(&[]).await;
    let mut own = [Live::fresh(&server, 1, room).await, Live::fresh(&server, 1, room).await];
    let mut two = Live::fresh(&server, 2, room).await;
    for at in [0, 1, 0] {
        own[at].send(typing()).await;
        // The answer of `quiet` shows that the server has handled the `typing`. A `typing` that comes too soon gets no
        // error.
        own[at].quiet().await;
    }
    two.expect(typed_by(1)).await;
    own[0].say("done").await;
    two.hear(chat(1, 1, "done")).await;
}

#[tokio::test]
async fn typing_is_not_stored() {
    let (server, room) = room(&[]).await;
    let mut one = Live::fresh(&server, 1, room).await;
    let mut two = Live::fresh(&server, 2, room).await;
    let cursor = one.cursor.clone();
    one.send(typing()).await;
    two.expect(typed_by(1)).await;
    // A socket that connects later gets no `typing`, even if it resumes from a cursor.
    let mut late = Live::fresh(&server, 2, room).await;
    assert_eq!(missed(&server, room, &cursor).await, Told::default());
    one.say("done").await;
    late.hear(chat(1, 1, "done")).await;
}

#[tokio::test]
async fn a_user_whose_id_is_a_string_is_told_as_one() {
    let server = Server::start(&[]).await;
    let members = ["auth0|7", "auth0|8"].map(|user| json!({"user_id": user}));
    let room = server.room_of(members.to_vec()).await;
    let query = format!("room_id={room}&since=");
    let mut one = Live::at(&server, "auth0|7", &query).await.0;
    let mut two = Live::at(&server, "auth0|8", &query).await.0;
    one.send(typing()).await;
    two.expect(json!({"type": "typing", "sender_id": "auth0|7"})).await;
}

#[tokio::test]
async fn typing_is_not_written_when_no_socket_would_get_it() {
    let (server, room) = room(&[]).await;
    let signals = server.collection("signals").await;
    let written = async || signals.count_documents(doc! {}).await.unwrap();
    let mut one = Live::fresh(&server, 1, room).await;
    one.send(typing()).await;
    one.quiet().await;
    assert_eq!(written().await, 0, "nobody else is there");
    let mut level1 = server.enter(2, room).await;
    let with_two = server.room(&[2, 4]).await;
    let mut four = Live::fresh(&server, 4, with_two).await;
    four.send(typing()).await;
    four.quiet().await;
    assert_eq!(written().await, 0, "a Level 1 socket hears nothing of it");
    let mut two = Live::fresh(&server, 2, room).await;
    two.send(typing()).await;
    one.expect(typed_by(2)).await;
    assert_eq!(written().await, 1);
    level1.quiet().await;
}

/// If no other server runs on the database, the server knows all sockets. So this server does not read the members or
/// their presence from the database.
#[tokio::test]
async fn typing_reads_nothing_when_no_socket_can_get_it() {
    let server = Server::start(&[]).await;
    let client = mongodb::Client::with_uri_str(shared_uri()).await.unwrap();
    let database = client.database(&server.database().name);
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    let read = async || {
        let of = ["members", "presence"].map(|name| format!("{}.{name}", database.name()));
        let reads = doc! { "op": "query", "ns": { "$in": of.to_vec() } };
        let noted = database.collection::<mongodb::bson::Document>("system.profile");
        noted.count_documents(reads).await.unwrap()
    };
    let began = Instant::now();
    for other in 2.. {
        let room = server.room(&[1, other]).await;
        let mut one = Live::fresh(&server, 1, room).await;
        let before = read().await;
        one.send(typing()).await;
        one.quiet().await;
        if read().await == before {
            break;
        }
        // A server that has just started does not know yet that no other server runs. Until then, it reads the
        // database. So the test repeats the check with another room.
        assert!(began.elapsed() < PATIENCE, "it is read who might hear");
    }
    assert_eq!(server.collection("signals").await.count_documents(doc! {}).await.unwrap(), 0);
    database.run_command(doc! { "profile": 0 }).await.unwrap();
}
