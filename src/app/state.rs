//! What the connections of one server share, and what each of them holds of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use handlers::RoomId;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::actions::dispatcher::Runtime;
use crate::auth::Verifier;
use crate::config::Config;
use crate::http::connection_limit::Arrivals;
use crate::http::demo::Page;
use crate::http::refused_clients::{Refusals, Source};
use crate::jobs::room_cleanup::Sweeper;
use crate::jobs::user_erasure::Eraser;
use crate::limits::permits::Places;
use crate::limits::user_quota::Users;
use crate::presence::tracker::Present;
use crate::protocol::close::Close;
use crate::realtime::heartbeat::Pulse;
use crate::realtime::held_bytes::Held;
use crate::realtime::hub::{Hub, Joined};
use crate::realtime::outbox::Outbox;
use crate::realtime::sessions::Outboxes;
use crate::store::{Receipts, Store, Writer};
use crate::telemetry::logging::Dropped;
use crate::telemetry::metrics::{Metrics, Now};
use crate::webhooks::Telling;

/// The configuration that holds now.
pub(crate) type Live = ArcSwap<Config>;

/// What all connections of one server share.
pub(crate) struct Server {
    /// What holds now: a reload replaces it.
    pub(crate) config: Arc<Live>,
    /// Sends when a reload has replaced it.
    pub(crate) reloads: watch::Sender<()>,
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) writer: Writer,
    pub(crate) receipts: Receipts,
    pub(crate) eraser: Eraser,
    pub(crate) verifier: Verifier,
    pub(crate) users: Users,
    /// The hooks that are being told: a reload replaces them.
    pub(crate) hooks: ArcSwap<Telling>,
    /// A store with a client of its own, for what waits on change streams.
    pub(crate) stream_store: Store,
    pub(crate) present: Present,
    pub(crate) outboxes: Outboxes,
    /// The bytes that wait for all sockets.
    pub(crate) held: Held,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) log_dropped: Dropped,
    /// Places for sockets; one is taken before the upgrade and given back after the close.
    pub(crate) places: Places,
    /// Places for exports.
    pub(crate) exports: Places,
    /// Connections that are no sockets.
    pub(crate) arrivals: Arrivals,
    /// Connections to the admin listener.
    pub(crate) admin_arrivals: Arrivals,
    pub(crate) refusals: Refusals,
    /// Tasks that shutdown waits for: sockets, requests, and what they leave to be done.
    pub(crate) tracker: TaskTracker,
    pub(crate) sweeper: Sweeper,
    pub(crate) page: Page,
    pub(crate) draining: AtomicBool,
}

impl Server {
    /// Whether it is going away: no new socket, no new frame.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// What its metrics say of this moment.
    pub(crate) fn now(&self) -> Now {
        Now {
            heartbeat: self.pulse.age(),
            write_queue: self.runtime.messages_waiting(),
            receipts: self.receipts.waiting(),
            connections: self.arrivals.count(),
            marks: self.store.overlay().kept(),
            log_dropped: self.log_dropped.lines(),
        }
    }

    /// A connect was refused; too many of them, and its source is not listened to for a while.
    pub(crate) fn refused(&self, source: &Source, close: Close) {
        self.metrics.connect(close.label());
        if close.is_callers_fault() {
            self.refusals.add(source, &self.config.load());
        }
    }

    /// A socket's place in a room, until it is dropped.
    pub(crate) fn join(&self, room: RoomId, outbox: &Arc<Outbox>) -> (Joined, Stay) {
        let joined = self.hub.join(room, outbox);
        (joined, Stay { hub: self.hub.clone(), room, outbox: outbox.clone() })
    }
}

/// A socket that is in a room of the hub.
pub(crate) struct Stay {
    hub: Arc<Hub>,
    room: RoomId,
    outbox: Arc<Outbox>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.hub.leave(self.room, &self.outbox);
    }
}
