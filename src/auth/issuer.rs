//! Keys that come from elsewhere: a key set by its URL, or by an OpenID Connect issuer's discovery document.
//!
//! It promises that the keys which were had last stay good while their server is away, that a new key is known with the
//! first token that it signed, and that nobody can make this server ask more often than every `auth.refetch_ms`,
//! whatever tokens they come with.
//!
//! There are libraries for this, and none that fits. `jwks_client_rs`, which is on the same jsonwebtoken, asks the issuer
//! for each unknown key however often that is, reads answers of any length, follows redirects to wherever, and refuses
//! a whole set for one key of a new kind; it knows nothing of discovery. `jwt-authorizer`, `oidc-jwt-validator` and
//! `jwks` are on older jsonwebtokens with a second crypto library each; `openidconnect` is for signing in and keeps no
//! keys. So the keys are read by jsonwebtoken, the HTTP is reqwest's, as it is for functions, and what is here is when to ask.

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
use crate::config::{Auth, Location, NamedKey, jwk, safe};
use crate::telemetry::metrics::Metrics;

/// Where an issuer tells of itself (OpenID Connect Discovery 1.0, 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Whoever keys come from.
pub(crate) struct Issuer {
    location: Location,
    auth: Auth,
    metrics: Arc<Metrics>,
    /// Somebody came with a key that isn't known.
    wanted: Notify,
    last: watch::Sender<Look>,
    had: Mutex<Option<Bytes>>,
    stop: CancellationToken,
}

/// How the last look went.
#[derive(Clone, Copy, Default)]
struct Look {
    at: Option<Instant>,
    went_well: bool,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    /// `had` is the key set that was had of it before, where it was.
    pub(super) fn new(
        location: Location,
        auth: &Auth,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
        had: Option<Bytes>,
    ) -> Self {
        let (auth, had) = (auth.clone(), Mutex::new(had));
        Self { location, auth, metrics, wanted: Notify::new(), last: watch::Sender::default(), had, stop }
    }

    /// Whether its keys come from there.
    pub(super) fn is_of(&self, location: &Location) -> bool {
        self.location == *location
    }

    /// The key set that was had last.
    pub(super) fn had(&self) -> Option<Bytes> {
        self.had.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it could not be reached when it was asked last.
    pub(super) fn is_away(&self) -> bool {
        !self.last.borrow().went_well
    }

    /// Looks no more.
    pub(super) fn leave(&self) {
        self.stop.cancel();
    }

    /// Has the set looked at again, and waits until it was; neither where that has just been done.
    pub(super) async fn ask(&self) {
        let mut last = self.last.subscribe();
        last.mark_unchanged();
        if self.is_recent() {
            return self.metrics.limit("refetch_ms");
        }
        self.wanted.notify_one();
        if timeout(self.auth.fetch, last.changed()).await.is_err() {
            self.metrics.limit("fetch_ms");
        }
    }

    fn is_recent(&self) -> bool {
        self.last.borrow().at.is_some_and(|at| at.elapsed() < self.auth.refetch)
    }

    /// Looks at the set every `auth.refresh_seconds`, sooner where somebody wants it or it could not be had, and gives
    /// its keys to the verifier.
    pub(super) async fn run(self: Arc<Self>, verifier: Verifier) {
        let look = async {
            loop {
                let looked = self.fetch().await;
                let went_well = looked.is_ok();
                match looked {
                    Ok(keys) => verifier.take_keys(&self.auth, keys, &self.stop),
                    Err(fault) => {
                        self.metrics.fault("keys");
                        tracing::warn!(location = ?self.location, fault, "keys can't be had; those of before stay good");
                    }
                }
                self.last.send_replace(Look { at: Some(Instant::now()), went_well });
                self.wait(if went_well { self.auth.refresh } else { self.auth.refetch }).await;
            }
        };
        self.stop.run_until_cancelled(look).await;
    }

    async fn wait(&self, pause: Duration) {
        let wanted = async {
            loop {
                self.wanted.notified().await;
                // Who asked while a look was under way has its outcome.
                if !self.is_recent() {
                    return;
                }
            }
        };
        // The pause itself is an end like any other.
        let _ = timeout(pause, wanted).await;
    }

    /// Gets the set, and keeps it for [`Self::had`].
    ///
    /// # Errors
    /// What is wrong with it, or with the way to it.
    pub(super) async fn fetch(&self) -> Result<Vec<NamedKey>, String> {
        let limit = self.auth.fetch;
        let set = timeout(limit, self.get_set()).await.map_err(|_| {
            self.metrics.limit("fetch_ms");
            format!("did not answer within {} ms", limit.as_millis())
        })??;
        let is_new = self.had().as_ref() != Some(&set);
        let keys = self.read(&set, is_new)?;
        *self.had.lock().unwrap_or_else(PoisonError::into_inner) = Some(set);
        Ok(keys)
    }

    /// The keys of a set. Logs those that are passed over, where the set is new.
    ///
    /// # Errors
    /// None of them can check a token.
    pub(super) fn read(&self, set: &[u8], is_new: bool) -> Result<Vec<NamedKey>, String> {
        let jwk::KeySet { keys, faults, others, .. } = jwk::read(set, &self.auth.algorithms, false)?;
        if is_new {
            for fault in faults {
                tracing::warn!(location = ?self.location, fault, "a key of the issuer can't be used; the others are");
            }
            for other in others {
                tracing::info!(location = ?self.location, other, "a key of the issuer is for something else");
            }
        }
        Ok(keys)
    }

    async fn get_set(&self) -> Result<Bytes, String> {
        let set = match &self.location {
            Location::Set(set) => set.clone(),
            Location::Discovery(issuer) => {
                let document = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
                let document = self.get(safe(&document)?).await?;
                let found: Discovery = serde_json::from_slice(without_bom(&document))
                    .map_err(|error| format!("the discovery document is none: {error}"))?;
                if found.issuer != *issuer {
                    return Err(format!("the discovery document is that of {:?}", found.issuer));
                }
                safe(&found.jwks_uri).map_err(|fault| format!("jwks_uri {fault}"))?
            }
        };
        self.get(set).await
    }

    /// One document. Nothing but a plain 200 will do: who redirects is not who was configured.
    async fn get(&self, from: Url) -> Result<Bytes, String> {
        let fault = |error| format!("{from}: {}", causes(&error));
        // Made for each: minutes lie between two, and no connection is to be kept for that.
        let client = Client::builder().redirect(Policy::none()).no_proxy();
        // The system's certificates are looked for where they are needed alone: an image may have none.
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
                self.metrics.limit("fetch_bytes");
                return Err(format!("{from} is longer than {} bytes", self.auth.fetch_bytes));
            }
        }
        Ok(body.into())
    }
}

/// An error and what it came of, on one line: the outermost alone says no more than that there was one.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
