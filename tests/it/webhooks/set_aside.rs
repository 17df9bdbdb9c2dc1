//! Events that a receiver repeatedly refuses. Parlor stops sending them (sets them aside) and lists them. Parlor sends
//! these events again on request, and deletes them when it erases their user.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{failure, ids, received_events, sent};
use crate::support::{
    Client, Metered, PATIENCE, ReceivedRequest, Receiver, ReceiverReply, Server, eventually,
    room_with_one_socket,
};

const URL: &str = "HOOKS__AFTER_SEND__URL";
const LIST: &str = "/hooks/set-aside";
const SET_ASIDE: &str = r#"parlor_hook_events_total{hook="after_send",outcome="set_aside"}"#;

/// Short pauses, so that many tries take little time.
const QUICK: [(&str, &str); 4] = [
    ("HOOKS__RETRY_MS", "10"),
    ("HOOKS__RETRY_MAX_MS", "20"),
    ("HOOKS__AFTER_SEND__BREAKER_FAILURES", "1000000"),
    ("HOOKS__AFTER_SEND__BREAKER_OPEN_MS", "10"),
];

fn refusing(
    status: u16,
    text: &'static str,
) -> impl Fn(&ReceivedRequest) -> ReceiverReply + Send + Sync + 'static {
    move |asked| {
        if asked.json()["text"] == text {
            ReceiverReply::Status(status, String::new(), String::new())
        } else {
            ReceiverReply::Ok(String::new())
        }
    }
}

/// Returns the events that the API lists as set aside.
async fn listed(server: &Server) -> Vec<Value> {
    let (status, page) = server.api_get(LIST).await;
    assert_eq!(status, 200, "{page}");
    page["events"].as_array().unwrap().clone()
}

/// Sends messages in another room until the receiver has got this event. The receiver accepts these messages, so Parlor
/// sees that the receiver works.
async fn say_until(receiver: &Receiver, elsewhere: &mut Client, event: &str) {
    let said = timeout(PATIENCE, async {
        while !ids(&receiver.until(|_| true).await).contains(&event.to_owned()) {
            elsewhere.say("hello").await;
            elsewhere.until_kind("chat_message").await;
        }
    });
    assert!(said.await.is_ok(), "{event} was not told");
}

#[tokio::test]
async fn a_poison_event_is_set_aside_and_its_room_goes_on() {
    let receiver = Receiver::start(refusing(500, "poison")).await;
    let (url, metered) = (receiver.url("/"), Metered::new());
    let settings = [&QUICK[..], &[(URL, &*url), ("HOOKS__MAX_TRIES", "3"), metered.setting()]].concat();
    let (server, mut one) = room_with_one_socket(&settings).await;
    let other = server.room(&[1, 3]).await;
    let mut elsewhere = server.enter(1, other).await;
    one.say_alone(1, 1, "poison").await;
    one.say_alone(2, 1, "after it").await;
    say_until(&receiver, &mut elsewhere, &sent(1, 2)).await;

    let events = listed(&server).await;
    let event = &events[0];
    assert_eq!((events.len(), &event["hook"], &event["type"]), (1, &json!("after_send"), &json!("sent")));
    assert_eq!((&event["event_id"], &event["tries"]), (&json!("sent-1-1"), &json!(3)), "{event}");
    assert_eq!((&event["room_id"], &event["message_id"]), (&json!(1), &json!(1)), "{event}");
    assert!(event["reason"].as_str().unwrap().contains("500"), "{event}");
    metered.until(SET_ASIDE, 1).await;
    let kept = server.collection("set_aside").await.find_one(mongodb::bson::doc! {}).await.unwrap().unwrap();
    assert!(!kept.to_string().contains("poison"), "nothing that was said is kept: {kept}");

    let retry = format!("{LIST}/{}/retry", event["id"].as_str().unwrap());
    let (status, problem) = server.api_post(&retry, &json!({})).await;
    assert_eq!((status, &problem["code"]), (502, &json!("receiver_failed")), "{problem}");
    assert_eq!(listed(&server).await[0]["tries"], 4);
    receiver.answers(|_| ReceiverReply::Ok(String::new()));
    assert_eq!(server.api_post(&retry, &json!({})).await.0, 204);
    let last = receiver.until(|_| true).await.pop().unwrap().json();
    assert_eq!(
        (&last["id"], &last["text"]),
        (&json!("sent-1-1"), &json!("poison")),
        "the same event: {last}"
    );
    assert_eq!(listed(&server).await.len(), 0);
    assert_eq!(server.api_post(&retry, &json!({})).await.0, 404);
}

#[tokio::test]
async fn a_receiver_that_is_down_has_nothing_set_aside() {
    let mut receiver = Receiver::start(|_| ReceiverReply::Status(503, String::new(), String::new())).await;
    let (url, metered) = (receiver.url("/"), Metered::new());
    let settings = [&QUICK[..], &[(URL, &*url), ("HOOKS__MAX_TRIES", "3"), metered.setting()]].concat();
    let (server, mut one) = room_with_one_socket(&settings).await;
    let other = server.room(&[1, 3]).await;
    let mut elsewhere = server.enter(1, other).await;
    one.say_alone(1, 1, "hello").await;
    elsewhere.say_alone(1, 1, "hello").await;
    let retried = r#"parlor_hook_events_total{hook="after_send",outcome="retried"}"#;
    let many = async |what: &str| {
        let from = metered.sample(retried).await;
        eventually(what, async || metered.sample(retried).await, |count| *count >= from + 20).await;
    };
    many("a refused event is retried").await;
    receiver.stop().await;
    many("an event is retried while no receiver listens").await;
    receiver.start_again().await;
    receiver.answers(|_| ReceiverReply::HangUp);
    many("an event is retried while the receiver hangs up").await;
    receiver.answers(|_| ReceiverReply::Ok(String::new()));
    let all = receiver.until(|asked| asked.iter().any(|asked| asked.json()["room_id"] == other)).await;
    assert!(!all.is_empty());
    one.say_alone(2, 1, "on").await;
    receiver.until(|asked| asked.iter().any(|asked| asked.json()["id"] == sent(1, 2))).await;
    assert_eq!((listed(&server).await.len(), metered.sample(SET_ASIDE).await), (0, 0));
}

#[tokio::test]
async fn an_event_refused_as_such_is_set_aside_without_another() {
    let receiver = Receiver::start(refusing(422, "poison")).await;
    let url = receiver.url("/");
    let settings = [&QUICK[..], &[(URL, &*url), ("HOOKS__MAX_TRIES", "2")]].concat();
    let (server, mut one) = room_with_one_socket(&settings).await;
    one.say_alone(1, 1, "poison").await;
    one.say_alone(2, 1, "after it").await;
    receiver.until(|asked| asked.iter().any(|asked| asked.json()["id"] == sent(1, 2))).await;
    let events = listed(&server).await;
    let path = format!("{LIST}/{}", events[0]["id"].as_str().unwrap());
    assert_eq!(server.api_delete(&path).await.0, 204);
    assert_eq!((server.api_delete(&path).await.0, listed(&server).await.len()), (404, 0));
}

#[tokio::test]
async fn zero_tries_are_for_ever() {
    let receiver = Receiver::start(refusing(422, "poison")).await;
    let (url, metered) = (receiver.url("/"), Metered::new());
    let settings = [&QUICK[..], &[(URL, &*url), ("HOOKS__MAX_TRIES", "0"), metered.setting()]].concat();
    let (server, mut one) = room_with_one_socket(&settings).await;
    one.say_alone(1, 1, "poison").await;
    receiver.until(|asked| asked.len() >= 30).await;
    assert_eq!((listed(&server).await.len(), metered.sample(SET_ASIDE).await), (0, 0));
}

#[tokio::test]
async fn set_aside_events_go_with_their_user_and_are_in_the_export() {
    let receiver = Receiver::start(|_| ReceiverReply::Status(422, String::new(), String::new())).await;
    let url = receiver.url("/");
    let settings = [&QUICK[..], &[(URL, &*url), ("HOOKS__MAX_TRIES", "1")]].concat();
    let server = Server::start(&settings).await;
    let room = server.room(&[1, 2, 3]).await;
    let (mut one, mut two) = (server.enter(1, room).await, server.enter(2, room).await);
    one.say("poison").await;
    two.until_kind("chat_message").await;
    two.say("poison, too").await;
    let events = async || listed(&server).await;
    eventually("both events are set aside", events, |events| events.len() >= 2).await;
    let (_, mine) = server.api_get(&format!("{LIST}?user_id=1&hook=after_send")).await;
    assert_eq!(mine["events"].as_array().unwrap().len(), 1, "{mine}");
    let export = server.api(Method::GET, "/users/1/export").send().await.unwrap().text().await.unwrap();
    let lines: Vec<Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = lines.iter().find(|line| line["type"] == "event").expect("it is exported");
    assert_eq!(event["event_id"], sent(room, 1), "{export}");
    assert_eq!(lines.last().unwrap()["events"], 1, "{export}");
    assert_eq!(server.api_delete("/users/1").await.0, 202);
    let named = async |user: i64| {
        let (_, page) = server.api_get(&format!("{LIST}?user_id={user}")).await;
        page["events"].as_array().unwrap().len()
    };
    eventually("the events are erased with their user", async || named(1).await, |count| *count == 0).await;
    assert!(named(2).await > 0, "the others stay");
}

#[tokio::test]
async fn an_event_of_a_deleted_message_is_not_sent_again() {
    let receiver = Receiver::start(|_| ReceiverReply::Status(422, String::new(), String::new())).await;
    let url = receiver.url("/");
    let settings = [&QUICK[..], &[(URL, &*url), ("HOOKS__MAX_TRIES", "4")]].concat();
    let (server, mut one) = room_with_one_socket(&settings).await;
    one.say_alone(1, 1, "poison").await;
    let events = async || listed(&server).await;
    let events = eventually("the event is set aside", events, |events| !events.is_empty()).await;
    let id = events[0]["id"].as_str().unwrap().to_owned();
    receiver.answers(|_| ReceiverReply::Ok(String::new()));
    assert_eq!(server.api_delete("/rooms/1/messages/1").await.0, 204);
    receiver.until(|asked| asked.iter().any(|asked| asked.json()["type"] == "deleted")).await;
    let asked = receiver.count();
    assert_eq!(server.api_post(&format!("{LIST}/{id}/retry"), &json!({})).await.0, 204);
    assert_eq!(receiver.count(), asked, "what was taken back is not told");
    assert!(listed(&server).await.iter().all(|event| event["id"] != id.as_str()));
}

#[tokio::test]
async fn set_aside_events_are_bounded_and_the_oldest_go() {
    let receiver = Receiver::start(|_| ReceiverReply::Status(422, String::new(), String::new())).await;
    let (url, metered) = (receiver.url("/"), Metered::new());
    let own = [(URL, &*url), ("HOOKS__MAX_TRIES", "1"), ("HOOKS__SET_ASIDE", "2"), metered.setting()];
    let (server, mut one) = room_with_one_socket(&[&QUICK[..], &own].concat()).await;
    for n in 1..=4 {
        one.say_alone(n, 1, "poison").await;
    }
    metered.until(SET_ASIDE, 4).await;
    let kept: Vec<_> = listed(&server).await.iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(kept, [json!(sent(1, 3)), json!(sent(1, 4))]);
    assert_eq!(metered.hits("hooks_set_aside").await, 2);
    let (_, page) = server.api_get(&format!("{LIST}?limit=1")).await;
    let next = page["next"].as_str().unwrap();
    let (_, rest) = server.api_get(&format!("{LIST}?limit=1&after={next}")).await;
    assert_eq!((&rest["events"][0]["event_id"], &rest["next"]), (&json!(sent(1, 4)), &Value::Null), "{rest}");
    for query in ["hook=before_send", "after=x", "limit=0", "limit=201"] {
        assert_eq!(server.api_get(&format!("{LIST}?{query}")).await.0, 400, "{query}");
    }
}

/// Starts a receiver that answers status 500 to the events of room 1 only.
async fn receiver_failing_in_room_1() -> Receiver {
    let answer = |asked: &ReceivedRequest| {
        if asked.json()["room_id"] == 1 { failure() } else { ReceiverReply::Ok(String::new()) }
    };
    Receiver::start(answer).await
}

/// An event that is retried again and again blocks only its own room. This event does not count for the limit of
/// concurrent requests, nor for the window (the events that wait for an answer). So the events of other rooms are still
/// sent.
#[tokio::test]
async fn an_event_that_is_tried_again_holds_up_its_own_room_alone() {
    let receiver = receiver_failing_in_room_1().await;
    let url = receiver.url("/");
    let settings = [
        (URL, &*url),
        ("HOOKS__RETRY_MS", "600000"),
        ("HOOKS__RETRY_MAX_MS", "600000"),
        ("HOOKS__WINDOW", "4"),
        ("HOOKS__AFTER_SEND__MAX_IN_FLIGHT", "1"),
    ];
    let (server, mut one) = room_with_one_socket(&settings).await;
    let other = server.room(&[1, 3]).await;
    let mut elsewhere = server.enter(1, other).await;
    one.say_alone(1, 1, "to a deaf ear").await;
    receiver.asked(1).await;
    for n in 1..=20 {
        elsewhere.say_alone(n, 1, "hello").await;
    }
    received_events(&receiver, 21).await;
}

/// The breaker suspends a failing receiver. A failing event in one room must not make the breaker suspend the receiver
/// for another room.
#[tokio::test]
async fn poison_events_of_a_room_leave_the_receiver_to_others() {
    let receiver = receiver_failing_in_room_1().await;
    let url = receiver.url("/");
    let settings = [
        (URL, &*url),
        ("HOOKS__RETRY_MS", "10"),
        ("HOOKS__RETRY_MAX_MS", "20"),
        ("HOOKS__MAX_TRIES", "0"),
        ("HOOKS__AFTER_SEND__BREAKER_FAILURES", "3"),
        ("HOOKS__AFTER_SEND__BREAKER_OPEN_MS", "600000"),
    ];
    let (server, mut one) = room_with_one_socket(&settings).await;
    let other = server.room(&[1, 3]).await;
    let mut elsewhere = server.enter(1, other).await;
    one.say_alone(1, 1, "poison").await;
    receiver.asked(3).await;
    elsewhere.say_alone(1, 1, "hello").await;
    received_events(&receiver, 2).await;
}
