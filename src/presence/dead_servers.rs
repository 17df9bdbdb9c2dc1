//! Finds servers that died, and takes their sockets from whoever had any.
//!
//! A server is dead when its heartbeat stood still for `presence.silence_ms` before this one's eyes: not by anyone's
//! clock, and not across a time in which this one could not see, for then nobody's heart could be heard beating.
//! All servers look, and each step can be repeated and taken by several: whoever does the work may die of it, too.

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

/// Between two looks at the heartbeats.
const INTERVAL: Duration = Duration::from_millis(500);

/// Between two looks for users of servers that have no heartbeat left.
const ORPHAN_INTERVAL: Duration = Duration::from_mins(1);

pub(super) struct DeadServerSearch {
    store: Store,
    heartbeat: Arc<Heartbeat>,
    silence: Duration,
    /// What each server's heartbeat was when it last changed, and when that was seen.
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

    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.search().await {
                self.metrics.fault("presence");
                tracing::warn!(%error, "looking for servers that died failed; trying again");
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
        let heard = self.store.peers().heartbeats();
        let beats = self.store.beats().await?;
        let own = self.heartbeat.server();
        let others = beats.iter().any(|beat| beat.server != own && !beat.dead);
        self.store.peers().on_search(heard, others);
        // A little less than for the others: what is written is seen before it comes round.
        let own_is_late = self.heartbeat.age().is_none_or(|age| age >= self.silence * 3 / 4);
        if own_is_late || asked.elapsed() >= self.silence {
            // A database that takes so long for this, or for a heartbeat to come round, keeps the others waiting, too.
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

    /// Tidies up after a server, or for another one that began to and stands still as well.
    async fn clean_up(&mut self, beat: Beat) -> Result<(), StoreError> {
        if !beat.dead && !self.store.declare_dead(beat).await? {
            return Ok(());
        }
        let users = self.store.bury(beat).await?;
        self.seen.remove(&beat.server);
        tracing::warn!(server = %beat.server, users, "a server is gone; its users are not connected there any more");
        Ok(())
    }
}
