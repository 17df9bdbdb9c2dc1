//! The keys that functions and webhooks have in common. Functions and webhooks may be HTTP servers of the application.

use std::time::Duration;

use super::layers::Values;
use super::ranges::{IN_FLIGHT, MIN_SECRET_BYTES, NumberRange, WAIT_MS};
use super::{ConfigError, Secret};
use crate::config::url;

const RESPONSE_BYTES: NumberRange = 64..=1 << 24;
const FAILURES: NumberRange = 1..=1_000_000;
/// With the value 1, the failures of a single caller's requests open the circuit breaker for all callers.
const CALLERS: NumberRange = 1..=1_000;
const REMEMBERED: NumberRange = 1..=1_000_000;

/// An HTTP server of the application that receives signed requests from Parlor. A "caller" is the user for whom Parlor
/// sends a request. For some webhooks, a caller may also be a room.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// The URL, http or https. It is a secret, because its query may contain a key.
    pub url: Secret,
    /// The secret that signs the requests, [`MIN_SECRET_BYTES`] or more. None: the requests are not signed.
    pub secret: Option<Secret>,
    /// The longest time for an answer.
    pub timeout: Duration,
    /// The most requests that run concurrently.
    pub max_in_flight: usize,
    /// The most requests for one user that run concurrently.
    pub max_in_flight_per_user: usize,
    /// The largest answer, in bytes.
    pub max_response_bytes: usize,
    /// The number of failures in a row after which Parlor suspends requests. The failures of one caller suspend only
    /// this caller's requests. `breaker_callers` says when the circuit breaker opens, which suspends the requests of
    /// all callers.
    pub breaker_failures: u32,
    /// The number of different callers whose requests must fail before the circuit breaker opens for all callers. If
    /// the requests can't connect, failures of one caller are enough.
    pub breaker_callers: usize,
    /// The most callers whose failures are remembered.
    pub breaker_remembered: u64,
    /// How long the circuit breaker stays open. While the circuit breaker is open, Parlor sends no requests to this
    /// server.
    pub breaker_open: Duration,
}

impl ReceiverConfig {
    /// Reads the keys of a section such as `hooks.after_send`, which has no key `max_in_flight_per_user`.
    pub(super) fn read(values: &mut Values, section: &str) -> Result<Self, ConfigError> {
        let key = |name: &str| format!("{section}.{name}");
        Ok(Self {
            url: Secret::new(values.text(&key("url"))?),
            secret: values.optional(&key("secret"))?.map(Secret::new),
            timeout: values.millis(&key("timeout_ms"), WAIT_MS)?,
            max_in_flight: values.number(&key("max_in_flight"), IN_FLIGHT)?,
            max_response_bytes: values.number(&key("max_response_bytes"), RESPONSE_BYTES)?,
            breaker_failures: values.number(&key("breaker_failures"), FAILURES)?,
            breaker_callers: values.number(&key("breaker_callers"), CALLERS)?,
            breaker_remembered: values.number(&key("breaker_remembered"), REMEMBERED)?,
            breaker_open: values.millis(&key("breaker_open_ms"), WAIT_MS)?,
            // A limit for each user is needed only if the requests of one user can run concurrently. The hooks that use
            // this function send the events of one room one after another, so they need no limit for each user.
            max_in_flight_per_user: usize::MAX,
        })
    }

    /// Reads the keys of a section whose requests are sent on behalf of users. `max_in_flight_per_user` limits the
    /// concurrent requests of each user.
    pub(super) fn read_shared(values: &mut Values, section: &str) -> Result<Self, ConfigError> {
        let receiver = Self::read(values, section)?;
        let share = values.number(&format!("{section}.max_in_flight_per_user"), IN_FLIGHT)?;
        Ok(Self { max_in_flight_per_user: share, ..receiver })
    }

    /// Checks that the URL is valid, and that requests to other machines are signed.
    pub(super) fn check(&self, section: &str) -> Result<(), ConfigError> {
        let fault = |key: &str, fault: String| ConfigError::new(format!("{section}.{key}"), fault);
        if self.url.expose().is_empty() {
            return Err(fault("url", "must be given".to_owned()));
        }
        let url = url::parse(self.url.expose()).map_err(|error| fault("url", error.to_string()))?;
        match &self.secret {
            Some(secret) if secret.expose().len() < MIN_SECRET_BYTES => {
                Err(fault("secret", format!("has fewer than {MIN_SECRET_BYTES} bytes")))
            }
            None if !url::is_loopback(&url) => {
                Err(fault("secret", "must be given for an address beyond loopback".to_owned()))
            }
            _ => Ok(()),
        }
    }
}
