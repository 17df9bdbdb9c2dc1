//! Requests of function files to other hosts.

use serde_json::{Value, json};

use crate::support::{Client, FunctionsFolder, Metered, Receiver, ReceiverReply, Server};

const FETCH: &str = "export default async ({ request: { calls } }) => {
    const one = async ([url, options]) => { try { const r = await fetch(url, options);
        return { status: r.status, ok: r.ok, type: r.headers.get('content-type'), text: (await r.text()).slice(0, 100) } }
        catch (e) { return { code: e.code } } };
    return { reply: { answers: await Promise.all(calls.map(one)) } } }";

async fn client_with(hosts: &str, overrides: &[(&str, &str)]) -> (FunctionsFolder, Server, Client) {
    let folder = FunctionsFolder::with(&[("get.js", FETCH)]);
    let own = [("FUNCTIONS__GET__HOSTS", hosts)];
    let server = Server::start(&[&folder.settings(), &own[..], overrides].concat()).await;
    server.room(&[1, 2]).await;
    let client = server.join(1, 2).await;
    (folder, server, client)
}

async fn fetch(client: &mut Client, calls: Value) -> Value {
    client.send(json!({"action": "get", "calls": calls})).await;
    client.until_kind("get").await["answers"].clone()
}

fn host_of(receiver: &Receiver) -> String {
    receiver.url("").trim_start_matches("http://").trim_end_matches('/').to_owned()
}

#[tokio::test]
async fn listed_host_gets_the_request_and_its_answer_comes_back() {
    let receiver = Receiver::start(|asked| {
        let answer = json!({"line": asked.line, "a": asked.headers.get("x-a"), "body": asked.body});
        ReceiverReply::Status(201, "content-type: application/json\r\n".to_owned(), answer.to_string())
    })
    .await;
    let (_folder, _server, mut one) = client_with(&host_of(&receiver), &[]).await;
    let calls = json!([[receiver.url("/p?q=1"), {"method": "PUT", "headers": {"X-A": "b"}, "body": "hé"}]]);
    let answer = fetch(&mut one, calls).await;
    let text = r#"{"a":"b","body":"hé","line":"PUT /p?q=1"}"#;
    assert_eq!(answer, json!([{"status": 201, "ok": true, "type": "application/json", "text": text}]));
}

#[tokio::test]
async fn hosts_that_are_not_listed_get_no_request() {
    let receiver = Receiver::start(|_| ReceiverReply::Ok("secret".to_owned())).await;
    let port = host_of(&receiver).rsplit(':').next().unwrap().to_owned();
    let hosts = format!("localhost.example:{port},*.localtest.example:{port}");
    let (_folder, _server, mut one) = client_with(&hosts, &[]).await;
    for (url, code) in [
        (receiver.url("/"), "not_allowed"),
        (format!("http://localhost:{port}/"), "not_allowed"),
        (format!("https://[::ffff:127.0.0.1]:{port}/"), "not_allowed"),
        (format!("https://user:pw@localhost.example:{port}/"), "invalid_request"),
        ("file:///etc/passwd".to_owned(), "invalid_request"),
        ("nonsense".to_owned(), "invalid_request"),
    ] {
        assert_eq!(fetch(&mut one, json!([[url]])).await, json!([{"code": code}]), "{url}");
    }
    let (_folder, _server, mut one) = client_with(&host_of(&receiver), &[]).await;
    for (options, code) in [
        (json!({"headers": {"host": "a"}}), "invalid_request"),
        (json!({"headers": {"Transfer-Encoding": "chunked"}}), "invalid_request"),
        (json!({"headers": {"a": "b\r\nc: d"}}), "invalid_request"),
        (json!({"method": "CONNECT"}), "invalid_request"),
        (json!({"method": "A B"}), "invalid_request"),
    ] {
        assert_eq!(fetch(&mut one, json!([[receiver.url("/"), options]])).await, json!([{"code": code}]));
    }
    assert!(receiver.asked(0).await.is_empty());
}

#[tokio::test]
async fn redirect_is_returned_and_not_followed() {
    let receiver = Receiver::start(|_| {
        ReceiverReply::Status(302, "location: http://127.0.0.1:1/\r\n".to_owned(), String::new())
    })
    .await;
    let (_folder, _server, mut one) = client_with(&host_of(&receiver), &[]).await;
    let answer = fetch(&mut one, json!([[receiver.url("/")]])).await;
    assert_eq!(answer[0]["status"], 302, "{answer}");
    assert_eq!(receiver.asked(1).await.len(), 1);
}

#[tokio::test]
async fn hanging_host_ends_with_a_timeout() {
    let receiver = Receiver::start(|asked| match asked.line.as_str() {
        "GET /half" => ReceiverReply::Half,
        _ => ReceiverReply::Nothing,
    })
    .await;
    let (_folder, _server, mut one) = client_with(&host_of(&receiver), &[]).await;
    let wait = json!({"timeout_ms": 50});
    let answer = fetch(&mut one, json!([[receiver.url("/"), wait], [receiver.url("/half"), wait]])).await;
    assert_eq!(answer, json!([{"code": "timeout"}, {"code": "timeout"}]));
    let gone = fetch(&mut one, json!([["http://127.0.0.1:1/"]])).await;
    assert_eq!(gone, json!([{"code": "not_allowed"}]));
}

#[tokio::test]
async fn requests_and_bodies_beyond_the_bounds_are_refused() {
    let receiver = Receiver::start(|asked| match asked.line.as_str() {
        "GET /large" => ReceiverReply::Ok("x".repeat(3_000)),
        _ => ReceiverReply::Ok("small".to_owned()),
    })
    .await;
    let metered = Metered::new();
    let bounds =
        [("FUNCTIONS__GET__FETCHES", "2"), ("FUNCTIONS__GET__FETCH_BYTES", "2000"), metered.setting()];
    let (_folder, _server, mut one) = client_with(&host_of(&receiver), &bounds).await;
    let small = receiver.url("/");
    let answer = fetch(&mut one, json!([[small], [small], [small]])).await;
    let refused = answer.as_array().unwrap().iter().filter(|answer| answer["code"] == "too_large").count();
    assert_eq!(refused, 1, "{answer}");
    assert_eq!(fetch(&mut one, json!([[receiver.url("/large")]])).await, json!([{"code": "too_large"}]));
    let body = json!({"method": "POST", "body": "x".repeat(2_001)});
    assert_eq!(fetch(&mut one, json!([[small, body]])).await, json!([{"code": "too_large"}]));
    assert_eq!(metered.hits("function_fetches").await, 1);
    assert_eq!(metered.hits("function_fetch_bytes").await, 2);
    let fetched = r#"parlor_function_fetches_total{function="get",outcome="ok"}"#;
    assert_eq!(metered.sample(fetched).await, 2);
}
