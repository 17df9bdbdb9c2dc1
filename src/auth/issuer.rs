//! Fetches keys from an issuer: a key set by its URL, or by an OpenID Connect issuer's discovery document.
//!
//! It guarantees three things. The cached keys stay valid while the issuer's server is unavailable. A new key is known
//! with the first token that it signed. No client can make this server fetch more often than every `auth.refetch_ms`,
//! whatever tokens it sends.
//!
//! No library does this. `jwks_client_rs`, which uses the same jsonwebtoken, asks the issuer for each unknown key
//! without a limit, reads answers of any length and follows redirects to any address. It refuses a whole set because of
//! one key of a new kind, and has no discovery. `jwt-authorizer`, `oidc-jwt-validator` and `jwks` use older
//! jsonwebtokens with a second crypto library each. `openidconnect` is for signing in and caches no keys. So
//! jsonwebtoken reads the keys, reqwest does the HTTP, as for functions, and this module decides when to ask.

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

/// An issuer of keys.
pub(crate) struct Issuer {
    location: KeySetLocation,
    auth: AuthConfig,
    metrics: Arc<Metrics>,
    /// A token with an unknown key asks for a fetch.
    refetch_requested: Notify,
    last: watch::Sender<LastFetch>,
    cached: Mutex<Option<Bytes>>,
    stop: CancellationToken,
}

/// The outcome of the last fetch.
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
    /// Creates an issuer. `cached` is the key set that was fetched from it before, if any.
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

    /// Returns whether the keys come from this location.
    pub(super) fn is_of(&self, location: &KeySetLocation) -> bool {
        self.location == *location
    }

    /// Returns the key set that was fetched last.
    pub(super) fn cached_keys(&self) -> Option<Bytes> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether the last fetch failed.
    pub(super) fn is_unreachable(&self) -> bool {
        !self.last.borrow().succeeded
    }

    /// Stops fetching.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Requests a fetch and waits until it is done. Does neither if a fetch has just been done.
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

    /// Fetches the set every `auth.refresh_seconds`, sooner if a token needs it or the last fetch failed, and gives its
    /// keys to the verifier.
    pub(super) async fn run(self: Arc<Self>, verifier: Verifier) {
        let refresh = async {
            loop {
                let fetched = self.fetch().await;
                let succeeded = fetched.is_ok();
                match fetched {
                    Ok(keys) => verifier.apply_issuer_keys(&self.auth, keys, &self.stop),
                    Err(fault) => {
                        self.metrics.count_fault("keys");
                        tracing::warn!(location = ?self.location, fault, "could not fetch the issuer's keys; keeping the cached ones");
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
                // A request that came during a fetch has that fetch's outcome.
                if !self.is_recent() {
                    return;
                }
            }
        };
        // The end of the pause is not an error.
        let _ = timeout(pause, refetch_requested).await;
    }

    /// Fetches the set, and caches it for [`Self::cached_keys`].
    ///
    /// # Errors
    /// Says what is wrong with the set, or with the connection.
    pub(super) async fn fetch(&self) -> Result<Vec<NamedKey>, String> {
        let limit = self.auth.fetch;
        let set = timeout(limit, self.get_set()).await.map_err(|_| {
            self.metrics.bound_hit("fetch_ms");
            format!("did not answer within {} ms", limit.as_millis())
        })??;
        let is_new = self.cached_keys().as_ref() != Some(&set);
        let keys = self.read(&set, is_new)?;
        *self.cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(set);
        Ok(keys)
    }

    /// Reads the keys of a set. If the set is new, logs the keys that are skipped.
    ///
    /// # Errors
    /// None of the keys can check a token.
    pub(super) fn read(&self, set: &[u8], is_new: bool) -> Result<Vec<NamedKey>, String> {
        let jwk::KeySet { keys, faults, others, .. } = jwk::read(set, &self.auth.algorithms, false)?;
        if is_new {
            for fault in faults {
                tracing::warn!(location = ?self.location, fault, "skipping a key of the issuer that can't be used; using the others");
            }
            for other in others {
                tracing::info!(location = ?self.location, other, "skipping a key of the issuer for another purpose");
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
                    .map_err(|error| format!("the discovery document is none: {error}"))?;
                if found.issuer != *issuer {
                    return Err(format!("the discovery document is that of {:?}", found.issuer));
                }
                safe(&found.jwks_uri).map_err(|fault| format!("jwks_uri {fault}"))?
            }
        };
        self.get(set).await
    }

    /// Fetches one document. Only a plain 200 is accepted: the target of a redirect is not the server that was
    /// configured.
    async fn get(&self, from: Url) -> Result<Bytes, String> {
        let fault = |error| format!("{from}: {}", causes(&error));
        // Built for each request: minutes lie between two, so no connection is to be kept.
        let client = Client::builder().redirect(Policy::none()).no_proxy();
        // The system's certificates are only loaded if they are needed: an image may have none.
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

/// Returns an error with its causes, on one line. The outermost error alone does not say what failed.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
