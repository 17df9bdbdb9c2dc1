//! The database, a collection or an index is dropped while a server runs. The server creates missing indexes again.
//! While a unique index is missing, `/readyz` does not answer 200. New rooms and messages get ids that are not in use.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::Database;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use super::{say, server, unharmed};
use crate::support::{End, Metered, Mongod, PATIENCE, Server, chat, eventually_within};

/// The number of concurrent requests for the direct room of one pair of users.
const AT_ONCE: usize = 64;

async fn database(mongod: &Mongod, server: &Server) -> Database {
    mongod.database(&server.database().name).await
}

/// Returns the names of all indexes, each as `collection.index`.
async fn indexes(database: &Database) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for collection in database.list_collection_names().await.unwrap() {
        let listed = database.run_command(doc! { "listIndexes": &collection }).await.unwrap();
        let listed = listed.get_document("cursor").unwrap().get_array("firstBatch").unwrap();
        let name =
            |index: &mongodb::bson::Bson| index.as_document().unwrap().get_str("name").unwrap().to_owned();
        all.extend(listed.iter().map(|index| format!("{collection}.{}", name(index))));
    }
    all
}

/// Waits until the database has all wanted indexes.
async fn until_there(database: &Database, wanted: &BTreeSet<String>) {
    let missing = async || wanted - &indexes(database).await;
    eventually_within(2 * PATIENCE, "no index is missing", missing, BTreeSet::is_empty).await;
}

/// Sends concurrent requests for the direct room of a pair. Each answer must be a room, or 503 (try again). Returns the
/// number of the pair's rooms in the database.
async fn rooms_of_a_pair(server: &Server, database: &Database, pair: [i64; 2]) -> usize {
    let body = json!({"members": [{"user_id": pair[0]}, {"user_id": pair[1]}]});
    let asked = join_all((0..AT_ONCE).map(|_| server.api_post("/rooms", &body))).await;
    for (status, answer) in &asked {
        assert!([200, 201, 503].contains(status), "{status}: {answer}");
    }
    let of_pair = doc! { "pair.a": pair[0], "pair.b": pair[1] };
    let rooms = database.collection::<Document>("rooms");
    usize::try_from(rooms.count_documents(of_pair).await.unwrap()).unwrap()
}

/// Requests the pair's direct room again and again until a room is made. Returns the room's id.
pub(super) async fn made(server: &Server, pair: [i64; 2]) -> i64 {
    let body = json!({"members": [{"user_id": pair[0]}, {"user_id": pair[1]}]});
    let answer = async || server.api_post("/rooms", &body).await;
    let is_made = |(status, _): &(u16, Value)| [200, 201].contains(status);
    let (_, room) = eventually_within(2 * PATIENCE, "the room is made", answer, is_made).await;
    room["room_id"].as_i64().unwrap()
}

#[tokio::test]
async fn a_dropped_database_is_prepared_again() {
    let mongod = Mongod::start().await;
    let (server, other) = {
        let server = server(&mongod).await;
        let other = unharmed(&mongod, &server).await;
        (server, other)
    };
    let database = database(&mongod, &server).await;
    let wanted = indexes(&database).await;
    assert!(wanted.contains("rooms.pair") && wanted.contains("messages.client_id"), "{wanted:?}");
    other.until_status("/readyz", 200).await;
    let mut one = server.join(1, 2).await;
    for id in 1..=5 {
        say(&mut one, id, 1, "before").await;
    }
    database.drop().await.unwrap();
    assert!(rooms_of_a_pair(&server, &database, [5, 6]).await <= 1);
    assert_eq!(one.hear_out().await.1, End::Closed(1012), "to come back to what there is");
    until_there(&database, &wanted).await;
    server.until_status("/readyz", 200).await;
    other.until_status("/readyz", 200).await;
    for server in [&server, &other] {
        assert!(rooms_of_a_pair(server, &database, [7, 8]).await <= 1);
    }
    // After the drop of the database, room ids begin at 1 again. So a new room gets the id of a dropped room. The new
    // room's message ids also begin at 1, on both servers.
    database.drop().await.unwrap();
    made(&server, [1, 2]).await;
    until_there(&database, &wanted).await;
    server.until_status("/readyz", 200).await;
    other.until_status("/readyz", 200).await;
    // The failed requests above have also used up room ids. So the test deletes the counter, and room ids begin at 1
    // again.
    database.collection::<Document>("counters").delete_many(doc! {}).await.unwrap();
    database.collection::<Document>("rooms").delete_many(doc! {}).await.unwrap();
    let room = made(&server, [1, 2]).await;
    assert_eq!(room, 1, "ids begin again");
    for (id, server) in (1..).zip([&server, &other, &server]) {
        let mut one = server.enter(1, room).await;
        say(&mut one, id, 1, "a new beginning").await;
        one.leave().await;
    }
}

#[tokio::test]
async fn a_dropped_unique_index_is_made_again() {
    let mongod = Mongod::start().await;
    let metered = Metered::new();
    let settings = [("FEED__HEARTBEAT_MS", "50"), metered.setting()];
    let server = Server::start_over(&mongod.uri("parlor"), &settings).await;
    server.room(&[1, 2]).await;
    let database = database(&mongod, &server).await;
    let wanted = indexes(&database).await;
    for (pair, (collection, index)) in
        (10..).zip([("rooms", "pair"), ("rooms", "write_id"), ("messages", "client_id"), ("members", "user")])
    {
        database.collection::<Document>(collection).drop_index(index).await.unwrap();
        assert!(rooms_of_a_pair(&server, &database, [pair, 99]).await <= 1, "{collection}.{index}");
        until_there(&database, &wanted).await;
        server.until_status("/readyz", 200).await;
        made(&server, [pair, 99]).await;
    }
    assert!(metered.sample(r#"parlor_faults_total{place="dropped"}"#).await >= 4);
}

#[tokio::test]
async fn a_server_is_not_ready_without_a_unique_index() {
    let mongod = Mongod::start().await;
    let metered = Metered::new();
    let settings = [("FEED__HEARTBEAT_MS", "50"), ("MONGODB__INDEXES_SECONDS", "1"), metered.setting()];
    let server = Server::start_over(&mongod.uri("parlor"), &settings).await;
    server.room(&[1, 2]).await;
    server.until_status("/readyz", 200).await;
    let database = database(&mongod, &server).await;
    // `createIndexes` fails for the Parlor server, but not for the test's own client.
    let refused = doc! { "failCommands": ["createIndexes"], "errorCode": 13 };
    mongod.fail("parlor", "alwaysOn", refused).await;
    let rooms = database.collection::<Document>("rooms");
    rooms.drop_index("pair").await.unwrap();
    server.until_status("/readyz", 503).await;
    let (status, _, body) = server.request(reqwest::Method::GET, "/readyz", None, "").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["indexes"]), (503, &json!("missing")), "{body}");
    assert_eq!(rooms_of_a_pair(&server, &database, [3, 4]).await, 0);
    // The test inserts a second direct room of a pair. Now the unique index can't be created.
    let pair = doc! { "a": 1_i64, "b": 2_i64 };
    rooms.insert_one(doc! { "_id": 1000_i64, "kind": "direct", "pair": pair }).await.unwrap();
    mongod.heal().await;
    metered.until_at_least(r#"parlor_faults_total{place="indexes"}"#, 3).await;
    assert_eq!(server.get("/readyz").await, 503);
    rooms.delete_one(doc! { "_id": 1000_i64 }).await.unwrap();
    server.until_status("/readyz", 200).await;
    assert_eq!(rooms_of_a_pair(&server, &database, [3, 4]).await, 1);
}

#[tokio::test]
async fn an_index_that_the_stream_says_nothing_of_is_found() {
    let mongod = Mongod::start().await;
    let settings = [("FEED__HEARTBEAT_MS", "50"), ("MONGODB__INDEXES_SECONDS", "1")];
    let server = Server::start_over(&mongod.uri("parlor"), &settings).await;
    server.until_status("/readyz", 200).await;
    let database = database(&mongod, &server).await;
    let wanted = indexes(&database).await;
    // The change stream does not follow this collection, so no event tells the server about the drop.
    database.collection::<Document>("requests").drop().await.unwrap();
    until_there(&database, &wanted).await;
}

#[tokio::test]
async fn rooms_go_on_after_their_messages_were_dropped() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let database = database(&mongod, &server).await;
    let mut one = server.join(1, 2).await;
    for id in 1..=3 {
        say(&mut one, id, 1, "before").await;
    }
    database.collection::<Document>("messages").drop().await.unwrap();
    assert_eq!(one.hear_out().await.1, End::Closed(1012));
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    say(&mut one, 1, 1, "from the start").await;
    two.until(chat(1, 1, "from the start")).await;
    let messages: Vec<Document> =
        database.collection("messages").find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[tokio::test]
async fn rooms_are_made_after_their_counter_was_dropped() {
    let mongod = Mongod::start().await;
    let server = server(&mongod).await;
    let database = database(&mongod, &server).await;
    let last = made(&server, [1, 3]).await;
    database.collection::<Document>("counters").drop().await.unwrap();
    assert!(made(&server, [1, 4]).await > last);
}
