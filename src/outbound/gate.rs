//! What every call of the application's code passes: limits of concurrent calls, the circuit breaker, and a timeout. The
//! code may be an HTTP server ([`Receiver`](super::Receiver)) or a function file.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::breaker::{Breaker, BreakerRefusal, BreakerSettings, RequestOutcome};
use super::error::OutboundError;
use super::shares::CallerPermits;
use crate::config;
use crate::telemetry::metrics::{Metrics, OutboundMetrics};

/// The limits and the breaker of one receiver or file.
#[derive(Debug)]
pub(crate) struct CallGate {
    timeout: Duration,
    in_flight: Semaphore,
    per_caller: CallerPermits,
    breaker: Breaker,
    /// Hashes the callers' ids with a random key. Therefore no user can choose an id that has the hash of another
    /// caller's id.
    callers: RandomState,
    /// The number of calls that were answered.
    answered: AtomicU64,
    metrics: Arc<OutboundMetrics>,
}

impl CallGate {
    /// Creates the gate of the code that is configured in the section `name`. Logs and metrics use this name.
    pub(crate) fn new(name: &str, settings: &config::ReceiverConfig, metrics: &Arc<Metrics>) -> Self {
        let metrics = Arc::new(metrics.outbound(name));
        Self {
            timeout: settings.timeout,
            in_flight: Semaphore::new(settings.max_in_flight),
            per_caller: CallerPermits::new(settings.max_in_flight_per_user),
            breaker: Breaker::new(
                BreakerSettings {
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
        }
    }

    /// Returns the number of calls so far that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Returns the longest time of a call.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn metrics(&self) -> &OutboundMetrics {
        &self.metrics
    }

    /// Makes a call if the limits and the breaker allow it. The limit of concurrent calls and the failures are counted
    /// for `caller`. A call that is dropped before its end counts as failed.
    ///
    /// # Errors
    /// The call was not made, or it failed. [`OutboundError`] names the reason.
    pub(crate) async fn pass<T>(
        &self,
        caller: &impl Hash,
        call: impl Future<Output = Result<T, OutboundError>>,
    ) -> Result<T, OutboundError> {
        let began = Instant::now();
        let ended = self.attempt(self.callers.hash_one(caller), call).await;
        self.metrics.posted(ended.as_ref().map_or_else(OutboundError::label, |_| "ok"), began.elapsed());
        ended
    }

    async fn attempt<T>(
        &self,
        caller: u64,
        call: impl Future<Output = Result<T, OutboundError>>,
    ) -> Result<T, OutboundError> {
        let Some(_permit) = self.per_caller.acquire(caller) else {
            self.metrics.bound_hit("outbound_max_in_flight_per_user");
            return Err(OutboundError::CallerBusy);
        };
        let Ok(_in_flight) = self.in_flight.try_acquire() else {
            self.metrics.bound_hit("outbound_max_in_flight");
            return Err(OutboundError::Busy);
        };
        let attempt = match self.breaker.attempt(caller) {
            Ok(attempt) => attempt,
            Err(BreakerRefusal::Open) => {
                self.metrics.bound_hit("outbound_breaker_failures");
                return Err(OutboundError::Open);
            }
            Err(BreakerRefusal::HeldBack { others }) => {
                self.metrics.bound_hit("outbound_caller_failures");
                return Err(OutboundError::HeldBack { others });
            }
        };
        let answer = tokio::time::timeout(self.timeout, call).await;
        let answer = answer.unwrap_or_else(|_| {
            self.metrics.bound_hit("outbound_timeout_ms");
            Err(OutboundError::Timeout)
        });
        match &answer {
            Ok(_) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                attempt.finish(RequestOutcome::Answered);
            }
            Err(error) => attempt.finish(error.outcome()),
        }
        answer
    }
}
