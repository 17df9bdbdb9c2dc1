//! Whether `/readyz` tells the truth: it is asked all along, and held against what a fresh socket meets.
//!
//! - After a 200, who comes is served in time, or the 200 is taken back in time.
//! - While nothing is wrong, and whoever comes is served, there is no other answer than 200.

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

/// Between two questions.
const EVERY: Duration = Duration::from_millis(50);

/// Between two sockets.
const PROBE_EVERY: Duration = Duration::from_millis(200);

/// Whom no test means by its own users.
const PROBERS: [i64; 2] = [9_001, 9_002];

/// What a busy machine may add to any wait.
const SLACK: Duration = Duration::from_secs(1);

/// A question: when it was asked and when answered, and whether with 200.
#[derive(Clone, Copy)]
struct Sample {
    asked: Instant,
    answered: Instant,
    ready: bool,
}

/// One who came to say one thing, by as many sockets as it took, and when that was acknowledged, if it was.
#[derive(Clone, Copy)]
struct Probe {
    begun: Instant,
    served: Option<Instant>,
}

#[derive(Default)]
struct Notes {
    samples: Vec<Sample>,
    probes: Vec<Probe>,
    /// When something was wrong: from when, and until when where that is over.
    faults: Vec<(Instant, Option<Instant>)>,
}

/// One who asks and tries, until told to stop.
pub(crate) struct Truth {
    notes: Arc<Mutex<Notes>>,
    stop: DropGuard,
    tasks: [JoinHandle<Option<()>>; 2],
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    /// For so long no heartbeat came round where the answer isn't 200.
    stale: Duration,
    /// In this time a 200 is taken back that is not true any more.
    within: Duration,
}

/// Their room. A primary that has come back may take over once more just now, and whoever makes a room is told so.
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

impl Truth {
    /// Begins to watch a server by which a heartbeat is missed after `stale`.
    pub(crate) async fn of(server: &Server, stale: Duration) -> Self {
        Self::of_one_that_may_hang(server, stale, Duration::ZERO).await
    }

    /// The same of one that a single operation may keep waiting for so long, while others are done.
    pub(crate) async fn of_one_that_may_hang(server: &Server, stale: Duration, hang: Duration) -> Self {
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

    /// From here on it may be unready.
    pub(crate) fn fault(&self) {
        self.notes().faults.push((Instant::now(), None));
    }

    /// From here on it may be so until it is ready once more.
    pub(crate) fn over(&self) {
        if let Some((_, until)) = self.notes().faults.last_mut() {
            *until = Some(Instant::now());
        }
    }

    /// Waits until a fresh socket has been served that came after this call.
    pub(crate) async fn serves(&self) {
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

    /// Stops, and holds each answer against what there was. Gives what was seen, in words.
    pub(crate) async fn told(self) -> String {
        drop(self.stop);
        for task in self.tasks {
            task.await.unwrap();
        }
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let lies = notes.lies(self.limits);
        assert!(lies.is_empty(), "/readyz did not tell the truth:\n{lies}");
        let unready = notes.samples.iter().filter(|sample| !sample.ready).count();
        let served = notes.probes.iter().filter(|probe| probe.served.is_some()).count();
        let (asked, probes) = (notes.samples.len(), notes.probes.len());
        assert!(asked > 0 && served > 0, "nothing was seen");
        format!("{unready} of {asked} answers were not 200, {served} of {probes} who came were served")
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// All that was not true, a line each.
    fn lies(&self, limits: Limits) -> String {
        let Limits { stale, within } = limits;
        let mut lies = String::new();
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
                let _ = writeln!(lies, "who came at {} ms was served {served}, and all was 200", at(*begun));
            }
        }
        for sample in self.samples.iter().filter(|sample| !sample.ready) {
            let excused = self.faults.iter().any(|fault| self.explains(*fault, sample, within));
            if !excused && self.serves_before(sample, stale) {
                let _ = writeln!(lies, "not 200 at {} ms, and nothing was wrong", at(sample.asked));
            }
        }
        lies
    }

    /// Whether someone came and was served in the time in which it says that no heartbeat came round: on a machine that is
    /// too busy for anything neither does.
    fn serves_before(&self, unready: &Sample, stale: Duration) -> bool {
        let within = |probe: &&Probe| {
            probe.begun + stale > unready.answered
                && probe.served.is_some_and(|served| served < unready.asked)
        };
        self.probes.iter().any(|probe| within(&probe))
    }

    /// Whether a fault was there then, or not yet got over: a heartbeat that was missed in it may be missed as late as
    /// `within`.
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
        // Who is refused or sent away comes again, as clients do.
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

/// Comes, says something and waits for its acknowledgement; none where anything else is what becomes of it.
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
