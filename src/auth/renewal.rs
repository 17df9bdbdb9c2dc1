//! Replaces the keys that verify tokens while the server runs. New keys come from a new configuration or from the
//! issuer.
//!
//! When a key is removed, the sockets whose tokens this key signed are closed. All other sockets stay open. The
//! module [`in_force`](super::in_force) decides when a key counts as removed.

use std::sync::{Arc, PoisonError};

use tokio_util::sync::CancellationToken;

use super::in_force::KeyRemover;
use super::issuer::Issuer;
use super::{TokenRules, VerificationKeys, Verifier};
use crate::config::{AuthConfig, ConfigError, KeySetLocation, KeySource, NamedKey};
use crate::telemetry::metrics::Metrics;

/// The rules of a new configuration, before they are applied. The reload applies them only if all other parts of the
/// configuration are valid.
pub(crate) struct RenewedRules {
    rules: TokenRules,
    issuer: Option<Arc<Issuer>>,
}

impl Verifier {
    /// If the keys come from an issuer, starts a task that fetches them regularly until `stop`. The start of the
    /// server doesn't wait for the first fetch. Until the first fetch has succeeded, the server's readiness probe
    /// fails, and connecting clients are asked to try again.
    pub(crate) fn watch(&self, auth: &AuthConfig, metrics: &Arc<Metrics>, stop: &CancellationToken) {
        if let Ok(KeySource::Remote(location)) = auth.keys() {
            self.follow(Arc::new(Issuer::new(location, auth, metrics.clone(), stop.child_token(), None)));
        }
    }

    /// Builds the rules of a new configuration. If the keys come from a new location (a URL or an issuer), this
    /// function fetches them. If this fetch fails, the reload fails and the old rules stay in use.
    ///
    /// # Errors
    /// No key is configured, the key set can't be fetched, or the key set contains no valid key.
    pub(crate) async fn prepare_rules(
        &self,
        auth: &AuthConfig,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Result<RenewedRules, ConfigError> {
        let (rules, issuer) = match auth.keys()? {
            KeySource::Remote(location) => {
                let before = self.0.issuer.load_full().filter(|before| before.is_of(&location));
                let key = match location {
                    KeySetLocation::Set(_) => "auth.jwks",
                    KeySetLocation::Discovery(_) => "auth.discovery",
                };
                let cached = before.as_ref().map(|before| before.cached_keys());
                let known = cached.clone().flatten();
                let issuer = Issuer::new(location, auth, metrics.clone(), stop.child_token(), known);
                let keys = match cached {
                    Some(cached) => cached.map_or(Ok(Vec::new()), |cached| issuer.read(&cached, true)),
                    None => issuer.fetch().await,
                };
                let keys = keys.map_err(|fault| ConfigError::new(key, fault))?;
                (TokenRules::several(auth, keys), Some(Arc::new(issuer)))
            }
            KeySource::One(key) => (TokenRules::new(auth, VerificationKeys::One(Box::new(key.into()))), None),
            KeySource::Set(set) => (TokenRules::several(auth, set.keys), None),
            KeySource::None => {
                return Err(ConfigError::new("auth.secret", "neither this nor another key is configured"));
            }
        };
        Ok(RenewedRules { rules, issuer })
    }

    /// Applies the new rules, and stops the fetches from the previous issuer.
    pub(crate) fn apply_rules(&self, RenewedRules { mut rules, issuer }: RenewedRules) {
        let mut in_force = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = self.0.issuer.swap(None) {
            before.stop();
        }
        let outdated = rules.claims.refuse_more_than(&self.0.rules.load().claims) && in_force.outdate();
        let removed = in_force.replace(&mut rules, KeyRemover::Operator);
        self.store(rules, removed || outdated);
        if let Some(issuer) = issuer {
            self.follow(issuer);
        }
    }

    /// Applies the keys of the issuer's newest key set. Does nothing if a reload has stopped this issuer.
    pub(super) fn apply_issuer_keys(
        &self,
        auth: &AuthConfig,
        keys: Vec<NamedKey>,
        stopped: &CancellationToken,
    ) {
        let mut in_force = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if stopped.is_cancelled() {
            return;
        }
        let mut rules = TokenRules::several(auth, keys);
        let removed = in_force.replace(&mut rules, KeyRemover::Issuer);
        self.store(rules, removed);
    }

    fn store(&self, rules: TokenRules, removed: bool) {
        self.0.rules.store(Arc::new(rules));
        if removed {
            self.0.removed.notify_one();
        }
    }

    /// Waits until a reload or a fetch removes a key. Only one task may wait at a time, because a removal wakes only
    /// one task.
    pub(crate) async fn keys_removed(&self) {
        self.0.removed.notified().await;
    }

    fn follow(&self, issuer: Arc<Issuer>) {
        self.0.issuer.store(Some(issuer.clone()));
        tokio::spawn(issuer.run(self.clone()));
    }
}
