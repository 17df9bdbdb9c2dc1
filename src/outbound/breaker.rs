//! Leaves a receiver alone that fails, and first of all the callers whose requests make it fail.
//!
//! A caller's own text can make a receiver answer 500, hang, or close the connection. So failures count by caller first:
//! after so many in a row a caller is held back alone, for a while, and then one request of theirs probes. All others go
//! on. The breaker opens for everybody only where no single caller can be the cause:
//!
//! - so many requests in a row found no connection at all, or
//! - so many in a row failed, and they came from several callers ([`Settings::callers`]).
//!
//! An open breaker makes no request for a while, then a single one. Where that answers, all go again. Where it finds no
//! connection, the breaker opens again. Where it fails in another way, the caller may be the cause: the next probe is
//! another caller's, and only several such callers open it again.
//!
//! Our own, for the libraries for it let every caller through while they probe: a receiver that just comes back would
//! be met by all who wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::notification::RemovalCause;
use moka::sync::Cache;

use crate::telemetry::metrics::OutboundMetrics;

/// A caller, by a hash of the id.
pub(super) type Caller = u64;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Failures in a row.
    pub(super) failures: u32,
    /// Different callers among these.
    pub(super) callers: usize,
    /// For how long no request is made.
    pub(super) rest: Duration,
    /// Callers whose failures are remembered.
    pub(super) remembered: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: Settings,
    state: Mutex<State>,
    /// The callers whose last request failed. One that fits no more is forgotten: the caller begins with no failure.
    failing: Cache<Caller, Arc<Mutex<Failing>>>,
    metrics: Arc<OutboundMetrics>,
}

/// For everybody.
#[derive(Debug)]
enum State {
    /// Requests are made.
    Closed(Row),
    /// None is made until then.
    Open(Instant),
    /// One at a time is made, and its end decides.
    HalfOpen {
        probing: bool,
        /// Callers whose probes failed. They may not probe again until then.
        failed: Vec<Caller>,
        until: Instant,
    },
}

/// Failures since the last request that was answered.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    unconnected: u32,
    /// As many different callers as matter.
    callers: Vec<Caller>,
    /// When the last request before them was answered.
    answered: Option<Instant>,
}

/// For one caller.
#[derive(Debug)]
struct Failing {
    failures: u32,
    since: Instant,
    /// Held back until then.
    until: Option<Instant>,
    probing: bool,
}

/// Why no request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The receiver is left alone.
    Open,
    /// The caller is held back. `others`: meanwhile the receiver answered other requests.
    HeldBack { others: bool },
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The receiver answered.
    Answered,
    /// There was no connection: no caller can cause that.
    Unconnected,
    /// In a way that the request itself may have caused.
    Failed,
}

/// A request that may be made. It failed, unless it is said how it [`ended`](Self::ended).
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    caller: Caller,
    /// It probes for everybody.
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

    /// A request, where one may be made.
    pub(super) fn attempt(&self, caller: Caller) -> Result<Attempt<'_>, Refused> {
        if self.is_open() {
            return Err(Refused::Open);
        }
        self.may_call(caller)?;
        let probe = self.may_ask(caller).inspect_err(|_| self.gave_up_probe(caller))?;
        Ok(Attempt { breaker: self, caller, probe, end: Ended::Failed })
    }

    /// Whether nobody may ask now, whoever it is.
    fn is_open(&self) -> bool {
        match &*lock(&self.state) {
            State::Closed(_) => false,
            State::Open(until) => Instant::now() < *until,
            State::HalfOpen { probing, .. } => *probing,
        }
    }

    /// Whether the caller isn't held back.
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

    /// The caller's turn to probe was not used.
    fn gave_up_probe(&self, caller: Caller) {
        if let Some(failing) = self.failing.get(&caller) {
            lock(&failing).probing = false;
        }
    }

    /// Whether the receiver isn't left alone; true where the request probes.
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

    /// What a request that ended makes of its caller's state.
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

    /// What it makes of everybody's. One that was begun before the breaker opened changes nothing any more.
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
                        "failed repeatedly; it is left alone for a while"
                    );
                }
            }
            State::HalfOpen { probing, failed, .. } if probe => {
                *probing = false;
                match end {
                    Ended::Answered => {
                        *state = State::Closed(Row { answered: Some(now), ..Row::default() });
                        self.metrics.breaker(false);
                        tracing::info!(receiver = self.metrics.receiver(), "answers again");
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

/// After this long without a request a caller's failures are forgotten, or after the rest where that is longer.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(5);

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Attempt<'_> {
    /// Says how it ended.
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

    /// Makes a request that ends so. Returns why none was made, where none was.
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
