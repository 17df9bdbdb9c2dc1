//! The server receives SIGTERM while clients send, edit and delete messages, connect, resume, and post to the HTTP API.
//! An acknowledged write must be stored once. A write without an answer must not have been started. A client that
//! reconnects to the next server must receive all stored changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{
    Client, ClientPlan, ClientReport, End, Ledger, ManyClients, PATIENCE, Program, ReconnectingClient,
    SeededRng, Server, ServerAddresses, Stage, assert_in_order, assert_kept, assert_shown, encoded,
    eventually_within, matches,
};

/// The last acknowledged state of each message, by its id: its text, or `None` if it was deleted.
type Revised = BTreeMap<i64, Option<String>>;

/// Sends, edits and deletes messages until the socket ends. Returns the acknowledged states, and how the socket ended.
async fn revise(mut client: Client) -> (Revised, End) {
    let mut revised = Revised::new();
    for n in 0.. {
        let (text, mut heard) = (format!("revised/{n}"), Vec::new());
        let id = match client.say_and_hear(&text, &mut heard).await {
            Ok(frame) => frame["message"]["message_id"].as_i64().unwrap_or_else(|| panic!("{frame}")),
            Err(end) => {
                // The client could not send the message, or received no answer. The server may still have stored the
                // message. Then the client received the message's event before the socket ended.
                let own = heard.iter().find(|frame| frame["message"]["text"] == *text);
                revised
                    .extend(own.map(|frame| (frame["message"]["message_id"].as_i64().unwrap(), Some(text))));
                return (revised, end);
            }
        };
        revised.insert(id, Some(text));
        let text = format!("edited/{n}");
        let edit = json!({"action": "edit", "message_id": id, "text": text});
        let delete = json!({"action": "delete", "message_id": id});
        let deleted = json!({"type": "message_deleted", "message_id": id});
        let edited = json!({"type": "message_edited", "message_id": id, "text": text});
        let steps = [(edit, edited, Some(text)), (delete, deleted, None)];
        for (frame, event, becomes) in steps.into_iter().take(if n % 3 == 0 { 2 } else { 1 }) {
            // If the server has closed the socket, this frame can't be sent. But the client can still receive frames
            // that the server sent before the close.
            client.try_send(frame).await;
            loop {
                match client.next_or_end().await {
                    Ok(frame) if matches(&event, &frame) => {
                        revised.insert(id, becomes);
                        break;
                    }
                    Ok(frame) => assert_ne!(frame["type"], "error", "{frame}"),
                    Err(end) => return (revised, end),
                }
            }
        }
    }
    unreachable!("it speaks until its socket ends")
}

/// Posts messages until the server does not answer. Returns the message id for each text. The id is `None` if the
/// server gave no answer or the answer 503.
async fn post(server: Arc<Program>, room: i64) -> BTreeMap<String, Option<i64>> {
    let mut posted = BTreeMap::new();
    for n in 0.. {
        let key = format!("posted/{n}");
        let answer = post_once(&server, room, &key).await;
        let id = match &answer {
            Some((201, message)) => message["message_id"].as_i64(),
            Some((503, _)) | None => None,
            Some(other) => panic!("{key}: {other:?}"),
        };
        posted.insert(key, id);
        if answer.is_none() {
            return posted;
        }
    }
    posted
}

/// Posts a message once. Returns `None` if the server does not answer.
async fn post_once(server: &Server, room: i64, key: &str) -> Option<(u16, Value)> {
    let path = format!("/rooms/{room}/messages");
    let body = json!({"sender_id": 1, "text": key});
    let request = server.api(Method::POST, &path).header("idempotency-key", key).json(&body);
    let answer = timeout(PATIENCE, request.send()).await.expect("an answer, or none, in time").ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.ok()?))
}

/// Connects again and again with the last cursor, until the server accepts no connection. Checks that each first frame
/// contains all messages since the cursor. Checks that the server closes a socket only with 1012. Returns the id of the
/// last received message.
async fn resume(server: Arc<Program>, room: i64) -> i64 {
    let (mut cursor, mut last) = (String::new(), 0);
    loop {
        let query = format!("room_id={room}&since={}", encoded(&cursor));
        let Some(mut client) = server.dial_as(1, &query).open_or_not().await else { return last };
        match client.next_or_end().await {
            Ok(first) => {
                for message in first["messages"].as_array().unwrap() {
                    let id = message["message_id"].as_i64().unwrap();
                    assert!(cursor.is_empty() || id == last + 1, "after {last} there is {id}");
                    last = id;
                }
                first["cursor"].as_str().unwrap().clone_into(&mut cursor);
            }
            Err(end) => assert_eq!(end, End::Closed(1012)),
        }
    }
}

/// Starts three clients. When their server has shut down, they reconnect to the new address in `addresses`.
fn start_clients(server: &Server, room: i64, addresses: ServerAddresses) -> ReconnectingClients {
    let (stage, ledger) = (watch::Sender::new(Stage::Speak), Arc::new(Ledger::default()));
    let plan = ClientPlan { addresses, room, stage: stage.subscribe(), ledger: ledger.clone(), query: "" };
    let travel = |n: i64| {
        let token = server.token(n).sign();
        let client = ReconnectingClient::new(plan.clone(), format!("client {n}"), token, SeededRng::of(0));
        tokio::spawn(client.travel(true))
    };
    ReconnectingClients { stage, ledger, all: (1..=3).map(travel).collect() }
}

struct ReconnectingClients {
    stage: watch::Sender<Stage>,
    ledger: Arc<Ledger>,
    all: Vec<JoinHandle<ClientReport>>,
}

async fn stored(server: &Server, room: i64) -> Vec<Document> {
    let messages = server.collection("messages").await;
    let find = messages.find(doc! { "_id.room": room }).sort(doc! { "_id": 1 });
    find.await.unwrap().try_collect().await.unwrap()
}

fn number(message: &Document) -> i64 {
    message.get_document("_id").unwrap().get_i64("n").unwrap()
}

#[tokio::test]
async fn sigterm_under_load_loses_and_repeats_no_write() {
    let program = Arc::new(Program::start(&[("LIMITS__SEND_QUEUE", "10000")]).await);
    let (spoken, revised, posted, followed) = (
        program.room(&[1, 2]).await,
        program.room(&[1, 3]).await,
        program.room(&[1, 4]).await,
        program.room(&[1, 2, 3]).await,
    );
    let addresses = watch::Sender::new(vec![Some(program.address())]);
    let clients = start_clients(&program, followed, addresses.subscribe());
    let many_clients = ManyClients::on(&[&program]).await;
    let revising = tokio::spawn(revise(program.enter(1, revised).await));
    let posting = tokio::spawn(post(program.clone(), posted));
    let resuming = [(); 3].map(|()| tokio::spawn(resume(program.clone(), spoken)));
    many_clients.until_acknowledged(300).await;
    clients.ledger.grows_by(20, 4 * PATIENCE).await;
    program.signal("TERM");
    addresses.send_replace(vec![None]);

    let (mut outcomes, heard, ends) = many_clients.outcomes().await;
    assert_eq!(ends, vec![End::Closed(1012); ends.len()]);
    let (revisions, end) = revising.await.unwrap();
    assert_eq!(end, End::Closed(1012));
    let posts = posting.await.unwrap();
    let mut resumed = Vec::new();
    for resuming in resuming {
        resumed.push(resuming.await.unwrap());
    }
    let mut program = Arc::into_inner(program).expect("nobody else has it any more");
    assert_eq!(program.exit_code().await, Some(0));

    let again = program.again().await;
    addresses.send_replace(vec![Some(again.address())]);
    for heard in &heard {
        assert_in_order(heard);
    }
    // If a message got no answer, the server had not started to write it, because the shutdown waits for running
    // actions. So the test treats this message as refused with `unavailable`: it must not be stored.
    for outcome in outcomes.values_mut().filter(|outcome| **outcome == Err(None)) {
        *outcome = Err(Some("unavailable".to_owned()));
    }
    assert_kept(again.collection("messages").await, spoken, &outcomes).await;
    assert_shown(&again, &outcomes).await;
    let last = stored(&again, spoken).await.last().map(number).unwrap();
    assert!(resumed.iter().all(|resumed| (1..=last).contains(resumed)), "{resumed:?} of {last}");

    let text = |message: &Document| message.get_str("text").map(str::to_owned).ok();
    let is: Revised =
        stored(&again, revised).await.iter().map(|message| (number(message), text(message))).collect();
    assert_eq!(is, revisions);

    let unknown = posts.values().filter(|id| id.is_none()).count();
    for (key, id) in &posts {
        let answer = async || post_once(&again, posted, key).await.expect("an answer");
        let is_done = |(status, _): &(u16, Value)| *status != 409;
        let (status, message) = eventually_within(4 * PATIENCE, "the post is done", answer, is_done).await;
        assert_eq!(status, 201, "{key}: {message}");
        assert!(id.is_none_or(|id| message["message_id"] == id), "{key} was {id:?}, and is {message}");
    }
    let texts = stored(&again, posted).await.iter().filter_map(text).collect::<Vec<_>>();
    assert_eq!(texts.len(), posts.len(), "each is there once: {texts:?}");
    assert!(posts.keys().all(|key| texts.contains(key)), "each is there: {texts:?}");

    clients.ledger.grows_by(20, 4 * PATIENCE).await;
    clients.stage.send_replace(Stage::Listen);
    let mut last = again.enter(1, followed).await;
    let last = last.say_and_hear("the end", &mut Vec::new()).await.unwrap();
    let last = last["message"]["message_id"].as_i64().unwrap();
    clients.stage.send_replace(Stage::Until(last));
    let (mut said, mut returns) = (BTreeMap::new(), 0);
    for client in clients.all {
        let report = timeout(2 * PATIENCE, client).await.expect("each comes to the end").unwrap();
        assert!(report.last >= last, "each heard of all");
        said.extend(report.said);
        returns += report.returns;
    }
    said.insert("the end".to_owned(), last);
    let is: BTreeMap<_, _> =
        stored(&again, followed).await.iter().filter_map(|it| Some((text(it)?, number(it)))).collect();
    assert_eq!(is, said, "what was said again is there once");
    eprintln!(
        "{} said, {} revised, {} posted ({unknown} without an answer at first), {} by travellers who returned {returns} times",
        outcomes.len(),
        revisions.len(),
        posts.len(),
        said.len()
    );
}
