//! A client of the REST API, for the commands of this folder. Each request returns the server's answer, or one line
//! that says why the request failed.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use parlor::config::url::is_loopback;
use parlor::config::{Config, Secret};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tokio::time::timeout;

use super::ServerArgs;
use super::output::visible;
use crate::Failure;

/// The longest time to connect to the server.
const CONNECT: Duration = Duration::from_secs(5);

/// The longest time without any data from the server. An event stream sends data at least every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// The longest time for a whole answer, even if parts of it keep arriving.
const ANSWER: Duration = Duration::from_mins(2);

/// The longest answer that is read, in bytes. A page of messages with the longest texts is shorter.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The longest error answer, in bytes. A problem document (RFC 9457) of Parlor is far shorter.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// How much of a file of certificates is read, in bytes. The certificates of all public authorities are far shorter.
const MAX_CA_BYTES: u64 = 4 << 20;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The address of a server, and the service key that it accepts.
pub(super) struct ApiClient {
    http: Client,
    url: Url,
    key: Secret,
}

impl ApiClient {
    /// Creates a client from the arguments and the configuration.
    ///
    /// # Errors
    /// There is no key, the URL is not the address of a server, or the file of `--ca` holds no certificate.
    pub(super) fn new(config: &Config, server: &ServerArgs) -> Result<Self, Failure> {
        let scheme = if config.tls.files.is_some() { "https" } else { "http" };
        let own = || Url::parse(&format!("{scheme}://{}/", reachable(config.listen)));
        let url = server.url.clone().map_or_else(own, Ok)?;
        if url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{url} is no server's address: http://HOST:PORT or https://HOST").into());
        }
        let key = server.key.clone().map(Secret::new).or_else(|| config.api.keys.first().cloned());
        let key = key.ok_or("a service key is needed: --key, or PARLOR__API__KEYS")?;
        let http = Client::builder();
        // Requests to this machine contain the service key, so they must not go through a proxy.
        let http = if is_loopback(&url) { http.no_proxy() } else { http };
        let trusted = server.ca.as_deref().map_or_else(|| Ok(Vec::new()), certificates)?;
        let http = http
            .tls_certs_merge(trusted)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // A redirect could send the service key to another server.
            .redirect(Policy::none())
            .build()?;
        Ok(Self { http, url, key })
    }

    /// Builds a request to a path below `/api/v1`. `path` holds the segments, not yet percent-encoded.
    pub(super) fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<RequestBuilder, Failure> {
        let mut url = self.url.clone();
        // The next line can't fail, because `new` has already refused URLs that can't be a base.
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

    /// Sends a `GET` and returns the answer's JSON.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, path, query)?).await
    }

    /// Sends a `POST` and returns the answer's JSON. `once` is the idempotency key, by which the server recognizes a
    /// retry.
    pub(super) async fn post(&self, path: &[&str], once: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path, &[])?.header(IDEMPOTENCY_KEY, once);
        self.json(request.json(body)).await
    }

    /// Sends a `DELETE` and returns the answer's JSON.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        self.json(self.request(Method::DELETE, path, &[])?).await
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let answer = self.answer(request).await?;
        let body = self.whole(answer, MAX_ANSWER_BYTES).await?;
        // An answer with status 204 has no body.
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&body)?) }
    }

    /// Sends a request. Returns the answer if it is successful. The answer's body is not read yet.
    pub(super) async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = timeout(ANSWER, request.send()).await.map_err(|_| self.endless())?;
        let answer = answer.map_err(|error| self.unanswered(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = self.whole(answer, MAX_REFUSAL_BYTES).await.unwrap_or_default();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let reason = match (problem["detail"].as_str(), problem["code"].as_str()) {
            (Some(detail), Some(code)) => format!("{} ({status}, {})", visible(detail), visible(code)),
            _ => format!("{} answers {status}: is this Parlor?", self.url),
        };
        Err(ApiRefusal { status, reason }.into())
    }

    /// Reads a body of at most `most` bytes.
    async fn whole(&self, mut answer: Response, most: usize) -> Result<Vec<u8>, Failure> {
        let read = async {
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(|error| self.unanswered(&error))? {
                if body.len() + chunk.len() > most {
                    let reason = format!("{} answers with over {most} bytes: is this Parlor?", self.url);
                    return Err(Failure::from(reason));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        timeout(ANSWER, read).await.map_err(|_| self.endless())?
    }

    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        let cause = cause(error);
        let hint = hint(&cause).map_or_else(String::new, |hint| format!("; {hint}"));
        format!("{} does not answer: {cause}{hint}", self.url).into()
    }

    fn endless(&self) -> Failure {
        format!("{} does not end its answer within {} s", self.url, ANSWER.as_secs()).into()
    }
}

/// The server has refused a request. `reason` is the text for the user.
#[derive(Debug)]
pub(super) struct ApiRefusal {
    status: StatusCode,
    reason: String,
}

impl ApiRefusal {
    /// Returns whether a repeated request would be refused too. False after a timeout or a rate limit, because a
    /// later try may succeed.
    pub(super) fn is_final(&self) -> bool {
        let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        self.status.is_client_error() && !passing.contains(&self.status)
    }
}

impl fmt::Display for ApiRefusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.reason)
    }
}

impl Error for ApiRefusal {}

/// Returns the advice for the two usual errors of TLS: the URL has `http` but the server uses TLS, or the
/// certificate is not accepted.
fn hint(cause: &str) -> Option<&'static str> {
    // The answer to plain HTTP is an alert of TLS, in which the client looks for a version of HTTP.
    if cause.contains("invalid HTTP version parsed") {
        return Some("the server speaks TLS: use https://");
    }
    let hint = "name the host of the certificate: --url https://HOST. For an authority of your own add --ca FILE with its \
                certificate";
    cause.contains("invalid peer certificate").then_some(hint)
}

/// Reads the certificates of a PEM file.
fn certificates(file: &Path) -> Result<Vec<Certificate>, Failure> {
    let unusable = |why: &dyn fmt::Display| format!("--ca {}: {why}", file.display());
    let mut pem = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MAX_CA_BYTES).read_to_end(&mut pem));
    read.map_err(|error| unusable(&format_args!("the file can't be read: {error}")))?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(unusable(&"the file holds no certificate in PEM").into());
    }
    Ok(certificates)
}

/// Returns the innermost cause of an error. The outer causes only say that something failed.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// Returns the address at which a client on this machine reaches a server that listens on `address`.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
