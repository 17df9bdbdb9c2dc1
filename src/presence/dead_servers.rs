//! Finds dead servers, and removes the sockets of a dead server from the presence of its users. The presence of a user
//! is a document that lists the servers with open sockets of this user.
//!
//! Each server writes a heartbeat (a document with a rising number) at intervals. The searching server reads the
//! heartbeats of all other servers. If a heartbeat has not changed for `presence.silence_ms`, the server of this
//! heartbeat counts as dead. The wall clocks of different servers are never compared. The time in which the searching
//! server could not observe heartbeats does not count.
//!
//! All servers search. Each step can be repeated, even by several servers concurrently, because a server can also die
//! during the clean-up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::oid::ObjectId;
use tokio::time::MissedTickBehavior;

use super::tracker::PresenceWriter;
use crate::realtime::heartbeat::Heartbeat;
use crate::store::users::presence::Beat;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// The interval between two checks of the heartbeats.
const INTERVAL: Duration = Duration::from_millis(500);

/// The interval between two searches for orphans: servers that have no heartbeat document, although the presence of a
/// user lists them.
const ORPHAN_INTERVAL: Duration = Duration::from_mins(1);

/// Searches for dead servers.
pub(super) struct DeadServerSearch {
    store: Store,
    heartbeat: Arc<Heartbeat>,
    silence: Duration,
    /// For each server: the number of its last observed heartbeat, and whether the server was declared dead. The time
    /// is the local time when the search last observed a change of these two values, or first observed the server.
    seen: HashMap<ObjectId, (i64, bool, Instant)>,
    orphans_at: Option<Instant>,
    metrics: Arc<Metrics>,
}

impl DeadServerSearch {
    pub(super) fn new(task: &PresenceWriter) -> Self {
        Self {
            store: task.store.clone(),
            heartbeat: task.heartbeat.clone(),
            silence: task.settings.silence,
            seen: HashMap::new(),
            orphans_at: None,
            metrics: task.metrics.clone(),
        }
    }

    /// Searches for dead servers every [`INTERVAL`]. Never returns.
    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.search().await {
                self.metrics.count_fault("presence");
                tracing::warn!(%error, "could not search for dead servers; trying again");
                self.seen.clear();
            }
        }
    }

    async fn search(&mut self) -> Result<(), StoreError> {
        if self.orphans_at.is_none_or(|at| at.elapsed() >= ORPHAN_INTERVAL) {
            self.store.declare_orphans().await?;
            self.orphans_at = Some(Instant::now());
        }
        let asked = Instant::now();
        let received = self.store.peers().heartbeats();
        let beats = self.store.beats().await?;
        let own = self.heartbeat.server();
        let others = beats.iter().any(|beat| beat.server != own && !beat.dead);
        self.store.peers().on_search(received, others);
        // The limit for this server's own heartbeat is shorter than the limit for other servers. The age of the own
        // heartbeat counts from the moment when the change stream returns it, which is later than the write.
        let own_is_late = self.heartbeat.age().is_none_or(|age| age >= self.silence * 3 / 4);
        if own_is_late || asked.elapsed() >= self.silence {
            // If the own heartbeat is late or the read was slow, the database may also delay the heartbeats of the
            // other servers. So the search forgets all heartbeats that it has observed, and starts from the beginning.
            self.seen.clear();
        }
        self.seen.retain(|server, _| beats.iter().any(|beat| beat.server == *server));
        for beat in beats {
            if beat.server != own && self.is_silent(&beat) {
                self.clean_up(beat).await?;
            }
        }
        Ok(())
    }

    fn is_silent(&mut self, beat: &Beat) -> bool {
        let now = Instant::now();
        let (number, dead, since) = self.seen.entry(beat.server).or_insert((beat.number, beat.dead, now));
        if (*number, *dead) != (beat.number, beat.dead) {
            (*number, *dead, *since) = (beat.number, beat.dead, now);
        }
        since.elapsed() >= self.silence
    }

    /// Declares a server dead and removes its sockets from the presence of its users. Also finishes a clean-up that
    /// another server started and did not end.
    async fn clean_up(&mut self, beat: Beat) -> Result<(), StoreError> {
        if !beat.dead && !self.store.declare_dead(beat).await? {
            return Ok(());
        }
        let users = self.store.bury(beat).await?;
        self.seen.remove(&beat.server);
        tracing::warn!(server = %beat.server, users, "a server is dead; removed its sockets from the presence of its users");
        Ok(())
    }
}
