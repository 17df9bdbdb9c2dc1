//! The application's own servers, told what happens here, and asked before it does: `[hooks]`.
//!
//! [`before`] is asked in the middle of a `send`, and is all that a sender waits for. The others hear of what is
//! done already, and cost whoever does it nothing: they read the database's change stream. What they promise:
//!
//! - At least once. A hook's place in the stream is kept in the database and moves on only behind what the receiver
//!   has answered with 2xx; whatever it answers else is sent again, with pauses that grow. Nobody gives up.
//! - In order within a room, or of one user: the next event waits for the one before it. Rooms don't wait for each
//!   other.
//! - By one server at a time, which holds a lease in the database. When it dies another goes on from the place
//!   that was kept, so that some events come twice, with the same `id`.
//! - One hook never waits for another: each has a stream, a place, a lease of its own.
//! - Bounded memory, however long a receiver is away: the stream is read no further than `hooks.window` events past
//!   the oldest that isn't told.
//!
//! Where the database no longer has what came after a hook's place, that is logged, counted, and what can still be
//! told is read from the collections ([`recover`]).

pub(crate) mod before;
mod dispatch;
mod event;
mod reader;
mod recover;
mod window;

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::before::BeforeSend;
use self::dispatch::Dispatcher;
pub(crate) use self::event::Kind;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::outbound::{Receiver, Unusable};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;

/// How long the end waits for the leases to be given back.
const PARTING: Duration = Duration::from_secs(1);

/// What tells the hooks that are configured.
pub(crate) struct Hooks {
    dispatchers: Vec<Dispatcher>,
}

impl Hooks {
    /// As configured; a hook without a URL is none.
    ///
    /// # Errors
    /// A URL can't be used.
    pub(crate) fn new(
        config: &Config,
        server: ObjectId,
        store: &Store,
        stream_store: &Store,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Unusable> {
        let hooks = &config.hooks;
        let of_kind = |(kind, settings): (Kind, &Option<config::Receiver>)| {
            let settings = settings.as_ref()?;
            let receiver = Receiver::new(&format!("hooks.{}", kind.name()), settings, metrics);
            Some(receiver.map(|receiver| Dispatcher {
                kind,
                receiver: Arc::new(receiver),
                at_once: settings.max_in_flight,
                settings: hooks.settings.clone(),
                server,
                store: store.clone(),
                stream_store: stream_store.clone(),
                metrics: metrics.clone(),
            }))
        };
        let all = [
            (Kind::AfterSend, &hooks.after_send),
            (Kind::Connected, &hooks.connected),
            (Kind::Disconnected, &hooks.disconnected),
            (Kind::Offline, &hooks.offline),
        ];
        Ok(Self { dispatchers: all.into_iter().filter_map(of_kind).collect::<Result<_, _>>()? })
    }

    /// Gives each hook a place in the stream, where it has none: what happens from now on is told.
    pub(crate) async fn begin(&self) -> Result<(), StoreError> {
        for dispatcher in &self.dispatchers {
            dispatcher.begin().await?;
        }
        Ok(())
    }

    /// Begins to tell them.
    pub(crate) fn start(self, supervisor: &Supervisor) -> Telling {
        let telling = Telling { stop: CancellationToken::new(), tracker: TaskTracker::new() };
        for dispatcher in self.dispatchers {
            let name = dispatcher.kind.name();
            telling.tracker.spawn(supervisor.clone().hold(name, dispatcher.run(telling.stop.clone())));
        }
        telling.tracker.close();
        telling
    }
}

/// Hooks that are being told, until this is dropped.
pub(crate) struct Telling {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Telling {
    /// Leaves them to other servers, at once: nobody waits for a lease to run out.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        if tokio::time::timeout(PARTING, self.tracker.wait()).await.is_err() {
            tracing::warn!("the hooks' leases could not be given back in time; they run out");
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
