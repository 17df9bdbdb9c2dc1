//! A circuit breaker. It stops the requests to a receiver (a server of the application) that fails repeatedly. Later
//! the breaker lets a single request through as a probe, to find out whether the receiver works again.
//!
//! A caller is the user for whom a request is sent. For a hook event that is sent after a change, the caller is the
//! room or the user of the event. One caller's text can make a receiver answer 500, hang, or close the connection. So
//! failures are first counted for each caller. After [`BreakerSettings::failures`] failures in a row, only this caller
//! is held back: for the time [`BreakerSettings::rest`], no request of this caller is sent. After this time, one
//! request of this caller is sent as a probe. All other callers continue.
//!
//! The breaker opens for all callers only if a single caller can't be the cause. One of these conditions is enough:
//!
//! - [`BreakerSettings::failures`] requests could not connect, and no request was answered between them.
//! - [`BreakerSettings::failures`] requests failed in a row, and they came from at least [`BreakerSettings::callers`]
//!   callers.
//!
//! An open breaker lets no request through for the time [`BreakerSettings::rest`]. Then it lets a single probe through:
//!
//! - If the receiver answers the probe, the breaker closes.
//! - If the probe can't connect, the breaker stays open for the time [`BreakerSettings::rest`] once more.
//! - If the probe fails in another way, the probe's caller may be the cause. So the next probe must come from another
//!   caller. After failed probes of [`BreakerSettings::callers`] callers, the breaker stays open for this time once
//!   more.
//!
//! No library is used. To find out whether a receiver works again, the existing libraries let the requests of all
//! callers through. So all waiting requests would reach a receiver that has just restarted.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::telemetry::metrics::OutboundMetrics;

/// The hash of a caller's id.
pub(super) type CallerHash = u64;

#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerSettings {
    /// The number of failures in a row that open the breaker.
    pub(super) failures: u32,
    /// The number of different callers from which these failures must come.
    pub(super) callers: usize,
    /// The time for which an open breaker lets no request through, and for which a failing caller is held back.
    pub(super) rest: Duration,
    /// The highest number of callers whose failures are remembered.
    pub(super) remembered: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: Mutex<BreakerState>,
    /// The callers whose last request failed. If the cache is full, it drops the least used entry. The breaker then
    /// counts the failures of this entry's caller from zero.
    failing: Cache<CallerHash, Arc<Mutex<CallerFailures>>>,
    metrics: Arc<OutboundMetrics>,
}

/// The state that applies to all callers.
#[derive(Debug)]
enum BreakerState {
    /// Requests are let through.
    Closed(FailureRun),
    /// No request is let through until this time.
    Open(Instant),
    /// One request at a time is let through. The outcome of this request decides the next state of the breaker.
    HalfOpen {
        probing: bool,
        /// The callers whose probes failed. Until the time `until`, no further probe of these callers is allowed.
        failed: Vec<CallerHash>,
        until: Instant,
    },
}

/// The failures of all callers since the last request that the receiver answered.
#[derive(Debug, Default)]
struct FailureRun {
    failures: u32,
    unconnected: u32,
    /// The different callers of these failures, at most [`BreakerSettings::callers`].
    callers: Vec<CallerHash>,
    /// The time of the last answered request before these failures.
    answered: Option<Instant>,
}

/// The failures of one caller since the last request of this caller that the receiver answered.
#[derive(Debug)]
struct CallerFailures {
    failures: u32,
    since: Instant,
    /// The time until which the caller is held back.
    until: Option<Instant>,
    probing: bool,
}

/// The reason why the breaker refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerRefusal {
    /// The breaker is open for all callers.
    Open,
    /// Only this caller is held back. `others` says whether the receiver has answered other callers since the first
    /// failure of this caller.
    HeldBack { others: bool },
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// The receiver answered.
    Answered,
    /// The request could not connect to the receiver. The content of a request can't be the cause.
    Unconnected,
    /// The request failed, and the content of the request may be the cause.
    Failed,
}

/// A request that the breaker lets through. If [`finish`](Self::finish) is not called, the request counts as failed.
pub(super) struct BreakerAttempt<'a> {
    breaker: &'a Breaker,
    caller: CallerHash,
    /// Whether the request is the probe of an open breaker. The probe's outcome applies to all callers.
    probe: bool,
    end: RequestOutcome,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings, metrics: Arc<OutboundMetrics>) -> Self {
        let counted = metrics.clone();
        let forgotten = move |_, _, cause| {
            if cause == RemovalCause::Size {
                counted.bound_hit("outbound_breaker_remembered");
            }
        };
        let failing = Cache::builder()
            .max_capacity(settings.remembered)
            .time_to_idle(settings.rest.max(FORGOTTEN_AFTER))
            .eviction_listener(forgotten)
            .build();
        Self { settings, state: Mutex::new(BreakerState::Closed(FailureRun::default())), failing, metrics }
    }

    /// Returns an attempt if the breaker lets a request of this caller through.
    pub(super) fn attempt(&self, caller: CallerHash) -> Result<BreakerAttempt<'_>, BreakerRefusal> {
        if self.is_open() {
            return Err(BreakerRefusal::Open);
        }
        self.check_caller(caller)?;
        let probe = self.check_receiver(caller).inspect_err(|_| self.release_probe(caller))?;
        Ok(BreakerAttempt { breaker: self, caller, probe, end: RequestOutcome::Failed })
    }

    /// Returns whether the breaker refuses the requests of all callers now.
    fn is_open(&self) -> bool {
        match &*lock(&self.state) {
            BreakerState::Closed(_) => false,
            BreakerState::Open(until) => Instant::now() < *until,
            BreakerState::HalfOpen { probing, .. } => *probing,
        }
    }

    /// Fails if the caller is held back. After the time `until`, the caller's next request is the probe of this caller.
    fn check_caller(&self, caller: CallerHash) -> Result<(), BreakerRefusal> {
        let Some(failing) = self.failing.get(&caller) else { return Ok(()) };
        let mut failing = lock(&failing);
        let Some(until) = failing.until else { return Ok(()) };
        if failing.probing || Instant::now() < until {
            let since = failing.since;
            drop(failing);
            return Err(BreakerRefusal::HeldBack { others: self.answered_since(since) });
        }
        failing.probing = true;
        Ok(())
    }

    /// Ends the caller's probe without an outcome, because the request was not sent.
    fn release_probe(&self, caller: CallerHash) {
        if let Some(failing) = self.failing.get(&caller) {
            lock(&failing).probing = false;
        }
    }

    /// Fails if the breaker is open. Returns whether the request is the probe of an open breaker.
    fn check_receiver(&self, caller: CallerHash) -> Result<bool, BreakerRefusal> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        match &mut *state {
            BreakerState::Closed(_) => Ok(false),
            BreakerState::Open(until) if *until <= now => {
                let until = now + self.settings.rest;
                *state = BreakerState::HalfOpen { probing: true, failed: Vec::new(), until };
                Ok(true)
            }
            BreakerState::HalfOpen { probing: probing @ false, failed, until } => {
                if *until <= now {
                    failed.clear();
                    *until = now + self.settings.rest;
                }
                if failed.contains(&caller) {
                    return Err(BreakerRefusal::Open);
                }
                *probing = true;
                Ok(true)
            }
            BreakerState::Open(_) | BreakerState::HalfOpen { .. } => Err(BreakerRefusal::Open),
        }
    }

    fn answered_since(&self, since: Instant) -> bool {
        match &*lock(&self.state) {
            BreakerState::Closed(run) => run.answered.is_some_and(|answered| answered > since),
            BreakerState::Open(_) | BreakerState::HalfOpen { .. } => false,
        }
    }

    /// Records the outcome of a request in the failures of its caller.
    fn record_for_caller(&self, caller: CallerHash, end: RequestOutcome) {
        if end == RequestOutcome::Answered {
            if self.failing.contains_key(&caller) {
                self.failing.invalidate(&caller);
            }
            return;
        }
        let first = || CallerFailures { failures: 0, since: Instant::now(), until: None, probing: false };
        let failing = self.failing.get_with(caller, || Arc::new(Mutex::new(first())));
        let mut failing = lock(&failing);
        failing.failures = failing.failures.saturating_add(1);
        failing.probing = false;
        if failing.failures >= self.settings.failures {
            failing.until = Some(Instant::now() + self.settings.rest);
        }
    }

    /// Records the outcome of a request in the state for all callers. After the breaker has opened, only the outcome of
    /// a probe counts. Requests that started before the opening are ignored.
    fn record_for_all(&self, caller: CallerHash, probe: bool, end: RequestOutcome) {
        let BreakerSettings { failures, callers, rest, .. } = self.settings;
        let mut state = lock(&self.state);
        let now = Instant::now();
        match &mut *state {
            BreakerState::Closed(run) if end == RequestOutcome::Answered => {
                *run = FailureRun { answered: Some(now), ..FailureRun::default() };
            }
            BreakerState::Closed(run) => {
                run.failures = run.failures.saturating_add(1);
                run.unconnected += u32::from(end == RequestOutcome::Unconnected);
                if run.callers.len() < callers && !run.callers.contains(&caller) {
                    run.callers.push(caller);
                }
                if run.unconnected >= failures || run.failures >= failures && run.callers.len() >= callers {
                    *state = BreakerState::Open(now + rest);
                    self.metrics.breaker(true);
                    tracing::warn!(
                        receiver = self.metrics.receiver(),
                        "the receiver failed repeatedly; sending it no requests for a while"
                    );
                }
            }
            BreakerState::HalfOpen { probing, failed, .. } if probe => {
                *probing = false;
                match end {
                    RequestOutcome::Answered => {
                        *state =
                            BreakerState::Closed(FailureRun { answered: Some(now), ..FailureRun::default() });
                        self.metrics.breaker(false);
                        tracing::info!(receiver = self.metrics.receiver(), "the receiver answers again");
                    }
                    RequestOutcome::Unconnected => *state = BreakerState::Open(now + rest),
                    RequestOutcome::Failed => {
                        failed.push(caller);
                        if failed.len() >= callers {
                            *state = BreakerState::Open(now + rest);
                        }
                    }
                }
            }
            BreakerState::Open(_) | BreakerState::HalfOpen { .. } => {}
        }
    }
}

/// If a caller makes no request for this duration, the breaker forgets the caller's failures. If
/// [`BreakerSettings::rest`] is longer than this duration, the breaker forgets them after `rest`.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(5);

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BreakerAttempt<'_> {
    /// Sets the outcome, which is recorded when the attempt is dropped.
    pub(super) fn finish(mut self, end: RequestOutcome) {
        self.end = end;
    }
}

impl Drop for BreakerAttempt<'_> {
    fn drop(&mut self) {
        self.breaker.record_for_caller(self.caller, self.end);
        self.breaker.record_for_all(self.caller, self.probe, self.end);
    }
}
