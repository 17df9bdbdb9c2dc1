//! Calls of the HTTP API with the tests' service key, and answers in JSON Lines.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::time::timeout;

use super::super::{API_KEY, PATIENCE};
use super::Server;
use super::described::{Answer, assert_described};

/// Returns the content type of an answer, or an empty text if it has none.
pub(super) fn kind_of(response: &Response) -> String {
    let kind = response.headers().get("content-type");
    kind.map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default()
}

impl Server {
    /// Prepares a request for a path below `/api/v1`, with the tests' service key.
    pub(crate) fn api(&self, method: Method, path: &str) -> RequestBuilder {
        self.transcript.note("api", "->", &format!("{method} {path}"));
        self.http.request(method, format!("http://{}/api/v1{path}", self.address)).bearer_auth(API_KEY)
    }

    /// Sends a request. Returns the answer's status and its JSON body, or `null` if the body is no JSON.
    pub(crate) async fn ask(&self, request: RequestBuilder) -> (u16, Value) {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = timeout(PATIENCE, async {
            let response = client.execute(request).await.unwrap();
            let kind = kind_of(&response);
            (response.status().as_u16(), kind, response.text().await.unwrap())
        });
        let Ok((status, kind, body)) = answer.await else { panic!("no answer within {PATIENCE:?}") };
        self.transcript.note("api", "<-", &format!("{status} {body}"));
        assert_described(&method, &path, &Answer { status, kind: &kind, body: Some(&body) });
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    pub(crate) async fn api_get(&self, path: &str) -> (u16, Value) {
        self.ask(self.api(Method::GET, path)).await
    }

    pub(crate) async fn api_post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(self.api(Method::POST, path).json(body)).await
    }

    pub(crate) async fn api_delete(&self, path: &str) -> (u16, Value) {
        self.ask(self.api(Method::DELETE, path)).await
    }

    /// Sends a `POST` with this `Idempotency-Key`. Returns the answer's status and its JSON body.
    pub(crate) async fn post_once(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        self.ask(self.api(Method::POST, path).header("idempotency-key", key).json(body)).await
    }
}

/// An answer in JSON Lines, which a test reads line by line.
pub(crate) struct Lines {
    response: Response,
    waiting: Vec<u8>,
}

impl Lines {
    /// Sends a request. The answer must have status 200 and the content type of JSON Lines.
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = timeout(PATIENCE, client.execute(request)).await.expect("an answer in time").unwrap();
        let kind = kind_of(&response);
        assert_described(
            &method,
            &path,
            &Answer { status: response.status().as_u16(), kind: &kind, body: None },
        );
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self { response, waiting: Vec::new() }
    }

    /// Returns the next line, or `None` at the end. Returns an error if the answer breaks off.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, reqwest::Error> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.waiting.drain(..=end).collect();
                if line.len() > 1 {
                    return Ok(Some(serde_json::from_slice(&line).expect("every line is JSON")));
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("a line in time")?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.waiting.extend_from_slice(&chunk);
        }
    }

    /// Returns the next line. Panics if there is none.
    pub(crate) async fn line(&mut self) -> Value {
        self.next().await.unwrap().expect("another line")
    }

    /// Returns all remaining lines.
    pub(crate) async fn rest(mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        while let Some(line) = self.next().await.unwrap() {
            lines.push(line);
        }
        lines
    }
}
