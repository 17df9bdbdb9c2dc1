//! Every socket that is open here, for the one thing that concerns them all: that the server goes away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::close::Close;
use crate::outbox::Outbox;

/// The outboxes of all open sockets.
#[derive(Clone, Default)]
pub(crate) struct Outboxes(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    outboxes: HashMap<u64, Arc<Outbox>>,
    next: u64,
}

/// Takes a socket off the list when dropped.
pub(crate) struct Registered {
    outboxes: Outboxes,
    key: u64,
}

impl Outboxes {
    pub(crate) fn register(&self, outbox: &Arc<Outbox>) -> Registered {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = open.next;
        open.next += 1;
        open.outboxes.insert(key, outbox.clone());
        Registered { outboxes: self.clone(), key }
    }

    /// Makes every socket look up what changed for it.
    pub(crate) fn wake(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .outboxes
            .values()
            .for_each(|outbox| outbox.wake());
    }

    /// Tells every socket to close.
    pub(crate) fn close(&self, close: Close) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .outboxes
            .values()
            .for_each(|outbox| outbox.close(close));
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.outboxes.0.lock().unwrap_or_else(PoisonError::into_inner).outboxes.remove(&self.key);
    }
}
