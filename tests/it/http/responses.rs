//! Answers of the HTTP listeners: HEAD, conditional requests, content negotiation, 405, streams, and unknown paths.

use std::collections::BTreeMap;

use reqwest::{Method, Response};
use serde_json::Value;

use crate::support::{API_KEY, Lines, Metered, Server};

async fn asked(method: Method, url: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = reqwest::Client::new().request(method, url).bearer_auth(API_KEY);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// Returns all headers except `Date`.
fn headers(answer: &Response) -> BTreeMap<String, String> {
    let all = answer.headers().iter().filter(|(name, _)| *name != "date");
    all.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

struct Case {
    server: Server,
    metered: Metered,
}

impl Case {
    async fn start() -> Self {
        let metered = Metered::new();
        let server = Server::start(&[metered.setting(), ("PAGE__ENABLED", "on")]).await;
        server.until_status("/healthz", 200).await;
        Self { server, metered }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.metered.setting().1)
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let case = Case::start().await;
    let room = case.server.room(&[1, 2]).await;
    for url in [
        case.url("/"),
        case.url("/page/style.css"),
        case.url("/docs/"),
        case.url("/docs/swagger-ui.css"),
        case.url("/openapi.json"),
        case.url("/asyncapi.json"),
        case.url("/healthz"),
        case.url("/readyz"),
        case.url(&format!("/api/v1/rooms/{room}")),
        case.url("/api/v1/rooms?user_id=1"),
        case.url("/api/v1/rooms/77"),
        case.url("/nowhere"),
        case.admin("/healthz"),
        case.admin("/nowhere"),
    ] {
        let (get, head) = (asked(Method::GET, &url, &[]).await, asked(Method::HEAD, &url, &[]).await);
        assert_eq!((get.status(), headers(&get)), (head.status(), headers(&head)), "{url}");
        let (length, body) = (get.headers()["content-length"].clone(), get.text().await.unwrap());
        assert_eq!(
            (length.to_str().unwrap(), head.text().await.unwrap()),
            (&*body.len().to_string(), String::new())
        );
    }
    assert_eq!(asked(Method::HEAD, &case.admin("/metrics"), &[]).await.status(), 200);
    // The answer to `HEAD` on an endless stream has the stream's headers. The request must not count as an open stream.
    let events = case.url(&format!("/api/v1/rooms/{room}/events"));
    assert_eq!(asked(Method::HEAD, &events, &[]).await.headers()["content-type"], "application/x-ndjson");
}

#[tokio::test]
async fn a_405_names_the_methods_of_its_path() {
    let case = Case::start().await;
    for (method, url, allow) in [
        (Method::POST, case.url("/healthz"), "GET, HEAD"),
        (Method::DELETE, case.url("/api/v1/rooms"), "GET, HEAD, POST"),
        (Method::PUT, case.url("/api/v1/rooms/7"), "GET, HEAD, PATCH, DELETE"),
        (Method::HEAD, case.url("/api/v1/users/1/disconnect"), "POST"),
        (Method::GET, case.url("/api/v1/rooms/7/members/1"), "PUT, DELETE"),
        (Method::HEAD, case.url("/ws/"), "GET"),
        (Method::POST, case.url("/ws/chat/"), "GET"),
        (Method::POST, case.admin("/metrics"), "GET, HEAD"),
    ] {
        let answer = asked(method.clone(), &url, &[]).await;
        assert_eq!(answer.status(), 405, "{method} {url}");
        assert_eq!(answer.headers()["allow"], allow, "{method} {url}");
    }
}

#[tokio::test]
async fn a_client_that_has_it_already_is_told_so_by_304() {
    let case = Case::start().await;
    let mut tags = Vec::new();
    for path in [
        "/",
        "/page/style.css",
        "/page/favicon.svg",
        "/page/chat.js",
        "/page/parlor/index.js",
        "/docs/",
        "/docs/try.js",
        "/docs/swagger-ui.css",
        "/docs/swagger-ui-bundle.js",
        "/openapi.json",
        "/asyncapi.json",
    ] {
        let url = case.url(path);
        let first = asked(Method::GET, &url, &[]).await;
        assert_eq!(
            (first.status().as_u16(), &first.headers()["cache-control"]),
            (200, &"no-cache".parse().unwrap())
        );
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        for method in [Method::GET, Method::HEAD] {
            let again = asked(method, &url, &[("if-none-match", &format!("\"other\", W/{tag}"))]).await;
            assert_eq!(
                (again.status().as_u16(), again.headers()["etag"].to_str().unwrap()),
                (304, &*tag),
                "{path}"
            );
            assert_eq!(again.text().await.unwrap(), "", "{path}");
        }
        let other = asked(Method::GET, &url, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(other.status(), 200, "{path}");
        assert!(!tags.contains(&tag), "{path} has the tag of another file");
        tags.push(tag);
    }
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_preferred() {
    let case = Case::start().await;
    let page = async |accept: &[(&str, &str)]| {
        let answer = asked(Method::GET, &case.admin("/metrics"), accept).await;
        assert_eq!(answer.headers()["vary"], "accept");
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, answer.text().await.unwrap())
    };
    let (kind, open) = page(&[]).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.contains("# TYPE parlor_limits_hit counter\n") && open.ends_with("# EOF\n"), "{open}");
    let (kind, classic) = page(&[("accept", "text/plain;version=0.0.4")]).await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(classic.contains("# TYPE parlor_limits_hit_total counter\n"), "{classic}");
    assert!(!classic.contains("# EOF") && !classic.contains("# UNIT"), "{classic}");
    // For each metric family, the description must stand before the samples, and the names of the samples must start
    // with the family's name.
    let names = |page: &str| -> Vec<String> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.split([' ', '{']).next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&open), names(&classic));
    let mut described = Vec::new();
    for line in classic.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => described.push(family.split_once(' ').unwrap().0),
            None if line.starts_with('#') => {}
            None => assert!(described.last().is_some_and(|family| line.starts_with(family)), "{line}"),
        }
    }
}

#[tokio::test]
async fn start_path_says_what_runs_when_the_messenger_is_off() {
    for (docs, api) in [("on", "/docs/"), ("off", "/openapi.json")] {
        let server = Server::start(&[("PAGE__ENABLED", "off"), ("API__DOCS", docs)]).await;
        let url = format!("http://{}", server.address());
        let answer = asked(Method::GET, &format!("{url}/"), &[("accept", "text/html")]).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        let text = format!("Parlor runs. The messenger is off here: PARLOR__PAGE__ENABLED=on. API: {api}\n");
        assert_eq!(answer.text().await.unwrap(), text);
        assert_eq!(asked(Method::GET, &format!("{url}{api}"), &[]).await.status(), 200);
        assert_eq!(asked(Method::GET, &format!("{url}/page/style.css"), &[]).await.status(), 404);
    }
}

#[tokio::test]
async fn unknown_paths_are_problems_on_both_listeners() {
    let case = Case::start().await;
    for url in
        [case.url("/nowhere"), case.url("/api"), case.url("/wschat"), case.admin("/"), case.admin("/nowhere")]
    {
        let answer = asked(Method::GET, &url, &[("accept", "text/html")]).await;
        assert_eq!(answer.status(), 404, "{url}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{url}");
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["code"], "not_found", "{problem}");
    }
}

#[tokio::test]
async fn proxies_do_not_hold_back_streams() {
    let case = Case::start().await;
    let room = case.server.room(&[1, 2]).await;
    for path in [format!("/rooms/{room}/events"), "/users/1/export".to_owned()] {
        let answer = case.server.api(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.headers()["x-accel-buffering"], "no", "{path}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
        drop(answer);
    }
    let mut events = Lines::of(case.server.api(Method::GET, &format!("/rooms/{room}/events"))).await;
    assert_eq!(events.line().await["type"], "history");
}
