//! Wakes sockets whose frames were deferred. A new message status is urgent only for the message's author. The sockets
//! of all other members may write the status later. Usually such a socket writes the status together with the next
//! frame, in one write instead of two.
//!
//! Writes to sockets take a third of a server's processor time. The gain was measured at full load, with 200 rooms of
//! two members who send messages alternately (medians of four runs). A message needed 3.1 writes with deferred frames,
//! and 3.9 writes without them. With deferred frames, Parlor needed 19% less processor time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::realtime::outbox::Outbox;

/// The length of a turn, which is the period at which the hub wakes sockets. At the end of each turn, the hub wakes the
/// sockets that were added in the previous turn. So a deferred frame waits for one to two turns. No user notices this
/// delay. If the room's next message arrives during the delay, one write sends the deferred frame and the message.
pub(super) const TURN: Duration = Duration::from_millis(10);

#[derive(Default)]
pub(super) struct Deferred {
    sockets: Mutex<DeferredSockets>,
    /// Notified when the first socket is added to the empty list `fresh`.
    some: Notify,
}

/// The sockets to wake, each list in the order in which the sockets were added.
#[derive(Default)]
struct DeferredSockets {
    /// The sockets that were added in this turn.
    fresh: Vec<Arc<Outbox>>,
    /// The sockets that were added in the previous turn. They are woken at the end of this turn.
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

    /// Wakes each added socket at the end of its waiting time. Never returns.
    pub(super) async fn wake(&self) {
        loop {
            self.some.notified().await;
            while self.turn() {
                tokio::time::sleep(TURN).await;
            }
        }
    }

    /// Ends a turn and wakes the sockets that were added in the previous turn. Returns whether other sockets still
    /// wait.
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
