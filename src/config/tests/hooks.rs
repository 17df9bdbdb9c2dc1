//! Tests of `[hooks]`: a hook without a URL is off, and unknown hooks are refused.

use super::*;
use crate::config::OnFailure;

#[test]
fn hooks_are_off_by_default() {
    let HooksConfig { before_send, after_send, connected, disconnected, offline, settings } =
        env(&[]).unwrap().hooks;
    let all = [before_send, after_send, connected, disconnected, offline];
    assert!(all.iter().all(Option::is_none), "{all:?}");
    assert_eq!(settings.on_failure, OnFailure::Open);
    assert_eq!((settings.lease, settings.offline_wait), (Duration::from_secs(6), Duration::from_secs(5)));
}

#[test]
fn a_url_turns_one_on() {
    let variables = [
        ("HOOKS__BEFORE_SEND__URL", "http://127.0.0.1:9100/ask"),
        ("HOOKS__BEFORE_SEND__TIMEOUT_MS", "70"),
        ("HOOKS__BEFORE_SEND__ON_FAILURE", "closed"),
    ];
    let hooks = env(&variables).unwrap().hooks;
    assert_eq!(hooks.before_send.unwrap().timeout, Duration::from_millis(70));
    assert_eq!(hooks.settings.on_failure, OnFailure::Closed);
    assert!(hooks.after_send.is_none());
}

#[test]
fn a_bad_value_is_refused_by_key() {
    for (variables, refusal) in [
        (vec![("HOOKS__BEFORE_SEND__ON_FAILURE", "ajar")], "hooks.before_send.on_failure: takes"),
        (vec![("HOOKS__LEASE_MS", "10")], "hooks.lease_ms: "),
        (vec![("HOOKS__MAX_TRIES", "1000001")], "hooks.max_tries: "),
        (vec![("HOOKS__SET_ASIDE", "0")], "hooks.set_aside: "),
        (vec![("HOOKS__AFTER_SEND__BREAKER_CALLERS", "0")], "hooks.after_send.breaker_callers: "),
        (vec![("HOOKS__OFFLINE__BREAKER_REMEMBERED", "0")], "hooks.offline.breaker_remembered: "),
        (
            vec![("HOOKS__BEFORE_SEND__MAX_IN_FLIGHT_PER_USER", "0")],
            "hooks.before_send.max_in_flight_per_user: ",
        ),
        (vec![("HOOKS__RETRY_MS", "500"), ("HOOKS__RETRY_MAX_MS", "400")], "hooks.retry_max_ms: must be"),
        (vec![("HOOKS__OFFLINE__URL", "ftp://127.0.0.1/")], "hooks.offline.url: must begin with http"),
        (vec![("HOOKS__CONNECTED__URL", "https://hooks.example/")], "hooks.connected.secret: must be given"),
        (vec![("HOOKS__ON_SEND__URL", "http://127.0.0.1/")], "hooks.on_send.url: no such key"),
    ] {
        let error = env(&variables).unwrap_err();
        assert!(error.starts_with(refusal), "{error}");
    }
}
