//! Function files that are hooks.

use serde_json::{Value, json};

use crate::support::{FunctionsFolder, Metered, Server, eventually};

/// A hook that stores the events that it was told.
const NOTE: &str = "const note = async (event) => {
    if (event.text === 'fail') throw new Error('not this one');
    await state.own.set(`${event.hook}:${event.id}`, { ...event, about: await room.about().catch((e) => e.code) }); };
    export { note as after_send, note as connected, note as disconnected, note as offline };";

async fn noted(server: &Server, hook: &str) -> Vec<Value> {
    let state = server.collection("function_state").await;
    let mut found = state.find(mongodb::bson::doc! {}).await.unwrap();
    let mut events = Vec::new();
    while found.advance().await.unwrap() {
        let document = found.deserialize_current().unwrap();
        let event: Value = serde_json::from_str(document.get_str("value").unwrap()).unwrap();
        if event["hook"] == hook {
            events.push(event);
        }
    }
    events
}

#[tokio::test]
async fn file_is_told_what_happened() {
    let folder = FunctionsFolder::with(&[("note.js", NOTE)]);
    let server = Server::start(&[&folder.settings()[..], &[("HOOKS__OFFLINE__WAIT_MS", "0")]].concat()).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    let told = async |hook: &str| {
        let events = eventually(hook, async || noted(&server, hook).await, |events| !events.is_empty()).await;
        assert_eq!(events.len(), 1, "{events:?}");
        events[0].clone()
    };
    let came = told("connected").await;
    assert_eq!((&came["user_id"], &came["about"]), (&json!(1), &json!("not_found")), "{came}");
    one.say_alone(1, 1, "hello").await;
    for hook in ["after_send", "offline"] {
        let sent = told(hook).await;
        assert_eq!((&sent["type"], &sent["text"]), (&json!("sent"), &json!("hello")), "{sent}");
        assert_eq!(sent["about"]["kind"], "direct", "{sent}");
    }
    assert_eq!(told("offline").await["user_id"], 2);
    one.leave().await;
    assert_eq!(told("disconnected").await["user_id"], 1);
}

#[tokio::test]
async fn event_that_a_file_refuses_is_set_aside_and_sent_again() {
    let folder = FunctionsFolder::with(&[("note.js", NOTE)]);
    let metered = Metered::new();
    let own = [
        ("HOOKS__MAX_TRIES", "1"),
        ("HOOKS__RETRY_MS", "10"),
        ("HOOKS__RETRY_MAX_MS", "10"),
        metered.setting(),
    ];
    let server = Server::start(&[&folder.settings(), &own[..]].concat()).await;
    server.room(&[1, 2]).await;
    let third = server.room(&[1, 3]).await;
    let (mut one, mut other) = (server.join(1, 2).await, server.enter(1, third).await);
    one.say_alone(1, 1, "fail").await;
    let list = async || {
        // Only a hook that accepts other events sets an event aside.
        other.say("fine").await;
        server.api_get("/hooks/set-aside?hook=after_send:note").await.1["events"].clone()
    };
    let events = eventually("the event is set aside", list, |events| events[0].is_object()).await;
    assert_eq!(
        (&events[0]["hook"], &events[0]["message_id"]),
        (&json!("after_send:note"), &json!(1)),
        "{events}"
    );
    assert!(events[0]["reason"].as_str().unwrap().contains("Error: not this one"), "{events}");
    let aside = r#"parlor_hook_events_total{hook="after_send:note",outcome="set_aside"}"#;
    assert_eq!(metered.sample(aside).await, 1);
    one.send(json!({"action": "edit", "message_id": 1, "text": "better"})).await;
    one.until_kind("message_edited").await;
    let path = format!("/hooks/set-aside/{}/retry", events[0]["id"].as_str().unwrap());
    assert_eq!(server.api_post(&path, &json!({})).await.0, 204);
    let told = async || noted(&server, "after_send").await;
    eventually("the event is told", told, |events| events.iter().any(|event| event["message_id"] == 1)).await;
}

#[tokio::test]
async fn hooks_begin_with_a_new_file_and_continue_with_a_changed_one() {
    let folder = FunctionsFolder::with(&[]);
    let server = Server::start(&folder.settings()).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    one.say_alone(1, 1, "before").await;
    folder.write("note.js", NOTE);
    FunctionsFolder::listed(&server, "note", |f| f["version"].is_object()).await;
    let hooks = server.collection("hooks").await;
    let begun =
        async || hooks.count_documents(mongodb::bson::doc! { "_id": "after_send:note" }).await.unwrap();
    eventually("the hook has a position", begun, |count| *count == 1).await;
    one.say_alone(2, 1, "after").await;
    folder.write("note.js", format!("{NOTE}\n// changed"));
    let told = async || noted(&server, "after_send").await;
    let events = eventually("the event is told", told, |events| !events.is_empty()).await;
    assert_eq!(events.iter().map(|event| &event["message_id"]).collect::<Vec<_>>(), [&json!(2)]);
}
