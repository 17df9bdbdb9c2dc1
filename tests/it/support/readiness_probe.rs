//! Checks that a server's `/readyz` is right. The probe requests `/readyz` every 50 ms. The probe also opens fresh
//! sockets, and sends one message on each. It checks two rules:
//!
//! - After an answer 200, a fresh socket's message is acknowledged in time, or `/readyz` stops answering 200 in time.
//! - While there is no fault and fresh sockets are served, `/readyz` answers only 200.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::transcript::Transcript;
use super::{API_KEY, Dial, PATIENCE, Server, eventually_within};

/// The pause between two requests of `/readyz`.
const EVERY: Duration = Duration::from_millis(50);

/// The pause between two fresh sockets.
const PROBE_EVERY: Duration = Duration::from_millis(200);

/// The users of the fresh sockets. No test uses these ids for its own users.
const PROBERS: [i64; 2] = [9_001, 9_002];

/// The time that a busy machine may add to any wait.
const SLACK: Duration = Duration::from_secs(1);

/// One request of `/readyz`: when it began, when it was answered, and whether the answer was 200.
#[derive(Clone, Copy)]
struct Sample {
    asked: Instant,
    answered: Instant,
    ready: bool,
}

/// One message of the probe, and the time of its acknowledgement, if there was one. The probe may send the message
/// several times, on new sockets.
#[derive(Clone, Copy)]
struct Probe {
    begun: Instant,
    served: Option<Instant>,
}

#[derive(Default)]
struct Notes {
    samples: Vec<Sample>,
    probes: Vec<Probe>,
    /// The faults: the time at which each fault began, and the time at which it ended, if it has ended.
    faults: Vec<(Instant, Option<Instant>)>,
}

/// Requests `/readyz` and opens fresh sockets until [`Self::finish`] is called.
pub(crate) struct ReadinessProbe {
    notes: Arc<Mutex<Notes>>,
    stop: DropGuard,
    tasks: [JoinHandle<Option<()>>; 2],
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    /// The age of the last heartbeat (the server's periodic write to the database) above which `/readyz` does not
    /// answer 200.
    stale: Duration,
    /// The time within which `/readyz` must stop answering 200 after a fault.
    within: Duration,
}

/// Makes the room of the fresh sockets. Repeats the request, because it may fail while a primary is being elected.
async fn room_of_probers(server: &Server) -> i64 {
    let members = PROBERS.map(|user| json!({"user_id": user, "email": format!("user{user}@example.com")}));
    let body = json!({ "members": members }).to_string();
    // A pair has one direct room, so a repeated request makes no second room.
    let answer = async || {
        let (status, answer) = server.post_room(Some(API_KEY), &body).await;
        assert!([200, 201, 503, 504].contains(&status), "POST /api/v1/rooms answered {status} {answer}");
        (status, answer)
    };
    let is_made = |(status, _): &(u16, Value)| [200, 201].contains(status);
    let (_, room) = eventually_within(2 * PATIENCE, "the probers have a room", answer, is_made).await;
    room["room_id"].as_i64().unwrap()
}

impl ReadinessProbe {
    /// Starts to probe a server. The server's heartbeat counts as missed after `stale`.
    pub(crate) async fn of(server: &Server, stale: Duration) -> Self {
        Self::of_hanging(server, stale, Duration::ZERO).await
    }

    /// Starts to probe a server. The server's database may delay a single operation by `hang`.
    pub(crate) async fn of_hanging(server: &Server, stale: Duration, hang: Duration) -> Self {
        let room = room_of_probers(server).await;
        let (notes, stop) = (Arc::new(Mutex::new(Notes::default())), CancellationToken::new());
        let token = server.token(PROBERS[0]).sign();
        let limits = Limits { stale, within: stale + hang + SLACK };
        let asking = stop.clone().run_until_cancelled_owned(ask(server.address(), notes.clone()));
        let trying = stop.clone().run_until_cancelled_owned(probe(
            server.address(),
            room,
            token,
            limits.within,
            notes.clone(),
        ));
        let tasks = [tokio::spawn(asking), tokio::spawn(trying)];
        Self { notes, stop: stop.drop_guard(), tasks, limits }
    }

    /// Records that a fault begins. From now on `/readyz` may answer other statuses than 200.
    pub(crate) fn fault_begins(&self) {
        self.notes().faults.push((Instant::now(), None));
    }

    /// Records that the fault has ended. `/readyz` may answer other statuses until its first 200 after this call.
    pub(crate) fn fault_ends(&self) {
        if let Some((_, until)) = self.notes().faults.last_mut() {
            *until = Some(Instant::now());
        }
    }

    /// Waits until a socket that was opened after this call has its message acknowledged.
    pub(crate) async fn until_served(&self) {
        let now = Instant::now();
        let mut looks = interval(EVERY);
        let served = async {
            while !self.notes().probes.iter().any(|probe| probe.begun > now && probe.served.is_some()) {
                looks.tick().await;
            }
        };
        let served = timeout(4 * PATIENCE, served).await;
        assert!(served.is_ok(), "no fresh socket was served within {:?}", 4 * PATIENCE);
    }

    /// Stops the probe, and asserts that each answer of `/readyz` was right. Returns a summary in words.
    pub(crate) async fn finish(self) -> String {
        drop(self.stop);
        for task in self.tasks {
            task.await.unwrap();
        }
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let contradictions = notes.contradictions(self.limits);
        assert!(contradictions.is_empty(), "/readyz was wrong:\n{contradictions}");
        let unready = notes.samples.iter().filter(|sample| !sample.ready).count();
        let served = notes.probes.iter().filter(|probe| probe.served.is_some()).count();
        let (asked, probes) = (notes.samples.len(), notes.probes.len());
        assert!(asked > 0 && served > 0, "nothing was seen");
        format!("{unready} of {asked} answers were not 200, {served} of {probes} fresh sockets were served")
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// Returns a list of the wrong answers, one on each line. The list is empty if all answers were right.
    fn contradictions(&self, limits: Limits) -> String {
        let Limits { stale, within } = limits;
        let mut contradictions = String::new();
        let began = self.samples.first().map_or_else(Instant::now, |sample| sample.asked);
        let at = |instant: Instant| instant.saturating_duration_since(began).as_millis();
        for Probe { begun, served } in &self.probes {
            let late = served.is_none_or(|served| served - *begun > within);
            let unsaid = self
                .samples
                .iter()
                .any(|sample| !sample.ready && sample.answered >= *begun && sample.asked <= *begun + within);
            if late && !unsaid {
                let served =
                    served.map_or_else(|| "never".to_owned(), |served| format!("at {} ms", at(served)));
                let _ = writeln!(
                    contradictions,
                    "the socket of {} ms was served {served}, and all answers were 200",
                    at(*begun)
                );
            }
        }
        for sample in self.samples.iter().filter(|sample| !sample.ready) {
            let excused = self.faults.iter().any(|fault| self.explains(*fault, sample, within));
            if !excused && self.serves_before(sample, stale) {
                let _ =
                    writeln!(contradictions, "not 200 at {} ms, and there was no fault", at(sample.asked));
            }
        }
        contradictions
    }

    /// An answer other than 200 means that the server had no heartbeat for the time `stale`. If a fresh socket was
    /// served during this time, the answer was wrong, and this function returns true. If the machine was so busy that
    /// no socket was served, the answer counts as right.
    fn serves_before(&self, unready: &Sample, stale: Duration) -> bool {
        let within = |probe: &&Probe| {
            probe.begun + stale > unready.answered
                && probe.served.is_some_and(|served| served < unready.asked)
        };
        self.probes.iter().any(|probe| within(&probe))
    }

    /// Returns whether a fault explains an answer other than 200: the fault had begun, and the server had not
    /// recovered. After the end of the fault, the server may miss heartbeats for the time `within`. The first 200 after
    /// this time shows that the server has recovered.
    fn explains(
        &self,
        (from, until): (Instant, Option<Instant>),
        unready: &Sample,
        within: Duration,
    ) -> bool {
        let Some(until) = until.map(|until| until + within) else { return unready.answered >= from };
        let recovered = self.samples.iter().find(|sample| sample.ready && sample.asked >= until);
        unready.answered >= from && recovered.is_none_or(|recovered| unready.asked < recovered.asked)
    }
}

/// Requests `/readyz` once in each interval [`EVERY`], and records the answers.
async fn ask(address: SocketAddr, notes: Arc<Mutex<Notes>>) {
    let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let answer = http.get(format!("http://{address}/readyz")).send().await;
        let ready = answer.is_ok_and(|answer| answer.status() == StatusCode::OK);
        let sample = Sample { asked, answered: Instant::now(), ready };
        notes.lock().unwrap_or_else(PoisonError::into_inner).samples.push(sample);
    }
}

/// Sends a message in each interval [`PROBE_EVERY`], on a new socket. Records whether the message was acknowledged
/// within the time `within`.
async fn probe(address: SocketAddr, room: i64, token: String, within: Duration, notes: Arc<Mutex<Notes>>) {
    let mut ticks = interval(PROBE_EVERY);
    let mut n = 0;
    loop {
        ticks.tick().await;
        let begun = Instant::now();
        // A refused or closed client connects again, as real clients do.
        let served = async {
            while say(address, room, &token, n).await.is_none() {
                n += 1;
                ticks.tick().await;
            }
            n += 1;
        };
        let served = timeout(2 * within, served).await.is_ok().then(Instant::now);
        notes.lock().unwrap_or_else(PoisonError::into_inner).probes.push(Probe { begun, served });
    }
}

/// Connects, sends a message and waits for its acknowledgement. Returns `None` if anything else happens.
async fn say(address: SocketAddr, room: i64, token: &str, n: usize) -> Option<()> {
    let dial = Dial::new(address, &format!("/ws/chat/?room_id={room}"), Transcript::new());
    let mut client = dial.called("probe").token(token).open_or_not().await?;
    let text = n.to_string();
    if !client.try_send(json!({"action": "send", "message": text})).await {
        return None;
    }
    loop {
        let frame = client.next_or_end().await.ok()?;
        if frame["type"] == "error" {
            return None;
        }
        if frame["type"] == "chat_message" && frame["message"]["text"] == text {
            return Some(());
        }
    }
}
