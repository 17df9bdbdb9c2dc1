//! `fetch` of a function: requests to the hosts that the configuration lists (`functions.<name>.hosts`).
//!
//! A function can't reach other hosts, not even by a name whose DNS entry points to them: the address is checked when
//! the connection is made. Redirects are not followed; the function gets the 3xx answer. The environment's proxy is not
//! used, and answers are not decompressed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Request, Url, retry};

use super::public_address::is_public;
use crate::config::FileFunctionConfig;
use crate::config::allowed_host::AllowedHost;
use crate::functions::host_call::{FetchRequest, FetchResponse};
use crate::functions::host_error::{HostCode, HostError};
use crate::telemetry::metrics::Metrics;

/// The time after which an unused connection is closed.
const IDLE: Duration = Duration::from_secs(30);

/// The most headers of a request, and their most bytes.
const HEADERS: usize = 64;
const HEADER_BYTES: usize = 16_384;

/// The headers that a function can't set, because they belong to the connection.
const OF_CONNECTION: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// The requests of one function.
pub(crate) struct FunctionFetch {
    hosts: Vec<AllowedHost>,
    /// For hosts that must have a public address, and for hosts that may have a private address.
    public: Client,
    private: Client,
    fetches: usize,
    bytes: usize,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for FunctionFetch {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("FunctionFetch").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// What one call of a function has used of its bounds.
#[derive(Debug, Default)]
pub(crate) struct FetchBudget {
    fetches: AtomicUsize,
    sent: AtomicUsize,
    received: AtomicUsize,
}

/// Resolves names, and leaves out addresses that are not public.
struct PublicResolver;

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(Box::from(NOT_PUBLIC));
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// The error of a name that has no public address.
const NOT_PUBLIC: &str = "the host has no public address";

impl FunctionFetch {
    /// Creates the clients of a function. None if the function may reach no host.
    ///
    /// # Errors
    /// This machine has no trusted certificates.
    pub(crate) fn new(
        settings: &FileFunctionConfig,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Self>, reqwest::Error> {
        if settings.hosts.is_empty() {
            return Ok(None);
        }
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .retry(retry::never())
                .no_proxy()
                .referer(false)
                .pool_idle_timeout(IDLE)
                .user_agent(concat!("parlor/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Some(Self {
            hosts: settings.hosts.clone(),
            public: builder().dns_resolver(Arc::new(PublicResolver)).build()?,
            private: builder().build()?,
            fetches: settings.fetches,
            bytes: settings.fetch_bytes,
            metrics: metrics.clone(),
        }))
    }

    /// Sends a request, and returns its answer. `longest` is the time that the call has left.
    pub(crate) async fn fetch(
        &self,
        request: FetchRequest,
        longest: Duration,
        budget: &FetchBudget,
    ) -> Result<FetchResponse, HostError> {
        let wanted = request.timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        let timeout = wanted.map_or(longest, |wanted| wanted.min(longest));
        let (client, request) = self.prepare(request)?;
        if budget.fetches.fetch_add(1, Ordering::Relaxed) >= self.fetches {
            self.metrics.bound_hit("function_fetches");
            let fault = format!("a call may send {} requests", self.fetches);
            return Err(HostError::new(HostCode::TooLarge, fault));
        }
        let size = request.body().and_then(|body| body.as_bytes()).map_or(0, <[u8]>::len);
        self.spend(&budget.sent, size)?;
        let exchange = async {
            let response = client.execute(request).await.map_err(|error| failed(&error))?;
            self.read(response, budget).await
        };
        let late = || HostError::new(HostCode::Timeout, "the host did not answer in time");
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(late()))
    }

    /// Checks a request. Returns the client that may send it.
    fn prepare(&self, request: FetchRequest) -> Result<(&Client, Request), HostError> {
        let invalid = |fault: &str| HostError::new(HostCode::InvalidRequest, fault);
        let url = Url::parse(&request.url).map_err(|_| invalid("the URL is not valid"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("the URL must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("the URL must have no login; use the header authorization"));
        }
        let mut allowed = self.hosts.iter().filter(|host| host.allows(&url)).peekable();
        if allowed.peek().is_none() {
            return Err(not_allowed(&url));
        }
        let client = if allowed.any(AllowedHost::may_be_private) { &self.private } else { &self.public };
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| invalid("no such method"))?;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Err(invalid("the methods CONNECT and TRACE are not possible"));
        }
        let mut prepared = Request::new(method, url);
        *prepared.headers_mut() = headers(&request.headers)?;
        // Without a body, a request has no `content-length`, which some servers require of these methods.
        let needs_length = matches!(*prepared.method(), Method::POST | Method::PUT | Method::PATCH);
        if needs_length || !request.body.is_empty() {
            *prepared.body_mut() = Some(request.body.into());
        }
        Ok((client, prepared))
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        budget: &FetchBudget,
    ) -> Result<FetchResponse, HostError> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let head: usize =
            response.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        self.spend(&budget.received, head)?;
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            self.spend(&budget.received, chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        Ok(FetchResponse { status, headers, body })
    }

    fn spend(&self, used: &AtomicUsize, bytes: usize) -> Result<(), HostError> {
        let most = self.bytes;
        let spent = used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= most)
        });
        if spent.is_ok() {
            return Ok(());
        }
        self.metrics.bound_hit("function_fetch_bytes");
        Err(HostError::new(HostCode::TooLarge, format!("the bodies of a call may have {most} bytes")))
    }
}

/// Returns the error of a URL that the configuration does not list.
fn not_allowed(url: &Url) -> HostError {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let fault = format!("{}://{host}:{port} is not in the list `hosts` of this function", url.scheme());
    HostError::new(HostCode::NotAllowed, fault)
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, HostError> {
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if given.len() > HEADERS || bytes > HEADER_BYTES {
        let fault = format!("a request may have {HEADERS} headers of {HEADER_BYTES} bytes");
        return Err(HostError::new(HostCode::TooLarge, fault));
    }
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        let invalid =
            |fault: &str| HostError::new(HostCode::InvalidRequest, format!("header {name:?}: {fault}"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("is no name of a header"))?;
        if OF_CONNECTION.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
            return Err(invalid("can't be set by a function"));
        }
        let value =
            HeaderValue::from_str(value).map_err(|_| invalid("its value has an invalid character"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Converts the error of a client. Its text contains no URL, because a URL may contain a key.
fn failed(error: &reqwest::Error) -> HostError {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.to_string() == NOT_PUBLIC {
            return HostError::new(HostCode::NotAllowed, NOT_PUBLIC);
        }
        cause = error.source();
    }
    if error.is_builder() {
        return HostError::new(HostCode::InvalidRequest, "the URL is not valid");
    }
    let fault =
        if error.is_connect() { "the host can't be reached" } else { "the connection to the host broke" };
    HostError::new(HostCode::Unavailable, fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// A name that leads to this machine, as a name of an attacker's zone may.
    #[tokio::test]
    async fn name_with_a_private_address_is_refused_when_it_is_resolved() {
        let env = [("PARLOR__FUNCTIONS__F__HOSTS".to_owned(), "a.example".to_owned())];
        let config = Config::load(None, env).unwrap();
        let fetch =
            FunctionFetch::new(&config.function("f").file, &Arc::new(Metrics::new())).unwrap().unwrap();
        let request = |client: &Client| client.get("http://localhost:1/").send();
        let refused = failed(&request(&fetch.public).await.unwrap_err());
        assert_eq!(refused.code, HostCode::NotAllowed, "{refused}");
        let reached = failed(&request(&fetch.private).await.unwrap_err());
        assert_eq!(reached.code, HostCode::Unavailable, "{reached}");
    }
}
