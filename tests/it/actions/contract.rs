//! Checks that each action emits exactly the events and errors that the table of actions declares for it.

use std::collections::BTreeSet;

use handlers::{ACTIONS, Code};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Server, chat, checked_in};

/// Errors that the runtime (the code that calls the actions) can return for any action. The table of actions does not
/// list these errors.
const OF_THE_RUNTIME: [Code; 8] = [
    Code::BadJson,
    Code::UnknownAction,
    Code::InvalidRequest,
    Code::Rejected,
    Code::RateLimited,
    Code::Timeout,
    Code::Unavailable,
    Code::Internal,
];

/// The frames that an action caused: the types of its events, and the codes of its own errors.
#[derive(Debug, Default, PartialEq, Eq)]
struct Came {
    events: BTreeSet<String>,
    errors: BTreeSet<String>,
}

impl Came {
    fn note(&mut self, frame: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if frame["type"] != "error" {
            self.events.insert(text(&frame["type"]));
        } else if !OF_THE_RUNTIME.iter().any(|code| frame["code"] == code.as_str()) {
            self.errors.insert(text(&frame["code"]));
        }
    }
}

/// Sends three frames of the action. One names a message of the sender, one a message of the other user, and one a
/// message that does not exist. The frames have the fields of all actions, and each action reads only its own fields.
/// Returns all events and errors that the two users receive.
async fn all_that_comes_of(action: &str) -> Came {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut one = server.dial_as(1, "firts_user=1&second_user=2&receipts=manual").open().await;
    assert!(one.history().await.is_empty());
    let mut two = server.dial_as(2, "firts_user=2&second_user=1&since=").open().await;
    one.say("own").await;
    one.until_kind("mark_message_as_read").await;
    two.say("another's").await;
    one.until_kind("mark_message_as_delivered").await;
    while two.until_kind("mark_message_as_delivered").await["message"]["message_id"] != 2 {}

    let mut came = Came::default();
    let (mine, theirs) = (server.token(1).sign(), server.token(2).sign());
    for (id, token) in [(1, &*mine), (2, &*theirs), (999_999, "none")] {
        let frame =
            json!({"action": action, "message_id": id, "message": "new", "text": "new", "token": token});
        one.send(frame).await;
        // The fence is a message that is sent after the frame. When a client has received the fence's read event, it
        // has received all events of the frame.
        let fence = format!("fence {id}");
        one.say(&fence).await;
        note_until_read(&mut one, &fence, &mut came).await;
        // The test also counts events that only the other user receives.
        note_until_read(&mut two, &fence, &mut came).await;
    }
    came
}

async fn note_until_read(client: &mut Client, fence: &str, came: &mut Came) {
    loop {
        let frame = client.next().await;
        assert!(
            frame["type"] != "error" || frame["code"] != "invalid_request",
            "this test's frame must be a valid one for every action: {frame}"
        );
        if frame["message"]["text"] != *fence {
            came.note(&frame);
        } else if frame["type"] == "mark_message_as_read" {
            return;
        }
    }
}

/// Returns the `type` of the frame that answers an action on the sender's socket. Returns None if the contract declares
/// no answer for the action.
fn answer_of(action: &str) -> Option<String> {
    let contract = handlers::asyncapi(ACTIONS, &[]);
    let kind =
        &contract["components"]["messages"][format!("{action}_answer")]["payload"]["properties"]["type"];
    kind["const"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn actions_emit_and_fail_exactly_as_their_spec_says() {
    for action in ACTIONS {
        let promised = Came {
            events: action
                .spec
                .emits
                .iter()
                .map(|kind| kind.as_str().to_owned())
                .chain(answer_of(action.name))
                .collect(),
            errors: action.spec.fails.iter().map(|code| code.as_str().to_owned()).collect(),
        };
        let came = all_that_comes_of(action.name).await;
        assert_eq!(came, promised, "what came of `{}`, and what its row says", action.name);
    }
}

#[test]
fn no_row_names_an_error_of_the_runtime() {
    for action in ACTIONS {
        for code in action.spec.fails {
            assert!(!OF_THE_RUNTIME.contains(code), "`{}` names {code:?}", action.name);
        }
    }
}

#[tokio::test]
async fn action_is_found_by_its_exact_name_only() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    for action in ACTIONS {
        one.send(json!({"action": action.name})).await;
        let other = format!("{}x", action.name);
        one.send(json!({"action": other})).await;
        loop {
            let answer = one.next().await;
            if answer["code"] == "unknown_action" {
                assert_eq!(answer["action"], other, "{answer}");
                break;
            }
        }
    }
    one.say("done").await;
    one.expect(chat(1, 1, "done")).await;
}

/// Returns the names of the messages (frames of the contract) that an operation of the channel lists, directly or as
/// its reply.
fn named<'a>(operation: &'a Value, channel: &str) -> impl Iterator<Item = &'a str> {
    let prefix = format!("#/channels/{channel}/messages/");
    let all = [&operation["messages"], &operation["reply"]["messages"]];
    let all = all.into_iter().filter_map(Value::as_array).flatten();
    all.map(move |message| message["$ref"].as_str().unwrap().strip_prefix(&*prefix).unwrap())
}

#[test]
fn actions_and_events_stand_on_the_channels_that_have_them() {
    let contract = handlers::asyncapi(ACTIONS, &[]);
    let mut met: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (name, operation) in contract["operations"].as_object().unwrap() {
        let channel = operation["channel"]["$ref"].as_str().unwrap().strip_prefix("#/channels/").unwrap();
        assert_eq!(channel == "inbox", name.starts_with("inbox_") || name == "tell_of_all_rooms", "{name}");
        met.extend(named(operation, channel).map(|message| (channel, message)));
    }
    for (channel, levels) in [("chat", &[1, 2][..]), ("inbox", &[3])] {
        let listed = contract["channels"][channel]["messages"].as_object().unwrap();
        for (name, message) in contract["components"]["messages"].as_object().unwrap() {
            let of = message["x-levels"].as_array().unwrap();
            let here = levels.iter().any(|level| of.contains(&json!(level)));
            assert_eq!(listed.contains_key(name), here, "{name} on {channel}");
            assert_eq!(met.contains(&(channel, &**name)), here, "an operation of {channel} has {name}");
        }
    }
    let has = |channel: &str, name: &str| contract["channels"][channel]["messages"].get(name).is_some();
    for action in ACTIONS {
        assert!(has("inbox", action.name), "a socket of all rooms takes `{}`", action.name);
    }
    for (name, on_chat, on_inbox) in [
        ("first_history", true, false),
        ("ready", false, true),
        ("presence", false, true),
        ("open", false, true),
        ("custom", true, true),
    ] {
        assert_eq!((has("chat", name), has("inbox", name)), (on_chat, on_inbox), "{name}");
    }
}

#[tokio::test]
async fn the_contract_is_the_one_that_is_checked_in() {
    let server = Server::start(&[]).await;
    let (status, kind, contract) = server.request(Method::GET, "/asyncapi.json", None, "").await;
    assert_eq!((status, &*kind), (200, "application/json"));
    checked_in("config/asyncapi.json", &contract);
}
