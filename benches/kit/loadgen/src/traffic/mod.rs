//! Sends messages through many rooms, and assigns each received frame to its message.
//!
//! Each worker thread owns a share of the rooms and runs them on its own single-threaded runtime. Therefore
//! the assignment of frames to messages needs no locks.

mod frames;
mod rooms;
mod sockets;
mod worker;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::LocalSet;

use self::worker::{Report, Worker};
use crate::client::{Connects, Target};
use crate::procs::{Sample, Watched};
use crate::stats::Tally;

/// Decides when the next message is sent.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// At scheduled times, even if the server answers late.
    Open { rate: f64, poisson: bool },
    /// When the sender receives the read mark of one of the room's outstanding messages.
    Closed { inflight: u32 },
    /// Fills each room to `target` messages, one at a time. A message of the history counts towards
    /// `target`.
    TopUp { target: u32 },
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub first_room: u32,
    pub rooms: u32,
    pub shape: Shape,
    pub warmup: Duration,
    pub duration: Duration,
    /// If no frame arrives for this time, missing messages count as lost.
    pub drain: Duration,
    /// At this time after the last send, missing messages count as lost, even if frames still arrive.
    pub drain_cap: Duration,
    pub text_len: usize,
    pub parallel: usize,
    pub threads: u32,
    pub seed: u64,
}

pub struct Outcome {
    pub connects: Connects,
    pub tally: Tally,
    /// The time from the first send to the last required frame.
    pub wall: Duration,
    pub before: Sample,
    pub after: Sample,
}

pub enum Failure {
    Connect(Box<Connects>),
    Io(std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// Connects the two users of each room, runs the plan and closes the sockets.
pub fn run(target: &Arc<Target>, plan: Plan, watched: &[Watched]) -> Result<Outcome, Failure> {
    let plan = Plan { threads: plan.threads.clamp(1, plan.rooms), ..plan };
    let run = run_id();
    let (reports, inbox) = mpsc::channel();
    let mut starters = Vec::new();
    let mut workers = Vec::new();
    for number in 0..plan.threads {
        let (starter, go) = oneshot::channel();
        starters.push(starter);
        let worker = Worker { target: Arc::clone(target), plan, number, run, reports: reports.clone(), go };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        workers.push(thread::spawn(move || {
            let set = LocalSet::new();
            let tally = set.block_on(&runtime, worker.run());
            // Drop the tasks before their runtime.
            drop(set);
            drop(runtime);
            tally
        }));
    }
    drop(reports);

    let mut connects = Connects::default();
    for _ in 0..plan.threads {
        if let Ok(Report::Connected(some)) = inbox.recv() {
            connects.add(&some);
        }
    }
    if connects.failures() > 0 {
        drop(starters);
        for worker in workers {
            let _ = worker.join();
        }
        return Err(Failure::Connect(Box::new(connects)));
    }
    let before = Sample::take(watched);
    let start = Instant::now() + Duration::from_millis(50);
    for starter in starters {
        let _ = starter.send(start);
    }
    let mut last = start;
    for _ in 0..plan.threads {
        match inbox.recv() {
            Ok(Report::Drained(at)) => last = last.max(at),
            Ok(Report::Failed(error)) => return Err(Failure::Io(error)),
            Ok(Report::Connected(_)) | Err(_) => {}
        }
    }
    let after = Sample::take(watched);
    let mut tally = Tally::default();
    for worker in workers {
        if let Ok(part) = worker.join() {
            tally.add(&part);
        }
    }
    Ok(Outcome { connects, tally, wall: last.saturating_duration_since(start), before, after })
}

fn run_id() -> u32 {
    let mut hasher = DefaultHasher::new();
    (Instant::now(), std::process::id(), std::time::SystemTime::now()).hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or(0)
}
