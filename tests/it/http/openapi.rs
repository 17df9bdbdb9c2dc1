//! The API's description (OpenAPI) must be equal to the checked-in file, and each operation must need a service key.
//! The page `/docs/` must load nothing from other origins.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{API_KEY, Server, checked_in, fits};

async fn description(server: &Server) -> String {
    let (status, kind, text) = server.request(Method::GET, "/openapi.json", None, "").await;
    assert_eq!((status, kind.as_str()), (200, "application/json"), "{text}");
    text
}

/// Returns each operation of the description, with its path and method.
fn operations(description: &Value) -> Vec<(String, Method, &Value)> {
    let paths = description["paths"].as_object().unwrap();
    let each = |(path, item): (&String, &'_ Value)| (path.clone(), item.as_object().unwrap().clone());
    let mut operations = Vec::new();
    for (path, item) in paths.iter().map(each) {
        for method in item.keys() {
            let operation = &description["paths"][&path][method];
            operations.push((path.clone(), method.to_uppercase().parse().unwrap(), operation));
        }
    }
    operations
}

#[tokio::test]
async fn the_description_is_what_is_checked_in() {
    let served = description(&Server::start(&[]).await).await;
    checked_in("config/openapi.json", &served);
}

#[tokio::test]
async fn described_operations_exist_and_need_a_key() {
    let server = Server::start(&[]).await;
    let description: Value = serde_json::from_str(&description(&server).await).unwrap();
    assert_eq!(description["security"], json!([{"key": []}]));
    assert_eq!(description["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    let operations = operations(&description);
    assert!(operations.len() >= 2, "{operations:?}");
    for (path, method, operation) in operations {
        assert!(operation["summary"].is_string(), "{method} {path} says what it does: {operation}");
        assert!(operation["responses"]["401"].is_object(), "{method} {path}: {operation}");
        let path = path.replace("{id}", "1").replace("{user}", "1").replace("{n}", "1");
        let (status, _, body) = server.request(method.clone(), &path, None, "{}").await;
        assert_eq!(status, 401, "{method} {path} without a key answered {body}");
        let (status, ..) = server.request(method.clone(), &path, Some(API_KEY), "nonsense").await;
        assert!(status != 405 && status != 401 && status < 500, "{method} {path} answered {status}");
    }
}

#[tokio::test]
async fn unrouted_api_path_is_a_problem_document() {
    let server = Server::start(&[]).await;
    for (method, path, status, code) in [
        (Method::GET, "/api", 404, "not_found"),
        (Method::GET, "/api/v1/nothing", 404, "not_found"),
        (Method::POST, "/api/v2/rooms", 404, "not_found"),
        (Method::DELETE, "/api/v1/rooms", 405, "method_not_allowed"),
        (Method::POST, "/api/v1/rooms/1", 405, "method_not_allowed"),
    ] {
        let (answered, kind, body) = server.request(method.clone(), path, Some(API_KEY), "").await;
        assert_eq!(answered, status, "{method} {path} answered {body}");
        assert_eq!(kind, "application/problem+json");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&json!(code), &json!(status)), "{problem}");
    }
}

#[tokio::test]
async fn the_page_is_all_its_own() {
    let server = Server::start(&[]).await;
    let page = reqwest::get(format!("http://{}/docs/", server.address())).await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    let html = page.text().await.unwrap();
    let links = html.split(r#"src=""#).skip(1).chain(html.split(r#"stylesheet" href=""#).skip(1));
    let names: Vec<_> = links.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(names, ["swagger-ui-bundle.js", "try.js", "swagger-ui.css"]);
    for name in names {
        let file = reqwest::get(format!("http://{}/docs/{name}", server.address())).await.unwrap();
        assert_eq!(file.status(), 200, "{name}");
        assert_eq!(file.headers()["x-content-type-options"], "nosniff");
        assert!(!file.text().await.unwrap().is_empty(), "{name}");
    }
    assert_eq!(server.get("/docs/oauth2-redirect.html").await, 404);
    // `/docs` redirects to `/docs/`, because the page loads its files by relative paths. The HTTP client follows the
    // redirect.
    let (status, _, html) = server.request(Method::GET, "/docs", None, "").await;
    assert!(status == 200 && html.contains("swagger-ui-bundle.js"), "{status} {html}");
}

#[tokio::test]
async fn the_page_can_be_turned_off_and_the_description_stays() {
    let server = Server::start(&[("API__DOCS", "off")]).await;
    for path in ["/docs/", "/docs/try.js", "/docs/socket", "/docs/socket.js"] {
        assert_eq!(server.get(path).await, 404, "{path}");
    }
    assert!(description(&server).await.starts_with('{'));
}

/// Calls `see` with each object inside a JSON value, at any depth.
fn each_object<'a>(value: &'a Value, see: &mut impl FnMut(&'a serde_json::Map<String, Value>)) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| each_object(value, see)),
        Value::Object(fields) => {
            see(fields);
            fields.values().for_each(|value| each_object(value, see));
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_description_is_one_that_generators_understand() {
    let description: Value = serde_json::from_str(&description(&Server::start(&[]).await).await).unwrap();
    each_object(&description, &mut |fields| {
        assert!(!fields.contains_key("allOf"), "nothing is composed: {fields:?}");
        let one = fields.get("oneOf").and_then(Value::as_array);
        let is_nullable = one.is_some_and(|one| one.contains(&json!({"type": "null"})));
        assert!(!is_nullable, "anyOf says what may be null: {fields:?}");
    });
    let is_word = |name: &str| name.chars().all(|char| char.is_ascii_alphabetic() || char == '_');
    let schemas = description["components"]["schemas"].as_object().unwrap();
    assert!(schemas.keys().all(|name| is_word(name)), "{:?}", schemas.keys());
    let operations = operations(&description);
    let ids: std::collections::BTreeSet<_> =
        operations.iter().map(|(.., operation)| operation["operationId"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| is_word(id)), "{ids:?}");
    assert_eq!(ids.len(), operations.len(), "{ids:?}");
}

#[tokio::test]
async fn bodies_and_parameters_have_examples_that_fit() {
    let description: Value = serde_json::from_str(&description(&Server::start(&[]).await).await).unwrap();
    let mut bodies = 0;
    for (path, method, operation) in operations(&description) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let place = format!("{method} {path}, {}", parameter["name"]);
            let example = parameter.get("example").unwrap_or_else(|| panic!("{place} has no example"));
            assert_eq!(fits(example, &parameter["schema"]), Ok(()), "{place}");
        }
        for body in operation["requestBody"]["content"].as_object().into_iter().flat_map(|all| all.values()) {
            let example = body.get("example").unwrap_or_else(|| panic!("{method} {path} has no example"));
            assert_eq!(fits(example, &body["schema"]), Ok(()), "{method} {path}");
            bodies += 1;
        }
    }
    assert!(bodies >= 5, "{bodies}");
}

#[tokio::test]
async fn operation_ids_are_short_words() {
    let description: Value = serde_json::from_str(&description(&Server::start(&[]).await).await).unwrap();
    for (path, method, operation) in operations(&description) {
        let id = operation["operationId"].as_str().unwrap();
        let is_short = id.len() <= 24 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(is_short, "{method} {path}: {id}");
    }
}

/// Parlor keeps no list of users. So no operation on an unknown user may answer 404, and the description may not
/// mention 404.
#[tokio::test]
async fn unknown_users_are_described_as_they_are_answered() {
    let server = Server::start(&[]).await;
    let description: Value = serde_json::from_str(&description(&server).await).unwrap();
    let (status, user) = server.api_get("/users/nobody").await;
    assert_eq!((status, fits(&user, &json!({"$ref": "#/components/schemas/User"}))), (200, Ok(())), "{user}");
    let users = operations(&description).into_iter().filter(|(path, ..)| path.contains("/users/{user}"));
    let mut checked = 0;
    for (path, method, operation) in users {
        let asked = path.replace("{user}", &format!("nobody-{checked}"));
        let status =
            server.api(method.clone(), asked.trim_start_matches("/api/v1")).send().await.unwrap().status();
        assert!(status.is_success(), "{method} {asked} answered {status}");
        let responses = &operation["responses"];
        assert!(responses[status.as_str()].is_object(), "{method} {path}: {status} is not described");
        assert!(responses["404"].is_null(), "{method} {path} describes 404");
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[tokio::test]
async fn fields_given_twice_and_numbers_out_of_range_are_refused() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let two = r#"{"user_id":2}"#;
    for (body, named) in [
        (format!(r#"{{"members":[{{"user_id":-1}},{two}]}}"#), "user's id"),
        (format!(r#"{{"members":[{{"user_id":9007199254740992}},{two}]}}"#), "user's id"),
        (format!(r#"{{"members":[{{"user_id":1.5}},{two}]}}"#), "user's id"),
        (format!(r#"{{"members":[{{"user_id":1}},{two}],"members":[]}}"#), "members"),
        (format!(r#"{{"members":[{{"user_id":1,"user_id":3}},{two}]}}"#), "user_id"),
        (format!(r#"{{"x":1,"members":[{{"user_id":1}},{two}],"x":1}}"#), "x"),
        (format!(r#"{{"name":" ","members":[{{"user_id":1}},{two}]}}"#), "name"),
        (format!(r#"{{"members":[{{"user_id":1,"email":""}},{two}]}}"#), "email"),
    ] {
        let (status, problem) = server.post_room(Some(API_KEY), &body).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(named), "{body}: {problem}");
    }
    let path = format!("/rooms/{room}/messages");
    let (status, problem) =
        server.api_post(&path, &json!({"sender_id": -1, "text": "a", "as": "service"})).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{problem}");
    for query in ["user_id=1&user_id=2", "user_id=1&limit=1&limit=2", "user_id=1&before=1-1&before=1-1"] {
        assert_eq!(server.api_get(&format!("/rooms?{query}")).await.0, 400, "{query}");
    }
    // The server ignores unknown fields and parameters. The number -1 is not a valid user id, but the string "-1" is.
    let last = r#"{"x":{"y":1},"members":[{"user_id":9007199254740991,"y":1},{"user_id":"-1"}]}"#;
    let (status, made) = server.post_room(Some(API_KEY), last).await;
    let ids: Vec<_> = made["members"].as_array().unwrap().iter().map(|member| &member["user_id"]).collect();
    assert_eq!((status, ids), (201, vec![&json!(9_007_199_254_740_991_i64), &json!("-1")]), "{made}");
    assert_eq!(server.api_get("/rooms?user_id=1&x=1&x=2").await.0, 200);
}

#[tokio::test]
async fn detail_names_the_field_at_fault() {
    let server = Server::start(&[]).await;
    let two = r#"{"user_id":2}"#;
    for (body, named) in [
        (r#"{"members":7}"#.to_owned(), "members: "),
        (r#"{"members":[1,2]}"#.to_owned(), "members[0]: "),
        (format!(r#"{{"members":[{{"user_id":1,"email":7}},{two}]}}"#), "members[0]: email: "),
        (format!(r#"{{"members":[{{"user_id":true}},{two}]}}"#), "members[0]: user_id: "),
        (format!(r#"{{"members":[{{"email":"a"}},{two}]}}"#), "members[0]: missing field `user_id`"),
        (format!(r#"{{"name":[],"members":[{{"user_id":1}},{two}]}}"#), "name: "),
        (format!(r#"{{"kind":"other","members":[{{"user_id":1}},{two}]}}"#), "kind: "),
        (r#"{"name":"a"}"#.to_owned(), "members"),
    ] {
        let (status, problem) = server.post_room(Some(API_KEY), &body).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(named), "{body}: {problem}");
    }
}

#[tokio::test]
async fn parameters_given_twice_are_refused() {
    let server = Server::start(&[]).await;
    let room = server.room(&[1, 2]).await;
    let event = "0123456789abcdef01234567";
    for (path, name) in [
        ("/rooms?user_id=1&user_id=1".to_owned(), "user_id"),
        (format!("/rooms/{room}/messages?limit=1&limit=1"), "limit"),
        (format!("/rooms/{room}/messages?after=1&after=1"), "after"),
        ("/hooks/set-aside?hook=offline&hook=offline".to_owned(), "hook"),
        ("/hooks/set-aside?user_id=1&user_id=1".to_owned(), "user_id"),
        (format!("/hooks/set-aside?after={event}&after={event}"), "after"),
        ("/hooks/set-aside?limit=1&limit=1".to_owned(), "limit"),
    ] {
        let (status, problem) = server.api_get(&path).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")), "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(&format!("{name}: ")), "{path}: {problem}");
    }
}

#[tokio::test]
async fn names_and_addresses_have_the_described_bounds() {
    let server = Server::start(&[]).await;
    let described: Value = serde_json::from_str(&description(&server).await).unwrap();
    let schemas = &described["components"]["schemas"];
    let bounds = |schema: &Value| [schema["minLength"].clone(), schema["maxLength"].clone()];
    let (name, email) =
        (&schemas["NewRoom"]["properties"]["name"], &schemas["NewMember"]["properties"]["email"]);
    assert_eq!((bounds(name), bounds(email)), ([json!(1), json!(200)], [json!(1), json!(320)]));
    assert!(name["pattern"].is_string() && email["pattern"].is_string(), "{name} {email}");
    let long = "\u{e9}".repeat(200);
    for (name, status) in [
        (json!("a"), 201),
        (json!(long), 201),
        (json!(null), 201),
        (json!(format!("{long}a")), 400),
        (json!(""), 400),
        (json!(" \u{2003}"), 400),
        (json!("a\u{7}b"), 400),
        (json!("a\u{85}b"), 400),
    ] {
        let room = json!({"kind": "group", "name": name, "members": [{"user_id": 1}]});
        assert_eq!(server.api_post("/rooms", &room).await.0, status, "{name}");
    }
    for (email, status) in [
        (json!("a"), 201),
        (json!("a".repeat(320)), 201),
        (json!(null), 201),
        (json!("a".repeat(321)), 400),
        (json!(""), 400),
        (json!("a\u{7f}b"), 400),
    ] {
        let room = json!({"kind": "group", "members": [{"user_id": 1, "email": email}]});
        assert_eq!(server.api_post("/rooms", &room).await.0, status, "{email}");
    }
}
