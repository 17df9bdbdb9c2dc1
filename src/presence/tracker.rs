//! Who has sockets on this server, written to the database for all servers to see.
//!
//! A socket that opens or closes only leaves a word here; a task of its own writes what has changed, in batches, so
//! that no connect waits for it. Whoever closes the last socket counts as gone only after a short grace: a page that
//! is loaded anew, or a phone that changes its network, makes no coming and going.
//!
//! What a server that died has left is tidied up by any other ([`dead_servers`](crate::presence::dead_servers)). One that was taken for dead and isn't
//! finds its heartbeat gone, and says all of it again. A server that ends in good order leaves its users to the
//! others in the same way: they are about to come back elsewhere.

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

/// How long changes are gathered for one write. Of thousands who connect at once each costs the less.
const GATHER: Duration = Duration::from_millis(100);

/// The users of this server. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct PresenceTracker(Arc<SharedTracker>);

#[derive(Default)]
struct SharedTracker {
    state: Mutex<TrackerState>,
    /// Something is to be written.
    changed: Notify,
}

#[derive(Default)]
struct TrackerState {
    users: HashMap<UserId, LocalUser>,
    /// Those who may be here without the database knowing; some twice.
    arriving: Vec<UserId>,
    /// Those who closed their last socket, the first to have done so first.
    leaving: VecDeque<(Instant, UserId)>,
}

/// One user's sockets.
#[derive(Default)]
struct LocalUser {
    sockets: usize,
    recorded: Recorded,
    /// Since when their going has rested, and when the last socket was closed: of a write that failed it rests anew.
    left: Option<(Instant, Instant)>,
}

/// Whether the database knows of a user's sockets.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Recorded {
    #[default]
    No,
    /// It was written or it wasn't: it is to be written again, and their going is, too.
    Perhaps,
    Yes,
}

/// A socket, until it is dropped.
pub(crate) struct PresenceGuard {
    present: PresenceTracker,
    user: UserId,
}

impl PresenceTracker {
    /// A user has one more socket.
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

    /// Resolves when something is to be written, now or after the grace.
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
    /// Up to `most` users of whom the database is to hear; from here on it counts as knowing.
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

    /// Up to `most` users who have been gone for `grace`.
    fn take_departures(&mut self, most: usize, grace: Duration) -> Vec<(UserId, Instant)> {
        let mut departures = Vec::new();
        while departures.len() < most
            && let Some((_, user)) = self.leaving.pop_front_if(|(left, _)| left.elapsed() >= grace)
        {
            let Some(here) = self.users.get(&user) else { continue };
            let Some((_, at)) = here.left.filter(|(left, _)| left.elapsed() >= grace) else { continue };
            // Forgotten before it is written: whoever comes back meanwhile is said to have arrived after it.
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
            // Of those who have come back it may be written or not: their coming is.
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

    /// The database has forgotten all of them.
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

/// What writes, and tidies up.
pub(crate) struct PresenceWriter {
    pub(crate) present: PresenceTracker,
    pub(crate) store: Store,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) settings: config::Presence,
    /// Users in one write.
    pub(crate) batch: usize,
    pub(crate) metrics: Arc<Metrics>,
}

impl PresenceWriter {
    /// Starts both.
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
                self.metrics.fault("presence");
                tracing::warn!(%error, "writing who is connected failed; trying again");
            }
        }
    }

    /// Writes all that is due.
    async fn write(&self) -> Result<(), StoreError> {
        let server = self.heartbeat.server();
        loop {
            let arrivals = self.present.state().take_arrivals(self.batch);
            if arrivals.is_empty() {
                break;
            }
            if let Err(error) = self.store.arrived(server, &arrivals).await {
                self.present.state().restore_arrivals(arrivals);
                return Err(error);
            }
        }
        loop {
            let departures = self.present.state().take_departures(self.batch, self.settings.grace);
            if departures.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.store.left(server, &departures).await {
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
    fn of_who_leaves_while_it_is_not_sure_that_they_were_told_of_it_is_told_that_they_left() {
        let (present, user) = (PresenceTracker::default(), UserId::Int(1));
        let guard = present.enter(&user);
        let arrivals = present.state().take_arrivals(10);
        assert_eq!(arrivals, std::slice::from_ref(&user));
        // The write may have been done, or not.
        present.state().restore_arrivals(arrivals);
        drop(guard);
        assert_eq!(present.state().take_arrivals(10), []);
        let departures = present.state().take_departures(10, Duration::ZERO);
        assert_eq!(departures.into_iter().map(|(user, _)| user).collect::<Vec<_>>(), [user]);
    }

    #[test]
    fn of_whom_the_database_has_never_heard_nothing_is_told() {
        let (present, user) = (PresenceTracker::default(), UserId::Int(1));
        drop(present.enter(&user));
        assert_eq!(present.state().take_arrivals(10), []);
        assert_eq!(present.state().take_departures(10, Duration::ZERO), []);
        assert!(present.state().is_settled());
    }
}
