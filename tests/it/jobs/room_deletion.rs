//! Deleted rooms: every user loses access immediately. Later, any running server removes the rooms' data from the
//! database.

use mongodb::bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::rooms::expect_message;
use crate::support::{Program, Server, eventually_count, shared_uri};

/// Short limits, so that pending writes into a deleted room end within about a second.
const QUICK: [(&str, &str); 3] =
    [("LIMITS__HANDLER_MS", "500"), ("MONGODB__OPERATION_MS", "1000"), ("ROOMS__SWEEP_SECONDS", "1")];

async fn delete(server: &Server, room: i64) {
    assert_eq!(server.call(Method::DELETE, &format!("/rooms/{room}"), Value::Null).await.0, 204);
}

fn of_room(room: i64) -> Document {
    doc! { "_id": {
        "$gte": { "room": room, "n": mongodb::bson::Bson::MinKey },
        "$lte": { "room": room, "n": mongodb::bson::Bson::MaxKey },
    } }
}

/// Waits until no document of the collection matches the filter.
async fn none_left(server: &Server, collection: &str, filter: Document) {
    let collection = server.collection(collection).await;
    eventually_count(&collection, filter.clone(), |count| count == 0).await;
}

/// Inserts messages of a room directly into the database, as if another server had written them.
async fn fill(server: &Server, room: i64, count: i64) {
    let at = DateTime::now();
    let message = |n| {
        doc! { "_id": { "room": room, "n": n }, "sender": 1_i64, "text": "x", "created_at": at, "updated_at": at }
    };
    let messages = server.collection("messages").await;
    messages.insert_many((1..=count).map(message)).await.unwrap();
}

#[tokio::test]
async fn a_deleted_room_is_gone_at_once_on_every_server() {
    let server = Server::start(&QUICK).await;
    let beside = server.beside().await;
    let (room, other) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    let mut sockets = [server.join(1, 2).await, beside.join(2, 1).await, beside.enter(1, room).await];
    let mut elsewhere = server.join(1, 3).await;
    sockets[0].say("soon forgotten").await;
    for socket in &mut sockets {
        expect_message(socket, 1, 1, "soon forgotten").await;
    }
    delete(&server, room).await;
    for server in [&server, &beside] {
        for query in ["firts_user=1&second_user=2", &format!("room_id={room}")] {
            assert_eq!(server.dial_as(1, query).refused().await, 4004, "{query}");
        }
    }
    for socket in &mut sockets {
        assert_eq!(socket.closed_in_the_end().await, 4004);
    }
    let path = format!("/rooms/{room}");
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::PUT, format!("{path}/members/1")),
        (Method::DELETE, format!("{path}/members/1")),
    ] {
        let refused = server.refused(method.clone(), &path, json!({"name": "x"})).await;
        assert_eq!(refused, (404, "not_found".to_owned()), "{method} {path}");
    }
    let (_, list) = server.call(Method::GET, "/rooms?user_id=1", Value::Null).await;
    assert_eq!(list["rooms"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["rooms"][0]["room_id"], other);
    elsewhere.say_alone(1, 1, "still here").await;

    // The room's data disappears from the database. A new room of the two users gets another id.
    none_left(&server, "messages", of_room(room)).await;
    none_left(&server, "rooms", doc! { "_id": room }).await;
    let again = server.room(&[1, 2]).await;
    assert_ne!(again, room);
    assert!(server.connect(1, 2).await.history().await.is_empty());
}

#[tokio::test]
async fn the_pairs_next_room_needs_not_wait_for_the_last_ones_end() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    delete(&server, room).await;
    assert_ne!(server.room(&[1, 2]).await, room);
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "anew").await;
}

#[tokio::test]
async fn late_writes_are_removed_with_a_room_being_deleted() {
    let server = Server::start(&QUICK).await;
    let room = server.room(&[1, 2]).await;
    delete(&server, room).await;
    none_left(&server, "members", doc! { "_id.room": room }).await;
    // The test writes messages after the deletion, as a pending action on another server could do.
    fill(&server, room, 3).await;
    none_left(&server, "rooms", doc! { "_id": room }).await;
    none_left(&server, "messages", of_room(room)).await;
}

#[tokio::test]
async fn deletion_is_finished_by_another_server_when_one_died() {
    let server = Server::start(&[("LIMITS__BATCH", "50"), QUICK[0], QUICK[1], QUICK[2]]).await;
    let (room, kept) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    fill(&server, room, 1234).await;
    fill(&server, kept, 20).await;
    // Marks the room as deleted. A server that dies after the first step of a deletion leaves the room in this state.
    let rooms = server.collection("rooms").await;
    let before = DateTime::from_millis(DateTime::now().timestamp_millis() - 5000);
    let left = doc! { "$set": { "deleted_at": before, "sweep_after": before }, "$unset": { "pair": "" } };
    rooms.update_one(doc! { "_id": room }, left).await.unwrap();
    none_left(&server, "rooms", doc! { "_id": room }).await;
    none_left(&server, "messages", of_room(room)).await;
    none_left(&server, "members", doc! { "_id.room": room }).await;
    let messages = server.collection("messages").await;
    assert_eq!(messages.count_documents(of_room(kept)).await.unwrap(), 20, "another room's stay");
}

#[tokio::test]
async fn a_server_that_is_killed_at_it_is_followed_by_another() {
    // With `limits.batch` at 1, the server deletes one message at a time. So the test can kill the server in the middle
    // of the deletion.
    let slow = [("LIMITS__BATCH", "1"), QUICK[0], QUICK[1], QUICK[2]];
    let mut program = Program::start(&slow).await;
    let room = program.room(&[1, 2]).await;
    fill(&program, room, 3000).await;
    delete(&program, room).await;
    let messages = program.collection("messages").await;
    eventually_count(&messages, of_room(room), |count| count != 3000).await;
    program.signal("KILL");
    program.exit_code().await;
    let left = messages.count_documents(of_room(room)).await.unwrap();
    assert!(left > 0, "it was killed in the middle");

    let beside = program.beside_over(shared_uri(), &QUICK).await;
    none_left(&beside, "messages", of_room(room)).await;
    none_left(&beside, "rooms", doc! { "_id": room }).await;
}

#[tokio::test]
async fn a_room_deleted_while_its_sockets_speak_leaves_nothing() {
    let server = Server::start(&QUICK).await;
    let beside = server.beside().await;
    let room = server.room(&[1, 2]).await;
    let (mut one, mut two) = (server.join(1, 2).await, beside.join(2, 1).await);
    one.say("begin").await;
    expect_message(&mut two, 1, 1, "begin").await;
    let speak = async |client: &mut crate::support::Client| loop {
        let mut heard = Vec::new();
        if let Err(end) = client.say_and_hear("more", &mut heard).await {
            return end;
        }
    };
    let ends = async { tokio::join!(speak(&mut one), speak(&mut two)) };
    let ((first, second), ()) = tokio::join!(ends, delete(&server, room));
    let gone = crate::support::End::Closed(4004);
    assert_eq!((&first, &second), (&gone, &gone));
    none_left(&server, "rooms", doc! { "_id": room }).await;
    none_left(&server, "messages", of_room(room)).await;
}
