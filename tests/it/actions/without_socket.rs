//! Calls the actions directly on the store, without a socket. Checks the documents that the actions write, and the
//! errors that they return.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use handlers::{
    Action, Code, Connection, Context, Error, Fields, Pending, Reply, RoomId, RoomPage, RoomsFrom, Time,
    UserId,
};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};
use parlor::config::Config;
use parlor::store::{Audience, BoundRoom, NewMember, Receipts, Store, Writer};
use parlor::supervisor::Supervisor;
use parlor::telemetry::metrics::Metrics;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{Database, shared_uri};

/// The maximum length of a text that a configuration may allow (`limits.text_chars`).
const TEXT_CHARS: usize = 100_000;

/// The [`Audience`] of a server that has no sockets.
struct Nobody;

impl Audience for Nobody {
    fn has_listeners(&self, _: RoomId, _: &UserId) -> bool {
        false
    }
}

/// A connection without a socket. It refuses every request that an action makes to its socket.
struct NoSocket;

impl Connection for NoSocket {
    fn renew<'a>(&'a self, _: &'a str) -> Pending<'a, Time> {
        Box::pin(async { Err(Error::internal("there is no socket")) })
    }

    fn open(&self) -> Result<(), Error> {
        Err(Error::internal("there is no socket"))
    }

    fn close(&self) -> Result<(), Error> {
        Err(Error::internal("there is no socket"))
    }

    fn rooms(&self, _: RoomsFrom) -> Pending<'_, RoomPage> {
        Box::pin(async { Err(Error::internal("there is no socket")) })
    }
}

/// A store with the two writers of a server: one for messages, one for receipts.
struct Side {
    store: Store,
    writer: Writer,
    receipts: Receipts,
    config: Config,
    stop: CancellationToken,
}

impl Side {
    async fn on(database: &Database) -> Self {
        let settings = [("URI", shared_uri()), ("DATABASE", &database.name)];
        let settings = settings.map(|(key, value)| (format!("PARLOR__MONGODB__{key}"), value.to_owned()));
        let config = Config::load(None, settings).unwrap();
        let store = Store::open(&config.mongodb, 100).await.unwrap();
        store.prepare().await.unwrap();
        let stop = CancellationToken::new();
        let metrics = Arc::new(Metrics::default());
        let (writer, receipts) =
            store.writers(&config, &metrics, &Supervisor::new(stop.clone())).await.unwrap();
        Self { store, writer, receipts, config, stop }
    }

    async fn room(&self, users: &[i64]) -> RoomId {
        let member = |user: &i64| NewMember { user_id: UserId::Int(*user), email: None };
        self.store.make_room(&users.iter().map(member).collect::<Vec<_>>()).await.unwrap().id
    }

    /// Calls an action as the runtime would.
    async fn call(&self, user: i64, room: RoomId, frame: Value) -> Result<Reply, Error> {
        let caller = UserId::Int(user);
        let bound = BoundRoom {
            store: self.store.clone(),
            writer: self.writer.clone(),
            receipts: self.receipts.clone(),
            room,
            caller: caller.clone(),
            request: ObjectId::new(),
            audience: Arc::new(Nobody),
            deadline: Instant::now() + Duration::from_secs(10),
            page_bytes: 1 << 20,
            selection: self.config.mongodb.selection,
        };
        let action = Action::named(frame["action"].as_str().unwrap()).unwrap();
        let frame = frame.to_string();
        let fields = Fields::parse(&frame).unwrap();
        (action.run)(Context::new(caller, Some(Arc::new(bound)), Arc::new(NoSocket), TEXT_CHARS), &fields)?
            .await
    }

    async fn send(&self, user: i64, room: RoomId, text: &str) {
        let reply = self.call(user, room, json!({"action": "send", "message": text})).await;
        assert_eq!(reply.unwrap(), Reply::ByEvent);
    }

    async fn refused(&self, user: i64, room: RoomId, frame: Value) -> Code {
        match self.call(user, room, frame.clone()).await {
            Ok(_) => panic!("{frame} was done"),
            Err(error) => error.code(),
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn all(database: &Database, collection: &str) -> Vec<Document> {
    let client = mongodb::Client::with_uri_str(shared_uri()).await.unwrap();
    let documents = client.database(&database.name).collection::<Document>(collection);
    documents.find(doc! {}).sort(doc! { "_id": 1 }).await.unwrap().try_collect().await.unwrap()
}

fn id(room: RoomId, n: i64) -> Document {
    doc! { "room": room.get(), "n": n }
}

fn time(document: &Document, key: &str) -> DateTime {
    *document.get_datetime(key).unwrap_or_else(|_| panic!("no time `{key}` in {document}"))
}

#[tokio::test]
async fn send_writes_the_next_number_of_its_room() {
    let database = Database::new();
    let side = Side::on(&database).await;
    let (room, other) = (side.room(&[1, 2]).await, side.room(&[1, 3]).await);
    let before = DateTime::now();
    side.send(1, room, "first").await;
    side.send(2, room, " Zwölf\n🦀 ").await;
    side.send(1, other, "elsewhere").await;

    let stored = all(&database, "messages").await;
    let expected =
        [(id(room, 1), 1_i64, "first"), (id(room, 2), 2, " Zwölf\n🦀 "), (id(other, 1), 1, "elsewhere")];
    assert_eq!(stored.len(), expected.len());
    for (message, (id, sender, text)) in stored.iter().zip(expected) {
        assert_eq!(message.get_document("_id").unwrap(), &id);
        assert_eq!(message.get_i64("sender").unwrap(), sender);
        assert_eq!(message.get_str("text").unwrap(), text);
        let (created, updated) = (time(message, "created_at"), time(message, "updated_at"));
        assert_eq!(created, updated);
        assert!(before <= created && created <= DateTime::now(), "{created}");
        assert!(!message.contains_key("deleted_at"), "{message}");
    }
}

#[tokio::test]
async fn batch_is_split_when_it_exceeds_one_command() {
    let database = Database::new();
    let side = Side::on(&database).await;
    let room = side.room(&[1, 2]).await;
    // Each text has 400 KB. While the first write runs, the other messages collect in one batch. This batch is larger
    // than the maximum size of a MongoDB document, so the server must split it.
    let text = "🦀".repeat(TEXT_CHARS);
    join_all((0..60).map(|_| side.send(1, room, &text))).await;
    let stored = all(&database, "messages").await;
    assert_eq!(stored.len(), 60);
    for (message, n) in stored.iter().zip(1..) {
        assert_eq!(message.get_document("_id").unwrap(), &id(room, n));
        assert_eq!(message.get_str("text").unwrap(), text);
    }
}

#[tokio::test]
async fn edit_changes_text_and_time_and_nothing_else() {
    let database = Database::new();
    let side = Side::on(&database).await;
    let room = side.room(&[1, 2]).await;
    side.send(1, room, "old").await;
    let before = all(&database, "messages").await.remove(0);
    for text in ["new", "new"] {
        let frame = json!({"action": "edit", "message_id": "1", "text": text});
        side.call(1, room, frame).await.unwrap();
        let after = all(&database, "messages").await.remove(0);
        assert_eq!(after.get_str("text").unwrap(), "new");
        assert!(time(&after, "updated_at") >= time(&before, "updated_at"));
        for key in ["_id", "sender", "created_at"] {
            assert_eq!(after.get(key), before.get(key), "{key}");
        }
    }
}

#[tokio::test]
async fn delete_leaves_a_number_and_no_text() {
    let database = Database::new();
    let side = Side::on(&database).await;
    let room = side.room(&[1, 2]).await;
    side.send(1, room, "the secret").await;
    side.call(1, room, json!({"action": "edit", "message_id": 1, "text": "the secret, edited"}))
        .await
        .unwrap();
    side.call(1, room, json!({"action": "delete", "message_id": 1})).await.unwrap();
    let left = all(&database, "messages").await.remove(0);
    assert_eq!(left.get_document("_id").unwrap(), &id(room, 1));
    time(&left, "deleted_at");
    assert!(!left.to_string().contains("secret"), "{left}");
    // The id of the deleted message is not used again.
    side.send(2, room, "next").await;
    assert_eq!(all(&database, "messages").await[1].get_document("_id").unwrap(), &id(room, 2));
}

#[tokio::test]
async fn refused_actions_write_nothing() {
    let database = Database::new();
    let side = Side::on(&database).await;
    let (room, other) = (side.room(&[1, 2]).await, side.room(&[1, 3]).await);
    side.send(1, room, "mine").await;
    side.send(2, room, "theirs").await;
    side.send(1, room, "gone").await;
    side.call(1, room, json!({"action": "delete", "message_id": 3})).await.unwrap();
    let before = all(&database, "messages").await;
    let long = "x".repeat(TEXT_CHARS + 1);
    for (room, frame, code) in [
        (room, json!({"action": "send"}), Code::InvalidRequest),
        (room, json!({"action": "send", "message": 7}), Code::InvalidRequest),
        (room, json!({"action": "send", "message": " \n\t"}), Code::InvalidRequest),
        (room, json!({"action": "send", "message": "a\0b"}), Code::InvalidRequest),
        (room, json!({"action": "send", "message": long}), Code::InvalidRequest),
        (room, json!({"action": "edit", "message_id": 1, "text": long}), Code::InvalidRequest),
        (room, json!({"action": "edit", "message_id": 0, "text": "x"}), Code::InvalidRequest),
        (room, json!({"action": "edit", "message_id": 1}), Code::InvalidRequest),
        (room, json!({"action": "edit", "message_id": 2, "text": "x"}), Code::NotAuthor),
        (room, json!({"action": "edit", "message_id": 3, "text": "x"}), Code::NotFound),
        (room, json!({"action": "edit", "message_id": 4, "text": "x"}), Code::NotFound),
        (other, json!({"action": "edit", "message_id": 1, "text": "x"}), Code::NotFound),
        (room, json!({"action": "delete"}), Code::InvalidRequest),
        (room, json!({"action": "delete", "message_id": -1}), Code::InvalidRequest),
        (room, json!({"action": "delete", "message_id": 2}), Code::NotAuthor),
        (room, json!({"action": "delete", "message_id": 3}), Code::NotFound),
        (other, json!({"action": "delete", "message_id": 1}), Code::NotFound),
    ] {
        assert_eq!(side.refused(1, room, frame.clone()).await, code, "{frame}");
    }
    assert_eq!(all(&database, "messages").await, before);
}

#[tokio::test]
async fn group_admin_deletes_but_never_edits_a_members_message() {
    let database = Database::new();
    let side = Side::on(&database).await;
    let room = side.room(&[1, 2, 3]).await;
    side.send(2, room, "by 2").await;
    let client = mongodb::Client::with_uri_str(shared_uri()).await.unwrap();
    let members = client.database(&database.name).collection::<Document>("members");
    let promoted = members.update_one(doc! { "_id.user": 1_i64 }, doc! { "$set": { "role": "admin" } }).await;
    assert_eq!(promoted.unwrap().modified_count, 1);
    let delete = json!({"action": "delete", "message_id": 1});
    assert_eq!(side.refused(3, room, delete.clone()).await, Code::NotAuthor);
    let edit = json!({"action": "edit", "message_id": 1, "text": "x"});
    assert_eq!(side.refused(1, room, edit).await, Code::NotAuthor);
    side.call(1, room, delete).await.unwrap();
    assert!(all(&database, "messages").await[0].contains_key("deleted_at"));
}

/// Generates a list of senders. A sender has a store, a user, a room, and a number of messages. Each sender sends its
/// messages one after the other, and all senders run concurrently.
fn senders() -> impl Strategy<Value = Vec<(usize, i64, usize, usize)>> {
    let sender = (0..2_usize, 1..=3_i64, 0..3_usize, 1..=12_usize);
    proptest::collection::vec(sender, 1..=12)
}

async fn numbers_hold(database: &Database, sides: &[Side; 2], senders: &[(usize, i64, usize, usize)]) {
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(sides[0].room(&[1, 2, 3]).await);
    }
    join_all(senders.iter().enumerate().map(async |(who, (side, user, room, count))| {
        for n in 0..*count {
            sides[*side].send(*user, rooms[*room], &format!("{who}/{n}")).await;
        }
    }))
    .await;

    let mut said: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for message in all(database, "messages").await {
        let id = message.get_document("_id").unwrap();
        let texts = said.entry(id.get_i64("room").unwrap()).or_default();
        texts.push(message.get_str("text").unwrap().to_owned());
        let n = i64::try_from(texts.len()).unwrap();
        assert_eq!(id.get_i64("n").unwrap(), n, "the numbers of a room have no hole");
    }
    for (at, room) in rooms.iter().enumerate() {
        let texts = said.remove(&room.get()).unwrap_or_default();
        let here: Vec<_> = senders.iter().enumerate().filter(|(_, sender)| sender.2 == at).collect();
        assert_eq!(texts.len(), here.iter().map(|(_, sender)| sender.3).sum::<usize>());
        for (who, (.., count)) in here {
            let prefix = format!("{who}/");
            let mine: Vec<_> = texts.iter().filter(|text| text.starts_with(&prefix)).cloned().collect();
            let wanted: Vec<_> = (0..*count).map(|n| format!("{who}/{n}")).collect();
            assert_eq!(mine, wanted, "each once, in the order in which they were sent");
        }
    }
}

#[test]
fn two_writers_number_the_messages_of_a_room_together() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let database = Database::new();
    let sides = runtime.block_on(async { [Side::on(&database).await, Side::on(&database).await] });
    let limits = ProptestConfig {
        cases: 24,
        max_shrink_iters: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(limits).run(&senders(), |senders| {
        runtime.block_on(numbers_hold(&database, &sides, &senders));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
