//! Calls of the HTTP API as an application's backend makes them, with any method.

use reqwest::Method;
use serde_json::Value;
use tokio::time::timeout;

use super::super::{API_KEY, PATIENCE};
use super::Server;
use super::api::kind_of;
use super::described::{Answer, assert_described};

impl Server {
    /// Sends a request for a path below `/api/v1`. If `body` is null, the request has no body. Returns the answer's
    /// status and its JSON body.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("http://{}/api/v1{path}", self.address);
        let mut request = self.http.request(method.clone(), url).bearer_auth(API_KEY);
        self.transcript.note("api", "->", &format!("{method} {path} {body}"));
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = timeout(PATIENCE, async {
            let answer = request.send().await.unwrap();
            let kind = kind_of(&answer);
            (answer.status().as_u16(), kind, answer.text().await.unwrap())
        });
        let Ok((status, kind, text)) = answer.await else {
            panic!("{method} {path}: no answer in {PATIENCE:?}")
        };
        self.transcript.note("api", "<-", &format!("{status} {text}"));
        let path = format!("/api/v1{path}");
        assert_described(&method, &path, &Answer { status, kind: &kind, body: Some(&text) });
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Sends a request that the server must refuse. Returns the status and the `code` of the problem document (RFC
    /// 9457).
    pub(crate) async fn refused(&self, method: Method, path: &str, body: Value) -> (u16, String) {
        let (status, problem) = self.call(method.clone(), path, body).await;
        assert!(status >= 400, "{method} {path} was done: {status} {problem}");
        assert_eq!(problem["status"], status, "{problem}");
        (status, problem["code"].as_str().unwrap_or_default().to_owned())
    }
}
