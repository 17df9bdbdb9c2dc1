//! Finds out whether a socket's client is alive: by its last activity, or by a ping.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::Outbox;

/// The liveness of a socket's client.
#[derive(Default)]
pub(super) struct Probe {
    /// The time of the client's last activity. None before the socket is open.
    last_alive: Option<Instant>,
    /// The senders for the waiting [`ProbedSocket`]s. Each is notified at the client's next activity.
    askers: Vec<oneshot::Sender<()>>,
}

/// A socket whose client receives a ping, to find out whether the client is alive.
pub(crate) struct ProbedSocket {
    pub(crate) outbox: Arc<Outbox>,
    /// Resolves at the client's next activity.
    pub(crate) answer: oneshot::Receiver<()>,
}

impl Outbox {
    /// Records activity: the client sent something, or the socket processes a request of the client.
    pub(crate) fn mark_alive(&self, at: Instant) {
        let mut probe = self.probe();
        probe.last_alive = Some(at);
        for asker in probe.askers.drain(..) {
            // The send fails if the caller of `request_probe` no longer waits.
            let _ = asker.send(());
        }
    }

    /// Returns the time of the client's last activity. Returns none if the socket is not open yet, or was asked to
    /// close.
    pub(crate) fn last_alive(&self) -> Option<Instant> {
        self.probe().last_alive.filter(|_| self.closing().is_none())
    }

    /// Requests that the socket sends a ping to its client. The field `answer` of the result resolves at the client's
    /// next activity.
    pub(crate) fn request_probe(self: &Arc<Self>) -> ProbedSocket {
        let (asker, answer) = oneshot::channel();
        let mut probe = self.probe();
        probe.askers.retain(|asker| !asker.is_closed());
        probe.askers.push(asker);
        drop(probe);
        self.probe_requested.store(true, Ordering::Relaxed);
        self.changed.notify_one();
        ProbedSocket { outbox: self.clone(), answer }
    }

    /// Returns whether the socket has to send a ping. Clears the request.
    pub(crate) fn take_probe_request(&self) -> bool {
        self.probe_requested.load(Ordering::Relaxed) && self.probe_requested.swap(false, Ordering::Relaxed)
    }

    fn probe(&self) -> MutexGuard<'_, Probe> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
