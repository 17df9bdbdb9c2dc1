//! Replaces keys while the server runs: with those of a new configuration, or with new ones of the issuer.
//!
//! When a key is removed, the sockets whose tokens it signed are closed; see [`in_force`](super::in_force) for when
//! that is. All other sockets stay open.

use std::sync::{Arc, PoisonError};

use tokio_util::sync::CancellationToken;

use super::in_force::KeyRemover;
use super::issuer::Issuer;
use super::{TokenRules, VerificationKeys, Verifier};
use crate::config::{AuthConfig, ConfigError, KeySetLocation, KeySource, NamedKey};
use crate::telemetry::metrics::Metrics;

/// The rules of a new configuration. They are applied once all other parts of it are valid.
pub(crate) struct RenewedRules {
    rules: TokenRules,
    issuer: Option<Arc<Issuer>>,
}

impl Verifier {
    /// Fetches the issuer's key set regularly, until `stop`. A start doesn't wait for it: until keys were fetched the
    /// server is not ready, and connecting clients are told to try again.
    pub(crate) fn watch(&self, auth: &AuthConfig, metrics: &Arc<Metrics>, stop: &CancellationToken) {
        if let Ok(KeySource::Remote(location)) = auth.keys() {
            self.follow(Arc::new(Issuer::new(location, auth, metrics.clone(), stop.child_token(), None)));
        }
    }

    /// Builds the rules of a new configuration. If its keys come from a new location, they are fetched first, so that a
    /// mistake keeps the old rules.
    ///
    /// # Errors
    /// There are no keys, or none is valid.
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
                return Err(ConfigError::new("auth.secret", "neither this nor another key is given"));
            }
        };
        Ok(RenewedRules { rules, issuer })
    }

    /// Applies the rules.
    pub(crate) fn apply_rules(&self, RenewedRules { mut rules, issuer }: RenewedRules) {
        let mut in_force = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = self.0.issuer.swap(None) {
            before.stop();
        }
        let removed = in_force.replace(&mut rules, KeyRemover::Operator);
        self.store(rules, removed);
        if let Some(issuer) = issuer {
            self.follow(issuer);
        }
    }

    /// Applies the issuer's current keys, unless this issuer was stopped.
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

    /// Waits until keys were removed. One task at a time may wait.
    pub(crate) async fn keys_removed(&self) {
        self.0.removed.notified().await;
    }

    fn follow(&self, issuer: Arc<Issuer>) {
        self.0.issuer.store(Some(issuer.clone()));
        tokio::spawn(issuer.run(self.clone()));
    }
}
