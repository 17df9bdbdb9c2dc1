//! A circuit breaker for a receiver that fails. It first holds back the callers whose requests make it fail.
//!
//! A caller's own text can make a receiver answer 500, hang, or close the connection. So failures count by caller
//! first. After a number of failures in a row only this caller is held back, for a while, and then one request of this
//! caller probes. All other callers go on. The breaker opens for everybody only if no single caller can be the cause:
//!
//! - a number of requests in a row found no connection at all, or
//!
//! - a number of requests in a row failed, and they came from several callers ([`BreakerSettings::callers`]).
//!
//! An open breaker makes no request for a while, then a single one. If it is answered, all requests are made again. If
//! it finds no connection, the breaker opens again. If it fails in another way, the caller may be the cause: the next
//! probe is another caller's, and only several such callers open it again.
//!
//! No library is used, because the existing ones let every caller through while they probe: all waiting requests would
//! hit a receiver that has just come back.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::telemetry::metrics::OutboundMetrics;

/// A caller, as a hash of its id.
pub(super) type CallerHash = u64;

#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerSettings {
    /// Failures in a row.
    pub(super) failures: u32,
    /// Different callers among these.
    pub(super) callers: usize,
    /// How long no request is made.
    pub(super) rest: Duration,
    /// The most callers whose failures are remembered.
    pub(super) remembered: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: Mutex<BreakerState>,
    /// The callers whose last request failed. An entry that no longer fits is forgotten: its caller starts without
    /// failures.
    failing: Cache<CallerHash, Arc<Mutex<CallerFailures>>>,
    metrics: Arc<OutboundMetrics>,
}

/// The state for all callers.
#[derive(Debug)]
enum BreakerState {
    /// Requests are made.
    Closed(FailureRun),
    /// No request is made until this time.
    Open(Instant),
    /// One request at a time is made, and its outcome decides.
    HalfOpen {
        probing: bool,
        /// Callers whose probes failed. They may not probe again until `until`.
        failed: Vec<CallerHash>,
        until: Instant,
    },
}

/// The failures since the last request that was answered.
#[derive(Debug, Default)]
struct FailureRun {
    failures: u32,
    unconnected: u32,
    /// The different callers, up to the number that matters.
    callers: Vec<CallerHash>,
    /// When the last request before them was answered.
    answered: Option<Instant>,
}

/// The failures of one caller.
#[derive(Debug)]
struct CallerFailures {
    failures: u32,
    since: Instant,
    /// The caller is held back until this time.
    until: Option<Instant>,
    probing: bool,
}

/// The reason why no request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerRefusal {
    /// The breaker is open.
    Open,
    /// The caller is held back. `others`: meanwhile the receiver answered other requests.
    HeldBack { others: bool },
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// The receiver answered.
    Answered,
    /// There was no connection. No caller can cause that.
    Unconnected,
    /// The request failed in a way that it may have caused itself.
    Failed,
}

/// A request that may be made. It counts as failed unless [`finish`](Self::finish) is called.
pub(super) struct BreakerAttempt<'a> {
    breaker: &'a Breaker,
    caller: CallerHash,
    /// Whether the request probes for all callers.
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

    /// Returns an attempt if a request may be made.
    pub(super) fn attempt(&self, caller: CallerHash) -> Result<BreakerAttempt<'_>, BreakerRefusal> {
        if self.is_open() {
            return Err(BreakerRefusal::Open);
        }
        self.check_caller(caller)?;
        let probe = self.check_receiver(caller).inspect_err(|_| self.release_probe(caller))?;
        Ok(BreakerAttempt { breaker: self, caller, probe, end: RequestOutcome::Failed })
    }

    /// Returns whether no caller may make a request now.
    fn is_open(&self) -> bool {
        match &*lock(&self.state) {
            BreakerState::Closed(_) => false,
            BreakerState::Open(until) => Instant::now() < *until,
            BreakerState::HalfOpen { probing, .. } => *probing,
        }
    }

    /// Fails if the caller is held back.
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

    /// Gives back the caller's turn to probe, which was not used.
    fn release_probe(&self, caller: CallerHash) {
        if let Some(failing) = self.failing.get(&caller) {
            lock(&failing).probing = false;
        }
    }

    /// Fails if the breaker is open. Returns whether the request probes.
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

    /// Records the outcome of a request for its caller.
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

    /// Records the outcome of a request for all callers. A request that started before the breaker opened no longer
    /// changes anything.
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

/// A caller's failures are forgotten after this long without a request, or after [`BreakerSettings::rest`] if that is
/// longer.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(5);

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BreakerAttempt<'_> {
    /// Sets the outcome.
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
