//! The log: all lines of a request, from the received frame to the database, have the same request id. No line has
//! texts or tokens. A log that is not read delays no client.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::{API_KEY, Metered, Mongod, Program, Receiver, ReceiverReply, edited};

/// Returns the log lines that contain a request's id, as JSON.
fn lines_of(log: &str, request: &str) -> Vec<Value> {
    let lines = log.lines().filter(|line| line.contains(request));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn says(lines: &[Value], words: &str) -> bool {
    lines.iter().any(|line| line["fields"]["message"] == words)
}

#[tokio::test]
async fn a_request_has_one_id_from_the_frame_to_the_database() {
    let mut program = Program::start(&[("LOG__FILTER", "debug"), ("LOG__FORMAT", "json")]).await;
    program.room(&[1, 2]).await;
    let mut one = program.join(1, 2).await;
    one.say_alone(1, 1, "a confidential text").await;
    one.send(json!({"action": "edit", "message_id": 1, "text": "another confidential text"})).await;
    one.expect(edited(1, "another confidential text")).await;
    let stored: Document = program.collection("messages").await.find_one(doc! {}).await.unwrap().unwrap();
    let sent = stored.get_object_id("write_id").unwrap().to_hex();
    let edit = stored.get_document("edit").unwrap().get_object_id("id").unwrap().to_hex();
    assert_ne!(sent, edit);

    program.logged(&edit).await;
    let log = program.log();
    let (sent, edit) = (lines_of(&log, &sent), lines_of(&log, &edit));
    assert!(says(&sent, "done") && says(&sent, "wrote a batch"), "{sent:#?}");
    assert!(says(&edit, "done"), "{edit:#?}");
    for line in sent.iter().chain(&edit).filter(|line| line["fields"]["message"] == "done") {
        assert_eq!((&line["span"]["name"], &line["fields"]["outcome"]), (&json!("frame"), &json!("ok")));
    }
    assert!(!log.contains("confidential"), "a message's text is in the log");
}

#[tokio::test]
async fn the_id_that_a_client_is_told_is_in_the_log_with_its_cause() {
    let mongod = Mongod::start().await;
    let mut program = Program::start_over(&mongod.uri("parlor"), &[("LOG__FORMAT", "json")]).await;
    program.room(&[1, 2]).await;
    let mut one = program.join(1, 2).await;
    let refused = doc! { "failCommands": ["insert"], "errorCode": 8_000 };
    mongod.fail("parlor", doc! { "times": 1 }, refused).await;
    one.say("this one fails").await;
    let told = one.until_kind("error").await;
    assert_eq!(told["code"], "internal", "{told}");
    let message = told["message"].as_str().unwrap();
    let id = message.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).expect("an id to quote");
    program.logged(id).await;
    let lines = lines_of(&program.log(), id);
    let [line] = lines.as_slice() else { panic!("it is told once: {lines:#?}") };
    assert_eq!((&line["level"], &line["fields"]["action"]), (&json!("ERROR"), &json!("send")));
    assert!(line["fields"]["error"].as_str().unwrap().contains("8000"), "{line}");
    assert!(!message.contains("8000"), "the cause is for the log alone");
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0), "within {:?}", Duration::from_secs(15));
}

/// Under any log filter of the operator, the log contains no message text, no token and no key.
#[tokio::test]
async fn no_filter_lets_texts_or_tokens_into_the_log() {
    const TEXT: &str = "a confidential text";
    let receiver = Receiver::start(|_| ReceiverReply::Ok(String::new())).await;
    let url = receiver.url("/");
    for filter in [
        "trace",
        "tungstenite::protocol=trace",
        "info,tungstenite=trace,tokio_tungstenite=trace,hyper=trace,hyper_util=trace,h2=trace,reqwest=trace",
        "mongodb=trace,mongodb::command=debug,rustls=trace,salvo_core=trace,log=trace,tower=trace,warn",
        "[frame]=trace,[{action}]=trace,tungstenite[frame]=trace,tungstenite::protocol::frame=trace",
        "off,tungstenite::protocol::frame::socket=trace,tungstenite=trace",
    ] {
        let hook =
            [("HOOKS__AFTER_SEND__URL", &*url), ("LOG__FILTER", filter), ("LOG__QUEUE_LINES", "1000000")];
        // Some filters would hide the log line `serving on`, for which the test waits.
        let filter = format!("{filter},parlor=info");
        let settings: Vec<_> =
            hook.map(|(key, value)| (key, if key == "LOG__FILTER" { &*filter } else { value })).to_vec();
        let mut program = Program::start(&settings).await;
        program.room(&[1, 2]).await;
        let token = program.token(1).sign();
        let mut one = program.dial_as(1, "firts_user=1&second_user=2&since=").open().await;
        one.until_kind("resumed").await;
        one.say(TEXT).await;
        one.until_kind("chat_message").await;
        one.send(json!({"action": "edit", "message_id": 1, "text": TEXT})).await;
        one.until_kind("message_edited").await;
        one.send(json!({"action": "auth", "token": token})).await;
        one.until_kind("auth").await;
        let forged = program.token(1).secret("x").sign();
        assert_eq!(program.dial("/ws/").token(&forged).refused().await, 4001);
        program.signal("TERM");
        assert_eq!(program.exit_code().await, Some(0), "within {:?}", Duration::from_secs(15));
        let log = program.log();
        let hex: String = TEXT
            .bytes()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|half| char::from_digit(half.into(), 16))
            .collect();
        let secrets = [TEXT, &hex, token.rsplit_once('.').unwrap().1, forged.rsplit_once('.').unwrap().1];
        for secret in secrets.into_iter().chain([API_KEY, "eyJ"]) {
            let line = log.lines().find(|line| line.to_lowercase().contains(&secret.to_lowercase()));
            assert!(line.is_none(), "{filter}: {line:?}");
        }
    }
}

/// Nothing reads the log, for example because a log shipper hangs or a user has paused the terminal. The log's pipe is
/// full after 64 KiB.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nobody_up() {
    let metered = Metered::new();
    let settings = [metered.setting(), ("LOG__FILTER", "debug"), ("LOG__QUEUE_LINES", "10")];
    let mut program = Program::start(&settings).await;
    program.room(&[1, 2]).await;
    let (mut one, mut two) = (program.join(1, 2).await, program.join(2, 1).await);
    program.deafen();
    let mut said = 0;
    while metered.hits("log_queue_lines").await < 100 {
        one.say("does anybody hear me?").await;
        two.until_kind("chat_message").await;
        said += 1;
        assert!(said < 10_000, "this is all that it has to say");
    }
    program.signal("TERM");
    assert_eq!(program.exit_code().await, Some(0), "within {:?}", Duration::from_secs(15));
}
