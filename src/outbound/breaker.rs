//! Leaves a receiver alone that fails: after so many failures in a row no request is made for a while, then a single
//! one, and by its end either all go again or none for as long again.
//!
//! Our own, for the libraries for it let every caller through while they probe: a receiver that just comes back would
//! be met by all who wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::OutboundMetrics;

#[derive(Debug)]
pub(super) struct Breaker {
    most: u32,
    rest: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Requests are made; so many failed one after the other.
    Closed(u32),
    /// None is made until then.
    Open(Instant),
    /// One is under way, and its end decides.
    Probing,
}

/// A request that may be made. Failed, unless it is said to have [`succeeded`](Self::succeeded).
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    metrics: &'a OutboundMetrics,
    probe: bool,
    good: bool,
}

impl Breaker {
    /// Opens after `most` failures in a row, for `rest`.
    pub(super) fn new(most: u32, rest: Duration) -> Self {
        Self { most, rest, state: Mutex::new(State::Closed(0)) }
    }

    /// A request, where one may be made.
    pub(super) fn attempt<'a>(&'a self, metrics: &'a OutboundMetrics) -> Option<Attempt<'a>> {
        let mut state = self.state();
        let probe = match *state {
            State::Closed(_) => false,
            State::Open(until) if until <= Instant::now() => {
                *state = State::Probing;
                true
            }
            State::Open(_) | State::Probing => return None,
        };
        Some(Attempt { breaker: self, metrics, probe, good: false })
    }

    /// What a request that ended makes of the state. One that was begun before it opened says nothing any more.
    fn after(&self, state: State, probe: bool, good: bool) -> State {
        match (state, good) {
            (State::Closed(_), true) => State::Closed(0),
            (State::Closed(failures), false) if failures + 1 < self.most => State::Closed(failures + 1),
            (State::Closed(_), false) => State::Open(Instant::now() + self.rest),
            (State::Probing, true) if probe => State::Closed(0),
            (State::Probing, false) if probe => State::Open(Instant::now() + self.rest),
            (other, _) => other,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// The receiver answered.
    pub(super) fn succeeded(mut self) {
        self.good = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        let before = *state;
        *state = self.breaker.after(before, self.probe, self.good);
        match (before, *state) {
            (State::Closed(_), State::Open(_)) => {
                self.metrics.breaker(true);
                tracing::warn!(
                    receiver = self.metrics.receiver(),
                    "failed repeatedly; it is left alone for a while"
                );
            }
            (State::Probing, State::Open(_)) => self.metrics.breaker(true),
            (State::Probing, State::Closed(_)) => {
                self.metrics.breaker(false);
                tracing::info!(receiver = self.metrics.receiver(), "answers again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;

    const LONG: Duration = Duration::from_hours(1);

    fn metrics() -> OutboundMetrics {
        Arc::new(Metrics::new()).outbound("functions.test")
    }

    /// Whether a request could be made, and ended so.
    fn end(breaker: &Breaker, metrics: &OutboundMetrics, good: bool) -> bool {
        match breaker.attempt(metrics) {
            Some(attempt) if good => attempt.succeeded(),
            Some(attempt) => drop(attempt),
            None => return false,
        }
        true
    }

    #[test]
    fn so_many_failures_in_a_row_open_it_and_fewer_do_not() {
        let (breaker, metrics) = (Breaker::new(3, LONG), metrics());
        for good in [false, false, true, false, false, true, false, false, false] {
            assert!(end(&breaker, &metrics, good));
        }
        assert!(!end(&breaker, &metrics, true), "three in a row");
    }

    #[test]
    fn one_request_probes_and_its_end_decides() {
        let (breaker, metrics) = (Breaker::new(1, Duration::ZERO), metrics());
        assert!(end(&breaker, &metrics, false));
        for good in [false, false, true] {
            let probe = breaker.attempt(&metrics).expect("it is time to probe");
            assert!(breaker.attempt(&metrics).is_none(), "one at a time");
            if good { probe.succeeded() } else { drop(probe) }
        }
        let (one, other) = (breaker.attempt(&metrics), breaker.attempt(&metrics));
        assert!(one.is_some() && other.is_some(), "all go again");
    }

    #[test]
    fn a_failed_probe_begins_the_rest_anew() {
        let (breaker, metrics) = (Breaker::new(1, LONG), metrics());
        *breaker.state() = State::Open(Instant::now());
        assert!(end(&breaker, &metrics, false));
        assert!(!end(&breaker, &metrics, true));
    }

    #[test]
    fn what_was_begun_before_it_opened_changes_nothing() {
        let (breaker, metrics) = (Breaker::new(1, LONG), metrics());
        let (late, later) = (breaker.attempt(&metrics).unwrap(), breaker.attempt(&metrics).unwrap());
        assert!(end(&breaker, &metrics, false));
        late.succeeded();
        let opened = *breaker.state();
        assert!(matches!(opened, State::Open(_)));
        drop(later);
        assert_eq!(*breaker.state(), opened);
    }
}
