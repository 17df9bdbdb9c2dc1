//! Properties of the server that must hold for arbitrary input. Proptest generates the input: texts, text frames,
//! binary frames, user ids and queries. One server handles all inputs. All frames go to one socket, which must stay
//! open.

use proptest::prelude::*;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

use crate::support::{Client, Server, chat, encoded, error, listed, matches, room_with_one_socket};

/// Calls `tried` with arbitrary inputs, one after another. `tried` panics if the tested property does not hold for an
/// input.
fn holds_for<T: std::fmt::Debug>(
    runtime: &Runtime,
    cases: u32,
    any: impl Strategy<Value = T>,
    tried: impl AsyncFn(T),
) {
    let limits = Config { cases, max_shrink_iters: 64, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(limits).run(&any, |input| {
        runtime.block_on(tried(input));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Generates all texts that are valid messages.
fn texts() -> impl Strategy<Value = String> {
    let any = prop_oneof![
        4 => any::<String>(),
        1 => proptest::collection::vec(any::<char>(), 1..300).prop_map(|all| all.into_iter().collect()),
    ];
    any.prop_filter("only white space, or U+0000", |text| !text.trim().is_empty() && !text.contains('\0'))
}

/// Generates JSON of every kind. Some values are names that the protocol uses.
fn values() -> impl Strategy<Value = Value> {
    let names =
        proptest::sample::select(vec!["action", "message", "message_id", "text", "send", "edit", "delete"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..5).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        names.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map("[a-z_]{0,8}", inner, 0..6)
                .prop_map(|map| Value::from(map.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}

/// Generates text frames, from noise to almost valid requests.
fn frames() -> impl Strategy<Value = String> {
    let field = proptest::sample::select(vec!["action", "message", "message_id", "text", "ref", "x"]);
    let action = proptest::sample::select(vec!["send", "edit", "delete", "ping", "history", ""]);
    let object =
        (action, proptest::collection::hash_map(field, values(), 0..5)).prop_map(|(action, fields)| {
            let mut object: serde_json::Map<_, _> =
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            object.entry("action").or_insert(action.into());
            Value::from(object).to_string()
        });
    let object = object.boxed();
    prop_oneof![
        2 => any::<String>(),
        2 => values().prop_map(|value| value.to_string()),
        4 => object.clone(),
        // The object is cut at any character, or gets a character inserted at any place.
        1 => (object.clone(), any::<prop::sample::Index>())
            .prop_map(|(frame, at)| frame.chars().take(at.index(frame.chars().count())).collect()),
        1 => (object, any::<prop::sample::Index>(), any::<char>()).prop_map(|(frame, at, other)| {
            let mut characters: Vec<_> = frame.chars().collect();
            characters.insert(at.index(characters.len()), other);
            characters.into_iter().collect()
        }),
    ]
}

/// Asserts that a frame gets exactly one answer: an event or an error. No other member may have a socket, because the
/// receipts of that member would cause more events.
async fn answered_once(client: &Mutex<Client>, frame: &str) {
    let client = &mut *client.lock().await;
    client.send_text(frame).await;
    let answer = client.next().await;
    let kinds = ["error", "chat_message", "message_edited", "message_deleted", "pong", "history"];
    assert!(kinds.iter().any(|kind| answer["type"] == *kind), "{frame} was answered with {answer}");
    client.quiet().await;
}

#[test]
fn arbitrary_text_comes_back_exactly() {
    let runtime = runtime();
    let (server, one) = runtime.block_on(room_with_one_socket(&[]));
    let (one, said) = (Mutex::new(one), Mutex::new(Vec::new()));
    holds_for(&runtime, 200, texts(), async |text: String| {
        let id = i64::try_from(said.lock().await.len()).unwrap() + 1;
        said.lock().await.push(text.clone());
        one.lock().await.say(&text).await;
        one.lock().await.expect(chat(id, 1, &text)).await;
    });
    let history = runtime.block_on(async { server.connect(1, 2).await.history().await });
    let said = (1..).zip(said.into_inner()).collect::<Vec<_>>();
    assert_eq!(history.len(), said.len().min(50));
    for (message, (id, text)) in history.iter().zip(said.iter().rev()) {
        assert!(matches(&listed(*id, 1, text, "send"), message), "said {text:?}, kept {message}");
    }
}

#[test]
fn arbitrary_text_frame_gets_one_answer_on_a_living_socket() {
    let runtime = runtime();
    let (_server, one) = runtime.block_on(room_with_one_socket(&[]));
    let one = Mutex::new(one);
    holds_for(&runtime, 400, frames(), async |frame: String| answered_once(&one, &frame).await);
}

#[test]
fn arbitrary_binary_frame_is_bad_json_on_a_living_socket() {
    let runtime = runtime();
    let (_server, one) = runtime.block_on(room_with_one_socket(&[]));
    let one = Mutex::new(one);
    holds_for(&runtime, 100, proptest::collection::vec(any::<u8>(), 0..2000), async |frame: Vec<u8>| {
        one.lock().await.send_binary(&frame).await;
        one.lock().await.expect(error("bad_json", None)).await;
    });
}

/// Generates user ids: digits of every length, and strings of 1 to 128 bytes. Some have a segment `.` or `..` between
/// slashes, which the server refuses.
fn ids() -> impl Strategy<Value = String> {
    let any = prop_oneof![
        2 => any::<u64>().prop_map(|n| n.to_string()),
        2 => (0_u32..60, any::<u64>()).prop_map(|(bits, n)| (n >> bits).to_string()),
        1 => "0[0-9]{1,20}",
        1 => "[+-]?[0-9]{1,19}(\\.[0-9])?",
        4 => "\\PC{1,40}",
        1 => "[a-z0-9|@/?#&=%+. -]{1,128}",
        1 => "[a/]{0,4}/?\\.{1,3}/?[a/]{0,4}",
    ];
    any.prop_filter("not an id, or the other user's", |id: &String| {
        (1..=128).contains(&id.len()) && !id.chars().any(char::is_control) && id != "the other" && id != "0"
    })
}

#[test]
fn arbitrary_user_id_parses_as_promised() {
    let runtime = runtime();
    let server = runtime.block_on(Server::start(&[]));
    holds_for(&runtime, 60, ids(), async |id: String| {
        let number =
            id.parse::<i64>().ok().filter(|n| *n <= 9_007_199_254_740_991 && n.to_string() == id && *n > 0);
        let on_the_wire = number.map_or_else(|| json!(id), Value::from);
        let members = vec![json!({"user_id": id}), json!({"user_id": "the other"})];
        if id.split('/').any(|segment| matches!(segment, "." | "..")) {
            let (status, problem) = server.call(Method::POST, "/rooms", json!({"members": members})).await;
            assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{id}: {problem}");
            return;
        }
        let room = server.room_of(members).await;
        // The server removes one slash from the end of a query value. So the test appends a slash. Otherwise an id that
        // ends with a slash would lose it.
        let query = format!("firts_user={}/&second_user=the%20other", encoded(&id));
        let mut client = server.dial_as(id.clone(), &query).open().await;
        let before = client.history().await.len();
        client.say("hi").await;
        let event = client.next().await;
        assert_eq!(
            event["message"]["sender_id"], on_the_wire,
            "{event}, {before} messages before, room {room}"
        );
    });
}

/// Generates query strings from the characters that a URL may contain, from noise to almost valid ones.
fn queries() -> impl Strategy<Value = String> {
    let key =
        proptest::sample::select(vec!["firts_user", "first_user", "second_user", "room_id", "since", "x"]);
    let value = prop_oneof![
        2 => proptest::sample::select(vec!["1", "2", "3", "1/", "2/", "", "/", "2//", "%32", "02", "-1", "null"])
            .prop_map(str::to_owned),
        1 => "[a-zA-Z0-9._~!$'()*+,;:@/?=%-]{0,40}",
        1 => "(%[0-9a-fA-F]{2}){1,20}",
        1 => "[0-9]{1,40}",
    ];
    let pairs = proptest::collection::vec((key, value), 0..5).prop_map(|pairs| {
        pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
    });
    prop_oneof![3 => pairs, 1 => "[a-zA-Z0-9._~!$&'()*+,;:@/?=%-]{0,200}"]
}

#[test]
fn arbitrary_query_is_accepted_or_refused_by_a_listed_code() {
    let runtime = runtime();
    let (server, one) = runtime.block_on(room_with_one_socket(&[]));
    let one = Mutex::new(one);
    holds_for(&runtime, 300, queries(), async |query: String| {
        let mut client = server.dial_as(1, &query).open().await;
        if let Some(code) = client.refused_or_history().await {
            assert!([4400, 4003, 4004].contains(&code), "?{query} was closed with {code}");
        }
        one.lock().await.quiet().await;
    });
}
