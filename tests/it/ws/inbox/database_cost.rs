//! The number of documents that the database examines for an inbox connection. A resume does not read unchanged rooms
//! again. Only the first count of unread messages examines the messages that other users deleted.

use std::collections::BTreeSet;

use mongodb::bson::{DateTime, Document, doc};
use reqwest::Method;
use serde_json::{Value, json};

use super::resume::resume;
use super::{inbox, next};
use crate::support::{Server, shared_uri};

/// A database whose profiler can record all commands.
struct Profiled(mongodb::Database);

impl Profiled {
    async fn of(server: &Server) -> Self {
        let client = mongodb::Client::with_uri_str(shared_uri()).await.unwrap();
        Self(client.database(&server.database().name))
    }

    /// Runs `work` with the profiler on. Returns its result, and the number of documents that the database examined.
    async fn examined<T>(&self, work: impl Future<Output = T>) -> (T, i64) {
        self.0.run_command(doc! { "profile": 2 }).await.unwrap();
        let done = work.await;
        self.0.run_command(doc! { "profile": 0 }).await.unwrap();
        let profile = self.0.collection::<Document>("system.profile");
        let sum = doc! { "$group": { "_id": null, "docs": { "$sum": "$docsExamined" } } };
        let mut sums = profile.aggregate([sum]).await.unwrap();
        assert!(sums.advance().await.unwrap(), "nothing was noted");
        let docs = sums.deserialize_current().unwrap().get("docs").cloned().unwrap();
        profile.drop().await.unwrap();
        (done, docs.as_i64().or(docs.as_i32().map(i64::from)).unwrap())
    }
}

/// Returns the cursor of a first frame, with its time moved 10 s ahead. The server then treats even the most recent
/// changes before the first frame as received by the client.
fn settled(ready: &Value) -> String {
    let cursor = ready["cursor"].as_str().unwrap();
    let mut parts = cursor.split('.');
    let (kind, seconds, increment) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    format!("{kind}.{}.{increment}", seconds.parse::<u32>().unwrap() + 10)
}

fn online(ready: &Value) -> BTreeSet<i64> {
    assert_eq!(ready["resumed"], true, "{ready}");
    ready["online"].as_array().unwrap().iter().map(|user| user.as_i64().unwrap()).collect()
}

#[tokio::test]
async fn resume_with_nothing_missed_reads_no_members_again() {
    const ROOMS: i64 = 20;
    const MEMBERS: i64 = 100;
    let server = Server::start(&[]).await;
    for room in 0..ROOMS {
        let others = (0..MEMBERS - 1).map(|n| 10_000 + room * 50 + n);
        let members: Vec<_> = std::iter::once(1).chain(others).map(|user| json!({"user_id": user})).collect();
        let body = json!({"kind": "group", "members": members});
        assert_eq!(server.call(Method::POST, "/rooms", body).await.0, 201);
    }
    let (client, ready) = inbox(&server, 1).await;
    client.leave().await;
    let cursor = settled(&ready);
    let profiled = Profiled::of(&server).await;
    let ((first, _), _) = profiled.examined(resume(&server, 1, &cursor)).await;
    first.leave().await;
    let ((_, ready), docs) = profiled.examined(resume(&server, 1, &cursor)).await;
    assert_eq!(ready["rooms"], json!([]), "nothing was missed");
    assert!(docs < ROOMS * MEMBERS / 4, "{docs} documents were looked at");
}

#[tokio::test]
async fn resume_tells_who_is_online_as_of_every_change() {
    let server = Server::start(&[("PRESENCE__GRACE_MS", "0")]).await;
    let group = server.room(&[1, 2, 3]).await;
    let other = server.beside().await;
    let (mut watcher, ready) = inbox(&server, 1).await;
    let cursor = settled(&ready);
    let resumed = async || {
        let (client, ready) = resume(&server, 1, &cursor).await;
        client.leave().await;
        online(&ready)
    };
    for round in 0..3 {
        assert!(!resumed().await.contains(&2), "round {round}");
        let two = other.enter(2, group).await;
        while watcher.until_kind("presence").await["user_id"] != 2 {}
        assert!(resumed().await.contains(&2), "round {round}: came online on another server");
        let path = format!("/rooms/{group}/members/2");
        assert_eq!(server.call(Method::DELETE, &path, json!({})).await.0, 204);
        assert!(!resumed().await.contains(&2), "round {round}: is no contact any more");
        assert_eq!(server.call(Method::PUT, &path, json!({})).await.0, 201);
        let two_again = other.enter(2, group).await;
        assert!(resumed().await.contains(&2), "round {round}: is a contact again");
        drop(two);
        two_again.leave().await;
        while watcher.until_kind("presence").await["online"] != false {}
    }
}

/// Makes a room of the users 1, 2 and 3 with this number of messages of user 2. Messages with even ids are deleted.
async fn half_deleted(server: &Server, messages: i64) -> i64 {
    let room = server.room(&[1, 2, 3]).await;
    let now = DateTime::now();
    let message = |n: i64| {
        let mut message = doc! {
            "_id": { "room": room, "n": n }, "sender": 2_i64, "created_at": now, "updated_at": now,
        };
        if n % 2 == 0 {
            message.extend(doc! { "deleted_at": now, "rev": n / 2 });
        } else {
            message.insert("text", "still there");
        }
        message
    };
    let all: Vec<_> = (1..=messages).map(message).collect();
    server.collection("messages").await.insert_many(all).await.unwrap();
    let revisions = doc! { "$set": { "revisions": messages / 2, "journal": [] } };
    server.collection("rooms").await.update_one(doc! { "_id": room }, revisions).await.unwrap();
    room
}

fn unread_in(ready: &Value) -> i64 {
    ready["rooms"][0]["unread"].as_i64().unwrap()
}

#[tokio::test]
async fn deleted_messages_of_others_are_counted_once() {
    let server = Server::start(&[]).await;
    half_deleted(&server, 4_000).await;
    let profiled = Profiled::of(&server).await;
    let (client, ready) = inbox(&server, 1).await;
    client.leave().await;
    assert_eq!(unread_in(&ready), 2_000);
    for user in [1, 3] {
        let ((_, ready), docs) = profiled.examined(inbox(&server, user)).await;
        assert_eq!(unread_in(&ready), 2_000, "user {user}");
        assert!(docs < 1_000, "{docs} documents were looked at for user {user}");
    }
}

#[tokio::test]
async fn unread_is_exact_with_many_deleted_messages() {
    // Each new connection makes hundreds of messages delivered, and the open socket receives an event for each message.
    let server = Server::start(&[("LIMITS__SEND_QUEUE", "10000")]).await;
    let room = half_deleted(&server, 2_000).await;
    let other = server.beside().await;
    let path = format!("/rooms/{room}/messages");
    let (mut one, ready) = inbox(&server, 1).await;
    let mut expected = 1_000;
    assert_eq!(unread_in(&ready), expected);
    for (round, message) in [1_i64, 3, 501, 1_999].into_iter().enumerate() {
        // The two servers delete messages alternately.
        let (by, at) = if round % 2 == 0 { (&server, &other) } else { (&other, &server) };
        assert_eq!(by.call(Method::DELETE, &format!("{path}/{message}"), json!({})).await.0, 204);
        expected -= 1;
        for server in [by, at] {
            let (client, ready) = inbox(server, 1).await;
            assert_eq!(unread_in(&ready), expected, "{message} was deleted");
            client.leave().await;
        }
        while one.until_kind("unread").await["unread"] != expected {}
    }
    // The user's own messages are not unread, deleted or not.
    for _ in 0..2 {
        let body = json!({"sender_id": 1, "text": "own"});
        assert_eq!(server.call(Method::POST, &path, body).await.0, 201);
    }
    assert_eq!(server.call(Method::DELETE, &format!("{path}/2002"), json!({})).await.0, 204);
    let (client, ready) = inbox(&other, 1).await;
    assert_eq!(unread_in(&ready), expected);
    client.leave().await;
    // User 1 reads up to a message in the middle of the room. The server then counts the unread messages after this
    // message.
    for mark in [100, 1_001] {
        one.send(json!({"action": "read", "room_id": room, "message_id": mark})).await;
        let expected = (mark + 1..=2_000).filter(|n| n % 2 == 1 && ![1, 3, 501, 1_999].contains(n)).count();
        loop {
            let frame = next(&mut one).await;
            if frame["type"] == "unread" && frame["read"] == mark {
                assert_eq!(frame["unread"], expected, "{frame}");
                break;
            }
        }
        let (client, ready) = inbox(&other, 1).await;
        assert_eq!(unread_in(&ready), i64::try_from(expected).unwrap(), "read up to {mark}");
        client.leave().await;
    }
    // User 3's read marker is lower than all markers after which the server has counted messages so far.
    let (_, ready) = inbox(&other, 3).await;
    assert_eq!(unread_in(&ready), 997);
}
