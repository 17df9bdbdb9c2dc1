//! Replaces keys while the server runs: with those of a new configuration, or with new ones of the issuer.
//!
//! When a key is removed, the sockets whose tokens it signed are closed; see [`in_force`](super::in_force) for when
//! that is. All other sockets stay open.

use std::sync::{Arc, PoisonError};

use tokio_util::sync::CancellationToken;

use super::in_force::By;
use super::issuer::Issuer;
use super::{Checks, Rules, Verifier};
use crate::config::{Auth, ConfigError, Keys, Location, NamedKey};
use crate::telemetry::metrics::Metrics;

/// The rules of a new configuration. They are applied once all other parts of it are valid.
pub(crate) struct Renewed {
    rules: Rules,
    issuer: Option<Arc<Issuer>>,
}

impl Verifier {
    /// Fetches the issuer's key set regularly, until `stop`. A start doesn't wait for it: until keys were fetched the
    /// server is not ready, and connecting clients are told to try again.
    pub(crate) fn watch(&self, auth: &Auth, metrics: &Arc<Metrics>, stop: &CancellationToken) {
        if let Ok(Keys::Remote(location)) = auth.keys() {
            self.follow(Arc::new(Issuer::new(location, auth, metrics.clone(), stop.child_token(), None)));
        }
    }

    /// Builds the rules of a new configuration. If its keys come from a new location, they are fetched first, so that a
    /// mistake keeps the old rules.
    ///
    /// # Errors
    /// There are no keys, or none is valid.
    pub(crate) async fn renewed(
        &self,
        auth: &Auth,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Result<Renewed, ConfigError> {
        let (rules, issuer) = match auth.keys()? {
            Keys::Remote(location) => {
                let before = self.0.issuer.load_full().filter(|before| before.is_of(&location));
                let key = match location {
                    Location::Set(_) => "auth.jwks",
                    Location::Discovery(_) => "auth.discovery",
                };
                let had = before.as_ref().map(|before| before.had());
                let known = had.clone().flatten();
                let issuer = Issuer::new(location, auth, metrics.clone(), stop.child_token(), known);
                let keys = match had {
                    Some(had) => had.map_or(Ok(Vec::new()), |had| issuer.read(&had, true)),
                    None => issuer.fetch().await,
                };
                let keys = keys.map_err(|fault| ConfigError::new(key, fault))?;
                (Rules::several(auth, keys), Some(Arc::new(issuer)))
            }
            Keys::One(key) => (Rules::new(auth, Checks::One(Box::new(key.into()))), None),
            Keys::Set(set) => (Rules::several(auth, set.keys), None),
            Keys::None => {
                return Err(ConfigError::new("auth.secret", "neither this nor another key is given"));
            }
        };
        Ok(Renewed { rules, issuer })
    }

    /// Applies the rules.
    pub(crate) fn take_over(&self, Renewed { mut rules, issuer }: Renewed) {
        let mut in_force = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = self.0.issuer.swap(None) {
            before.leave();
        }
        let removed = in_force.renew(&mut rules, By::Operator);
        self.store(rules, removed);
        if let Some(issuer) = issuer {
            self.follow(issuer);
        }
    }

    /// Applies the issuer's current keys, unless this issuer was stopped.
    pub(super) fn take_keys(&self, auth: &Auth, keys: Vec<NamedKey>, left: &CancellationToken) {
        let mut in_force = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if left.is_cancelled() {
            return;
        }
        let mut rules = Rules::several(auth, keys);
        let removed = in_force.renew(&mut rules, By::Issuer);
        self.store(rules, removed);
    }

    fn store(&self, rules: Rules, removed: bool) {
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
