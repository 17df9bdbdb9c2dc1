use super::RequestOutcome::{Answered, Failed, Unconnected};
use super::*;
use crate::telemetry::metrics::Metrics;

const LONG: Duration = Duration::from_hours(1);
const OPEN: Option<BreakerRefusal> = Some(BreakerRefusal::Open);

fn breaker(failures: u32, callers: usize, rest: Duration) -> Breaker {
    let metrics = Arc::new(Arc::new(Metrics::new()).outbound("functions.test"));
    Breaker::new(BreakerSettings { failures, callers, rest, remembered: 100 }, metrics)
}

/// Makes a request of `caller` with the outcome `end`. Returns the refusal, or `None` if the breaker let the request
/// through.
fn end(breaker: &Breaker, caller: CallerHash, end: RequestOutcome) -> Option<BreakerRefusal> {
    match breaker.attempt(caller) {
        Ok(attempt) => {
            attempt.finish(end);
            None
        }
        Err(refused) => Some(refused),
    }
}

#[test]
fn failing_caller_is_held_back_alone() {
    let breaker = breaker(3, 3, LONG);
    for ended in [Failed, Failed, Answered, Failed, Failed, Failed] {
        assert_eq!(end(&breaker, 1, ended), None);
    }
    assert_eq!(end(&breaker, 1, Answered), Some(BreakerRefusal::HeldBack { others: false }));
    assert_eq!(end(&breaker, 2, Answered), None, "other callers are not held back");
    assert_eq!(end(&breaker, 1, Answered), Some(BreakerRefusal::HeldBack { others: true }));
}

#[test]
fn failures_of_several_callers_open_the_breaker() {
    let breaker = breaker(3, 3, LONG);
    for caller in [1, 2, 1, 2] {
        assert_eq!(end(&breaker, caller, Failed), None);
    }
    assert_eq!(end(&breaker, 3, Failed), None, "the third caller opens the breaker");
    assert_eq!(end(&breaker, 4, Answered), OPEN);
}

#[test]
fn answer_to_any_caller_resets_the_failures() {
    let breaker = breaker(3, 2, LONG);
    for (caller, ended) in [(1, Failed), (2, Failed), (3, Answered), (1, Failed), (2, Failed)] {
        assert_eq!(end(&breaker, caller, ended), None);
    }
    assert_eq!(end(&breaker, 3, Answered), None);
}

#[test]
fn missing_connections_of_one_caller_open_the_breaker() {
    let breaker = breaker(3, 3, LONG);
    for _ in 0..3 {
        assert_eq!(end(&breaker, 1, Unconnected), None);
    }
    assert_eq!(end(&breaker, 2, Answered), OPEN);
}

#[test]
fn open_breaker_allows_one_probe_at_a_time() {
    let breaker = breaker(1, 1, Duration::ZERO);
    assert_eq!(end(&breaker, 1, Unconnected), None);
    for ended in [Unconnected, Failed, Answered] {
        let probe = breaker.attempt(2).unwrap();
        assert!(breaker.attempt(3).is_err(), "only one request probes");
        probe.finish(ended);
    }
    let (one, other) = (breaker.attempt(4), breaker.attempt(5));
    assert!(one.is_ok() && other.is_ok(), "all requests are let through again");
}

#[test]
fn failed_probe_lets_another_caller_probe() {
    let breaker = breaker(5, 3, LONG);
    *lock(&breaker.state) = BreakerState::Open(Instant::now());
    assert_eq!(end(&breaker, 1, Failed), None);
    assert_eq!(end(&breaker, 1, Answered), OPEN, "the same caller doesn't probe again");
    assert_eq!(end(&breaker, 2, Answered), None, "another caller probes");
    assert_eq!(end(&breaker, 3, Answered), None);
}

#[test]
fn failed_probes_of_several_callers_reopen_the_breaker() {
    let breaker = breaker(5, 2, LONG);
    *lock(&breaker.state) = BreakerState::Open(Instant::now());
    for caller in [1, 2] {
        assert_eq!(end(&breaker, caller, Failed), None);
    }
    assert_eq!(end(&breaker, 3, Answered), OPEN);
}

#[test]
fn held_back_caller_probes_with_one_request() {
    let breaker = breaker(1, 3, Duration::ZERO);
    assert_eq!(end(&breaker, 1, Failed), None);
    let probe = breaker.attempt(1).unwrap();
    assert!(matches!(breaker.attempt(1), Err(BreakerRefusal::HeldBack { .. })), "only one request probes");
    probe.finish(Answered);
    assert_eq!(end(&breaker, 1, Answered), None);
    assert_eq!(end(&breaker, 1, Answered), None);
}

#[test]
fn request_from_before_the_opening_changes_nothing() {
    let breaker = breaker(1, 1, LONG);
    let (late, later) = (breaker.attempt(1).unwrap(), breaker.attempt(2).unwrap());
    assert_eq!(end(&breaker, 3, Unconnected), None);
    late.finish(Answered);
    drop(later);
    assert_eq!(end(&breaker, 4, Answered), OPEN);
}

#[test]
fn remembered_callers_are_bounded() {
    let breaker = breaker(1, 1_000_000, LONG);
    for caller in 0..10_000 {
        assert_eq!(end(&breaker, caller, Failed), None);
    }
    breaker.failing.run_pending_tasks();
    assert!(breaker.failing.entry_count() <= 100, "{}", breaker.failing.entry_count());
}
