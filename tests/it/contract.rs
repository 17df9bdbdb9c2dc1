//! Holds each row of the table of actions to its word: what it says it emits and how it fails do occur for
//! that action, and nothing else does.

use std::collections::BTreeSet;

use handlers::{ACTIONS, Code};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Server, chat, checked_in};

/// Errors of the runtime, which any action can meet; no row names them.
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

/// What came of a frame: the events by name, and the errors that are the action's own.
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

/// Sends a frame of the action for each of a message of one's own, another's, and none, with all fields that
/// any action knows; an action takes what is its own.
async fn all_that_comes_of(action: &str) -> Came {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let mut two = server.join(2, 1).await;
    one.say("own").await;
    one.until_kind("mark_message_as_read").await;
    two.say("another's").await;
    one.until_kind("mark_message_as_read").await;

    let mut came = Came::default();
    for id in [json!(1), json!(2), json!(999_999)] {
        one.send(json!({"action": action, "message_id": id, "message": "new", "text": "new"})).await;
        let first = one.next().await;
        assert!(
            first["type"] != "error" || first["code"] != "invalid_request",
            "this test's frame must be a valid one for every action; {action} answered {first}"
        );
        came.note(&first);
        // By the time a message said afterwards is read, everything before it has come.
        let fence = format!("fence {id}");
        one.say(&fence).await;
        loop {
            let frame = one.next().await;
            if frame["message"]["text"] != *fence {
                came.note(&frame);
            } else if frame["type"] == "mark_message_as_read" {
                break;
            }
        }
    }
    came
}

/// The `type` of the frame that answers an action on its own socket, where one does.
fn answer_of(action: &str) -> Option<String> {
    let contract = handlers::asyncapi(ACTIONS, &[]);
    let kind =
        &contract["components"]["messages"][format!("{action}_answer")]["payload"]["properties"]["type"];
    kind["const"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn every_action_does_what_its_row_says_and_nothing_else() {
    for action in ACTIONS {
        let promised = Came {
            events: action
                .emits
                .iter()
                .map(|kind| kind.as_str().to_owned())
                .chain(answer_of(action.name))
                .collect(),
            errors: action.fails.iter().map(|code| code.as_str().to_owned()).collect(),
        };
        let came = all_that_comes_of(action.name).await;
        assert_eq!(came, promised, "what came of `{}`, and what its row says", action.name);
    }
}

#[test]
fn no_row_names_an_error_of_the_runtime() {
    for action in ACTIONS {
        for code in action.fails {
            assert!(!OF_THE_RUNTIME.contains(code), "`{}` names {code:?}", action.name);
        }
    }
}

#[tokio::test]
async fn each_row_is_found_by_its_name_and_no_other_is() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    for action in ACTIONS {
        one.send(json!({"action": action.name})).await;
        let answer = one.next().await;
        assert_ne!(answer["code"], "unknown_action", "{answer}");
        one.send(json!({"action": format!("{}x", action.name)})).await;
        let answer = one.next().await;
        assert_eq!(answer["code"], "unknown_action", "{answer}");
    }
    one.say("done").await;
    one.expect(chat(1, 1, "done")).await;
}

#[tokio::test]
async fn the_contract_is_the_one_that_is_checked_in() {
    let server = Server::start(&[]).await;
    let (status, kind, contract) = server.request(Method::GET, "/asyncapi.json", None, "").await;
    assert_eq!((status, &*kind), (200, "application/json"));
    checked_in("config/asyncapi.json", &contract);
}
