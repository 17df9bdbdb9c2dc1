//! What function files store.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, FunctionsFolder, Lines, Metered, Server};

/// A function that does the operation on stored values that its caller asks for.
const STORE: &str = "export default async ({ request: { scope = 'own', op, args } }) => {
    try { const value = await state[scope][op](...args); return { reply: { value: value ?? null, none: value === undefined } } }
    catch (e) { return { reply: { code: e.code, message: e.message } } } }";

async fn server_with(overrides: &[(&str, &str)]) -> (FunctionsFolder, Server) {
    let folder = FunctionsFolder::with(&[("store.js", STORE), ("other.js", STORE)]);
    let server = Server::start(&[&folder.settings(), overrides].concat()).await;
    server.room(&[1, 2]).await;
    server.room(&[1, 3]).await;
    (folder, server)
}

async fn ask(client: &mut Client, scope: &str, op: &str, args: Value) -> Value {
    ask_as(client, "store", scope, op, args).await
}

async fn ask_as(client: &mut Client, action: &str, scope: &str, op: &str, args: Value) -> Value {
    client.send(json!({"action": action, "scope": scope, "op": op, "args": args})).await;
    let answer = client.until_kind(action).await;
    if answer["code"].is_null() {
        answer["value"].clone()
    } else {
        json!([answer["code"], answer["message"]])
    }
}

#[tokio::test]
async fn values_are_stored_for_room_user_or_function() {
    let (_folder, server) = server_with(&[]).await;
    let (mut one, mut two, mut three) =
        (server.join(1, 2).await, server.join(2, 1).await, server.join(1, 3).await);
    for scope in ["room", "user", "own"] {
        assert_eq!(ask(&mut one, scope, "get", json!(["k"])).await, Value::Null);
        let version = ask(&mut one, scope, "set", json!(["k", {"at": scope, "n": [1.5, null, "ä"]}])).await;
        assert!(version.as_u64().unwrap() > 0, "{version}");
        let value = json!({"at": scope, "n": [1.5, null, "ä"]});
        assert_eq!(ask(&mut one, scope, "get", json!(["k"])).await, value);
        assert_eq!(
            ask(&mut one, scope, "entry", json!(["k"])).await,
            json!({"value": value, "version": version})
        );
        let seen = |wanted: &[&str]| if wanted.contains(&scope) { value.clone() } else { Value::Null };
        assert_eq!(ask(&mut two, scope, "get", json!(["k"])).await, seen(&["room", "own"]));
        assert_eq!(ask(&mut three, scope, "get", json!(["k"])).await, seen(&["user", "own"]));
        assert_eq!(ask_as(&mut one, "other", scope, "get", json!(["k"])).await, Value::Null);
        assert_eq!(ask(&mut one, scope, "delete", json!(["k"])).await, json!(true));
        assert_eq!(ask(&mut one, scope, "delete", json!(["k"])).await, json!(false));
    }
}

#[tokio::test]
async fn swap_writes_only_over_the_version_that_was_read() {
    let (_folder, server) = server_with(&[]).await;
    let mut one = server.join(1, 2).await;
    let first = ask(&mut one, "own", "swap", json!(["k", 0, "a"])).await;
    assert_eq!(ask(&mut one, "own", "swap", json!(["k", 0, "b"])).await, Value::Null);
    let second = ask(&mut one, "own", "swap", json!(["k", first, "b"])).await;
    assert!(second.as_u64() > first.as_u64(), "{first} {second}");
    assert_eq!(ask(&mut one, "own", "swap", json!(["k", first, "c"])).await, Value::Null);
    ask(&mut one, "own", "delete", json!(["k"])).await;
    let third = ask(&mut one, "own", "swap", json!(["k", 0, "d"])).await;
    assert!(third.as_u64() > second.as_u64(), "a version never comes again: {second} {third}");
}

#[tokio::test]
async fn numbers_are_added_once_by_concurrent_calls() {
    let (folder, server) = server_with(&[]).await;
    let beside = server.beside_with(&folder.settings()).await;
    let mut clients = Vec::new();
    for user in [1, 2] {
        clients.push(server.enter(user, 1).await);
        clients.push(beside.enter(user, 1).await);
    }
    let mut sums = Vec::new();
    for client in &mut clients {
        for _ in 0..10 {
            client.send(json!({"action": "store", "op": "add", "args": ["n", 2]})).await;
        }
    }
    for client in &mut clients {
        for _ in 0..10 {
            sums.push(client.until_kind("store").await["value"].as_i64().unwrap());
        }
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=40).map(|n| 2 * n).collect::<Vec<i64>>());
}

#[tokio::test]
async fn values_expire_and_numbers_keep_their_time() {
    let (_folder, server) = server_with(&[]).await;
    let mut one = server.join(1, 2).await;
    ask(&mut one, "own", "set", json!(["k", 1, {"ttl": 1}])).await;
    ask(&mut one, "own", "add", json!(["n", 5, {"ttl": 1}])).await;
    ask(&mut one, "own", "add", json!(["n", 5, {"ttl": 1000}])).await;
    let state = server.collection("function_state").await;
    let past = mongodb::bson::doc! { "$set": { "expires_at": mongodb::bson::DateTime::from_millis(1) } };
    let expiring = mongodb::bson::doc! { "expires_at": { "$lt": mongodb::bson::DateTime::from_millis(
    mongodb::bson::DateTime::now().timestamp_millis() + 60_000) } };
    assert_eq!(
        state.update_many(expiring, past).await.unwrap().modified_count,
        2,
        "the second add keeps the time"
    );
    assert_eq!(ask(&mut one, "own", "get", json!(["k"])).await, Value::Null);
    assert_eq!(ask(&mut one, "own", "keys", json!([])).await, json!([]));
    assert_eq!(ask(&mut one, "own", "add", json!(["n", 3])).await, json!(3));
    assert!(ask(&mut one, "own", "swap", json!(["k", 0, 2])).await.is_u64());
}

#[tokio::test]
async fn keys_are_listed_in_pages() {
    let (_folder, server) = server_with(&[]).await;
    let mut one = server.join(1, 2).await;
    for key in ["b:2", "a", "b:1", "b:10", "c"] {
        ask(&mut one, "room", "set", json!([key, true])).await;
    }
    assert_eq!(ask(&mut one, "room", "keys", json!([])).await, json!(["a", "b:1", "b:10", "b:2", "c"]));
    assert_eq!(ask(&mut one, "room", "keys", json!(["b:", {"limit": 2}])).await, json!(["b:1", "b:10"]));
    assert_eq!(ask(&mut one, "room", "keys", json!(["b:", {"after": "b:10"}])).await, json!(["b:2"]));
}

#[tokio::test]
async fn bounds_of_stored_values_are_told_and_counted() {
    let metered = Metered::new();
    let bounds = [
        ("FUNCTIONS__STORE__STATE_KEYS", "2"),
        ("FUNCTIONS__STORE__STATE_VALUE_BYTES", "700"),
        ("FUNCTIONS__STORE__STATE_BYTES", "1024"),
        metered.setting(),
    ];
    let (_folder, server) = server_with(&bounds).await;
    let mut one = server.join(1, 2).await;
    let long = "x".repeat(600);
    assert!(ask(&mut one, "own", "set", json!(["a", long])).await.is_u64());
    let refused = |bound: &str, most: &str| json!(["too_large", format!("{bound} is {most}")]);
    assert_eq!(ask(&mut one, "own", "set", json!(["b", long])).await, refused("state_bytes", "1024"));
    assert_eq!(
        ask(&mut one, "own", "set", json!(["b", "x".repeat(700)])).await,
        refused("state_value_bytes", "700")
    );
    assert!(ask(&mut one, "own", "add", json!(["n", 1])).await.is_i64());
    assert_eq!(ask(&mut one, "own", "add", json!(["m", 1])).await, refused("state_keys", "2"));
    assert!(ask(&mut one, "own", "set", json!(["a", "short"])).await.is_u64(), "a value may be replaced");
    assert!(ask(&mut one, "user", "add", json!(["m", 1])).await.is_i64(), "each scope has bounds of its own");
    for bound in ["function_state_bytes", "function_state_value_bytes", "function_state_keys"] {
        assert_eq!(metered.hits(bound).await, 1, "{bound}");
    }
    for (op, args) in [
        ("get", json!([""])),
        ("get", json!(["x".repeat(257)])),
        ("set", json!(["a\nb", 1])),
        ("set", json!(["a", 1, {"ttl": 0}])),
        ("add", json!(["a", 1])),
        ("add", json!(["n", 1.5])),
        ("add", json!(["n", 9_007_199_254_740_991_i64])),
        ("keys", json!(["", {"limit": 0}])),
    ] {
        let answer = ask(&mut one, "own", op, args.clone()).await;
        assert_eq!(answer[0], "invalid_request", "{op} {args}: {answer}");
    }
}

#[tokio::test]
async fn stored_values_go_with_their_user_and_their_room() {
    let (_folder, server) = server_with(&[("ROOMS__SWEEP_SECONDS", "1")]).await;
    let mut one = server.join(1, 2).await;
    for scope in ["room", "user", "own"] {
        ask(&mut one, scope, "set", json!(["k", {"in": scope}])).await;
    }
    let export = Lines::of(server.api(Method::GET, "/users/1/export")).await.rest().await;
    let state: Vec<_> = export.iter().filter(|line| line["type"] == "state").collect();
    assert_eq!(state, [&json!({"type": "state", "function": "store", "key": "k", "value": {"in": "user"}})]);
    assert_eq!(export.last().unwrap()["states"], 1);
    server.api_delete("/users/1").await;
    let stored = server.collection("function_state").await;
    let scopes = async || -> Vec<String> {
        let mut found = stored.find(mongodb::bson::doc! {}).await.unwrap();
        let mut scopes = Vec::new();
        while found.advance().await.unwrap() {
            let id = found.deserialize_current().unwrap();
            scopes.push(id.get_document("_id").unwrap().get_str("scope").unwrap().to_owned());
        }
        scopes.sort();
        scopes
    };
    crate::support::eventually("the user's value is erased", &scopes, |left| *left == ["own", "room"]).await;
    server.api_delete("/rooms/1").await;
    crate::support::eventually("the room's value is deleted", &scopes, |left| *left == ["own"]).await;
}
