//! What befalls an action stays with it: a panic, a call without end, a caller that leaves.

use std::future::pending;

use handlers::{Action, Context, Error, Fields, Limits, Pending, Reply, Text};
use mongodb::bson::doc;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{Client, PATIENCE, Server, WORDS, chat, error, matches, said};

type Run = fn(Context, &Fields<'_>) -> Result<Pending<'static, Reply>, Error>;

const fn action(name: &'static str, run: Run) -> Action {
    Action { name, limits: Limits::DEFAULT, emits: &[], fails: &[], run }
}

/// Parlor's own `send`, and beside it what no action should be like.
static ACTIONS: &[Action] = &[
    Action {
        name: "send",
        limits: handlers::send::LIMITS,
        emits: handlers::send::EMITS,
        fails: handlers::send::FAILS,
        run: |context, fields| (Action::named("send").unwrap().run)(context, fields),
    },
    action("panics", |_, _| Ok(Box::pin(async { panic!("a panic with the secret of its cause") }))),
    action("panics_while_decoding", |_, _| panic!("a panic with the secret of its cause")),
    action("panics_without_words", |_, _| Ok(Box::pin(async { std::panic::panic_any(7) }))),
    action("fails", |_, _| Ok(Box::pin(async { Err(Error::internal("the secret of its cause")) }))),
    action("never_ends", |_, _| Ok(Box::pin(pending()))),
    // Writes, and then forgets to end.
    action("writes_and_never_ends", |context, fields| {
        let text = fields.first_text("message").unwrap_or_default();
        Ok(Box::pin(async move {
            let text: Text = context.accept(serde_json::from_value(json!(text)).unwrap(), "message")?;
            context.room().append(text).await?;
            pending().await
        }))
    }),
];

async fn two_sockets(overrides: &[(&str, &str)]) -> (Server, Client, Client) {
    let server = Server::start_with(ACTIONS, overrides).await;
    server.room(&[1, 2]).await;
    let (one, two) = (server.join(1, 2).await, server.join(2, 1).await);
    (server, one, two)
}

#[tokio::test]
async fn a_panic_is_one_internal_error_with_an_id() {
    let (_server, mut one, mut two) = two_sockets(&[]).await;
    let mut ids = Vec::new();
    for name in ["panics", "panics_while_decoding", "panics_without_words", "fails", "panics"] {
        one.send(json!({"action": name})).await;
        let frame = one.expect(error("internal", Some(name))).await;
        let message = frame["message"].as_str().unwrap();
        assert!(!message.contains("secret"), "the cause is for the log alone: {message}");
        let id = message.split('(').nth(1).and_then(|rest| rest.strip_suffix(')'));
        ids.push(id.unwrap_or_else(|| panic!("no id in {message:?}")).to_owned());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "each has an id of its own: {ids:?}");
    one.say("still here").await;
    for client in [&mut one, &mut two] {
        client.expect_all(&said(1, 1, "still here")).await;
    }
}

#[tokio::test]
async fn an_action_without_end_is_a_timeout_and_the_frames_keep_their_order() {
    let (_server, mut one, mut two) = two_sockets(&[("LIMITS__HANDLER_MS", "400")]).await;
    for frame in [
        json!({"action": "never_ends"}),
        json!({"action": "send", "message": "after it"}),
        json!({"action": "panics"}),
        json!({"action": "never_ends"}),
        json!({"action": "nobody"}),
    ] {
        one.send(frame).await;
    }
    // What an action did is told when it is committed, which may be after the answers to the frames behind it.
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let frame = one.next().await;
        if frame["type"] == "error" {
            answers.push((frame["code"].clone(), frame["action"].clone()));
        }
    }
    let wanted = [
        ("timeout", "never_ends"),
        ("internal", "panics"),
        ("timeout", "never_ends"),
        ("unknown_action", "nobody"),
    ];
    assert_eq!(answers, wanted.map(|(code, action)| (json!(code), json!(action))));
    two.expect_all(&said(1, 1, "after it")).await;
    two.quiet().await;
}

#[tokio::test]
async fn a_socket_goes_on_hearing_while_its_action_runs() {
    let (_server, mut one, mut two) = two_sockets(&[("LIMITS__HANDLER_MS", "2000")]).await;
    one.send(json!({"action": "never_ends"})).await;
    two.say("meanwhile").await;
    one.expect_all(&said(1, 2, "meanwhile")).await;
    one.expect(error("timeout", Some("never_ends"))).await;
}

#[tokio::test]
async fn what_was_written_before_a_timeout_is_told_all_the_same() {
    let (_server, mut one, mut two) = two_sockets(&[("LIMITS__HANDLER_MS", "1000")]).await;
    one.send(json!({"action": "writes_and_never_ends", "message": "written"})).await;
    one.expect_all(&said(1, 1, "written")).await;
    one.expect(error("timeout", Some("writes_and_never_ends"))).await;
    two.expect_all(&said(1, 1, "written")).await;
}

#[tokio::test]
async fn actions_that_fill_their_bound_are_given_up_and_the_bound_is_free_again() {
    let overrides = [("LIMITS__HANDLER_MS", "500"), ("LIMITS__HANDLERS_IN_FLIGHT", "3")];
    let (server, mut one, mut two) = two_sockets(&overrides).await;
    let mut hogs = Vec::new();
    for _ in 0..2 {
        hogs.push(server.join(1, 2).await);
    }
    // One place of three is left: everyone else takes turns on it.
    for hog in &mut hogs {
        hog.send(json!({"action": "never_ends"})).await;
    }
    for id in 1..=5 {
        two.say("the last place").await;
        two.until(chat(id, 2, "the last place")).await;
    }
    one.send(json!({"action": "never_ends"})).await;
    for hog in hogs.iter_mut().chain([&mut one]) {
        assert_eq!(hog.until_kind("error").await["code"], "timeout");
    }
    // Whoever never ends has no place any more.
    for id in 6..=10 {
        two.say("all places").await;
        two.until(chat(id, 2, "all places")).await;
    }
}

#[tokio::test]
async fn an_action_that_finds_no_place_is_told_so_and_nothing_is_done() {
    let overrides = [("LIMITS__HANDLER_MS", "2000"), ("LIMITS__HANDLERS_IN_FLIGHT", "1")];
    let (server, mut one, mut two) = two_sockets(&overrides).await;
    one.send(json!({"action": "never_ends"})).await;
    one.send(json!({"action": "never_ends"})).await;
    one.send(json!({"action": "never_ends"})).await;
    two.say("is there a place?").await;
    let answer = timeout(PATIENCE, two.next()).await.unwrap();
    let stored = server.collection("messages").await.count_documents(doc! {}).await.unwrap();
    // Where it was so late that the place was free again it is done; else it's told before its time is over.
    if answer["type"] == "chat_message" {
        assert_eq!(stored, 1);
    } else {
        let expected = json!({"type": "error", "code": "timeout", "message": WORDS, "action": "send"});
        assert!(matches(&expected, &answer), "{answer}");
        assert_eq!(stored, 0);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_at_once_has_its_message_written() {
    let (server, one, mut two) = two_sockets(&[]).await;
    // In good order, and by a connection that is just gone.
    for n in 1..=20_i64 {
        let text = format!("goodbye {n}");
        let mut caller = server.join(1, 2).await;
        caller.say(&text).await;
        if n % 2 == 0 {
            caller.leave().await;
        } else {
            drop(caller);
        }
        let frame: Value = two.until_kind("chat_message").await;
        assert_eq!((&frame["message"]["text"], &frame["message"]["message_id"]), (&json!(text), &json!(n)));
        // With nothing left to be said to it the next caller's connection ends in order, and is not reset.
        two.until_kind("mark_message_as_read").await;
    }
    drop(one);
}
