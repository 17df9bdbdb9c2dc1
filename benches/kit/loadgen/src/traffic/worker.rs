//! One worker thread: connects its rooms, sends by the plan, and waits for the missing frames.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::rooms::{DELIVERED, ECHO, PEER, READ, State};
use super::sockets::{Shared, connect_rooms};
use super::{Plan, Shape};
use crate::client::{Connects, Target};
use crate::pacing::{Gaps, Timer};
use crate::stats::Tally;
use crate::xmpp::Profile;

pub(super) enum Report {
    Connected(Box<Connects>),
    Drained(Instant),
    Failed(std::io::Error),
}

pub(super) struct Worker {
    pub(super) target: Arc<Target>,
    pub(super) plan: Plan,
    pub(super) number: u32,
    pub(super) run: u32,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) go: oneshot::Receiver<Instant>,
}

impl Worker {
    pub(super) async fn run(self) -> Tally {
        let Self { target, plan, number, run, reports, go } = self;
        let shared = Rc::new(RefCell::new(State {
            plan,
            run,
            padding: padding(plan.text_len),
            required: if target.xmpp == Some(Profile::Lean) { 0 } else { ECHO } | PEER | DELIVERED | READ,
            rooms: Vec::new(),
            tally: Tally::default(),
            open: 0,
            start: Instant::now(),
            last_progress: Instant::now(),
            closing: false,
        }));
        let mine: Vec<u32> = (0..plan.rooms)
            .filter(|room| room % plan.threads == number)
            .map(|room| plan.first_room + room)
            .collect();
        let connects = connect_rooms(&target, plan, &mine, &shared).await;
        let failed = connects.failures() > 0;
        let _ = reports.send(Report::Connected(Box::new(connects)));
        if failed {
            return Tally::default();
        }
        let Ok(start) = go.await else { return Tally::default() };
        {
            let mut state = shared.borrow_mut();
            state.start = start;
            state.last_progress = start;
        }
        if let Err(error) = drive(&shared, plan, number, mine.len()).await {
            let _ = reports.send(Report::Failed(error));
            return Tally::default();
        }
        drain(&shared, plan).await;
        let _ = reports.send(Report::Drained(Instant::now()));
        // Wait for duplicates, and for marks that the server also sends to the recipients.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let tally = shared.borrow_mut().finish();
        // Give the tasks `write` time to close their sockets.
        tokio::time::sleep(Duration::from_millis(100)).await;
        tally
    }
}

async fn drive(shared: &Shared, plan: Plan, number: u32, rooms: usize) -> std::io::Result<()> {
    let start = shared.borrow().start;
    match plan.shape {
        Shape::Open { rate, poisson } => {
            let share = rate * f64::from(u32::try_from(rooms).unwrap_or(u32::MAX)) / f64::from(plan.rooms);
            pace(shared, share, poisson, plan.seed + u64::from(number)).await
        }
        Shape::Closed { inflight } => {
            tokio::time::sleep_until(start.into()).await;
            for room in 0..rooms {
                for _ in 0..inflight {
                    shared.borrow_mut().send(room, Instant::now());
                }
                tokio::task::yield_now().await;
            }
            let end = shared.borrow().window().1;
            tokio::time::sleep_until(end.into()).await;
            Ok(())
        }
        Shape::TopUp { .. } => {
            for room in 0..rooms {
                shared.borrow_mut().refill(room, Instant::now());
            }
            Ok(())
        }
    }
}

async fn drain(shared: &Shared, plan: Plan) {
    let last_send = Instant::now();
    loop {
        {
            let state = shared.borrow();
            // `TopUp` has no cap: it continues as long as frames arrive.
            let capped = !matches!(plan.shape, Shape::TopUp { .. }) && last_send.elapsed() > plan.drain_cap;
            let stalled = state.last_progress.max(last_send).elapsed() > plan.drain;
            if state.open == 0 || stalled || capped {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the open loop: sends messages at scheduled times. Returns at the end of the schedule.
async fn pace(shared: &Shared, rate: f64, poisson: bool, seed: u64) -> std::io::Result<()> {
    let (start, end, rooms) = {
        let state = shared.borrow();
        (state.start, state.window().1, state.rooms.len())
    };
    let timer = Timer::new()?;
    let mut gaps = Gaps::new(rate, poisson, seed);
    let mut due = start + gaps.next_gap();
    let mut turn = 0;
    while due < end {
        timer.sleep_until(due).await?;
        // After at most 64 messages, the loop yields, so that the readers can run.
        for _ in 0..64 {
            let now = Instant::now();
            if due > now || due >= end {
                break;
            }
            let mut state = shared.borrow_mut();
            state.tally.lateness.record(now - due);
            let room = if poisson { gaps.below(rooms) } else { turn };
            turn = (turn + 1) % rooms;
            state.send(room, due);
            due += gaps.next_gap();
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn padding(length: usize) -> String {
    "the quick brown fox jumps over the lazy dog and ".chars().cycle().take(length).collect()
}
