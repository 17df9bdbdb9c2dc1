//! Sends requests to receivers: the application's own servers for functions and webhooks. Each request is one POST of a
//! signed JSON body. The result is the body of the answer.
//!
//! If a receiver hangs, dies or answers wrongly, only the callers of this receiver are affected. A caller is the user
//! for whom a request is sent, or for some hooks the room. These rules limit the effect:
//!
//! - Every request has a deadline. The size of an answer is limited, and redirects are not followed.
//! - The number of concurrent requests is limited, in total and for each caller.
//! - After repeated failures, the circuit breaker stops the requests for a while ([`breaker`]).
//!
//! Connections are kept and reused. This module never repeats a request, because only the calling code knows whether a
//! repetition is harmless. Errors and log lines contain no URL, because a URL may include a key. They also contain no
//! part of a body.

pub(crate) mod breaker;
pub(crate) mod error;
pub(crate) mod gate;
pub(crate) mod shares;
pub(crate) mod signature;

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url, retry};

pub use self::error::OutboundError;
pub(crate) use self::error::ProgramFailure;
pub(crate) use self::gate::CallGate;
pub use self::signature::SIGNATURE;
use self::signature::Signer;
use crate::config;
use crate::config::url::{self, UnusableUrl};
use crate::telemetry::metrics::Metrics;

/// The time for which an idle connection is kept. Node closes idle connections after 5 s. If Parlor sent a request at
/// the moment when Node closes the connection, the request would be lost, and this module does not repeat requests. So
/// Parlor closes the connection earlier than Node.
const IDLE: Duration = Duration::from_secs(4);

/// A server of the application that receives signed requests.
#[derive(Debug)]
pub struct Receiver {
    url: Url,
    signer: Option<Signer>,
    client: Client,
    max_response_bytes: usize,
    gate: CallGate,
}

impl Receiver {
    /// Creates a receiver from its configuration. `name` is the configuration's section, for example
    /// `functions.translate`. Logs and metrics use this name.
    ///
    /// # Errors
    /// The URL is invalid, or it is https and this machine has no trusted certificates.
    pub fn new(
        name: &str,
        settings: &config::ReceiverConfig,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, UnusableUrl> {
        let url = url::parse(settings.url.expose())?;
        let client = Client::builder()
            .redirect(Policy::none())
            .retry(retry::never())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("parlor/", env!("CARGO_PKG_VERSION")));
        // The system's certificates are loaded only for an https URL. A container image may have no certificates, and
        // the load would then fail.
        let client = if url.scheme() == "https" { client } else { client.tls_certs_only([]) };
        Ok(Self {
            url,
            signer: settings.secret.as_ref().map(Signer::new),
            client: client.build().map_err(error::client_error)?,
            max_response_bytes: settings.max_response_bytes,
            gate: CallGate::new(name, settings, metrics),
        })
    }

    /// Returns the number of requests so far that were answered with 2xx.
    pub(crate) fn answered(&self) -> u64 {
        self.gate.answered()
    }

    /// Posts a signed JSON body. Returns the body of the answer if its status is 2xx. The limit of concurrent requests
    /// and the failures are counted for `caller`. A call that is dropped before its end counts as failed.
    ///
    /// # Errors
    /// The request was not sent, or there was no valid answer with status 2xx. [`OutboundError`] names the reason.
    pub async fn post(&self, caller: &impl Hash, body: String) -> Result<Vec<u8>, OutboundError> {
        self.gate.pass(caller, self.exchange(body)).await
    }

    async fn exchange(&self, body: String) -> Result<Vec<u8>, OutboundError> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(signer) = &self.signer {
            request = request.header(SIGNATURE, signer.sign(body.as_bytes()));
        }
        let response = request.body(body).send().await.map_err(OutboundError::from_client)?;
        if !response.status().is_success() {
            return Err(OutboundError::Status(response.status().as_u16()));
        }
        self.read(response).await
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, OutboundError> {
        let most = self.max_response_bytes;
        let mut body = Vec::new();
        let mut fits = response.content_length().is_none_or(|length| length <= most as u64);
        while fits && let Some(chunk) = response.chunk().await.map_err(OutboundError::from_client)? {
            fits = body.len() + chunk.len() <= most;
            body.extend_from_slice(&chunk);
        }
        if fits {
            return Ok(body);
        }
        self.gate.metrics().bound_hit("outbound_max_response_bytes");
        Err(OutboundError::TooLarge(most))
    }
}
