//! Checks that `/readyz` is right. The probe asks it all the time, and compares its answers with the fate of fresh sockets.
//!
//! - After a 200 a fresh socket is served in time, or `/readyz` stops answering 200 in time.
//! - While there is no fault and fresh sockets are served, `/readyz` answers nothing but 200.

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

/// One request of `/readyz`: its start, its end, and whether the answer was 200.
#[derive(Clone, Copy)]
struct Sample {
    asked: Instant,
    answered: Instant,
    ready: bool,
}

/// One message that was sent on as many sockets as necessary, and the time of its acknowledgement, if any.
#[derive(Clone, Copy)]
struct Probe {
    begun: Instant,
    served: Option<Instant>,
}

#[derive(Default)]
struct Notes {
    samples: Vec<Sample>,
    probes: Vec<Probe>,
    /// The faults: the start of each, and its end once it is over.
    faults: Vec<(Instant, Option<Instant>)>,
}

/// Requests `/readyz` and opens fresh sockets until it is finished.
pub(crate) struct ReadinessProbe {
    notes: Arc<Mutex<Notes>>,
    stop: DropGuard,
    tasks: [JoinHandle<Option<()>>; 2],
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    /// The age of the last heartbeat from which on the answer is not 200.
    stale: Duration,
    /// The time within which `/readyz` must stop answering 200 after a fault.
    within: Duration,
}

/// Makes the room of the fresh sockets. A returned primary may be elected again just now, so a request may fail at first.
async fn room_of_probers(server: &Server) -> i64 {
    let members = PROBERS.map(|user| json!({"user_id": user, "email": format!("user{user}@example.com")}));
    let body = json!({ "members": members }).to_string();
    // A pair has one room, whatever the try before has done.
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
    /// Starts to probe a server that misses its heartbeat after `stale`.
    pub(crate) async fn of(server: &Server, stale: Duration) -> Self {
        Self::of_hanging(server, stale, Duration::ZERO).await
    }

    /// Starts to probe a server with a database that may delay a single operation by `hang`.
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

    /// Notes the start of a fault: from now on the server may be unready.
    pub(crate) fn fault_begins(&self) {
        self.notes().faults.push((Instant::now(), None));
    }

    /// Notes the end of the fault: the server may be unready until it has been ready once.
    pub(crate) fn fault_ends(&self) {
        if let Some((_, until)) = self.notes().faults.last_mut() {
            *until = Some(Instant::now());
        }
    }

    /// Waits until a socket that was opened after this call is served.
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

    /// Stops, checks each answer of `/readyz`, and returns a summary in words.
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
    /// Lists the wrong answers, one on each line.
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

    /// Returns whether a fresh socket was served in the time in which the server claims to have missed its heartbeats. On a
    /// machine that is too busy for anything, neither happens.
    fn serves_before(&self, unready: &Sample, stale: Duration) -> bool {
        let within = |probe: &&Probe| {
            probe.begun + stale > unready.answered
                && probe.served.is_some_and(|served| served < unready.asked)
        };
        self.probes.iter().any(|probe| within(&probe))
    }

    /// Returns whether a fault was present then, or the server had not yet recovered from one. A heartbeat may be missed as
    /// late as `within` after the fault.
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
