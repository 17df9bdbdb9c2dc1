//! A circuit breaker for a receiver that fails. It first holds back the callers whose requests make it fail.
//!
//! A caller's own text can make a receiver answer 500, hang, or close the connection. So failures count by caller
//! first. After a number of failures in a row only this caller is held back, for a while, and then one request of this
//! caller probes. All other callers go on. The breaker opens for everybody only if no single caller can be the cause:
//!
//! - a number of requests in a row found no connection at all, or
//!
//! - a number of requests in a row failed, and they came from several callers ([`Settings::callers`]).
//!
//! An open breaker makes no request for a while, then a single one. If it is answered, all requests are made again. If
//! it finds no connection, the breaker opens again. If it fails in another way, the caller may be the cause: the next
//! probe is another caller's, and only several such callers open it again.
//!
//! No library is used, because the existing ones let every caller through while they probe: all waiting requests would
//! hit a receiver that has just come back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::telemetry::metrics::OutboundMetrics;

/// A caller, as a hash of its id.
pub(super) type Caller = u64;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
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
    settings: Settings,
    state: Mutex<State>,
    /// The callers whose last request failed. An entry that no longer fits is forgotten: its caller starts without
    /// failures.
    failing: Cache<Caller, Arc<Mutex<Failing>>>,
    metrics: Arc<OutboundMetrics>,
}

/// The state for all callers.
#[derive(Debug)]
enum State {
    /// Requests are made.
    Closed(Row),
    /// No request is made until this time.
    Open(Instant),
    /// One request at a time is made, and its outcome decides.
    HalfOpen {
        probing: bool,
        /// Callers whose probes failed. They may not probe again until `until`.
        failed: Vec<Caller>,
        until: Instant,
    },
}

/// The failures since the last request that was answered.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    unconnected: u32,
    /// The different callers, up to the number that matters.
    callers: Vec<Caller>,
    /// When the last request before them was answered.
    answered: Option<Instant>,
}

/// The failures of one caller.
#[derive(Debug)]
struct Failing {
    failures: u32,
    since: Instant,
    /// The caller is held back until this time.
    until: Option<Instant>,
    probing: bool,
}

/// The reason why no request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The breaker is open.
    Open,
    /// The caller is held back. `others`: meanwhile the receiver answered other requests.
    HeldBack { others: bool },
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The receiver answered.
    Answered,
    /// There was no connection. No caller can cause that.
    Unconnected,
    /// The request failed in a way that it may have caused itself.
    Failed,
}

/// A request that may be made. It counts as failed unless [`ended`](Self::ended) is called.
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    caller: Caller,
    /// Whether the request probes for all callers.
    probe: bool,
    end: Ended,
}

impl Breaker {
    pub(super) fn new(settings: Settings, metrics: Arc<OutboundMetrics>) -> Self {
        let counted = metrics.clone();
        let forgotten = move |_, _, cause| {
            if cause == RemovalCause::Size {
                counted.limit("outbound_breaker_remembered");
            }
        };
        let failing = Cache::builder()
            .max_capacity(settings.remembered)
            .time_to_idle(settings.rest.max(FORGOTTEN_AFTER))
            .eviction_listener(forgotten)
            .build();
        Self { settings, state: Mutex::new(State::Closed(Row::default())), failing, metrics }
    }

    /// Returns an attempt if a request may be made.
    pub(super) fn attempt(&self, caller: Caller) -> Result<Attempt<'_>, Refused> {
        if self.is_open() {
            return Err(Refused::Open);
        }
        self.may_call(caller)?;
        let probe = self.may_ask(caller).inspect_err(|_| self.gave_up_probe(caller))?;
        Ok(Attempt { breaker: self, caller, probe, end: Ended::Failed })
    }

    /// Returns whether no caller may make a request now.
    fn is_open(&self) -> bool {
        match &*lock(&self.state) {
            State::Closed(_) => false,
            State::Open(until) => Instant::now() < *until,
            State::HalfOpen { probing, .. } => *probing,
        }
    }

    /// Fails if the caller is held back.
    fn may_call(&self, caller: Caller) -> Result<(), Refused> {
        let Some(failing) = self.failing.get(&caller) else { return Ok(()) };
        let mut failing = lock(&failing);
        let Some(until) = failing.until else { return Ok(()) };
        if failing.probing || Instant::now() < until {
            let since = failing.since;
            drop(failing);
            return Err(Refused::HeldBack { others: self.answered_since(since) });
        }
        failing.probing = true;
        Ok(())
    }

    /// Gives back the caller's turn to probe, which was not used.
    fn gave_up_probe(&self, caller: Caller) {
        if let Some(failing) = self.failing.get(&caller) {
            lock(&failing).probing = false;
        }
    }

    /// Fails if the breaker is open. Returns whether the request probes.
    fn may_ask(&self, caller: Caller) -> Result<bool, Refused> {
        let mut state = lock(&self.state);
        let now = Instant::now();
        match &mut *state {
            State::Closed(_) => Ok(false),
            State::Open(until) if *until <= now => {
                let until = now + self.settings.rest;
                *state = State::HalfOpen { probing: true, failed: Vec::new(), until };
                Ok(true)
            }
            State::HalfOpen { probing: probing @ false, failed, until } => {
                if *until <= now {
                    failed.clear();
                    *until = now + self.settings.rest;
                }
                if failed.contains(&caller) {
                    return Err(Refused::Open);
                }
                *probing = true;
                Ok(true)
            }
            State::Open(_) | State::HalfOpen { .. } => Err(Refused::Open),
        }
    }

    fn answered_since(&self, since: Instant) -> bool {
        match &*lock(&self.state) {
            State::Closed(row) => row.answered.is_some_and(|answered| answered > since),
            State::Open(_) | State::HalfOpen { .. } => false,
        }
    }

    /// Records the outcome of a request for its caller.
    fn after_own(&self, caller: Caller, end: Ended) {
        if end == Ended::Answered {
            if self.failing.contains_key(&caller) {
                self.failing.invalidate(&caller);
            }
            return;
        }
        let first = || Failing { failures: 0, since: Instant::now(), until: None, probing: false };
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
    fn after(&self, caller: Caller, probe: bool, end: Ended) {
        let Settings { failures, callers, rest, .. } = self.settings;
        let mut state = lock(&self.state);
        let now = Instant::now();
        match &mut *state {
            State::Closed(row) if end == Ended::Answered => {
                *row = Row { answered: Some(now), ..Row::default() };
            }
            State::Closed(row) => {
                row.failures = row.failures.saturating_add(1);
                row.unconnected += u32::from(end == Ended::Unconnected);
                if row.callers.len() < callers && !row.callers.contains(&caller) {
                    row.callers.push(caller);
                }
                if row.unconnected >= failures || row.failures >= failures && row.callers.len() >= callers {
                    *state = State::Open(now + rest);
                    self.metrics.breaker(true);
                    tracing::warn!(
                        receiver = self.metrics.receiver(),
                        "the receiver failed repeatedly; sending it no requests for a while"
                    );
                }
            }
            State::HalfOpen { probing, failed, .. } if probe => {
                *probing = false;
                match end {
                    Ended::Answered => {
                        *state = State::Closed(Row { answered: Some(now), ..Row::default() });
                        self.metrics.breaker(false);
                        tracing::info!(receiver = self.metrics.receiver(), "the receiver answers again");
                    }
                    Ended::Unconnected => *state = State::Open(now + rest),
                    Ended::Failed => {
                        failed.push(caller);
                        if failed.len() >= callers {
                            *state = State::Open(now + rest);
                        }
                    }
                }
            }
            State::Open(_) | State::HalfOpen { .. } => {}
        }
    }
}

/// A caller's failures are forgotten after this long without a request, or after [`Settings::rest`] if that is longer.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(5);

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attempt<'_> {
    /// Sets the outcome.
    pub(super) fn ended(mut self, end: Ended) {
        self.end = end;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.breaker.after_own(self.caller, self.end);
        self.breaker.after(self.caller, self.probe, self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::Ended::{Answered, Failed, Unconnected};
    use super::*;
    use crate::telemetry::metrics::Metrics;

    const LONG: Duration = Duration::from_hours(1);
    const OPEN: Option<Refused> = Some(Refused::Open);

    fn breaker(failures: u32, callers: usize, rest: Duration) -> Breaker {
        let metrics = Arc::new(Arc::new(Metrics::new()).outbound("functions.test"));
        Breaker::new(Settings { failures, callers, rest, remembered: 100 }, metrics)
    }

    /// Makes a request with this outcome. Returns why it was refused, if it was.
    fn end(breaker: &Breaker, caller: Caller, end: Ended) -> Option<Refused> {
        match breaker.attempt(caller) {
            Ok(attempt) => {
                attempt.ended(end);
                None
            }
            Err(refused) => Some(refused),
        }
    }

    #[test]
    fn one_caller_is_held_back_alone() {
        let breaker = breaker(3, 3, LONG);
        for ended in [Failed, Failed, Answered, Failed, Failed, Failed] {
            assert_eq!(end(&breaker, 1, ended), None);
        }
        assert_eq!(end(&breaker, 1, Answered), Some(Refused::HeldBack { others: false }));
        assert_eq!(end(&breaker, 2, Answered), None, "everybody else goes on");
        assert_eq!(end(&breaker, 1, Answered), Some(Refused::HeldBack { others: true }));
    }

    #[test]
    fn failures_of_several_callers_open_it() {
        let breaker = breaker(3, 3, LONG);
        for caller in [1, 2, 1, 2] {
            assert_eq!(end(&breaker, caller, Failed), None);
        }
        assert_eq!(end(&breaker, 3, Failed), None, "the third caller opens it");
        assert_eq!(end(&breaker, 4, Answered), OPEN);
    }

    #[test]
    fn an_answer_to_anybody_begins_the_row_again() {
        let breaker = breaker(3, 2, LONG);
        for (caller, ended) in [(1, Failed), (2, Failed), (3, Answered), (1, Failed), (2, Failed)] {
            assert_eq!(end(&breaker, caller, ended), None);
        }
        assert_eq!(end(&breaker, 3, Answered), None);
    }

    #[test]
    fn missing_connections_of_one_caller_open_it() {
        let breaker = breaker(3, 3, LONG);
        for _ in 0..3 {
            assert_eq!(end(&breaker, 1, Unconnected), None);
        }
        assert_eq!(end(&breaker, 2, Answered), OPEN);
    }

    #[test]
    fn one_request_probes_and_its_end_decides() {
        let breaker = breaker(1, 1, Duration::ZERO);
        assert_eq!(end(&breaker, 1, Unconnected), None);
        for ended in [Unconnected, Failed, Answered] {
            let probe = breaker.attempt(2).unwrap();
            assert!(breaker.attempt(3).is_err(), "one at a time");
            probe.ended(ended);
        }
        let (one, other) = (breaker.attempt(4), breaker.attempt(5));
        assert!(one.is_ok() && other.is_ok(), "all go again");
    }

    #[test]
    fn a_failed_probe_of_one_caller_does_not_keep_it_open() {
        let breaker = breaker(5, 3, LONG);
        *lock(&breaker.state) = State::Open(Instant::now());
        assert_eq!(end(&breaker, 1, Failed), None);
        assert_eq!(end(&breaker, 1, Answered), OPEN, "the same caller doesn't probe again");
        assert_eq!(end(&breaker, 2, Answered), None, "another one does");
        assert_eq!(end(&breaker, 3, Answered), None);
    }

    #[test]
    fn failed_probes_of_several_callers_open_it_again() {
        let breaker = breaker(5, 2, LONG);
        *lock(&breaker.state) = State::Open(Instant::now());
        for caller in [1, 2] {
            assert_eq!(end(&breaker, caller, Failed), None);
        }
        assert_eq!(end(&breaker, 3, Answered), OPEN);
    }

    #[test]
    fn a_caller_that_is_held_back_probes_with_one_request() {
        let breaker = breaker(1, 3, Duration::ZERO);
        assert_eq!(end(&breaker, 1, Failed), None);
        let probe = breaker.attempt(1).unwrap();
        assert!(matches!(breaker.attempt(1), Err(Refused::HeldBack { .. })), "one at a time");
        probe.ended(Answered);
        assert_eq!(end(&breaker, 1, Answered), None);
        assert_eq!(end(&breaker, 1, Answered), None);
    }

    #[test]
    fn what_was_begun_before_it_opened_changes_nothing() {
        let breaker = breaker(1, 1, LONG);
        let (late, later) = (breaker.attempt(1).unwrap(), breaker.attempt(2).unwrap());
        assert_eq!(end(&breaker, 3, Unconnected), None);
        late.ended(Answered);
        drop(later);
        assert_eq!(end(&breaker, 4, Answered), OPEN);
    }

    #[test]
    fn callers_that_are_remembered_are_bounded() {
        let breaker = breaker(1, 1_000_000, LONG);
        for caller in 0..10_000 {
            assert_eq!(end(&breaker, caller, Failed), None);
        }
        breaker.failing.run_pending_tasks();
        assert!(breaker.failing.entry_count() <= 100, "{}", breaker.failing.entry_count());
    }
}
