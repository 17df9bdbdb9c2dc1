//! Parlor's HTTP requests to functions and hooks: their form, their limits, and the suspension of a failing receiver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parlor::config::{self, Secret};
use parlor::outbound::{OutboundError, Receiver as Outbound};
use parlor::telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{PATIENCE, Receiver, ReceiverReply, eventually};

const SECRET: &str = "a secret of the tests for functions, 32 bytes or more";

fn settings(url: String) -> config::ReceiverConfig {
    config::ReceiverConfig {
        url: Secret::new(url),
        secret: Some(Secret::new(SECRET)),
        timeout: PATIENCE,
        max_in_flight: 10,
        max_in_flight_per_user: 10,
        max_response_bytes: 100,
        breaker_failures: 3,
        breaker_callers: 3,
        breaker_remembered: 1_000,
        breaker_open: Duration::from_hours(1),
    }
}

fn to(settings: &config::ReceiverConfig) -> Outbound {
    Outbound::new("functions.test", settings, &Arc::new(Metrics::new())).unwrap()
}

async fn echo() -> Receiver {
    Receiver::start(|asked| ReceiverReply::Ok(asked.body.clone())).await
}

#[tokio::test]
async fn a_request_is_signed_json_and_connections_are_used_again() {
    let receiver = echo().await;
    let outbound = to(&settings(receiver.url("/a/path?key=1")));
    for n in 0..3 {
        let body = format!(r#"{{"n":{n},"text":"é"}}"#);
        assert_eq!(outbound.post(&1, body.clone()).await.unwrap(), body.as_bytes());
    }
    for asked in receiver.asked(3).await {
        assert_eq!(asked.line, "POST /a/path?key=1");
        assert_eq!(asked.headers["content-type"], "application/json");
        assert!(asked.headers["user-agent"].starts_with("parlor/"));
        asked.is_signed_with(SECRET);
        assert_eq!(asked.connection, 1, "the first connection is used again");
    }
}

#[tokio::test]
async fn request_is_unsigned_without_a_secret() {
    let receiver = echo().await;
    let outbound = to(&config::ReceiverConfig { secret: None, ..settings(receiver.url("/")) });
    outbound.post(&1, "{}".to_owned()).await.unwrap();
    assert!(!receiver.asked(1).await[0].headers.contains_key("parlor-signature"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = echo().await;
    let location = format!("location: {}\r\n", elsewhere.url("/"));
    let receiver = Receiver::start(move |asked| {
        let status = asked.json()["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap();
        ReceiverReply::Status(status, location.clone(), String::new())
    })
    .await;
    let outbound = to(&settings(receiver.url("/")));
    for status in [301, 302, 303, 307, 308] {
        let answer = outbound.post(&1, format!(r#"{{"status":{status}}}"#)).await;
        assert!(matches!(answer, Err(OutboundError::Status(told)) if told == status), "{answer:?}");
    }
    assert_eq!((receiver.count(), elsewhere.count()), (5, 0));
}

#[tokio::test]
async fn answer_is_read_up_to_its_bound_with_or_without_a_length() {
    let receiver = Receiver::start(|asked| match asked.body.parse::<usize>() {
        Ok(bytes) => ReceiverReply::Ok("x".repeat(bytes)),
        // The body is endless and comes in chunks.
        Err(_) => ReceiverReply::Status(
            200,
            "transfer-encoding: chunked\r\n".to_owned(),
            "10\r\n0123456789abcdef\r\n".repeat(1000),
        ),
    })
    .await;
    let outbound = to(&settings(receiver.url("/")));
    assert_eq!(outbound.post(&1, "100".to_owned()).await.unwrap().len(), 100);
    assert_eq!(outbound.post(&1, "0".to_owned()).await.unwrap().len(), 0);
    for body in ["101", "chunks", "1000000"] {
        let answer = outbound.post(&1, body.to_owned()).await;
        assert!(matches!(answer, Err(OutboundError::TooLarge(100))), "{answer:?}");
    }
}

#[tokio::test]
async fn hanging_receiver_times_out_at_every_stage_of_its_answer() {
    let receiver =
        Receiver::start(
            |asked| if asked.body == "half" { ReceiverReply::Half } else { ReceiverReply::Nothing },
        )
        .await;
    let outbound =
        to(&config::ReceiverConfig { timeout: Duration::from_millis(200), ..settings(receiver.url("/")) });
    for body in ["nothing", "half"] {
        let began = Instant::now();
        let answer = outbound.post(&1, body.to_owned()).await;
        assert!(matches!(answer, Err(OutboundError::Timeout)), "{answer:?}");
        assert!(began.elapsed() >= Duration::from_millis(200));
    }
}

#[tokio::test]
async fn request_over_the_limit_is_busy_until_a_permit_returns() {
    let receiver = Receiver::start(|_| ReceiverReply::Nothing).await;
    let outbound = Arc::new(to(&config::ReceiverConfig { max_in_flight: 2, ..settings(receiver.url("/")) }));
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let outbound = outbound.clone();
            tokio::spawn(async move { outbound.post(&1, "{}".to_owned()).await })
        })
        .collect();
    receiver.asked(2).await;
    let answer = outbound.post(&1, "{}".to_owned()).await;
    assert!(matches!(answer, Err(OutboundError::Busy)), "{answer:?}");
    assert_eq!(receiver.count(), 2, "it was not asked");
    for task in hanging {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    receiver.answers(|_| ReceiverReply::Ok("back".to_owned()));
    assert_eq!(outbound.post(&1, "{}".to_owned()).await.unwrap(), b"back");
}

#[tokio::test]
async fn unreachable_and_hung_up_receivers_are_told_apart() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outbound = to(&settings(format!("http://{nobody}/?key=secret")));
    for _ in 0..3 {
        let error = outbound.post(&1, "{}".to_owned()).await.unwrap_err();
        assert!(matches!(error, OutboundError::Connect(_)), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret"), "no URL is shown: {shown}");
        assert!(error.to_string().contains("refused"), "the cause is: {error}");
    }
    assert!(matches!(outbound.post(&1, "{}".to_owned()).await, Err(OutboundError::Open)));

    let receiver = Receiver::start(|_| ReceiverReply::HangUp).await;
    let outbound = to(&settings(receiver.url("/")));
    for caller in 1..=3 {
        let error = outbound.post(&caller, "{}".to_owned()).await.unwrap_err();
        assert!(matches!(error, OutboundError::Broken(_)), "{error:?}");
    }
    assert!(matches!(outbound.post(&4, "{}".to_owned()).await, Err(OutboundError::Open)));
    assert_eq!(receiver.count(), 3, "nothing is tried twice, and then nothing at all");
}

#[tokio::test]
async fn receiver_is_suspended_only_when_it_reports_an_error() {
    let receiver = Receiver::start(|asked| {
        ReceiverReply::Status(asked.body.parse().unwrap(), String::new(), String::new())
    })
    .await;
    let outbound = to(&settings(receiver.url("/")));
    let statuses = ["404", "400", "429", "404", "204", "500", "503", "418", "500", "500", "599"];
    for (caller, status) in statuses.into_iter().enumerate() {
        let answer = outbound.post(&caller, status.to_owned()).await;
        assert!(!matches!(answer, Err(OutboundError::Open)), "{status}");
    }
    assert!(matches!(outbound.post(&99, "200".to_owned()).await, Err(OutboundError::Open)));
}

#[tokio::test]
async fn suspended_receiver_is_probed_by_one_request_then_resumed() {
    let mut receiver = echo().await;
    let rest = Duration::from_millis(100);
    let outbound =
        Arc::new(to(&config::ReceiverConfig { breaker_open: rest, ..settings(receiver.url("/")) }));
    receiver.stop().await;
    for _ in 0..3 {
        assert!(matches!(outbound.post(&1, "{}".to_owned()).await, Err(OutboundError::Connect(_))));
    }
    assert!(matches!(outbound.post(&1, "{}".to_owned()).await, Err(OutboundError::Open)));
    receiver.answers(|_| ReceiverReply::Nothing);
    receiver.start_again().await;
    let mut probes = JoinSet::new();
    let probing = async {
        while receiver.count() == 0 {
            let outbound = outbound.clone();
            probes.spawn(async move { outbound.post(&1, "{}".to_owned()).await });
            tokio::select! {
                _ = receiver.asked(1) => {}
                Some(answer) = probes.join_next() => assert!(matches!(answer, Ok(Err(OutboundError::Open)))),
            }
        }
    };
    timeout(PATIENCE, probing).await.expect("it is probed in time");
    // A probe is a single request that tests whether a suspended receiver works again. During the probe, all other
    // requests are refused immediately.
    let others = join_all((0..5).map(|_| outbound.post(&1, "{}".to_owned()))).await;
    assert!(others.iter().all(|answer| matches!(answer, Err(OutboundError::Open))), "{others:?}");
    // An aborted probe counts as failed.
    probes.shutdown().await;
    let answer = outbound.post(&1, "{}".to_owned()).await;
    assert!(matches!(answer, Err(OutboundError::Open | OutboundError::HeldBack { .. })), "{answer:?}");
    receiver.answers(|_| ReceiverReply::Ok("back".to_owned()));
    let answer = async || outbound.post(&1, "{}".to_owned()).await;
    eventually("the receiver gets requests again", answer, Result::is_ok).await.unwrap();
    let all = join_all((0..5).map(|_| outbound.post(&1, "{}".to_owned()))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
}

#[tokio::test]
async fn caller_with_failing_requests_is_held_back_alone() {
    let receiver = Receiver::start(|asked| match asked.body.as_str() {
        "poison" => ReceiverReply::Status(500, String::new(), String::new()),
        "hang" => ReceiverReply::Nothing,
        _ => ReceiverReply::Ok(String::new()),
    })
    .await;
    let quick = config::ReceiverConfig { timeout: Duration::from_millis(200), ..settings(receiver.url("/")) };
    for poison in ["poison", "hang"] {
        let outbound = to(&quick);
        for _ in 0..3 {
            assert!(outbound.post(&1, poison.to_owned()).await.is_err());
        }
        let held = outbound.post(&1, "fine".to_owned()).await;
        assert!(matches!(held, Err(OutboundError::HeldBack { others: false })), "{held:?}");
        outbound.post(&2, "fine".to_owned()).await.expect("others are served");
        let held = outbound.post(&1, "fine".to_owned()).await;
        assert!(matches!(held, Err(OutboundError::HeldBack { others: true })), "{held:?}");
    }
}

#[tokio::test]
async fn caller_with_hanging_requests_has_a_share_of_the_permits() {
    let receiver = Receiver::start(|asked| {
        if asked.body == "hang" { ReceiverReply::Nothing } else { ReceiverReply::Ok(String::new()) }
    })
    .await;
    let shared = config::ReceiverConfig { max_in_flight_per_user: 2, ..settings(receiver.url("/")) };
    let outbound = Arc::new(to(&shared));
    let mut hanging = JoinSet::new();
    for _ in 0..2 {
        let outbound = outbound.clone();
        hanging.spawn(async move { outbound.post(&1, "hang".to_owned()).await });
    }
    receiver.asked(2).await;
    let answer = outbound.post(&1, "fine".to_owned()).await;
    assert!(matches!(answer, Err(OutboundError::CallerBusy)), "{answer:?}");
    outbound.post(&2, "fine".to_owned()).await.expect("others have places");
    hanging.shutdown().await;
    outbound.post(&1, "fine".to_owned()).await.expect("a place comes back");
}
