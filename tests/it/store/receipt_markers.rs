//! When a receipt marker rises, a server first writes it into a journal (the collection `marks`). Later the server
//! moves (folds) the marker into the member's document. Every server shows markers that are still in the journal, even
//! if the server that wrote them died. No event is sent twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Client, Lines, Mongod, Program, Server, eventually, eventually_count, free_port};

const DELIVERED: &str = "mark_message_as_delivered";
const READ: &str = "mark_message_as_read";

/// Makes the folding of markers fail for the server called `app`, so that this server's markers stay in the journal.
async fn hold_folding(mongod: &Mongod, server: &Server, app: &str) {
    let members = format!("{}.members", server.database().name);
    // Error code 11601 is `Interrupted`.
    let fault = doc! { "failCommands": ["update"], "namespace": members, "errorCode": 11601 };
    mongod.fail(app, "alwaysOn", fault).await;
}

async fn database(mongod: &Mongod, server: &Server) -> Database {
    mongod.database(&server.database().name).await
}

/// Waits until the journal is empty: all markers are folded.
async fn folded(database: &Database) {
    let journal = database.collection::<Document>("marks");
    eventually_count(&journal, doc! {}, |count| count == 0).await;
}

/// Returns the read marker in the document of this member.
async fn read_by_document(members: &Collection<Document>, user: i64) -> i64 {
    let member = members.find_one(doc! { "_id.user": user }).await.unwrap().unwrap();
    member.get_i64("read").unwrap()
}

/// Returns a member's markers `delivered` and `read`, as the API shows them.
async fn marks(server: &Server, room: i64, user: i64) -> (i64, i64) {
    let (status, room) = server.api_get(&format!("/rooms/{room}")).await;
    assert_eq!(status, 200, "{room}");
    let members = room["members"].as_array().unwrap();
    let member = members.iter().find(|member| member["user_id"] == user).unwrap();
    (member["delivered"].as_i64().unwrap(), member["read"].as_i64().unwrap())
}

/// Asserts that every endpoint and socket of this server shows user 2's markers. The room has one message, which user 2
/// has read.
async fn assert_read(server: &Server, room: i64) {
    assert_eq!(marks(server, room, 2).await, (1, 1));
    let (_, list) = server.api_get("/rooms?user_id=2").await;
    let listed = &list["rooms"][0];
    assert_eq!((&listed["unread"], &listed["read"], &listed["delivered"]), (&json!(0), &json!(1), &json!(1)));
    assert_eq!(listed["last_message"]["status"], "read", "{listed}");
    let (_, page) = server.api_get(&format!("/rooms/{room}/messages")).await;
    assert_eq!(page["messages"][0]["status"], "read", "{page}");
    let (_, user) = server.api_get("/users/2").await;
    assert_eq!((&user["rooms"][0]["delivered"], &user["rooms"][0]["read"]), (&json!(1), &json!(1)), "{user}");
    let export = Lines::of(server.api(Method::GET, "/users/2/export")).await.rest().await;
    assert_eq!((&export[1]["delivered"], &export[1]["read"]), (&json!(1), &json!(1)), "{}", export[1]);
    let history = server.dial_as(1, &format!("room_id={room}")).open().await.history().await;
    assert_eq!(history[0]["status"], "read", "{history:?}");
    let resumed = server.dial_as(1, &format!("room_id={room}&since=")).open().await.next().await;
    assert_eq!(resumed["marks"][1], json!({"user_id": 2, "delivered": 1, "read": 1}), "{resumed}");
    let token = server.token(2).sign();
    let ready = server.dial("/ws/?since=").token(&token).open().await.next().await;
    let shown = &ready["rooms"][0];
    assert_eq!((&shown["unread"], &shown["read"], &shown["delivered"]), (&json!(0), &json!(1), &json!(1)));
    assert_eq!(shown["last_message"]["status"], "read", "{shown}");
}

#[tokio::test]
async fn markers_of_a_killed_server_are_shown_and_folded_by_others() {
    let mongod = Mongod::start().await;
    let mut killed = Program::start_over(&mongod.uri("killed"), &[]).await;
    let alive = killed.beside_over(&mongod.uri("alive"), &[]).await;
    let room = killed.room(&[1, 2]).await;
    // The server `alive` has answered a request, so it receives all later changes.
    assert_eq!(alive.get("/healthz").await, 200);
    hold_folding(&mongod, &killed, "killed").await;
    let (mut one, _two) = (killed.join(1, 2).await, killed.join(2, 1).await);
    one.say("hello").await;
    one.until_kind(READ).await;
    assert_read(&killed, room).await;
    assert_read(&alive, room).await;
    killed.signal("KILL");
    assert_eq!(killed.exit_code().await, None);

    let database = database(&mongod, &killed).await;
    let members = database.collection("members");
    assert_eq!(read_by_document(&members, 2).await, 0, "nothing was folded");
    let new = alive.beside_over(&mongod.uri("new"), &[]).await;
    assert_read(&new, room).await;
    assert_read(&alive, room).await;
    folded(&database).await;
    assert_eq!(read_by_document(&members, 2).await, 1);
    assert_read(&new, room).await;
    assert_read(&alive, room).await;
    // A server that starts later reads the marker from the member's document.
    let later = alive.beside_over(&mongod.uri("later"), &[]).await;
    assert_read(&later, room).await;
}

#[tokio::test]
async fn rejoining_member_has_none_of_the_old_markers() {
    let mongod = Mongod::start().await;
    let short = [("LIMITS__HANDLER_MS", "1000"), ("MONGODB__OPERATION_MS", "2000")];
    let server = Server::start_over(&mongod.uri("parlor"), &short).await;
    let other = server.beside_over(&mongod.uri("other"), &short).await;
    let (direct, group) = (server.room(&[1, 2]).await, server.room(&[1, 2, 3]).await);
    assert_eq!(other.get("/healthz").await, 200);
    hold_folding(&mongod, &server, "parlor").await;
    for room in [direct, group] {
        let (mut one, _two) = (server.enter(1, room).await, server.enter(2, room).await);
        for _ in 0..3 {
            one.say("hello").await;
        }
        let markers = async || marks(&server, room, 2).await;
        eventually("user 2 has read all messages", markers, |markers| *markers == (3, 3)).await;
    }
    let path = format!("/rooms/{group}/members/3");
    assert_eq!(server.api_delete(&path).await.0, 204);
    assert_eq!(server.call(Method::PUT, &path, json!({})).await.0, 201);
    assert_eq!(marks(&server, group, 3).await, (3, 3), "who is new to a group begins at its last message");

    // An erased user who returns to a direct room has no markers in it.
    assert_eq!(server.api_delete("/users/2").await.0, 202);
    let database = database(&mongod, &server).await;
    let erasures = database.collection::<Document>("erasures");
    eventually_count(&erasures, doc! {}, |count| count == 0).await;
    assert_eq!(other.room(&[1, 2]).await, direct);
    for server in [&server, &other] {
        assert_eq!(marks(server, direct, 2).await, (0, 0));
        let (_, list) = server.api_get("/rooms?user_id=2").await;
        assert_eq!(list["rooms"][0]["unread"], 3, "{list}");
    }
    mongod.heal().await;
    folded(&database).await;
    for server in [&server, &other] {
        assert_eq!(marks(server, direct, 2).await, (0, 0), "nor by what was folded later");
    }
}

#[tokio::test]
async fn marker_writes_wait_when_too_many_are_unfolded() {
    let mongod = Mongod::start().await;
    let admin = format!("127.0.0.1:{}", free_port());
    let settings = [("ADMIN__LISTEN", &*admin), ("LIMITS__UNFOLDED_MARKS", "1")];
    let server = Server::start_over(&mongod.uri("parlor"), &settings).await;
    server.room(&[1, 2]).await;
    hold_folding(&mongod, &server, "parlor").await;
    let (mut one, _two) = (server.join(1, 2).await, server.join(2, 1).await);
    one.say("first").await;
    one.until_kind(READ).await;
    one.say("second").await;
    one.until_kind("chat_message").await;
    let metrics = async || {
        let page = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
        assert!(page.contains("parlor_marks_kept 1\n"), "{page}");
        page
    };
    let is_counted = |page: &String| !page.contains("parlor_limits_hit_total{bound=\"unfolded_marks\"} 0\n");
    let page = eventually("the bound is counted", metrics, is_counted).await;
    assert!(page.contains("parlor_receipts_waiting 1\n"), "{page}");
    one.quiet().await;
    mongod.heal().await;
    assert_eq!(one.until_kind(READ).await["message"]["text"], "second");
}

/// The number of messages that are sent for each new socket. While a member is absent, three sockets connect, so fewer
/// than 200 messages wait for this member. The server sends status events only for the newest 200 messages.
const SAID: usize = 20;

/// Sends a message for each permit, and a last message after the semaphore is closed.
async fn talk(mut client: Client, may: Arc<Semaphore>) -> Client {
    while let Ok(one) = may.acquire().await {
        one.forget();
        client.say("and").await;
        client.until_kind("chat_message").await;
    }
    client.say("that is all").await;
    while client.until_kind("chat_message").await["message"]["text"] != "that is all" {}
    client
}

/// Returns each message's statuses as one socket received them: from its history, if any, and then from its events.
async fn statuses(mut client: Client) -> BTreeMap<i64, Vec<String>> {
    let mut all: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    let mut note = |message: &Value| {
        let status = message["status"].as_str().unwrap().to_owned();
        let of = all.entry(message["message_id"].as_i64().unwrap()).or_default();
        of.push(status);
        (message["text"] == "that is all" && message["status"] == "read").then_some(())
    };
    let mut over = 0;
    for message in client.history().await {
        over += usize::from(note(&message).is_some());
    }
    while over < 2 {
        let event = client.next().await;
        if ["chat_message", DELIVERED, READ].contains(&event["type"].as_str().unwrap()) {
            over += usize::from(note(&event["message"]).is_some());
        }
    }
    all
}

/// The members of the group leave one after another, so a message's status also depends on the remaining members.
#[tokio::test]
async fn connecting_socket_gets_statuses_once_amid_a_marker_burst() {
    const ROOMY: [(&str, &str); 1] = [("LIMITS__SEND_QUEUE", "100000")];
    let one = Server::start(&ROOMY).await;
    let two = one.beside_over(crate::support::shared_uri(), &ROOMY).await;
    let group = one.room(&[1, 2, 3, 4, 5, 6, 7]).await;
    let mut going = Vec::new();
    for user in 3..=7 {
        going.push((user, one.enter(user, group).await));
    }
    let may = Arc::new(Semaphore::new(0));
    let talkers = [one.enter(1, group).await, two.enter(2, group).await];
    let talking = talkers.map(|client| tokio::spawn(talk(client, may.clone())));
    let mut comers = Vec::new();
    let mut away = None;
    for n in 0..40 {
        may.add_permits(SAID);
        if n % 8 == 2 {
            // This member has no socket from now on. So no message becomes delivered or read until the member is
            // removed.
            let (user, client) = going.pop().unwrap();
            client.leave().await;
            away = Some(user);
        }
        if n % 8 == 5
            && let Some(user) = away.take()
        {
            assert_eq!(one.api_delete(&format!("/rooms/{group}/members/{user}")).await.0, 204);
        }
        let (server, user) = ([&two, &one][n % 2], [1, 2][n / 2 % 2]);
        let client = server.dial_as(user, &format!("room_id={group}")).open().await;
        comers.push(tokio::spawn(statuses(client)));
    }
    may.close();
    let mut heard = Vec::new();
    for talker in join_all(talking).await {
        heard.push(talker.unwrap());
    }
    let mut marked = 0;
    for (n, comer) in join_all(comers).await.into_iter().enumerate() {
        for (id, statuses) in comer.unwrap() {
            let all = ["send", "delivered", "read"];
            let from = all.iter().position(|status| statuses[0] == *status).unwrap();
            assert_eq!(statuses, all[from..], "message {id} as comer {n} has it");
            marked += statuses.len() - 1;
        }
    }
    assert!(marked > 1_000, "only {marked} marks were told");
}
