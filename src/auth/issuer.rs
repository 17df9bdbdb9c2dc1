//! Fetches public keys from an issuer, which is the service that signs the users' tokens. The keys are a JSON Web Key
//! Set (JWKS). The configuration has the set's URL (`auth.jwks`) or the issuer's URL (`auth.discovery`). An issuer
//! publishes an OpenID Connect discovery document, which contains the set's URL.
//!
//! The module guarantees three things:
//!
//! - The cached keys stay in use while the issuer can't be reached.
//! - A token with a new, unknown key causes a fetch, so the first token of a new key is accepted.
//! - Clients can cause at most one fetch in `auth.refetch_ms`, even if their tokens name many unknown keys.
//!
//! No library is used for these fetches, for these reasons:
//!
//! - `jwks_client_rs` uses the same version of jsonwebtoken as Parlor. But it fetches for each unknown key without a
//!   limit, reads answers of any length, and follows redirects to any address. If a set contains one key of an unknown
//!   kind, the library refuses all keys of the set. The library can't use a discovery document.
//! - `jwt-authorizer`, `oidc-jwt-validator` and `jwks` use older versions of jsonwebtoken, each with a second crypto
//!   library.
//! - `openidconnect` is made for signing in, and does not cache keys.
//!
//! So jsonwebtoken decodes the keys, reqwest does the HTTP requests, and this module decides when to fetch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_util::sync::CancellationToken;

use super::Verifier;
use crate::config::file::without_bom;
use crate::config::{AuthConfig, KeySetLocation, NamedKey, jwk, safe};
use crate::telemetry::metrics::Metrics;

/// The path of an issuer's discovery document (OpenID Connect Discovery 1.0, 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// An issuer, and the key set that was fetched last.
pub(crate) struct Issuer {
    location: KeySetLocation,
    auth: AuthConfig,
    metrics: Arc<Metrics>,
    /// Notified when a token with an unknown key requests a fetch.
    refetch_requested: Notify,
    last: watch::Sender<LastFetch>,
    cached: Mutex<Option<Bytes>>,
    stop: CancellationToken,
}

/// The time and the success of the last fetch.
#[derive(Clone, Copy, Default)]
struct LastFetch {
    at: Option<Instant>,
    succeeded: bool,
}

#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// Creates an issuer. `cached` is the key set of an earlier fetch, if there is one.
    pub(super) fn new(
        location: KeySetLocation,
        auth: &AuthConfig,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        cached: Option<Bytes>,
    ) -> Self {
        let (auth, cached) = (auth.clone(), Mutex::new(cached));
        Self {
            location,
            auth,
            metrics,
            refetch_requested: Notify::new(),
            last: watch::Sender::default(),
            cached,
            stop,
        }
    }

    /// Returns whether this issuer's keys are fetched from `location`.
    pub(super) fn is_of(&self, location: &KeySetLocation) -> bool {
        self.location == *location
    }

    /// Returns the key set of the last successful fetch. Returns none before the first successful fetch.
    pub(super) fn cached_keys(&self) -> Option<Bytes> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the last fetch failed, or no fetch has ended yet.
    pub(super) fn is_unreachable(&self) -> bool {
        !self.last.borrow().succeeded
    }

    /// Stops the regular fetches.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Requests a fetch, and waits until it has ended, for `auth.fetch_ms` at most. Returns immediately if the last
    /// fetch ended less than `auth.refetch_ms` ago.
    pub(super) async fn refetch(&self) {
        let mut last = self.last.subscribe();
        last.mark_unchanged();
        if self.is_recent() {
            return self.metrics.bound_hit("refetch_ms");
        }
        self.refetch_requested.notify_one();
        if timeout(self.auth.fetch, last.changed()).await.is_err() {
            self.metrics.bound_hit("fetch_ms");
        }
    }

    fn is_recent(&self) -> bool {
        self.last.borrow().at.is_some_and(|at| at.elapsed() < self.auth.refetch)
    }

    /// Fetches the key set repeatedly and passes its keys to the verifier, until the issuer is stopped. The next
    /// fetch follows after `auth.refresh_seconds`, or after `auth.refetch_ms` if the last fetch failed. A token with
    /// an unknown key causes an earlier fetch.
    pub(super) async fn run(self: Arc<Self>, verifier: Verifier) {
        let refresh = async {
            loop {
                let fetched = self.fetch().await;
                let succeeded = fetched.is_ok();
                match fetched {
                    Ok(keys) => verifier.apply_issuer_keys(&self.auth, keys, &self.stop),
                    Err(fault) => {
                        self.metrics.count_fault("keys");
                        tracing::warn!(location = %self.location, fault, "could not fetch the issuer's keys; keeping the cached ones");
                    }
                }
                self.last.send_replace(LastFetch { at: Some(Instant::now()), succeeded });
                self.wait(if succeeded { self.auth.refresh } else { self.auth.refetch }).await;
            }
        };
        self.stop.run_until_cancelled(refresh).await;
    }

    async fn wait(&self, pause: Duration) {
        let refetch_requested = async {
            loop {
                self.refetch_requested.notified().await;
                // A token may request a fetch while another fetch runs. The running fetch also brings the keys for this
                // token, so no second fetch follows.
                if !self.is_recent() {
                    return;
                }
            }
        };
        // A timeout here is no error: it is the end of the pause.
        let _ = timeout(pause, refetch_requested).await;
    }

    /// Fetches the key set, and caches it for [`Self::cached_keys`].
    ///
    /// # Errors
    /// The connection failed, or the key set can't be used. The text says what is wrong.
    pub(super) async fn fetch(&self) -> Result<Vec<NamedKey>, String> {
        let limit = self.auth.fetch;
        let set = timeout(limit, self.get_set()).await.map_err(|_| {
            self.metrics.bound_hit("fetch_ms");
            format!("the issuer did not answer within {} ms", limit.as_millis())
        })??;
        let is_new = self.cached_keys().as_ref() != Some(&set);
        let keys = self.read(&set, is_new)?;
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(set);
        Ok(keys)
    }

    /// Decodes the keys of a set. If `is_new`, the set differs from the cached set, and the skipped keys are logged.
    ///
    /// # Errors
    /// The set contains no key that can verify a token.
    pub(super) fn read(&self, set: &[u8], is_new: bool) -> Result<Vec<NamedKey>, String> {
        let jwk::KeySet { keys, faults, others, .. } = jwk::read(set, &self.auth.algorithms, false)?;
        if is_new {
            for fault in faults {
                tracing::warn!(location = %self.location, fault, "a key of the issuer can't be used; using the other keys");
            }
            for other in others {
                tracing::info!(location = %self.location, other, "skipping a key of the issuer for another purpose");
            }
        }
        Ok(keys)
    }

    async fn get_set(&self) -> Result<Bytes, String> {
        let set = match &self.location {
            KeySetLocation::Set(set) => set.clone(),
            KeySetLocation::Discovery(issuer) => {
                let document = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
                let document = self.get(safe(&document)?).await?;
                let found: DiscoveryDocument = serde_json::from_slice(without_bom(&document))
                    .map_err(|error| format!("the discovery document can't be decoded: {error}"))?;
                if found.issuer != *issuer {
                    return Err(format!("the discovery document belongs to the issuer {:?}", found.issuer));
                }
                safe(&found.jwks_uri).map_err(|fault| format!("jwks_uri {fault}"))?
            }
        };
        self.get(set).await
    }

    /// Fetches one document. Accepts only status 200. Does not follow redirects, because a redirect can lead to a
    /// server that is not configured.
    async fn get(&self, from: Url) -> Result<Bytes, String> {
        let fault = |error| format!("{from}: {}", causes(&error));
        // A new HTTP client is built for each request. Usually minutes pass between two requests, so it would be
        // useless to keep the connection open.
        let client = Client::builder().redirect(Policy::none()).no_proxy();
        // The system's certificates are loaded only for https. A container image may have no certificates, and then
        // loading fails.
        let client = if from.scheme() == "https" { client } else { client.tls_certs_only([]) };
        let client = client.build().map_err(|error| fault(error.without_url()))?;
        let mut answer = client.get(from.clone()).send().await.map_err(|error| fault(error.without_url()))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{from} answered {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| fault(error.without_url()))? {
            body.extend_from_slice(&chunk);
            if body.len() > self.auth.fetch_bytes {
                self.metrics.bound_hit("fetch_bytes");
                return Err(format!("{from} is longer than {} bytes", self.auth.fetch_bytes));
            }
        }
        Ok(body.into())
    }
}

/// Returns an error with all of its causes, on one line. The outermost error alone does not say what failed.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
