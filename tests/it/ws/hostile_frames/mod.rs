//! Thousands of hostile frames on real sockets. The server answers each frame with a listed code, or closes the socket
//! with a documented code. The server does not panic, and its memory stays within a limit. Another client is served all
//! the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Metered, Program, RawConnection, RawFrame, SeededRng, chat, frame, piece, seed};

mod generator;

use generator::{Ends, Hostile};

/// The number of frames in the test that always runs (`SOME`), and in the test that runs only on request (`A_MILLION`).
const SOME: usize = 32_000;
const A_MILLION: usize = 1_000_000;

/// The number of sockets that send hostile frames. The user of each socket has a room of their own.
const SOCKETS: usize = 4;

/// The number of frames that a socket sends before it reads the answers.
const AT_ONCE: usize = 64;

/// The largest allowed growth of the server's resident memory after its warm-up, in KiB.
const GROWTH_KIB: u64 = 48 * 1024;

/// The longest time that a message of the honest client may take. All tests of this program may share two cores.
const LATENCY: Duration = Duration::from_secs(5);

/// The error codes with which the server may refuse a frame while the server itself works.
const CODES: &[&str] =
    &["bad_json", "unknown_action", "invalid_request", "not_found", "not_author", "invalid_token"];

/// The types of answers that are no error.
const KINDS: &[&str] = &[
    "chat_message",
    "message_edited",
    "message_deleted",
    "history",
    "rooms",
    "pong",
    "auth",
    "unread",
    "custom",
];

#[tokio::test]
async fn hostile_frames_get_their_answer_and_neighbours_are_served() {
    hostile(SOME).await;
}

#[tokio::test]
#[ignore = "minutes: cargo test --release --test it -- --ignored a_million"]
async fn a_million_hostile_frames_leave_the_server_as_it_was() {
    hostile(A_MILLION).await;
}

/// Sends hostile frames: first a warm-up, then the other frames while an honest client chats. Checks the answers, the
/// latency of the honest client, the server's memory, its log and its metrics.
async fn hostile(frames: usize) {
    let metered = Metered::new();
    let program = Program::start(&[
        metered.setting(),
        ("ACTIONS__ROOMS__PER_MINUTE", "1000000"),
        ("LOG__FILTER", "warn,parlor=info"),
    ])
    .await;
    let seed = seed();
    let rooms = i64::try_from(SOCKETS).unwrap();
    for user in 1..=rooms + 1 {
        program.room(&[user, 100 + user]).await;
    }
    // After its first frames, the server keeps memory for its connection pools and the pages of its code. So a warm-up
    // comes before the measurement.
    let warm = frames / 5;
    flood(&program, seed, warm).await;
    let before = program.resident_kib();

    let over = Arc::new(AtomicBool::new(false));
    let mut neighbour = program.join(rooms + 1, 101 + rooms).await;
    let honest = tokio::spawn({
        let over = over.clone();
        async move {
            let mut took = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let id = i64::try_from(took.len()).unwrap() + 1;
                neighbour.say("meanwhile").await;
                neighbour.expect(chat(id, rooms + 1, "meanwhile")).await;
                took.push(began.elapsed());
            }
            took.sort();
            took
        }
    });
    let began = Instant::now();
    let told = flood(&program, seed ^ 1, frames - warm).await;
    let took = began.elapsed();
    over.store(true, Ordering::Relaxed);
    let latencies = honest.await.unwrap();
    let after = program.resident_kib();
    eprintln!(
        "{} frames in {took:?}; resident {before} KiB before, {after} after; a neighbour's {} messages: median \
         {:?}, the slowest {:?}; {told:?}",
        frames - warm,
        latencies.len(),
        latencies[latencies.len() / 2],
        latencies.last(),
    );
    assert!(latencies.last().is_some_and(|slowest| *slowest < LATENCY));
    assert!(after < before + GROWTH_KIB, "resident: {before} KiB before, {after} KiB after");
    let log = program.log();
    assert!(!log.contains("panicked"), "{log}");
    let page = metered.page().await;
    for outcome in ["internal", "timeout", "unavailable"] {
        assert!(!page.contains(&format!("outcome=\"{outcome}\"")), "{page}");
    }
    metered.until("parlor_sockets", 0).await;
}

/// Sends this number of frames on all sockets concurrently. Returns how often each kind of answer came.
async fn flood(program: &Program, seed: u64, frames: usize) -> BTreeMap<String, usize> {
    let shares = (1..=SOCKETS).map(|share| {
        let user = i64::try_from(share).unwrap();
        let (target, token) = match share {
            1 => ("/ws/".to_owned(), program.token(user).sign()),
            2 => (
                format!("/ws/chat/?firts_user={user}&second_user={}&since=", 100 + user),
                program.token(user).sign(),
            ),
            _ => (
                format!("/ws/chat/?firts_user={user}&second_user={}", 100 + user),
                program.token(user).sign(),
            ),
        };
        let address = program.address();
        let rng = SeededRng::of(seed.wrapping_mul(31).wrapping_add(share as u64));
        tokio::spawn(async move {
            let mut attacker = Attacker {
                address,
                target,
                token,
                rng,
                told: BTreeMap::new(),
                fences: 0,
                asked: 0,
                heard: 0,
            };
            attacker.send(frames / SOCKETS).await;
            attacker.told
        })
    });
    let mut all = BTreeMap::new();
    for share in shares.collect::<Vec<_>>() {
        for (what, times) in share.await.unwrap() {
            *all.entry(what).or_default() += times;
        }
    }
    all
}

/// A client that sends hostile frames and checks the server's answers to them.
struct Attacker {
    address: std::net::SocketAddr,
    target: String,
    token: String,
    rng: SeededRng,
    told: BTreeMap<String, usize>,
    fences: usize,
    /// `asked` is the number of answers that the server may send for the frames so far. `heard` is the number of
    /// received answers. The numbers can differ, because some answers are events, which arrive later through the change
    /// stream.
    asked: usize,
    heard: usize,
}

impl Attacker {
    async fn send(&mut self, frames: usize) {
        let mut left = frames;
        while left > 0 {
            let mut raw = RawConnection::open(self.address, &self.target, &self.token).await;
            left -= self.send_by(&mut raw, left).await;
        }
    }

    /// Sends at most `most` frames, and stops after a frame that ends the socket. Returns the number of sent frames.
    async fn send_by(&mut self, raw: &mut RawConnection, most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            let mut batch = Vec::new();
            let (mut refused, mut answered, mut ends) = (0, 0, None);
            for _ in 0..AT_ONCE.min(most - sent) {
                let hostile = Hostile::thrown(&mut self.rng);
                batch.extend(&hostile.bytes);
                sent += 1;
                match hostile.ends {
                    Ends::Refused => refused += 1,
                    Ends::Answered => answered += 1,
                    Ends::Silently => {}
                    Ends::Closed(codes) => ends = Some(codes),
                }
                if ends.is_some() {
                    break;
                }
            }
            self.fences += 1;
            let fence = format!("fence {}", self.fences);
            if ends.is_none() {
                batch.extend(frame(1, json!({"action": fence}).to_string().as_bytes()));
            }
            raw.say(&batch).await;
            let (errors, others, closed) = self.hear(raw, &fence).await;
            assert!(errors >= refused, "{errors} errors for {refused} that must be refused");
            self.asked += refused + answered;
            self.heard += errors + others;
            assert!(self.heard <= self.asked, "{} answers to {} frames", self.heard, self.asked);
            match (ends, closed) {
                (None, None) => {}
                (Some(codes), Some(code)) => {
                    assert!(codes.contains(&code), "closed with {code}, not with one of {codes:?}");
                    return sent;
                }
                (ends, closed) => panic!("to be closed with {ends:?}, and was with {closed:?}"),
            }
        }
        raw.say(&frame(8, &1000_u16.to_be_bytes())).await;
        while raw.next().await.is_some() {}
        sent
    }

    /// Reads until the answer to the fence (a frame with an unknown action) or the close frame. Returns the number of
    /// errors, the number of other answers, and the close code.
    async fn hear(&mut self, raw: &mut RawConnection, fence: &str) -> (usize, usize, Option<u16>) {
        let (mut errors, mut others) = (0, 0);
        loop {
            let heard = raw.next().await.expect("a close frame before the end");
            if let Some(code) = heard.code() {
                *self.told.entry(format!("closed with {code}")).or_default() += 1;
                return (errors, others, Some(code));
            }
            let RawFrame { opcode: 1, payload } = heard else { continue };
            let answer: Value = serde_json::from_slice(&payload).expect("every frame is JSON");
            if answer["action"] == fence {
                return (errors, others, None);
            }
            assert!(payload.len() < 70_000, "an answer of {} bytes", payload.len());
            let kind = answer["type"].as_str().unwrap_or_default().to_owned();
            let what = answer["code"].as_str().unwrap_or(&kind).to_owned();
            if kind == "error" {
                assert!(CODES.contains(&&*what), "{answer}");
                assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
                errors += 1;
            } else {
                assert!(KINDS.contains(&&*kind), "{answer}");
                others += usize::from(kind != "unread");
            }
            *self.told.entry(what).or_default() += 1;
        }
    }
}
