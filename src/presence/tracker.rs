//! Tracks which users have sockets on this server, and writes these users to the database. From the database, every
//! server learns which users are online.
//!
//! A socket that opens or closes only changes an entry in memory. A separate task writes the changes in batches, so no
//! connect waits for a write. After a user's last socket has closed, a short grace period passes before the user counts
//! as offline. Therefore a user who reloads a page or changes the mobile network does not appear offline.
//!
//! After the death of a server, any other server removes the dead server's entries from the database
//! ([`dead_servers`]). The other servers may wrongly declare a live server dead. The live server then finds that its
//! heartbeat document was removed, and writes all its users again. A server that shuts down does not remove its
//! entries, because its users soon reconnect to other servers. Another server later removes these entries, as for a
//! dead server.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use handlers::UserId;
use tokio::sync::Notify;

use crate::config;
use crate::presence::dead_servers;
use crate::realtime::heartbeat::Heartbeat;
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;

/// The time for which changes are collected before one write. A write of many users costs less than many writes.
const GATHER: Duration = Duration::from_millis(100);

/// The users that are connected to this server. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct PresenceTracker(Arc<SharedTracker>);

#[derive(Default)]
struct SharedTracker {
    state: Mutex<TrackerState>,
    /// Notified when a user's online or offline state has to be written.
    changed: Notify,
}

#[derive(Default)]
struct TrackerState {
    users: HashMap<UserId, LocalUser>,
    /// The connected users whose online state still has to be written to the database. A user may be in the list twice.
    arriving: Vec<UserId>,
    /// The users whose last socket has closed, each with the start of the grace period. The earliest start comes first.
    leaving: VecDeque<(Instant, UserId)>,
}

/// The sockets of one user.
#[derive(Default)]
struct LocalUser {
    sockets: usize,
    recorded: Recorded,
    /// The time when the grace period began, and the time when the last socket closed. A failed offline write restarts
    /// the grace period. `None` while the user has a socket.
    left: Option<(Instant, Instant)>,
}

/// Whether the database lists a user as connected to this server.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Recorded {
    #[default]
    No,
    /// The online write had an unknown outcome, so it has to be repeated. If the user disconnects before the
    /// repetition, the offline state has to be written, because the first write may have succeeded.
    Perhaps,
    Yes,
}

/// Counts one socket of a user, until this guard is dropped.
pub(crate) struct PresenceGuard {
    present: PresenceTracker,
    user: UserId,
}

impl PresenceTracker {
    /// Counts one more socket of a user.
    pub(crate) fn enter(&self, user: &UserId) -> PresenceGuard {
        let mut state = self.state();
        let here = state.users.entry(user.clone()).or_default();
        here.sockets += 1;
        here.left = None;
        if here.recorded != Recorded::Yes {
            state.arriving.push(user.clone());
            self.0.changed.notify_one();
        }
        drop(state);
        PresenceGuard { present: self.clone(), user: user.clone() }
    }

    /// Resolves when a user's state has to be written, now or after the grace period.
    async fn wait_for_changes(&self) {
        while self.state().is_settled() {
            self.0.changed.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, TrackerState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PresenceGuard {
    fn drop(&mut self) {
        let mut state = self.present.state();
        let now = Instant::now();
        let Some(here) = state.users.get_mut(&self.user) else { return };
        here.sockets -= 1;
        if here.sockets == 0 {
            here.left = Some((now, now));
            state.leaving.push_back((now, self.user.clone()));
            self.present.0.changed.notify_one();
        }
    }
}

impl TrackerState {
    /// Takes up to `most` users whose online state has to be written. These users count as recorded from this call on.
    fn take_arrivals(&mut self, most: usize) -> Vec<UserId> {
        let mut arrivals = Vec::new();
        while arrivals.len() < most
            && let Some(user) = self.arriving.pop()
        {
            if let Some(here) =
                self.users.get_mut(&user).filter(|here| here.sockets > 0 && here.recorded != Recorded::Yes)
            {
                here.recorded = Recorded::Yes;
                arrivals.push(user);
            }
        }
        arrivals
    }

    /// Takes up to `most` users that have had no socket for the time `grace`. Returns each user with the time when the
    /// last socket closed.
    fn take_departures(&mut self, most: usize, grace: Duration) -> Vec<(UserId, Instant)> {
        let mut departures = Vec::new();
        while departures.len() < most
            && let Some((_, user)) = self.leaving.pop_front_if(|(left, _)| left.elapsed() >= grace)
        {
            let Some(here) = self.users.get(&user) else { continue };
            let Some((_, at)) = here.left.filter(|(left, _)| left.elapsed() >= grace) else { continue };
            // The entry is removed before the offline write. If the user reconnects during the offline write, `enter`
            // creates a new entry. The online write then comes after the offline write.
            if self.users.remove(&user).is_some_and(|here| here.recorded != Recorded::No) {
                departures.push((user, at));
            }
        }
        departures
    }

    fn restore_arrivals(&mut self, arrivals: Vec<UserId>) {
        for user in arrivals {
            if let Some(here) = self.users.get_mut(&user) {
                here.recorded = Recorded::Perhaps;
                self.arriving.push(user);
            }
        }
    }

    fn restore_departures(&mut self, departures: Vec<(UserId, Instant)>) {
        for (user, at) in departures {
            // A user who has reconnected has a new entry. The online write of this entry follows, so the failed offline
            // write need not be repeated.
            if !self.users.contains_key(&user) {
                let left = Instant::now();
                self.users.insert(
                    user.clone(),
                    LocalUser { sockets: 0, recorded: Recorded::Yes, left: Some((left, at)) },
                );
                self.leaving.push_back((left, user));
            }
        }
    }

    /// Queues an online write for all connected users, because their entries were removed from the database.
    fn re_announce(&mut self) {
        for (user, here) in &mut self.users {
            if here.sockets > 0 {
                here.recorded = Recorded::Perhaps;
                self.arriving.push(user.clone());
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.arriving.is_empty() && self.leaving.is_empty()
    }
}

/// Writes the tracked users to the database.
pub(crate) struct PresenceWriter {
    pub(crate) present: PresenceTracker,
    pub(crate) store: Store,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) settings: config::PresenceConfig,
    /// The highest number of users in one write.
    pub(crate) batch: usize,
    pub(crate) metrics: Arc<Metrics>,
}

impl PresenceWriter {
    /// Starts the writer, and the search for dead servers.
    pub(crate) fn start(self, supervisor: &Supervisor) {
        let search = dead_servers::DeadServerSearch::new(&self);
        supervisor.spawn("presence sweep", search.run());
        supervisor.spawn("presence", self.run());
    }

    async fn run(self) {
        loop {
            tokio::select! {
                biased;
                () = self.heartbeat.re_registered() => self.present.state().re_announce(),
                () = self.present.wait_for_changes() => {}
            }
            tokio::time::sleep(GATHER).await;
            if let Err(error) = self.write().await {
                self.metrics.count_fault("presence");
                tracing::warn!(%error, "could not write which users are connected; trying again");
            }
        }
    }

    /// Writes the online and offline states that are due.
    async fn write(&self) -> Result<(), StoreError> {
        let server = self.heartbeat.server();
        loop {
            let arrivals = self.present.state().take_arrivals(self.batch);
            if arrivals.is_empty() {
                break;
            }
            if let Err(error) = self.store.record_online(server, &arrivals).await {
                self.present.state().restore_arrivals(arrivals);
                return Err(error);
            }
        }
        loop {
            let departures = self.present.state().take_departures(self.batch, self.settings.grace);
            if departures.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.store.record_offline(server, &departures).await {
                self.present.state().restore_departures(departures);
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_is_recorded_when_the_online_write_may_have_succeeded() {
        let (present, user) = (PresenceTracker::default(), UserId::Int(1));
        let guard = present.enter(&user);
        let arrivals = present.state().take_arrivals(10);
        assert_eq!(arrivals, std::slice::from_ref(&user));
        // The online write had an unknown outcome: it may have succeeded.
        present.state().restore_arrivals(arrivals);
        drop(guard);
        assert_eq!(present.state().take_arrivals(10), []);
        let departures = present.state().take_departures(10, Duration::ZERO);
        assert_eq!(departures.into_iter().map(|(user, _)| user).collect::<Vec<_>>(), [user]);
    }

    #[test]
    fn offline_is_not_recorded_when_online_never_was() {
        let (present, user) = (PresenceTracker::default(), UserId::Int(1));
        drop(present.enter(&user));
        assert_eq!(present.state().take_arrivals(10), []);
        assert_eq!(present.state().take_departures(10, Duration::ZERO), []);
        assert!(present.state().is_settled());
    }
}
