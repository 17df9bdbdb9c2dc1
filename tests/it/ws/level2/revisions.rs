//! Edits and deletes have numbers (revisions) in the order of their events, regardless of the server that makes them.

use mongodb::bson::doc;
use mongodb::bson::oid::ObjectId;
use serde_json::json;

use super::{Live, Told, edit, missed};
use crate::support::{Program, Server, chat, edited, eventually, shared_uri};

/// Each edit has a revision, and a message stores only the revision of its last edit. So a second edit leaves the
/// revision of the first edit unused. Another server, which wrote before both edits, must not use this revision for a
/// later change. Otherwise a client with a cursor at the second edit would never receive this later change.
#[tokio::test]
async fn a_number_that_is_free_again_is_nobodys() {
    let here = Server::start(&[]).await;
    let there = here.beside().await;
    let room = here.room(&[1, 2]).await;
    let (mut one, mut two) = (Live::fresh(&here, 1, room).await, Live::fresh(&there, 1, room).await);
    let mut n = 0;
    for id in 1..=2 {
        one.say_alone(id, 1, "said").await;
    }
    two.hear_until(chat(2, 1, "said")).await;
    let mut one_edits = async |live: &mut Live, other: &mut Live, id: i64| {
        n += 1;
        let text = format!("version {n}");
        live.send(edit(id, &text)).await;
        live.hear(edited(id, &text)).await;
        other.hear(edited(id, &text)).await;
        text
    };
    one_edits(&mut one, &mut two, 1).await;
    one_edits(&mut two, &mut one, 2).await;
    one_edits(&mut one, &mut two, 1).await;
    one_edits(&mut one, &mut two, 1).await;
    let since = one.cursor.clone();
    let text = one_edits(&mut two, &mut one, 2).await;
    let told = Told { edited: vec![(2, text)], ..Told::default() };
    assert_eq!(missed(&here, room, &since).await, told, "since {since}");
}

/// Writes an edit into the room's journal (the list of unfinished revisions), but not into the message. A server that
/// dies during an edit leaves the room in this state.
async fn note(server: &Server, room: i64, message: i64, text: &str) {
    let noted = doc! { "id": ObjectId::new(), "messages": [message], "unset": [], "set": {
        "text": text,
        "edit": { "text": text, "id": ObjectId::new(), "at": mongodb::bson::DateTime::now() },
    } };
    let update = doc! { "$inc": { "revisions": 1_i64 }, "$push": { "journal": noted } };
    let rooms = server.collection("rooms").await;
    assert_eq!(rooms.update_one(doc! { "_id": room }, update).await.unwrap().modified_count, 1);
}

/// Returns the number of rooms whose journal has an unfinished revision.
async fn unfinished(server: &Server) -> u64 {
    server.collection("rooms").await.count_documents(doc! { "journal.0": { "$exists": true } }).await.unwrap()
}

#[tokio::test]
async fn half_done_revision_is_completed_by_another_server() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut live = Live::fresh(&server, 1, room).await;
    live.say_alone(1, 1, "said").await;
    note(&server, room, 1, "edited and gone").await;
    live.hear(edited(1, "edited and gone")).await;
    let since = live.cursor.clone();
    live.send(edit(1, "edited here")).await;
    live.hear(edited(1, "edited here")).await;
    let told = Told { edited: vec![(1, "edited here".to_owned())], ..Told::default() };
    assert_eq!(missed(&server, room, &since).await, told);
}

/// A revision that a dead server left half done is applied before the next revision. Otherwise a client with a cursor
/// at the later revision would never receive the earlier one.
#[tokio::test]
async fn half_done_revision_is_completed_once_before_the_next() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let mut live = Live::fresh(&server, 1, room).await;
    for id in 1..=3 {
        live.say_alone(id, 1, "said").await;
    }
    note(&server, room, 2, "left first").await;
    note(&server, room, 3, "left second").await;
    note(&server, room, 2, "left last").await;
    live.send(edit(1, "edited here")).await;
    for (id, text) in [(2, "left first"), (3, "left second"), (2, "left last"), (1, "edited here")] {
        live.hear(edited(id, text)).await;
    }
    eventually("finished revisions are removed", async || unfinished(&server).await, |count| *count == 0)
        .await;
    live.say_alone(4, 1, "nothing was told twice").await;
}

/// A server that is killed during an edit delays no other server. If an edit were a transaction, the database would
/// keep the dead server's locks for up to a minute.
#[tokio::test]
async fn a_server_that_is_killed_in_an_edit_holds_nobody_up() {
    let stays = Program::start_over(shared_uri(), &[]).await;
    let room = stays.room(&[1, 2]).await;
    let path = format!("/ws/chat/?room_id={room}");
    let mut here = stays.dial(&path).token(&stays.token(1).sign()).open().await;
    here.next().await;
    here.say("said").await;
    here.until_kind("chat_message").await;
    for round in 0..10 {
        let mut dies = stays.again().await;
        let mut there = dies.dial(&path).token(&dies.token(1).sign()).open().await;
        there.next().await;
        for n in 0..20 {
            there.send(edit(1, &format!("{round}, {n}"))).await;
        }
        there.until_kind("message_edited").await;
        dies.signal("KILL");
        assert_eq!(dies.exit_code().await, None);
        let text = format!("{round}, and on");
        here.send(edit(1, &text)).await;
        loop {
            let frame = here.next().await;
            assert_ne!(frame["type"], "error", "{frame}");
            if frame["text"] == json!(text) {
                break;
            }
        }
    }
}
