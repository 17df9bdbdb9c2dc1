//! A failing action must not affect other actions. The tests use a panic, an action that never ends, and a caller that
//! disconnects.

use std::future::pending;
use std::time::Duration;

use handlers::{
    Action, ActionSpec, Code, Context, Error, Fields, HistoryCursor, Level, Limits, Pending, Reply, Text,
};
use parlor::store::StoreError;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::{Client, PATIENCE, Server, WORDS, error, matches, said};

type Run = fn(Context, &Fields<'_>) -> Result<Pending<'static, Reply>, Error>;

const BASIC: ActionSpec = ActionSpec { level: Level::Basic, ..ActionSpec::DEFAULT };

const fn action(name: &'static str, run: Run) -> Action {
    Action { name, spec: BASIC, run, schema: handlers::ACTIONS[0].schema }
}

/// Parlor's action `send`, and actions that fail on purpose.
static ACTIONS: &[Action] = &[
    Action {
        name: "send",
        spec: handlers::actions::send::SPEC,
        run: |context, fields| (Action::named("send").unwrap().run)(context, fields),
        schema: |generator| (Action::named("send").unwrap().schema)(generator),
    },
    action("panics", |_, _| Ok(Box::pin(async { panic!("a panic with the secret of its cause") }))),
    action("panics_while_decoding", |_, _| panic!("a panic with the secret of its cause")),
    action("panics_without_words", |_, _| Ok(Box::pin(async { std::panic::panic_any(7) }))),
    action("fails", |_, _| Ok(Box::pin(async { Err(Error::internal("the secret of its cause")) }))),
    action("never_ends", |_, _| Ok(Box::pin(pending()))),
    Action {
        spec: ActionSpec { limits: Limits { max_in_flight: 2, ..Limits::DEFAULT }, ..BASIC },
        ..action("hangs", |_, _| Ok(Box::pin(pending())))
    },
    // Writes a message, and then never ends.
    action("writes_and_never_ends", |context, fields| {
        let text = fields.first_text("message").unwrap_or_default();
        Ok(Box::pin(async move {
            let text: Text =
                context.validate_text(serde_json::from_value(json!(text)).unwrap(), "message")?;
            context.room()?.append(text, None).await?;
            pending().await
        }))
    }),
    // Writes a message and waits until the room's newest message is "go". Then fails with the error for a write whose
    // outcome is unknown to the server.
    action("writes_and_is_not_confirmed", |context, fields| {
        let text = fields.first_text("message").unwrap_or_default();
        Ok(Box::pin(async move {
            let text: Text =
                context.validate_text(serde_json::from_value(json!(text)).unwrap(), "message")?;
            context.room()?.append(text, None).await?;
            loop {
                let newest = context.room()?.history(HistoryCursor::Newest, 1).await?;
                if newest.messages.first().is_some_and(|message| message.text == "go") {
                    let unknown = StoreError::Unknown(None);
                    return Err(Error::caused(Code::Timeout, "it may still be done", unknown));
                }
                sleep(Duration::from_millis(15)).await;
            }
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
async fn endless_action_times_out_and_later_frames_keep_their_order() {
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
    // The loop collects only errors. The event of `send` arrives when the message is committed, possibly after the
    // errors of later frames.
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
async fn write_before_a_timeout_is_still_published() {
    let (_server, mut one, mut two) = two_sockets(&[("LIMITS__HANDLER_MS", "1000")]).await;
    one.send(json!({"action": "writes_and_never_ends", "message": "written"})).await;
    one.expect_all(&said(1, 1, "written")).await;
    one.expect(error("timeout", Some("writes_and_never_ends"))).await;
    two.expect_all(&said(1, 1, "written")).await;
}

/// Each frame gets only one answer. The answer to a write is the event. So the client gets no error after the event,
/// even if the database does not confirm the write to the server.
#[tokio::test]
async fn unconfirmed_write_gets_no_error_when_its_event_has_come() {
    let (_server, mut one, mut two) = two_sockets(&[]).await;
    one.send(json!({"action": "writes_and_is_not_confirmed", "message": "written"})).await;
    for client in [&mut one, &mut two] {
        client.expect_all(&said(1, 1, "written")).await;
    }
    two.say("go").await;
    one.expect_all(&said(2, 2, "go")).await;
    // The first frame must cause no late error. The client would take this error for the answer to its next frame.
    one.say("next").await;
    one.expect_all(&said(3, 1, "next")).await;
}

#[tokio::test]
async fn an_action_that_hangs_at_its_in_flight_limit_slows_no_other() {
    let (server, mut one, mut two) = two_sockets(&[("LIMITS__HANDLER_MS", "60000")]).await;
    let before = two.median_send_time(1, 2).await;
    let mut hogs = [server.join(1, 2).await, server.join(1, 2).await];
    for hog in &mut hogs {
        hog.send(json!({"action": "hangs"})).await;
    }
    // The action may run twice at a time. When the server refuses a further call, the calls of the two other sockets
    // have taken both permits.
    let refused = async {
        loop {
            one.send(json!({"action": "hangs"})).await;
            let frame = one.until_kind("error").await;
            if frame["code"] == "rate_limited" {
                return frame;
            }
        }
    };
    let refused = timeout(PATIENCE, refused).await.expect("a third call is refused, and at once");
    let expected = json!({
        "type": "error", "code": "rate_limited", "message": WORDS, "action": "hangs", "retry_after_ms": 1500,
    });
    assert!(matches(&expected, &refused), "{refused}");
    let during = two.median_send_time(61, 2).await;
    // A `send` of user 2 must take as long as before the hanging calls. The tolerance is for other load on the machine.
    assert!(during < 3 * before + Duration::from_millis(5), "{before:?} became {during:?}");
}

#[tokio::test]
async fn calls_that_are_given_up_give_their_places_back() {
    let (server, mut one, _two) = two_sockets(&[("LIMITS__HANDLER_MS", "500")]).await;
    let mut hogs = [server.join(1, 2).await, server.join(1, 2).await];
    for _ in 0..2 {
        for hog in &mut hogs {
            hog.send(json!({"action": "hangs"})).await;
        }
        for hog in &mut hogs {
            hog.expect(error("timeout", Some("hangs"))).await;
        }
    }
    one.send(json!({"action": "hangs"})).await;
    one.expect(error("timeout", Some("hangs"))).await;
}

#[tokio::test]
async fn a_caller_that_leaves_at_once_has_its_message_written() {
    let (server, one, mut two) = two_sockets(&[]).await;
    // Half of the callers disconnect by a clean close, the others by a broken connection.
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
        // The test waits for the receipt, so that the next caller has no unread frame when its connection breaks. With
        // unread data, the kernel would reset the connection, and the message could be lost.
        two.until_kind("mark_message_as_read").await;
    }
    drop(one);
}
