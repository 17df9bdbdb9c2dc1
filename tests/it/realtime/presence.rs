//! Presence: every server shows whether a user is online, even after a server has crashed or has lost its database.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use handlers::{Time, UserId};
use mongodb::bson::{Document, doc};
use parlor::config::Config;
use parlor::store::{Store, UserPresence};
use reqwest::Method;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::{
    API_KEY, Link, Mongod, PATIENCE, Program, SLACK, Server, State, eventually, eventually_count, now,
    shared_uri,
};

/// The longest time after a change until every server shows the right presence (docs/protocol.md, Events).
const RIGHT: Duration = Duration::from_secs(5);

async fn store_of(server: &Server) -> Store {
    store_at(shared_uri(), server).await
}

async fn store_at(uri: &str, server: &Server) -> Store {
    let settings = [("URI", uri), ("DATABASE", &server.database().name)];
    let settings = settings.map(|(key, value)| (format!("PARLOR__MONGODB__{key}"), value.to_owned()));
    Store::open(&Config::load(None, settings).unwrap().mongodb, 1).await.unwrap()
}

async fn presence(store: &Store, user: i64) -> UserPresence {
    store.presence(&UserId::Int(user)).await.unwrap()
}

/// Waits until a user is online (or offline, if `online` is false), and returns the user's presence.
async fn until(store: &Store, user: i64, online: bool) -> UserPresence {
    let what = format!("user {user} has online: {online}");
    eventually(&what, async || presence(store, user).await, |found| found.online == online).await
}

/// Opens a MongoDB change stream of the collection `presence`.
async fn changes(
    server: &Server,
) -> mongodb::change_stream::ChangeStream<mongodb::change_stream::event::ChangeStreamEvent<Document>> {
    server.collection("presence").await.watch().await.unwrap()
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap()
}

#[tokio::test]
async fn user_is_online_from_first_to_last_socket_on_all_servers() {
    let one = Server::start(&[("PRESENCE__GRACE_MS", "200")]).await;
    one.room(&[1, 2]).await;
    let two = one.beside_over(shared_uri(), &[("PRESENCE__GRACE_MS", "200")]).await;
    let store = store_of(&one).await;
    assert_eq!(presence(&store, 1).await, UserPresence { online: false, last_seen: None });

    let (first, second, there) = (one.join(1, 2).await, one.join(1, 2).await, two.join(1, 2).await);
    assert_eq!(until(&store, 1, true).await.last_seen, None);
    let user = async || {
        let (status, _, body) = two.request(Method::GET, "/api/v1/users/1", Some(API_KEY), "").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let body = user().await;
    assert_eq!((&body["online"], &body["last_seen"]), (&Value::Bool(true), &Value::Null), "{body}");
    let presences = one.collection("presence").await;
    eventually_count(&presences, doc! { "_id": 1, "servers": { "$size": 2 } }, |count| count != 0).await;
    first.leave().await;
    second.leave().await;
    eventually_count(&presences, doc! { "_id": 1, "servers": { "$size": 1 } }, |count| count != 0).await;
    assert!(presence(&store, 1).await.online, "a socket on the other server is a socket");
    let before = now();
    there.leave().await;
    let after = until(&store, 1, false).await;
    let body = user().await;
    assert_eq!(body["online"], false, "{body}");
    assert!(body["last_seen"].as_str().is_some_and(|time| time.ends_with('Z')), "{body}");
    let Some(Time(seen)) = after.last_seen else { panic!("{after:?}") };
    assert!((millis(before) - 1..=millis(now())).contains(&seen), "{seen}, left after {before:?}");
    assert_eq!(presence(&store, 2).await, UserPresence { online: false, last_seen: None });
}

#[tokio::test]
async fn refused_client_is_never_online() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let store = store_of(&server).await;
    let mut stranger = server.dial_as(3, &format!("room_id={room}")).open().await;
    assert_eq!(stranger.closed().await.0, 4003);
    let _member = server.join(1, 2).await;
    until(&store, 1, true).await;
    assert_eq!(presence(&store, 3).await, UserPresence { online: false, last_seen: None });
}

#[tokio::test]
async fn a_page_that_is_loaded_anew_makes_no_coming_and_going() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let other = server.beside().await;
    let store = store_of(&server).await;
    let mut socket = server.join(1, 2).await;
    until(&store, 1, true).await;
    let mut stream = changes(&server).await;
    for n in 0..4 {
        socket.leave().await;
        socket = server.join(1, 2).await;
        assert!(presence(&store, 1).await.online, "reload {n}");
    }
    socket.leave().await;
    let socket = other.join(1, 2).await;
    let presences = server.collection("presence").await;
    // The second server adds itself to the user's presence document. After the grace period, the first server removes
    // itself.
    eventually_count(&presences, doc! { "_id": 1, "servers": { "$size": 1 } }, |count| count != 1).await;
    eventually_count(&presences, doc! { "_id": 1, "servers": { "$size": 2 } }, |count| count != 1).await;
    assert!(presence(&store, 1).await.online);
    socket.leave().await;
    until(&store, 1, false).await;
    let mut online = Vec::new();
    while online.last() != Some(&false) {
        let event = timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
        let changed = match event.update_description {
            Some(update) => update.updated_fields,
            // An event without a list of changed fields has the whole document. The user was online before. So the test
            // ignores a document that says that the user is online.
            None => {
                event.full_document.filter(|whole| !whole.get_bool("online").unwrap()).unwrap_or_default()
            }
        };
        online.extend(changed.get_bool("online"));
    }
    assert_eq!(online, [false], "the only change of it is the last going");
}

#[tokio::test]
async fn users_of_a_killed_server_are_offline_within_five_seconds() {
    let mut program = Program::start(&[]).await;
    program.room(&[1, 2]).await;
    let survivor = program.beside().await;
    let store = store_of(&program).await;
    let _there = program.join(1, 2).await;
    let _here = survivor.join(2, 1).await;
    let _both = (program.join(2, 1).await, until(&store, 1, true).await);
    until(&store, 2, true).await;
    let presences = program.collection("presence").await;
    eventually_count(&presences, doc! { "_id": 2, "servers": { "$size": 2 } }, |count| count != 0).await;

    program.signal("KILL");
    let killed = Instant::now();
    program.exit_code().await;
    let after = until(&store, 1, false).await;
    assert!(killed.elapsed() < RIGHT + SLACK, "{:?}", killed.elapsed());
    assert!(after.last_seen.is_some(), "as its server was last heard of");
    eventually_count(&presences, doc! { "_id": 2, "servers": { "$size": 1 } }, |count| count != 0).await;
    assert!(presence(&store, 2).await.online, "of the two servers one lives");
    let heartbeats = program.collection("heartbeats").await;
    eventually_count(&heartbeats, doc! {}, |count| count <= 1).await;
}

#[tokio::test]
async fn a_server_alone_tidies_up_after_the_one_before_it() {
    let mut program = Program::start(&[]).await;
    program.room(&[1, 2]).await;
    let store = store_of(&program).await;
    let socket = program.join(1, 2).await;
    until(&store, 1, true).await;
    program.signal("KILL");
    program.exit_code().await;
    drop(socket);
    // The test deletes the heartbeat document of the killed server. In production, this document disappears an hour
    // after a crash.
    program.collection("heartbeats").await.delete_many(doc! {}).await.unwrap();
    let _next = program.again().await;
    until(&store, 1, false).await;
}

#[tokio::test]
async fn a_server_that_was_taken_for_dead_says_again_who_is_there() {
    let link = Link::to_the_database().await;
    let cut = Server::start_over(&link.uri, &[]).await;
    cut.room(&[1, 2]).await;
    let other = cut.beside().await;
    let store = store_of(&cut).await;
    let _one = cut.join(1, 2).await;
    let _two = other.join(2, 1).await;
    until(&store, 1, true).await;
    link.set(State::Cut);
    until(&store, 1, false).await;
    link.set(State::Open);
    until(&store, 1, true).await;
    assert!(presence(&store, 2).await.online, "the other was never taken for dead");
}

#[tokio::test]
async fn users_stay_online_when_the_database_was_away() {
    let link = Link::to_the_database().await;
    let server = Server::start_over(&link.uri, &[]).await;
    server.room(&[1, 2]).await;
    let other = server.beside_over(&link.uri, &[]).await;
    let store = store_of(&server).await;
    let (one, mut two) = (server.join(1, 2).await, other.join(2, 1).await);
    until(&store, 1, true).await;
    until(&store, 2, true).await;
    let mut stream = changes(&server).await;
    link.set(State::Cut);
    let heartbeats = server.collection("heartbeats").await;
    let old = doc! { "$expr": { "$lt": ["$at", { "$subtract": ["$$NOW", 4_000] }] } };
    eventually_count(&heartbeats, old.clone(), |count| count >= 2).await;
    link.set(State::Open);
    eventually_count(&heartbeats, old.clone(), |count| count == 0).await;
    one.leave().await;
    two.quiet().await;
    let event = timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
    let id = event.document_key.unwrap();
    assert_eq!(id.get_i64("_id").unwrap(), 1, "the first change is of the one who left");
}

/// The secondaries lag: a heartbeat (a server's periodic write) reaches a majority only after `presence.silence_ms`,
/// the longest allowed silence of a server. The primary still reads and writes at full speed.
#[tokio::test]
async fn users_stay_online_when_secondaries_lag() {
    let three = Mongod::start_three().await;
    let uri = Mongod::uri_of(&three, "parlor");
    let settings =
        [("FEED__HEARTBEAT_MS", "100"), ("PRESENCE__SILENCE_MS", "400"), ("PRESENCE__GRACE_MS", "0")];
    let server = Server::start_over(&uri, &settings).await;
    let other = server.beside_over(&uri, &settings).await;
    server.room(&[1, 2]).await;
    let store = store_at(&uri, &server).await;
    let (one, _two) = (server.join(1, 2).await, other.join(2, 1).await);
    for user in [1, 2] {
        until(&store, user, true).await;
    }
    let database = three[0].database(&server.database().name).await;
    let presences = database.collection::<Document>("presence");
    let offline = |field: &str| doc! { field: false };
    let going = ["updateDescription.updatedFields.online", "fullDocument.online"].map(offline);
    let going = doc! { "$match": { "$or": going.to_vec() } };
    let mut goings = presences.watch().pipeline([going]).await.unwrap();
    let heartbeats = database.collection::<Document>("heartbeats");
    let beats = async || {
        let all: Vec<Document> = heartbeats.find(doc! {}).await.unwrap().try_collect().await.unwrap();
        all.iter().map(|beat| beat.get_i64("beat").unwrap()).sum::<i64>()
    };
    for _ in 0..4 {
        for secondary in &three[1..] {
            secondary.applies(false).await;
        }
        let (before, began) = (beats().await, Instant::now());
        while began.elapsed() < Duration::from_millis(1500) {
            assert!(beats().await <= before + 4, "no majority has a heartbeat");
        }
        for secondary in &three[1..] {
            secondary.applies(true).await;
        }
        eventually("heartbeats continue", &beats, |beats| *beats >= before + 20).await;
    }
    one.leave().await;
    let first = timeout(PATIENCE, goings.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.document_key.unwrap().get_i64("_id").unwrap(), 1, "the first to go is the one who left");
}
