//! Starts the tasks that send the database's changes to the sockets, and the task that stores which users are
//! connected.

use std::sync::Arc;

use crate::config::Config;
use crate::error::StartError;
use crate::presence::tracker::{self, PresenceTracker};
use crate::realtime::change_stream::ChangeStreamReader;
use crate::realtime::heartbeat::Heartbeat;
use crate::realtime::held_bytes::HeldBytes;
use crate::realtime::hub::Hub;
use crate::realtime::room_loader::RoomLoader;
use crate::realtime::room_state::TextPool;
use crate::realtime::sessions::Sessions;
use crate::realtime::{presence_notifier, room_change_notifier};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;

/// The parts of the server that the tasks of this module share.
pub(super) struct RealtimeParts {
    pub(super) store: Store,
    pub(super) stream_store: Store,
    pub(super) metrics: Arc<Metrics>,
}

impl RealtimeParts {
    /// Starts the tasks that pass the database's changes to the hub, which knows the open rooms and their sockets.
    /// The main tasks are the reader of the change stream, the heartbeat and the notifiers.
    pub(super) async fn start_realtime(
        &self,
        config: &Config,
        heartbeat: &Arc<Heartbeat>,
        held: &HeldBytes,
        supervisor: &Supervisor,
    ) -> Result<(Arc<Hub>, Sessions), StartError> {
        let Self { store, stream_store, metrics } = self;
        let (hub, wanted) =
            Hub::new(held.clone(), TextPool::new(config.limits.unread_text_bytes), metrics.clone());
        let hub = Arc::new(hub);
        supervisor.spawn("deferred frames", hub.clone().wake_deferred());
        let loader = RoomLoader { store: store.clone(), hub: hub.clone(), metrics: metrics.clone() };
        supervisor.spawn("opener", loader.run(wanted));
        let changes = room_change_notifier::RoomChangeQueue::default();
        let teller = room_change_notifier::RoomChangeNotifier {
            changes: changes.clone(),
            store: store.clone(),
            hub: hub.clone(),
            metrics: metrics.clone(),
        };
        supervisor.spawn("room changes", teller.run());
        let coming = presence_notifier::PresenceQueue::default();
        let teller = presence_notifier::PresenceNotifier {
            changes: coming.clone(),
            store: store.clone(),
            hub: hub.clone(),
            metrics: metrics.clone(),
        };
        supervisor.spawn("presence teller", teller.run());
        let outboxes = Sessions::default();
        let feed = ChangeStreamReader {
            stream_store: stream_store.clone(),
            settings: config.feed.clone(),
            store: store.clone(),
            hub: hub.clone(),
            outboxes: outboxes.clone(),
            numbers: store.numbers(),
            metrics: metrics.clone(),
            heartbeat: heartbeat.clone(),
            changes,
            presence: coming,
        };
        let stream = feed.open().await.map_err(StoreError::from)?;
        feed.begin().await?;
        supervisor.spawn("feed", feed.run(stream));
        let beats = heartbeat.clone().run(store.clone(), config.feed.heartbeat, metrics.clone());
        supervisor.spawn("heartbeat", beats);
        let silence = heartbeat.clone().watch(config.feed.close, outboxes.clone(), metrics.clone());
        supervisor.spawn("silence", silence);
        Ok((hub, outboxes))
    }

    /// Starts the task that stores in the database which users are connected to this server.
    pub(super) fn start_presence(
        &self,
        config: &Config,
        present: &PresenceTracker,
        heartbeat: &Arc<Heartbeat>,
        supervisor: &Supervisor,
    ) {
        let writer = tracker::PresenceWriter {
            present: present.clone(),
            store: self.store.clone(),
            heartbeat: heartbeat.clone(),
            settings: config.presence.clone(),
            batch: config.limits.batch,
            metrics: self.metrics.clone(),
        };
        writer.start(supervisor);
    }
}
