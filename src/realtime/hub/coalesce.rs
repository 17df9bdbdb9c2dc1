//! Wakes sockets whose frames were deferred. A status update is urgent only for the message's author. For all other
//! members it can wait. Usually the socket then writes it together with the next frame: one write instead of two.
//!
//! Writes are a third of a server's processor time. Measured at saturation, with 200 rooms of two members who write in
//! turn (medians of four runs): 3.1 instead of 3.9 writes for a message. Parlor needed 19% less processor time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::realtime::outbox::Outbox;

/// The length of a turn. At the end of each turn, the due sockets are woken. A deferred frame waits for one to two
/// turns. No user notices this delay. If the next message of the chat arrives in this time, one write sends both.
pub(super) const TURN: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Deferred {
    sockets: Mutex<DeferredSockets>,
    /// Notified when a socket is added to the empty list `fresh`.
    some: Notify,
}

/// The sockets, in the order of arrival.
#[derive(Default)]
struct DeferredSockets {
    /// Added since the last turn.
    fresh: Vec<Arc<Outbox>>,
    /// Added before the last turn, and due at the next turn.
    waiting: Vec<Arc<Outbox>>,
}

impl Deferred {
    fn sockets(&self) -> MutexGuard<'_, DeferredSockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Schedules a socket to be woken after one to two turns.
    pub(super) fn add(&self, socket: &Arc<Outbox>) {
        let mut sockets = self.sockets();
        if sockets.fresh.is_empty() {
            self.some.notify_one();
        }
        sockets.fresh.push(socket.clone());
    }

    /// Wakes the sockets when they are due. Never returns.
    pub(super) async fn wake(&self) {
        loop {
            self.some.notified().await;
            while self.turn() {
                tokio::time::sleep(TURN).await;
            }
        }
    }

    /// Ends a turn: wakes the sockets that are due. Returns whether any sockets are due at the next turn.
    fn turn(&self) -> bool {
        let (due, others) = {
            let mut sockets = self.sockets();
            let fresh = std::mem::take(&mut sockets.fresh);
            let others = !fresh.is_empty();
            (std::mem::replace(&mut sockets.waiting, fresh), others)
        };
        for socket in due {
            socket.due();
        }
        others
    }
}
