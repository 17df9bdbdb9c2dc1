//! The sockets of one worker: opens two sockets for each room, reads them and writes them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;

use super::rooms::{Room, Side, State};
use super::{Plan, Shape};
use crate::client::{Connects, Refusal, Socket, Target};

pub(super) type Shared = Rc<RefCell<State>>;

pub(super) async fn connect_rooms(
    target: &Arc<Target>,
    plan: Plan,
    mine: &[u32],
    shared: &Shared,
) -> Connects {
    let permits = Rc::new(Semaphore::new((plan.parallel / plan.threads as usize).max(1)));
    let mut openings = Vec::new();
    for &room in mine {
        for (user, peer) in [(2 * room + 1, 2 * room + 2), (2 * room + 2, 2 * room + 1)] {
            let (target, permits) = (Arc::clone(target), Rc::clone(&permits));
            openings.push(tokio::task::spawn_local(async move {
                let _permit = permits.acquire().await;
                target.open(user, peer).await
            }));
        }
    }
    let mut connects = Connects::default();
    let mut sockets = Vec::new();
    for opening in openings {
        let result = opening.await.unwrap_or_else(|error| Err(Refusal::Other(error.to_string())));
        connects.note(&result);
        sockets.push(result.ok());
    }
    if connects.failures() > 0 {
        return connects;
    }
    let mut sockets = sockets.into_iter().flatten();
    for (position, &index) in mine.iter().enumerate() {
        let mut remaining = 0;
        let mut side = |number: usize| {
            let opened = sockets.next().expect("two sockets a room");
            if let (Shape::TopUp { target }, Some(history)) = (plan.shape, opened.history.as_array()) {
                remaining = target.saturating_sub(u32::try_from(history.len()).unwrap_or(u32::MAX));
            }
            let (sink, stream) = opened.socket.split();
            let (out, queue) = unbounded_channel();
            tokio::task::spawn_local(read(Rc::clone(shared), position, number, stream));
            tokio::task::spawn_local(write(sink, queue));
            Side { out, session: opened.session, sent: Vec::new(), expected: [0, 0] }
        };
        let sides = [side(0), side(1)];
        shared.borrow_mut().rooms.push(Room { index, sides, turn: 0, remaining });
    }
    connects
}

async fn read(shared: Shared, room: usize, side: usize, mut frames: SplitStream<Socket>) {
    while let Some(Ok(message)) = frames.next().await {
        match message {
            Message::Text(text) => shared.borrow_mut().on_frame(room, side, &text),
            Message::Close(_) => break,
            _ => {}
        }
    }
    let mut state = shared.borrow_mut();
    if !state.closing {
        state.tally.disconnects += 1;
    }
}

async fn write(mut frames: SplitSink<Socket, Message>, mut queue: UnboundedReceiver<Message>) {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(message) = next {
            if frames.feed(message).await.is_err() {
                return;
            }
            next = queue.try_recv().ok();
        }
        if frames.flush().await.is_err() {
            return;
        }
    }
    let _ = frames.close().await;
}
