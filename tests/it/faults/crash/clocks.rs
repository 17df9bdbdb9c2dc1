//! Servers whose clocks differ by hours, or jump. Messages are ordered by their ids, and times come from the database's
//! clock. Only the check of tokens uses the server's clock.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use super::HURRIED;
use crate::support::{
    Client, Clock, End, ManyClients, Mongod, Program, ReadinessProbe, Receiver, ReceiverReply, SLACK, Server,
    assert_in_order, assert_kept, assert_shown, chat, deleted, edited, eventually_count, eventually_within,
    ids_of, matches, now, shared_uri,
};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// The time in which presence must be correct: 5 s (docs/protocol.md, Events), plus 2 s for a busy machine.
const PRESENT: Duration = Duration::from_secs(7);

/// The default of `feed.stale_ms`: a server that receives no heartbeat for this time is not ready. These tests break no
/// connection, and a slow event on a busy machine must not make a server unready.
const STALE: Duration = Duration::from_secs(5);

/// Settings with a high limit for queues, and with frequent heartbeats, so that each server soon notices the other
/// servers.
const SETTINGS: [(&str, &str); 2] = [("FEED__HEARTBEAT_MS", "100"), ("LIMITS__SEND_QUEUE", "10000")];

/// Opens an inbox connection (all rooms of a user), and reads its first frame.
async fn inbox(server: &Server, user: i64) -> Client {
    let token = server.token(user).sign();
    let mut client = server.dial("/ws/?since=").called(format!("inbox of {user}")).token(&token).open().await;
    client.next().await;
    client
}

/// Connects a visitor to the server `there`, lets the visitor type, and disconnects the visitor. The watcher on another
/// server must receive the event of each of the three steps.
async fn comes_types_and_goes(there: &Server, visitor: i64, room: i64, watcher: &mut Client) {
    let user = visitor;
    let mut visitor = there.dial_as(user, &format!("room_id={room}&since=")).open().await;
    let began = Instant::now();
    presence(watcher, user, true).await;
    visitor.send(json!({"action": "typing"})).await;
    let typing = watcher.until_kind("typing").await;
    assert_eq!((&typing["sender_id"], &typing["room_id"]), (&json!(user), &json!(room)));
    visitor.leave().await;
    presence(watcher, user, false).await;
    assert!(began.elapsed() < 2 * PRESENT + SLACK, "coming and going took {:?}", began.elapsed());
}

async fn presence(watcher: &mut Client, user: i64, online: bool) {
    loop {
        let event = watcher.until_kind("presence").await;
        if event["user_id"] == user && event["online"] == online {
            return;
        }
    }
}

#[tokio::test]
async fn messages_stay_complete_and_ordered_when_clocks_jump() {
    let clock = Clock::ahead_by(-3 * HOUR);
    let late = Program::start_by(&clock, shared_uri(), &SETTINGS).await;
    let right = late.beside_over(shared_uri(), &SETTINGS).await;
    let room = late.room(&[1, 2]).await;
    let group = late.room(&[3, 4, 5, 6]).await;
    let mut watcher = inbox(&right, 3).await;
    let truths = [ReadinessProbe::of(&late, STALE).await, ReadinessProbe::of(&right, STALE).await];
    let mut listeners = [late.join(2, 1).await, right.join(2, 1).await];
    let many_clients = ManyClients::on(&[&late, &right]).await;
    many_clients.until_acknowledged(60).await;
    // First the clock jumps 50 minutes ahead of the other clocks, and then one hour back.
    for ahead in [50 * MINUTE, -10 * MINUTE] {
        clock.set(ahead);
        many_clients.until_acknowledged(60).await;
    }
    for readiness in &truths {
        readiness.until_served().await;
    }
    many_clients.stop();
    let (outcomes, heard, ends) = many_clients.outcomes().await;
    assert_eq!(ends, [], "every socket stayed open");
    assert!(outcomes.values().all(Result::is_ok), "nothing was refused: {outcomes:?}");
    assert_kept(late.collection("messages").await, room, &outcomes).await;
    for heard in heard {
        assert_in_order(&heard);
    }
    let all: Vec<_> = (1..=i64::try_from(outcomes.len()).unwrap()).collect();
    for listener in &mut listeners {
        let mut told = Vec::new();
        while ids_of(&told, "chat_message").len() < all.len() {
            told.push(listener.next().await);
        }
        assert_eq!(ids_of(&told, "chat_message"), all);
    }
    assert_shown(&late, &outcomes).await;
    assert_shown(&right, &outcomes).await;
    drop(listeners);
    // Each step uses another visitor, because the server sends at most one typing event of a user in 3 s.
    for (visitor, ahead) in (4..).zip([-10 * MINUTE, 50 * MINUTE, -3 * HOUR]) {
        clock.set(ahead);
        comes_types_and_goes(&late, visitor, group, &mut watcher).await;
    }
    for readiness in truths {
        // The test has announced no fault to the probe, so `/readyz` must have answered 200 all the time.
        eprintln!("/readyz: {}", readiness.finish().await);
    }
}

#[tokio::test]
async fn a_token_is_good_by_the_clock_of_its_server() {
    let clock = Clock::ahead_by(0);
    let server = Program::start_by(&clock, shared_uri(), &[("SOCKETS__PING_SECONDS", "1")]).await;
    server.room(&[1, 2]).await;
    let expiring = |seconds: u64| server.token(1).with("exp", now().as_secs() + seconds).sign();
    let dial = |token: &str| server.dial("/ws/chat/?firts_user=1&second_user=2/").token(token);
    let mut hour = dial(&expiring(3_600)).open().await;
    let mut day = dial(&expiring(86_400)).open().await;
    for client in [&mut hour, &mut day] {
        client.history().await;
    }
    // The server checks the expiry of a token when it sends the next ping.
    clock.set(2 * HOUR);
    assert_eq!(hour.hear_out().await, (Vec::new(), End::Closed(4001)));
    assert_eq!(dial(&expiring(3_600)).refused().await, 4001);
    day.quiet().await;
    clock.set(-2 * HOUR);
    day.quiet().await;
    // This token is valid by the clock of this server, although a correct clock shows that it has expired.
    let mut long_over = server.dial("/ws/chat/?firts_user=1&second_user=2/");
    long_over = long_over.token(&server.token(1).with("exp", now().as_secs() - 3_600).sign());
    long_over.open().await.history().await;
}

/// After a gap in its change stream, a server searches the missed changes by times of the database's clock. The clock
/// of the server that wrote the changes must have no influence.
#[tokio::test]
async fn edit_arrives_after_a_stream_gap_when_its_clock_is_behind() {
    let mongod = Mongod::start().await;
    let clock = Clock::ahead_by(-2 * HOUR);
    let late = Program::start_by(&clock, &mongod.uri("unharmed"), &HURRIED).await;
    let server = late.beside_over(&mongod.uri("parlor"), &HURRIED).await;
    let room = late.room(&[1, 2]).await;
    let (mut one, mut elsewhere) = (server.join(1, 2).await, late.join(1, 2).await);
    for id in 1..=3 {
        elsewhere.say_alone(id, 1, "before").await;
        one.expect(chat(id, 1, "before")).await;
    }
    let stored: Vec<Document> = {
        let messages = mongod.database(&late.database().name).await.collection("messages");
        messages.find(doc! { "_id.room": room }).await.unwrap().try_collect().await.unwrap()
    };
    assert_eq!(stored.len(), 3);
    let fault = doc! { "failCommands": ["aggregate", "getMore"], "errorCode": 286 };
    mongod.fail("parlor", "alwaysOn", fault).await;
    server.until_status("/readyz", 503).await;
    elsewhere.send(json!({"action": "edit", "message_id": 1, "text": "edited"})).await;
    elsewhere.expect(edited(1, "edited")).await;
    elsewhere.send(json!({"action": "delete", "message_id": 2})).await;
    elsewhere.expect(deleted(2)).await;
    elsewhere.say_alone(4, 1, "after").await;
    mongod.heal().await;
    let told: Vec<Value> = one.take(3).await;
    for wanted in [edited(1, "edited"), deleted(2), chat(4, 1, "after")] {
        assert!(told.iter().any(|event| matches(&wanted, event)), "{wanted} is not among {told:#?}");
    }
}

/// A `POST` with an idempotency key still runs on one server. Another server must report the request as pending,
/// although the clocks of the two servers differ.
#[tokio::test]
async fn pending_post_is_not_repeated_when_server_clocks_differ() {
    const PATH: &str = "/rooms/1/messages";
    let mongod = Mongod::start().await;
    let clock = Clock::ahead_by(-2 * HOUR);
    let late = Program::start_by(&clock, &mongod.uri("parlor"), &[]).await;
    let right = late.beside_over(&mongod.uri("unharmed"), &[]).await;
    late.room(&[1, 2]).await;
    let body = json!({"sender_id": 1, "text": "once"});
    mongod.hold_up("parlor", "insert", Duration::from_secs(2)).await;
    let meanwhile = async {
        mongod.held_up().await;
        right.post_once("a-key", PATH, &body).await
    };
    let ((status, made), (other, answer)) = tokio::join!(late.post_once("a-key", PATH, &body), meanwhile);
    assert_eq!((other, &answer["code"]), (409, &json!("under_way")));
    assert_eq!(status, 201, "{made}");
    assert_eq!(right.post_once("a-key", PATH, &body).await, (201, made));
    let (_, page) = right.api_get(PATH).await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1), "{page}");
}

/// A server holds a lease on an erasure. The server makes a second pass some time after the first pass. The end of the
/// lease and the start of the second pass must not depend on the server's clock.
#[tokio::test]
async fn erasure_ends_while_its_servers_clock_goes_back() {
    let clock = Clock::ahead_by(HOUR);
    let server = Program::start_by(&clock, shared_uri(), &HURRIED).await;
    server.room(&[1, 2]).await;
    assert_eq!(server.api_delete("/users/1").await.0, 202);
    let erasures = server.collection("erasures").await;
    eventually_count(&erasures, doc! { "swept": true }, |count| count != 0).await;
    clock.set(0);
    eventually_count(&erasures, doc! {}, |count| count == 0).await;
}

/// Waits until the HTTP API reports this presence of the user.
async fn is_seen(server: &Server, user: i64, online: bool) {
    let path = format!("/users/{user}");
    let shown = async || server.api_get(&path).await.1["online"].clone();
    eventually_within(PRESENT, "the API shows the presence", shown, |shown| *shown == online).await;
}

/// The time when a user went offline, and the age of a message for the hook `offline`, must be measured by the
/// database's clock.
#[tokio::test]
async fn offline_is_noticed_soon_whatever_the_servers_clock_shows() {
    for ahead in [50 * MINUTE, -3 * HOUR] {
        let receiver = Receiver::start(|_| ReceiverReply::Ok(String::new())).await;
        let url = receiver.url("/");
        let own = [
            ("HOOKS__OFFLINE__URL", &*url),
            ("HOOKS__OFFLINE__WAIT_MS", "1000"),
            ("PRESENCE__GRACE_MS", "100"),
        ];
        let clock = Clock::ahead_by(ahead);
        let server = Program::start_by(&clock, shared_uri(), &[&SETTINGS[..], &own].concat()).await;
        let room = server.room(&[1, 2]).await;
        let (mut one, two) = (server.join(1, 2).await, server.join(2, 1).await);
        is_seen(&server, 2, true).await;
        two.leave().await;
        is_seen(&server, 2, false).await;
        let began = Instant::now();
        for n in 1..=10 {
            one.say("hello").await;
            one.until(chat(n, 1, "hello")).await;
        }
        let asked = receiver.until(|asked| asked.len() >= 10).await;
        assert!(began.elapsed() < SLACK, "{ahead} s ahead: {:?}", began.elapsed());
        let last = asked.last().unwrap().json();
        assert_eq!(last["id"], format!("offline-{room}-10-2"), "{last}");
    }
}

/// Returns the times `created_at` and `updated_at` of a message, in milliseconds.
fn times(message: &Value) -> [i64; 2] {
    ["created_at", "updated_at"].map(|field| {
        let time = message[field].as_str().unwrap_or_else(|| panic!("no {field} in {message}"));
        DateTime::parse_rfc3339_str(time).unwrap().timestamp_millis()
    })
}

/// Returns the ids of a user's rooms, in the order of the user's list.
async fn listed(server: &Server, user: i64) -> Vec<i64> {
    let (status, page) = server.api_get(&format!("/rooms?user_id={user}")).await;
    assert_eq!(status, 200, "{page}");
    page["rooms"].as_array().unwrap().iter().map(|room| room["room_id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn times_go_by_the_databases_clock_whatever_a_servers_shows() {
    let clock = Clock::ahead_by(-2);
    let late = Program::start_by(&clock, shared_uri(), &SETTINGS).await;
    let right = late.beside_over(shared_uri(), &SETTINGS).await;
    let rooms = [late.room(&[1, 2]).await, right.room(&[1, 3]).await, late.room(&[1, 4]).await];
    let servers: [&Server; 2] = [&late, &right];
    let mut sockets = Vec::new();
    for (at, room) in rooms.into_iter().enumerate() {
        sockets.push([late.enter(1, room).await, right.enter(1, room).await]);
        // The two servers write alternately. The server whose clock is behind writes last.
        let begin = DateTime::now().timestamp_millis();
        let mut before = 0;
        for n in 1..=8_i64 {
            let by = usize::from(n % 2 == 1);
            sockets[at][by].say("what time is it?").await;
            let event = sockets[at][by].until(chat(n, 1, "what time is it?")).await;
            let [created, updated] = times(&event.last().unwrap()["message"]);
            assert!(created >= before && updated == created, "message {n} of room {room}: {event:?}");
            before = created;
        }
        // The check is repeated with messages that are posted to the HTTP API.
        for server in servers {
            let path = format!("/rooms/{room}/messages");
            let (status, posted) = server.api_post(&path, &json!({"sender_id": 1, "text": "by REST"})).await;
            assert_eq!(status, 201, "{posted}");
            let [created, _] = times(&posted);
            assert!(created >= before, "{posted}");
            before = created;
            let n = posted["message_id"].as_i64().unwrap();
            let (_, page) = server.api_get(&path).await;
            let stored =
                page["messages"].as_array().unwrap().iter().find(|message| message["message_id"] == n);
            assert_eq!(times(stored.unwrap()), times(&posted), "as it is stored");
        }
        let off = before - begin;
        assert!((-1_000..60_000).contains(&off), "by the database's clock, which is the test's: {off} ms");
        sockets[at][0].send(json!({"action": "edit", "message_id": 8, "text": "edited"})).await;
        sockets[at][0].until_kind("message_edited").await;
        let (_, page) = late.api_get(&format!("/rooms/{room}/messages")).await;
        let edited = page["messages"].as_array().unwrap().iter().find(|message| message["message_id"] == 8);
        let [created, updated] = times(edited.unwrap());
        assert!(updated >= before && before >= created, "an edit is later than what was there: {edited:?}");
    }
    // The server whose clock is behind writes last.
    for (server, room) in [(servers[1], rooms[0]), (servers[0], rooms[1])] {
        let message = json!({"sender_id": 1, "text": "here or there?"});
        let (status, posted) = server.api_post(&format!("/rooms/{room}/messages"), &message).await;
        assert_eq!(status, 201, "{posted}");
    }
    let expected = [rooms[1], rooms[0], rooms[2]];
    for server in servers {
        assert_eq!(listed(server, 1).await, expected, "the room spoken in last is first");
    }
    let restarted = late.beside_over(shared_uri(), &SETTINGS).await;
    assert_eq!(listed(&restarted, 1).await, expected);
    // The clock jumps while the server runs.
    for ahead in [HOUR, -HOUR] {
        clock.set(ahead);
        let begin = DateTime::now().timestamp_millis();
        let path = format!("/rooms/{}/messages", rooms[0]);
        let (_, posted) = late.api_post(&path, &json!({"sender_id": 1, "text": "and now?"})).await;
        let off = times(&posted)[0] - begin;
        assert!((-1_000..60_000).contains(&off), "{off} ms");
    }
    assert_eq!(listed(&right, 1).await[0], rooms[0]);
}
