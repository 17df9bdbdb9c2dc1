//! Requests to the application's own servers: its functions and hooks. One signed POST of JSON, and the answer's body.
//!
//! It promises that a receiver that hangs, dies or raves costs nobody but its own callers: every request has a
//! deadline, only so many are under way at once, of these only some for one caller, an answer is read up to its bound,
//! redirects are not followed, and after repeated failures none is made for a while ([`breaker`]). Connections are kept and used again. Nothing is
//! tried twice here: what may be repeated only the caller knows.
//!
//! No error and no log line holds a URL, for it may have a key in it, nor anything of a body.

pub(crate) mod breaker;
pub(crate) mod error;
pub(crate) mod shares;
pub(crate) mod signature;

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url, retry};
use tokio::sync::Semaphore;

use self::breaker::{Breaker, Refused, Settings};
pub use self::error::OutboundError;
use self::shares::Shares;
pub use self::signature::SIGNATURE;
use self::signature::Signer;
use crate::config;
use crate::config::url::{self, UnusableUrl};
use crate::telemetry::metrics::{Metrics, OutboundMetrics};

/// How long a connection without a request is kept: less than the 5 s after which Node closes it, for a request that
/// meets the close is lost, and must not be tried again.
const IDLE: Duration = Duration::from_secs(4);

/// One address that takes signed requests.
#[derive(Debug)]
pub struct Receiver {
    url: Url,
    signer: Option<Signer>,
    client: Client,
    timeout: Duration,
    max_response_bytes: usize,
    in_flight: Semaphore,
    shares: Shares,
    breaker: Breaker,
    /// Tells callers apart. With a key of its own, so that nobody can choose an id that is taken for another's.
    callers: RandomState,
    /// Requests that were answered with 2xx.
    answered: AtomicU64,
    metrics: Arc<OutboundMetrics>,
}

impl Receiver {
    /// As configured; `name` is what logs and metrics call it: the section, `functions.translate`.
    ///
    /// # Errors
    /// The URL is none, or this machine has no certificates to trust where it is one of https.
    pub fn new(name: &str, settings: &config::Receiver, metrics: &Arc<Metrics>) -> Result<Self, UnusableUrl> {
        let url = url::parse(settings.url.expose())?;
        let metrics = Arc::new(metrics.outbound(name));
        let client = Client::builder()
            .redirect(Policy::none())
            .retry(retry::never())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("parlor/", env!("CARGO_PKG_VERSION")));
        // The system's certificates are looked for where they are needed alone: an image may have none.
        let client = if url.scheme() == "https" { client } else { client.tls_certs_only([]) };
        Ok(Self {
            url,
            signer: settings.secret.as_ref().map(Signer::new),
            client: client.build().map_err(error::no_client)?,
            timeout: settings.timeout,
            max_response_bytes: settings.max_response_bytes,
            in_flight: Semaphore::new(settings.max_in_flight),
            shares: Shares::new(settings.max_in_flight_per_user),
            breaker: Breaker::new(
                Settings {
                    failures: settings.breaker_failures,
                    callers: settings.breaker_callers,
                    rest: settings.breaker_open,
                    remembered: settings.breaker_remembered,
                },
                metrics.clone(),
            ),
            callers: RandomState::new(),
            answered: AtomicU64::new(0),
            metrics,
        })
    }

    /// How many requests were answered with 2xx by now.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Posts a body of JSON, signed, and gives the body of the answer where its status is 2xx. `caller` is whose request
    /// it is: failures and shares count by it.
    ///
    /// Dropped half way it counts as failed.
    ///
    /// # Errors
    /// There was no such answer.
    pub async fn post(&self, caller: &impl Hash, body: String) -> Result<Vec<u8>, OutboundError> {
        let began = Instant::now();
        let posted = self.attempt(self.callers.hash_one(caller), body).await;
        self.metrics.posted(posted.as_ref().map_or_else(OutboundError::label, |_| "ok"), began.elapsed());
        posted
    }

    async fn attempt(&self, caller: u64, body: String) -> Result<Vec<u8>, OutboundError> {
        let Some(_share) = self.shares.take(caller) else {
            self.metrics.limit("outbound_max_in_flight_per_user");
            return Err(OutboundError::CallerBusy);
        };
        let Ok(_place) = self.in_flight.try_acquire() else {
            self.metrics.limit("outbound_max_in_flight");
            return Err(OutboundError::Busy);
        };
        let attempt = match self.breaker.attempt(caller) {
            Ok(attempt) => attempt,
            Err(Refused::Open) => {
                self.metrics.limit("outbound_breaker_failures");
                return Err(OutboundError::Open);
            }
            Err(Refused::HeldBack { others }) => {
                self.metrics.limit("outbound_caller_failures");
                return Err(OutboundError::HeldBack { others });
            }
        };
        let answer = tokio::time::timeout(self.timeout, self.exchange(body)).await;
        let answer = answer.unwrap_or_else(|_| {
            self.metrics.limit("outbound_timeout_ms");
            Err(OutboundError::Timeout)
        });
        match &answer {
            Ok(_) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                attempt.ended(breaker::Ended::Answered);
            }
            Err(error) => attempt.ended(error.ended()),
        }
        answer
    }

    async fn exchange(&self, body: String) -> Result<Vec<u8>, OutboundError> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(signer) = &self.signer {
            request = request.header(SIGNATURE, signer.sign(body.as_bytes()));
        }
        let response = request.body(body).send().await.map_err(OutboundError::of)?;
        if !response.status().is_success() {
            return Err(OutboundError::Status(response.status().as_u16()));
        }
        self.read(response).await
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, OutboundError> {
        let most = self.max_response_bytes;
        let mut body = Vec::new();
        let mut fits = response.content_length().is_none_or(|length| length <= most as u64);
        while fits && let Some(chunk) = response.chunk().await.map_err(OutboundError::of)? {
            fits = body.len() + chunk.len() <= most;
            body.extend_from_slice(&chunk);
        }
        if fits {
            return Ok(body);
        }
        self.metrics.limit("outbound_max_response_bytes");
        Err(OutboundError::TooLarge(most))
    }
}
