//! Reading a room of a million messages costs only as much as the part that is sent. For a page, a first frame or a
//! resume, the database examines few documents more than the server sends.

use std::time::Instant;

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, Timestamp, doc};
use serde_json::{Value, json};

use crate::support::{Client, Mongod, Server, encoded, ids_of};

/// The number of messages in the room: a thousand times a thousand. The pipeline that makes the messages has no array
/// of more than a thousand elements.
const MESSAGES: i64 = THOUSANDS * 1_000;
const THOUSANDS: i64 = 1_000;

/// Every hundredth message was edited. The revisions (the numbers of the edits in their order) go up to `REVISIONS`.
const EDITED: i64 = 100;
const REVISIONS: i64 = MESSAGES / EDITED;

/// The deleted messages in the middle of the room: all messages after the first id, up to and including the second id.
const DELETED: (i64, i64) = (MESSAGES / 2 - 99_000, MESSAGES / 2 + 99_000);

/// The last message id and the last revision that a client has received. The client lacks the last hundred messages and
/// the last ten edits.
const LEFT: (i64, i64) = (MESSAGES - 100, REVISIONS - 10);

/// The number of documents and keys that a read may examine in addition to the returned ones.
const BESIDE: i64 = 10;

/// The size of the largest page that a client may request, plus one. The server reads one more message to know whether
/// there are more.
const PAGE: i64 = 200 + 1;

/// Makes the messages inside the database, in the form in which `store::documents` writes them.
async fn make_messages(database: &Database, room: i64) {
    let started = Instant::now();
    let at = DateTime::now();
    let stamp = Timestamp { time: u32::try_from(at.timestamp_millis() / 1000).unwrap(), increment: 1 };
    let id = ObjectId::new();
    let is_deleted = doc! { "$and": [{ "$gt": ["$n", DELETED.0] }, { "$lte": ["$n", DELETED.1] }] };
    let text = doc! { "$concat": ["message ", { "$toString": "$n" }] };
    let text = doc! { "$cond": [&is_deleted, "$$REMOVE", text] };
    // A message that was not edited lacks the fields `edit`, `rev` and `revised`.
    let edited =
        |value: Bson| doc! { "$cond": [{ "$eq": [{ "$mod": ["$n", EDITED] }, 0] }, value, "$$REMOVE"] };
    let edit = doc! { "text": &text, "id": { "$literal": id }, "at": { "$literal": at } };
    let first = doc! { "$multiply": ["$$thousand", 1_000_i64] };
    let stages = [
        doc! { "$documents": { "$map": {
            "input": { "$range": [0, THOUSANDS] }, "as": "thousand", "in": { "first": first },
        } } },
        doc! { "$project": { "n": { "$range": [
            { "$toInt": { "$add": ["$first", 1] } }, { "$toInt": { "$add": ["$first", 1_001] } },
        ] } } },
        doc! { "$unwind": "$n" },
        doc! { "$project": {
            "_id": { "room": { "$literal": room }, "n": { "$toLong": "$n" } },
            "sender": { "$toLong": { "$add": [1, { "$mod": ["$n", 2] }] } },
            "text": &text,
            "deleted_at": { "$cond": [is_deleted, { "$literal": at }, "$$REMOVE"] },
            "created_at": { "$literal": at },
            "updated_at": { "$literal": at },
            "write_id": { "$literal": id },
            "stamp": { "$literal": stamp },
            "edit": edited(edit.into()),
            "rev": edited(doc! { "$toLong": { "$divide": ["$n", EDITED] } }.into()),
            "revised": edited(doc! { "$literal": stamp }.into()),
        } },
        // `$out` replaces the documents and keeps the indexes.
        doc! { "$out": "messages" },
    ];
    database.aggregate(stages).await.unwrap();
    let made = database.collection::<Document>("messages").estimated_document_count().await.unwrap();
    assert_eq!(i64::try_from(made).unwrap(), MESSAGES);
    eprintln!("{MESSAGES} messages were made in {:?}", started.elapsed());
}

/// Turns on the database's profiler, which records what each operation examines.
async fn profile(database: &Database) {
    let size = 16 << 20;
    database.create_collection("system.profile").capped(true).size(size).await.unwrap();
    database.run_command(doc! { "profile": 2 }).await.unwrap();
}

/// Turns the profiler off. Returns the profiler's entries for all reads of messages, members and rooms.
async fn noted(database: &Database) -> Vec<Document> {
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let namespaces = ["messages", "members", "rooms"].map(|name| format!("{}.{name}", database.name()));
    let reads = doc! {
        "ns": { "$in": namespaces.to_vec() },
        "$or": [
            { "op": { "$in": ["query", "getmore"] } },
            { "command.aggregate": { "$exists": true } },
        ],
    };
    let noted = database.collection::<Document>("system.profile");
    noted.find(reads).sort(doc! { "ts": 1 }).await.unwrap().try_collect().await.unwrap()
}

/// Returns a number of a profiler entry, or 0 if the entry lacks it.
fn count(entry: &Document, key: &str) -> i64 {
    match entry.get(key) {
        Some(Bson::Int32(n)) => i64::from(*n),
        Some(Bson::Int64(n)) => *n,
        None => 0,
        other => panic!("{key} is {other:?} in {entry}"),
    }
}

/// Requests a page by the action `history`, and asserts that it has exactly these message ids.
async fn page(client: &mut Client, mut frame: Value, expected: impl Iterator<Item = i64>) {
    frame["action"] = "history".into();
    client.send(frame).await;
    let page = client.until_kind("history").await;
    assert_eq!(ids(&page["messages"]), expected.collect::<Vec<_>>());
}

fn ids(messages: &Value) -> Vec<i64> {
    let messages = messages.as_array().unwrap_or_else(|| panic!("no messages: {messages}"));
    messages.iter().map(|message| message["message_id"].as_i64().unwrap()).collect()
}

/// Requests pages in the middle and at both ends of the room. On an inbox connection (Level 3) each frame names the
/// room.
async fn pages(client: &mut Client, room: Option<i64>) {
    let (from, to) = DELETED;
    let of = |frame: Value| {
        let mut frame = frame;
        if let Some(room) = room {
            frame["room_id"] = room.into();
        }
        frame
    };
    page(client, of(json!({})), (MESSAGES - 49..=MESSAGES).rev()).await;
    page(client, of(json!({"limit": 200})), (MESSAGES - 199..=MESSAGES).rev()).await;
    let middle = from / 2;
    page(client, of(json!({"before": middle, "limit": 200})), (middle - 200..middle).rev()).await;
    page(client, of(json!({"after": middle, "limit": 200})), middle + 1..=middle + 200).await;
    // A page across the deleted messages must not examine the deleted messages.
    let across = (to + 1..=to + 100).rev().chain((from - 99..=from).rev());
    page(client, of(json!({"before": to + 101, "limit": 200})), across).await;
    let across = (from - 99..=from).chain(to + 1..=to + 100);
    page(client, of(json!({"after": from - 100, "limit": 200})), across).await;
    page(client, of(json!({"before": MESSAGES / 2})), (from - 49..=from).rev()).await;
    page(client, of(json!({"after": 0, "limit": 200})), 1..=200).await;
    page(client, of(json!({"before": 11})), (1..=10).rev()).await;
    page(client, of(json!({"after": MESSAGES - 10})), MESSAGES - 9..=MESSAGES).await;
}

/// Asserts that a frame has exactly the changes that a client at [`LEFT`] has missed.
fn assert_missed(told: &Value) {
    assert_eq!(ids(&told["messages"]), (LEFT.0 + 1..=MESSAGES).collect::<Vec<_>>());
    // The edit of the last message is not in `edited`, because the message itself is in `messages`.
    assert_eq!(ids(&told["edited"]), (LEFT.1 + 1..REVISIONS).map(|n| n * EDITED).collect::<Vec<_>>());
}

/// Opens the room in each connection mode, from the beginning and by resuming from [`LEFT`].
async fn look_at(server: &Server, uri: &str, room: i64) {
    let mut client = server.dial_as(1, &format!("room_id={room}")).open().await;
    assert_eq!(
        ids(&Value::from(client.history().await)),
        (MESSAGES - 49..=MESSAGES).rev().collect::<Vec<_>>()
    );

    let mut client = server.dial_as(1, &format!("room_id={room}&since=")).open().await;
    let first = client.next().await;
    assert_eq!(ids(&first["messages"]), (MESSAGES - 49..=MESSAGES).collect::<Vec<_>>());
    pages(&mut client, None).await;

    let since = format!("r1.{room}.{}.{}", LEFT.0, LEFT.1);
    let mut client = server.dial_as(1, &format!("room_id={room}&since={since}")).open().await;
    let resumed = client.next().await;
    assert_eq!(resumed["resumed"], true);
    assert_missed(&resumed);

    let token = server.token(1).sign();
    let inbox =
        |since: &str| server.dial(&format!("/ws/?since={}", encoded(since))).called("inbox").token(&token);
    let mut client = inbox("").open().await;
    let ready = client.next().await;
    let listed = &ready["rooms"][0];
    assert_eq!(
        (&listed["room_id"], &listed["last_message"]["message_id"], &listed["unread"]),
        (&json!(room), &json!(MESSAGES), &json!(0))
    );
    pages(&mut client, Some(room)).await;

    // The test sets the room's position in this cursor back to [`LEFT`]. A cursor names only rooms with recent changes.
    // If the cursor does not name this room, the test adds the room. The fresh server knows no recent changes, so it
    // loads the room from the database.
    let fresh = server.beside_over(uri, &[]).await;
    let cursor = ready["cursor"].as_str().unwrap();
    let (place, left) = (format!(".{room}-{MESSAGES}-{REVISIONS}"), format!(".{room}-{}-{}", LEFT.0, LEFT.1));
    let since =
        if cursor.contains(&place) { cursor.replace(&place, &left) } else { format!("{cursor}{left}") };
    let path = format!("/ws/?since={}", encoded(&since));
    let resumed = fresh.dial(&path).called("inbox").token(&token).open().await.next().await;
    assert_eq!(resumed["resumed"], true, "{}", resumed["cursor"]);
    assert_missed(&resumed["rooms"][0]);

    // A new message gets the next id, and a new edit the next revision. When user 2 opens the room, all messages up to
    // then become read.
    client.send(json!({"action": "send", "room_id": room, "message": "one more"})).await;
    let told = client.until_kind("chat_message").await;
    assert_eq!(ids_of(&[told], "chat_message"), [MESSAGES + 1]);
    let edit = json!({"action": "edit", "room_id": room, "message_id": MESSAGES + 1, "text": "one more!"});
    client.send(edit).await;
    client.until_kind("message_edited").await;
    let mut other = server.dial_as(2, &format!("room_id={room}")).open().await;
    assert_eq!(other.history().await.len(), 50);
    client.until_kind("mark_message_as_read").await;
    other.say("the last one").await;
    // User 1's socket has the room open, so user 2's message becomes read by user 1 immediately.
    let unread = client.until_kind("unread").await;
    assert_eq!((&unread["unread"], &unread["read"]), (&json!(0), &json!(MESSAGES + 2)));
}

/// Before the reads, the test sets both members' receipt markers to the last message. So a count of unread messages
/// examines only messages after this message, not the whole room.
#[tokio::test]
async fn large_room_reads_only_the_documents_it_shows() {
    let mongod = Mongod::start().await;
    let uri = mongod.uri("parlor");
    let mut server = Server::start_over(&uri, &[]).await;
    let room = server.room(&[1, 2]).await;
    // No server runs while the messages are made. Otherwise the server would receive a change event for each message.
    server.shut_down();
    server.ended().await;
    let database = mongod.database(&server.database().name).await;
    make_messages(&database, room).await;
    let read = doc! { "$set": { "delivered": MESSAGES, "read": MESSAGES } };
    let members = database.collection::<Document>("members");
    let marked = members.update_many(doc! {}, read).await.unwrap();
    assert_eq!(marked.modified_count, 2);

    let server = server.beside_over(&uri, &[]).await;
    assert_eq!(server.get("/healthz").await, 200, "it serves by now");
    profile(&database).await;
    look_at(&server, &uri, room).await;
    let entries = noted(&database).await;
    let of_messages = format!("{}.messages", database.name());
    let pages = entries.iter().filter(|entry| {
        entry.get_str("ns").is_ok_and(|ns| ns == of_messages) && count(entry, "nreturned") >= 50
    });
    // The server can't return a page without examining its messages. So these entries show that the profiler counts
    // documents.
    let pages = pages.filter(|entry| count(entry, "docsExamined") >= count(entry, "nreturned"));
    assert!(pages.count() >= 14, "pages were read: {entries:#?}");
    for entry in &entries {
        let given = count(entry, "nreturned");
        assert!(given <= PAGE, "more than a page: {entry:#}");
        for key in ["docsExamined", "keysExamined"] {
            assert!(count(entry, key) <= given + BESIDE, "{key} is too much for {given}: {entry:#}");
        }
    }
    eprintln!("{} reads looked at no more than {BESIDE} beyond what they gave", entries.len());

    // The test sets user 1's markers back to 0. The count of unread messages must be exact even for so many messages.
    // User 2 wrote half of the messages that are not deleted, and one more message. A running server never lowers the
    // markers in its memory. So the test starts another server, which reads the markers from the database.
    let mut before = server;
    before.shut_down();
    before.ended().await;
    let server = before.beside_over(&uri, &[]).await;
    let unread = doc! { "$set": { "delivered": 0_i64, "read": 0_i64 } };
    members.update_one(doc! { "_id.user": 1 }, unread).await.unwrap();
    let started = Instant::now();
    let mut client = server.dial("/ws/?since=").token(&server.token(1).sign()).open().await;
    let ready = client.next().await;
    let expected = (MESSAGES - (DELETED.1 - DELETED.0)) / 2 + 1;
    assert_eq!(ready["rooms"][0]["unread"], json!(expected), "{ready}");
    eprintln!("{expected} unread messages were counted in {:?}", started.elapsed());
}
