//! Ephemeral events (for example custom events of an action) reach the sockets of every server, and are not stored. The
//! request to disconnect a user reaches all servers in the same way.

use handlers::{Event, Fields, RoomId, UserId};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};
use parlor::config::Config;
use parlor::protocol::ephemeral::{CustomEvent, EphemeralEvent, InvalidEvent};
use parlor::store::Store;
use serde_json::{Value, json};

use crate::support::{Link, Server, State, chat, room_of_two, said, shared_uri};

/// Opens the database of a server as a [`Store`], by which a test publishes events.
async fn store_of(server: &Server) -> Store {
    let settings = [("URI", shared_uri()), ("DATABASE", &server.database().name)];
    let settings = settings.map(|(key, value)| (format!("PARLOR__MONGODB__{key}"), value.to_owned()));
    Store::open(&Config::load(None, settings).unwrap().mongodb, 1).await.unwrap()
}

fn event(fields: &str) -> Result<CustomEvent, InvalidEvent> {
    CustomEvent::new("nudge", &Fields::parse(fields).unwrap(), 100)
}

/// Publishes the custom event `nudge` with these fields in a room.
async fn tell(store: &Store, room: i64, fields: &str) {
    let room = RoomId::try_from(room).unwrap();
    store.signal(&EphemeralEvent::Event { room, event: event(fields).unwrap() }).await.unwrap();
}

/// Publishes the request to close all sockets of a user.
async fn disconnect(store: &Store, user: impl Into<UserId>) {
    store.signal(&EphemeralEvent::Disconnect { user: user.into() }).await.unwrap();
}

/// Returns the frame by which a client receives the event `nudge`.
fn nudge(n: i64) -> Value {
    json!({"type": "custom", "name": "nudge", "n": n})
}

#[tokio::test]
async fn ephemeral_event_reaches_its_room_in_order_on_all_servers() {
    let server = Server::start(&[]).await;
    let (room, other_room) = (server.room(&[1, 2]).await, server.room(&[1, 3]).await);
    let other = server.beside().await;
    let mut here = [server.join(1, 2).await, server.join(1, 2).await, other.join(1, 2).await];
    let mut elsewhere = [server.enter(1, other_room).await, other.enter(3, other_room).await];
    let store = store_of(&server).await;
    for n in 1..=3_i64 {
        here[0].say("before it").await;
        // The message is acknowledged, so all sockets receive it before the events that the test publishes from now on.
        here[0].expect(chat(n, 1, "before it")).await;
        tell(&store, room, &format!(r#"{{"n": {n}}}"#)).await;
        here[0].expect(nudge(n)).await;
    }
    for client in &mut here[1..] {
        for n in 1..=3 {
            client.expect_all(&[chat(n, 1, "before it"), nudge(n)]).await;
        }
    }
    for client in here.iter_mut().chain(&mut elsewhere) {
        client.quiet().await;
    }
    let history = other.connect(2, 1).await.history().await;
    assert_eq!(history.len(), 3, "it is not stored: {history:?}");
}

#[tokio::test]
async fn disconnect_closes_only_that_users_sockets_on_all_servers() {
    let server = Server::start(&[]).await;
    let group = server.room(&[1, 2, 3]).await;
    let other = server.beside().await;
    server.room(&[1, 2]).await;
    let mut mine = [
        server.join(1, 2).await,
        server.join(1, 2).await,
        other.join(1, 2).await,
        other.enter(1, group).await,
    ];
    let mut others = [server.join(2, 1).await, other.enter(3, group).await];
    let store = store_of(&server).await;
    disconnect(&store, UserId::Int(1)).await;
    for client in &mut mine {
        assert_eq!(client.closed().await, (4001, "disconnected by the application".to_owned()));
    }
    for client in &mut others {
        client.quiet().await;
    }
    let mut back = server.join(1, 2).await;
    back.say("back again").await;
    for client in [&mut back, &mut others[0]] {
        client.expect_all(&said(1, 1, "back again")).await;
    }
}

#[tokio::test]
async fn a_users_id_that_is_a_text_is_another() {
    let server = Server::start(&[]).await;
    server.room_of(vec![json!({"user_id": "auth0|1"}), json!({"user_id": 1})]).await;
    let mut named = server.join("auth0|1", 1).await;
    let mut one = server.join(1, "auth0|1").await;
    let store = store_of(&server).await;
    disconnect(&store, UserId::Int(2)).await;
    disconnect(&store, "auth0|1".parse::<UserId>().unwrap()).await;
    assert_eq!(named.closed().await.0, 4001);
    one.quiet().await;
}

#[tokio::test]
async fn ephemeral_events_arrive_after_a_stream_failure() {
    let link = Link::to_the_database().await;
    let server = Server::start_over(&link.uri, &[]).await;
    let room = server.room(&[1, 2]).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    let store = store_of(&server).await;
    tell(&store, room, r#"{"n": 1}"#).await;
    one.expect(nudge(1)).await;
    link.set(State::Cut);
    tell(&store, room, r#"{"n": 2}"#).await;
    disconnect(&store, UserId::Int(2)).await;
    link.set(State::Open);
    one.expect(nudge(2)).await;
    two.expect_all(&[nudge(1), nudge(2)]).await;
    assert_eq!(two.closed().await.0, 4001);
}

#[tokio::test]
async fn a_signal_that_is_not_understood_stops_nothing() {
    let (server, mut one, mut two) = room_of_two(&[]).await;
    let signals = server.collection("signals").await;
    for odd in [doc! {}, doc! { "frame": 1 }, doc! { "frame": "{}" }, doc! { "disconnect": [1] }] {
        let mut signal = doc! { "_id": ObjectId::new(), "at": DateTime::now() };
        signal.extend(odd);
        signals.insert_one(signal).await.unwrap();
    }
    one.say("still here").await;
    for client in [&mut one, &mut two] {
        client.expect_all(&said(1, 1, "still here")).await;
    }
}

#[tokio::test]
async fn signals_expire_and_nobody_hears_of_that() {
    let (server, mut one, _two) = room_of_two(&[]).await;
    let signals = server.collection("signals").await;
    let indexes = signals.clone_with_type::<Document>().list_index_names().await.unwrap();
    assert!(indexes.contains(&"at".to_owned()), "{indexes:?}");
    let store = store_of(&server).await;
    tell(&store, 1, r#"{"n": 1}"#).await;
    one.expect(nudge(1)).await;
    assert_eq!(signals.delete_many(doc! {}).await.unwrap().deleted_count, 1);
    one.quiet().await;
}

#[test]
fn ephemeral_event_keeps_its_fields_but_no_reserved_ones() {
    let whole = event(r#"{ "a":1.50, "b":[1e400,"\u00e9"], "":null }"#).unwrap();
    let shown = format!("{whole:?}");
    let frame = r#"{\"type\":\"custom\",\"name\":\"nudge\",\"a\":1.50,\"b\":[1e400,\"\\u00e9\"],\"\":null}"#;
    assert!(shown.contains(frame), "{shown}");
    for reserved in Event::RESERVED {
        assert_eq!(
            event(&format!(r#"{{"a": 1, "{reserved}": 2}}"#)).unwrap_err(),
            InvalidEvent::Reserved((*reserved).to_owned())
        );
    }
    assert_eq!(event(r#"{"a": 1, "\u0061": 2}"#).unwrap_err(), InvalidEvent::Twice("a".to_owned()));
    let empty = r#"{"type":"custom","name":"nudge","a":""}"#.len();
    let of = |bytes: usize| event(&json!({"a": "x".repeat(bytes - empty)}).to_string());
    assert!(of(100).is_ok());
    assert_eq!(of(101).unwrap_err(), InvalidEvent::TooLarge { bytes: 101, most: 100 });
}
