//! The commands that send requests to a running server: their output as text and as JSON, and their errors.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Home, Link, PATIENCE, Process, Receiver, ReceiverReply, State, eventually, free_port};

const KEY: &str = "an-api-key-of-the-tests-at-least-32-characters";

/// Returns a home folder with the settings of a server that has a service key. A command with these settings finds the
/// server.
async fn home() -> Home {
    Home::new().await.set("API__KEYS", KEY).set("LISTEN", &format!("127.0.0.1:{}", free_port()))
}

fn lines(printed: &str) -> Vec<Vec<String>> {
    printed.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn help_tells_of_every_command() {
    let home = Home::new().await;
    let help = home.run(&["--help"]).await;
    for (command, about, options) in [
        ("rooms", "List a user's rooms", &["--user <USER>", "--before <NEXT>"][..]),
        ("history", "Show a page of a room's messages", &["--room <ROOM>", "--before", "--after", "--limit"]),
        ("tail", "Show the events of a room as they happen", &["--room <ROOM>", "--last <MESSAGES>"]),
        ("send", "Send a message to a room", &["--room <ROOM>", "--user <USER>", "--service", "[TEXT]"]),
        ("users", "Show a user", &["--user <USER>", "--disconnect"]),
        ("erase", "Erase a user", &["--user <USER>", "--yes"]),
        ("export", "Print all stored data of a user", &["--user <USER>"]),
        ("hooks", "List the events that are set aside", &["--hook", "--user", "--retry", "--drop"]),
    ] {
        let line = help.printed().lines().find(|line| line.trim_start().starts_with(command));
        assert!(line.is_some_and(|line| line.contains(about)), "{command}: {}", help.printed());
        let own = home.run(&[command, "--help"]).await;
        assert!(own.printed().starts_with(about), "{}", own.printed());
        for option in options.iter().chain(&["Usage: parlor ", "--url <URL>", "--key <KEY>", "--ca <FILE>"]) {
            assert!(own.printed().contains(option), "{command}: no {option} in\n{}", own.printed());
        }
    }
}

#[tokio::test]
async fn events_that_are_set_aside_are_listed_sent_again_and_dropped() {
    let receiver = Receiver::start(|_| ReceiverReply::Status(422, String::new(), String::new())).await;
    let home = home().await.set("HOOKS__AFTER_SEND__URL", &receiver.url("/"));
    let home = home.set("HOOKS__MAX_TRIES", "1").set("HOOKS__RETRY_MS", "10");
    let server = home.serve().await;
    let room = home.run(&["room", "--members", "1,2"]).await.printed().to_owned();
    for _ in 0..2 {
        home.run(&["send", "--room", &room, "--user", "1", "poison"]).await.printed();
    }
    let events = async || {
        let listed = home.run(&["hooks", "--hook", "after_send", "--json"]).await;
        let listed: Value = serde_json::from_str(listed.printed()).unwrap();
        listed["events"].as_array().unwrap().clone()
    };
    eventually("two events are set aside", &events, |events| events.len() >= 2).await;
    let page = home.run(&["hooks", "--user", "1", "--limit", "1"]).await;
    assert!(page.printed().contains(&format!("sent-{room}-1")), "{page:#?}");
    assert!(page.printed().contains("more: --after "), "{page:#?}");
    let ids: Vec<_> = events().await.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let refused = home.run(&["hooks", "--retry", &ids[0]]).await;
    assert!(refused.refused().contains("receiver_failed"), "{refused:#?}");
    receiver.answers(|_| ReceiverReply::Ok(String::new()));
    assert_eq!(home.run(&["hooks", "--retry", &ids[0]]).await.printed(), "");
    assert_eq!(home.run(&["hooks", "--drop", &ids[1]]).await.printed(), "");
    assert!(events().await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn messages_are_printed_as_text_and_as_json() {
    let home = home().await;
    // An erasure waits for the longest time that an action may take, so that every action that was running at its start
    // has ended. These limits shorten that wait.
    let home = home.set("LIMITS__HANDLER_MS", "1000").set("MONGODB__OPERATION_MS", "3000");
    let server = home.serve().await;
    let room = home.run(&["room", "--members", "1,alice"]).await.printed().to_owned();
    let send = async |user: &str, more: &[&str]| {
        let arguments = [&["send", "--room", &room, "--user", user], more].concat();
        home.run(&arguments).await.printed().to_owned()
    };
    assert_eq!(send("1", &["Hello"]).await, "1");
    assert_eq!(send("alice", &["a\u{1b}[31mred\nand\u{202e}back"]).await, "2");
    assert_eq!(send("bot", &["--service", "It rains"]).await, "3");
    let json: Value = serde_json::from_str(&send("1", &["--json", "last"]).await).unwrap();
    assert_eq!((&json["message_id"], &json["text"]), (&json!(4), &json!("last")));

    let history = home.run(&["history", "--room", &room]).await;
    let rows = lines(history.printed());
    assert_eq!(rows[0], ["MESSAGE", "TIME", "SENDER", "STATUS", "TEXT"]);
    let told: Vec<_> =
        rows[1..].iter().map(|row| (row[0].as_str(), row[2].as_str(), row[4..].join(" "))).collect();
    assert_eq!(
        told,
        [
            ("1", "1", "Hello".to_owned()),
            ("2", "alice", r"a\u{1b}[31mred\nand\u{202e}back".to_owned()),
            ("3", "bot", "It rains".to_owned()),
            ("4", "1", "last".to_owned()),
        ],
        "downwards, and nothing that drives a terminal"
    );
    let page = home.run(&["history", "--room", &room, "--before", "3", "--limit", "1", "--json"]).await;
    let page: Value = serde_json::from_str(page.printed()).unwrap();
    assert_eq!((&page["messages"][0]["message_id"], &page["has_more"]), (&json!(2), &json!(true)), "{page}");

    let user = home.run(&["users", "--user", "alice"]).await;
    assert!(user.printed().starts_with("alice is offline"), "{user:#?}");
    assert!(lines(user.printed()).iter().any(|row| row.first() == Some(&room)), "{user:#?}");
    let token = home.run(&["token", "--user", "alice"]).await;
    let mut alice = server.dial(&format!("room_id={room}"), token.printed()).open().await;
    alice.history().await;
    let disconnected = home.run(&["users", "--user", "alice", "--disconnect"]).await;
    assert_eq!(disconnected.printed(), "");
    assert_eq!(disconnected.err, "parlor: closing the user's sockets on every server\n");
    assert_eq!(alice.closed_in_the_end().await, 4001);

    let exported = home.run(&["export", "--user", "alice"]).await;
    let kinds: Vec<Value> = exported
        .printed()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone())
        .collect();
    assert_eq!(kinds, ["user", "membership", "message", "end"]);
    let asked = home.run(&["erase", "--user", "alice"]).await;
    assert!(asked.refused().contains("--yes"), "{asked:#?}");
    let erased = home.run(&["erase", "--user", "alice", "--yes"]).await;
    assert_eq!(erased.printed(), "");
    assert!(erased.err.ends_with("parlor: erased\n"), "{erased:#?}");
    let left = home.run(&["history", "--room", &room, "--after", "0"]).await;
    assert!(!left.printed().contains("alice") && left.printed().contains("Hello"), "{left:#?}");
    server.stop().await;
}

#[tokio::test]
async fn tail_shows_a_room_as_it_lives() {
    let home = home().await;
    let server = home.serve().await;
    let room = home.run(&["room", "--members", "1,2"]).await.printed().to_owned();
    for text in ["one", "two", "three"] {
        home.run(&["send", "--room", &room, "--user", "1", text]).await.printed();
    }
    let tail = Process::start(
        "tail",
        home.command(&[], &["tail", "--room", &room, "--last", "2"]),
        Duration::from_secs(5),
    );
    let raw = Process::start(
        "tail --json",
        home.command(&[], &["tail", "--room", &room, "--json"]),
        Duration::from_secs(5),
    );
    tail.says("three", crate::support::PATIENCE).await;
    raw.says("three", crate::support::PATIENCE).await;
    home.run(&["send", "--room", &room, "--user", "2", "four"]).await.printed();
    tail.says("four", crate::support::PATIENCE).await;
    raw.says("four", crate::support::PATIENCE).await;
    let said = tail.said();
    assert!(!said.contains("one") && said.contains("#2 1: two") && said.contains("#4 2: four"), "{said}");
    let events: Vec<Value> = raw.said().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<_> = events.iter().map(|event| event["message"]["message_id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    drop((tail, raw));
    server.stop().await;
}

/// While the event stream is broken, the test sends more messages than one history contains.
#[tokio::test]
async fn tail_misses_nothing_while_it_is_cut_off() {
    let home = home().await;
    let server = home.serve().await;
    let room = home.run(&["room", "--members", "1,2"]).await.printed().to_owned();
    let link = Link::to_a_server(server.address).await;
    let url = format!("http://{}/", link.address);
    let arguments = ["tail", "--room", &room, "--url", &url];
    let tail = Process::start("tail", home.command(&[], &arguments), Duration::from_secs(5));
    home.run(&["send", "--room", &room, "--user", "1", "before"]).await.printed();
    tail.says("#1 1: before", PATIENCE).await;
    link.set(State::Cut);
    tail.says("the stream broke off", PATIENCE).await;
    let http = reqwest::Client::new();
    for n in 2..=270 {
        let message = serde_json::json!({"sender_id": 2, "text": format!("message {n}")});
        let post = http.post(server.url(&format!("/api/v1/rooms/{room}/messages"))).bearer_auth(KEY);
        assert_eq!(post.json(&message).send().await.unwrap().status(), 201);
    }
    link.set(State::Open);
    tail.says("#270 2: message 270", PATIENCE).await;
    let said = tail.said();
    let numbers = said.lines().filter_map(|line| line.split_once('#')?.1.split(' ').next()?.parse().ok());
    assert_eq!(numbers.collect::<Vec<i64>>(), (1..=270).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn failed_command_prints_one_line_with_the_reason() {
    let home = home().await;
    let asked = ["history", "--room", "1"];
    let nobody = home.run(&asked).await;
    assert!(nobody.refused().contains("does not answer"), "{nobody:#?}");
    let server = home.serve().await;
    for (settings, arguments, why) in [
        (&[][..], &["history", "--room", "77"][..], "no such room (404"),
        (&[], &["history", "--room", "1", "--limit", "201"], "limit: must be 1 to 200"),
        (&[], &["tail", "--room", "77"], "no such room (404"),
        (&[], &["send", "--room", "77", "--user", "1", "text"], "no such room (404"),
        (&[], &["history", "--room", "1", "--key", "wrong"], "a service key is needed"),
        (&[("API__KEYS", "")], &["history", "--room", "1"], "PARLOR__API__KEYS"),
        (&[], &["history", "--room", "1", "--url", "ftp://127.0.0.1/"], "no server's address"),
    ] {
        let refused = home.run_with(settings, arguments).await;
        assert!(refused.refused().contains(why), "{arguments:?}: {refused:#?}");
        assert!(!refused.err.contains(KEY) && refused.out.is_empty(), "{refused:#?}");
    }
    for arguments in [
        &["history"][..],
        &["send", "--room", "x", "--user", "1", "t"],
        &["export", "--user", ".."],
        &["erase", "--yes", "--user", "."],
        &["history", "--room", "1", "--before", "1", "--after", "1"],
    ] {
        assert_eq!(home.run(arguments).await.status.code(), Some(2), "{arguments:?}");
    }
    let nameless = home.run(&["users", "--user", ""]).await;
    assert!(nameless.err.contains("a user's id has 1 to 128 bytes"), "{nameless:#?}");
    server.stop().await;
}

/// A program at the server's address sends an answer that never ends.
#[tokio::test]
async fn an_endless_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let _ = stream.read(&mut request).await;
                let status =
                    if request.starts_with(b"GET /api/v1/rooms/2/") { "404 Not Found" } else { "200 OK" };
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await;
                let piece = vec![b' '; 1 << 20];
                while stream.write_all(&piece).await.is_ok() {}
            });
        }
    });
    let home = Home::new().await.set("API__KEYS", KEY);
    for (arguments, why) in [
        (&["history", "--room", "1"][..], "answers with over 67108864 bytes"),
        (&["users", "--user", "1"], "answers with over 67108864 bytes"),
        (&["history", "--room", "2"], "answers 404 Not Found: is this Parlor?"),
        (&["tail", "--room", "1"], "a line of the answer has over 67108864 bytes"),
        (&["export", "--user", "1"], "a line of the answer has over 67108864 bytes"),
    ] {
        let arguments = [arguments, &["--url", &url]].concat();
        let refused = home.run(&arguments).await;
        assert!(refused.refused().contains(why), "{arguments:?}: {refused:#?}");
    }
    answering.abort();
}

/// A reader of the output may close the pipe early. For example, `head` closes the pipe when it has enough lines.
#[tokio::test]
async fn a_closed_pipe_ends_every_command_quietly() {
    let home = home().await;
    let server = home.serve().await;
    let room = home.run(&["room", "--members", "1,2"]).await.printed().to_owned();
    home.run(&["send", "--room", &room, "--user", "1", "text"]).await.printed();
    for arguments in [
        &["history", "--room", &room][..],
        &["history", "--room", &room, "--json"],
        &["rooms", "--user", "1"],
        &["users", "--user", "1"],
        &["export", "--user", "1"],
        &["send", "--room", &room, "--user", "1", "text"],
        &["tail", "--room", &room],
        &["token", "--user", "1"],
        &["room", "--members", "1,2"],
        &["check"],
    ] {
        let mut command = tokio::process::Command::from(home.command(&[], arguments));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let ended = tokio::time::timeout(4 * PATIENCE, child.wait_with_output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("{arguments:?} goes on")).unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && said.is_empty(), "{arguments:?}: {} {said}", ended.status);
    }
    server.stop().await;
}
