//! The REST API from the other side: one request, its answer, and one line where it failed.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use parlor::config::{Config, Secret};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::Asked;
use super::table::visible;
use crate::Failure;

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may say nothing; a stream says something every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A server and the key that it lets in.
pub(super) struct Api {
    http: Client,
    url: Url,
    key: Secret,
}

impl Api {
    /// # Errors
    /// There is no key, or a URL that is none of a server.
    pub(super) fn new(config: &Config, asked: &Asked) -> Result<Self, Failure> {
        let scheme = if config.tls.files.is_some() { "https" } else { "http" };
        let own = || Url::parse(&format!("{scheme}://{}/", reachable(config.listen)));
        let url = asked.url.clone().map_or_else(own, Ok)?;
        if url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{url} is no server's address: http://HOST:PORT or https://HOST").into());
        }
        let key = asked.key.clone().map(Secret::new).or_else(|| config.api.keys.first().cloned());
        let key = key.ok_or("a service key is needed: --key, or PARLOR__API__KEYS")?;
        let http = Client::builder();
        // What is on this machine is no proxy's business, and the key isn't either.
        let http = if is_loopback(&url) { http.no_proxy() } else { http };
        let http = http
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // The key is for this server and no other.
            .redirect(Policy::none())
            .build()?;
        Ok(Self { http, url, key })
    }

    /// A request below `/api/v1`, its path's segments as they are.
    pub(super) fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<RequestBuilder, Failure> {
        if let Some(dots) = path.iter().find(|segment| matches!(**segment, "." | "..")) {
            return Err(format!("{dots} can't be asked for: in a URL it means another place").into());
        }
        let mut url = self.url.clone();
        // A URL that can't be a base was refused.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.key.expose()))
            .map_err(|_| "the service key has characters that no header may have")?;
        bearer.set_sensitive(true);
        Ok(self.http.request(method, url).header(reqwest::header::AUTHORIZATION, bearer))
    }

    /// What `GET` answers.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, path, query)?).await
    }

    /// What `POST` answers. `once`: the key by which the server knows it if it is sent again.
    pub(super) async fn post(&self, path: &[&str], once: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path, &[])?.header(IDEMPOTENCY_KEY, once);
        self.json(request.json(body)).await
    }

    /// What `DELETE` answers.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        self.json(self.request(Method::DELETE, path, &[])?).await
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let body = self.answer(request).await?.text().await.map_err(|error| self.unanswered(&error))?;
        // 204 has none.
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&body)?) }
    }

    /// An answer that is no refusal; its body is still to be read.
    pub(super) async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = request.send().await.map_err(|error| self.unanswered(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.text().await.unwrap_or_default();
        let problem: Value = serde_json::from_str(&body).unwrap_or_default();
        Err(match (problem["detail"].as_str(), problem["code"].as_str()) {
            (Some(detail), Some(code)) => format!("{} ({status}, {})", visible(detail), visible(code)),
            _ => format!("{} answers {status}: is this Parlor?", self.url),
        }
        .into())
    }

    /// The last of the causes says what happened; those before it, that something did.
    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        format!("{} does not answer: {cause}", self.url).into()
    }
}

/// Where whoever is on this machine reaches a server that listens on `address`.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Whether it names this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}
