//! Bulk reads: reads that can keep the database busy for up to a second. These are first frames of inbox connections,
//! resumes, pages of rooms, large histories, and the API's lists and exports.
//!
//! Bulk reads are bounded in number, for the server and for each user. They use database connections of their own, so a
//! write or a small read never waits for a connection that a bulk read holds. A bulk read waits first for its user's
//! permit and then for the server's permit. So the waiting reads of one user hold no permit that other users need.
//!
//! After a bulk read, the user's permit is returned only after twice the duration of the read. So one user keeps the
//! database busy for a third of the time at most. In a measurement with such a user, the median delay of the other
//! users did not change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use handlers::UserId;
use mongodb::Client;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::messages::deletions::Deletions;
use super::users::contacts::Contacts;
use super::{Store, StoreError, client_options};
use crate::config::Config;
use crate::telemetry::metrics::Metrics;

/// A history of more messages than this number is a bulk read.
pub(crate) const SMALL_HISTORY: usize = 100;

/// When more users than this are remembered, users without a running read are forgotten.
const REMEMBERED: usize = 1_000;

/// The maximum of concurrent small reads of a user. Small reads cost the database little, but may take some MB of
/// memory here.
const SMALL_READS: usize = 2;

/// The permits of each user.
type Turns = Mutex<HashMap<UserId, Arc<Semaphore>>>;

/// The permits of bulk reads, and the database client for them.
pub(super) struct BulkReads {
    client: Client,
    server: Arc<Semaphore>,
    users: Turns,
    /// The permits for reads that are small for the database.
    small: Turns,
    per_user: usize,
    wait: Duration,
    metrics: Arc<Metrics>,
}

/// A user's permit rests after a read for this many times the duration of the read.
const REST: u32 = 2;

/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// The permits of one bulk read. Dropping the value returns the server's permit immediately, and the user's permit
/// after its rest.
#[derive(Debug)]
pub(crate) struct BulkTurn {
    user: Option<OwnedSemaphorePermit>,
    _server: OwnedSemaphorePermit,
    began: Instant,
    rests: bool,
}

impl BulkTurn {
    /// Removes the rest of the user's permit after this read. Used for the read of a single room. A client that
    /// reconnects may read many rooms concurrently, each on a socket of its own.
    pub(crate) fn without_rest(mut self) -> Self {
        self.rests = false;
        self
    }
}

impl Drop for BulkTurn {
    fn drop(&mut self) {
        let (user, rest) = (self.user.take(), (self.began.elapsed() * REST).min(LONGEST_REST));
        if let (true, Some(user), Ok(runtime)) = (self.rests, user, Handle::try_current()) {
            runtime.spawn(async move {
                tokio::time::sleep(rest).await;
                drop(user);
            });
        }
    }
}

/// No permit became free within `limits.bulk_wait_ms`.
#[derive(Debug)]
pub(crate) struct NoTurn;

impl From<NoTurn> for StoreError {
    fn from(_: NoTurn) -> Self {
        Self::Full
    }
}

impl Store {
    /// Applies the bounds of a server to the store: the number of bulk reads, their connections, and the sizes of the
    /// caches of rooms.
    ///
    /// # Errors
    /// The same as those of [`open`](Self::open).
    pub(crate) async fn for_server(
        mut self,
        config: &Config,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let limits = &config.limits;
        let mut options = client_options(&config.mongodb).await?;
        // The bound of exports (`api.exports`) is separate, because an export runs for as long as its client reads.
        let most = u32::try_from(limits.bulk_reads + config.api.exports).unwrap_or(u32::MAX);
        options.max_pool_size = Some(options.max_pool_size.map_or(most, |set| set.min(most)));
        self.bulk = Some(Arc::new(BulkReads {
            client: Client::with_options(options)?,
            server: Arc::new(Semaphore::new(limits.bulk_reads)),
            users: Mutex::default(),
            small: Mutex::default(),
            per_user: limits.bulk_reads_per_user,
            wait: limits.bulk_wait,
            metrics: metrics.clone(),
        }));
        self.contacts = Arc::new(Contacts::new(limits.members_cached, Some(metrics.clone())));
        self.deletions = Arc::new(Deletions::new(limits.deletions_cached, Some(metrics.clone())));
        Ok(self)
    }

    /// Waits for the permits of a bulk read. `user` is None for the API. Returns the store to read with, and the
    /// permits. The caller must hold the permits until the result is encoded.
    pub(crate) async fn bulk(&self, user: Option<&UserId>) -> Result<(Self, Option<BulkTurn>), NoTurn> {
        let Some(bulk) = &self.bulk else { return Ok((self.clone(), None)) };
        let turn = bulk.turn(user).await?;
        Ok((self.on_bulk_connections(), Some(turn)))
    }

    /// Waits for the permit of a read that is small for the database, but takes memory. A user has [`SMALL_READS`]
    /// permits.
    pub(crate) async fn own_turn(&self, user: &UserId) -> Result<Option<BulkTurn>, NoTurn> {
        let Some(bulk) = &self.bulk else { return Ok(None) };
        let end = Instant::now() + bulk.wait;
        let permit = bulk.permit(of_user(&bulk.small, user, SMALL_READS), "bulk_reads_per_user", end).await?;
        Ok(Some(BulkTurn { user: None, _server: permit, began: Instant::now(), rests: false }))
    }

    /// Returns the same store with the connections of bulk reads, for a caller that has the permits already.
    pub(crate) fn on_bulk_connections(&self) -> Self {
        let Some(bulk) = &self.bulk else { return self.clone() };
        let db = bulk.client.database(self.db.name());
        Self {
            client: bulk.client.clone(),
            messages: db.collection("messages"),
            members: db.collection("members"),
            db,
            bulk: None,
            ..self.clone()
        }
    }
}

impl BulkReads {
    async fn turn(&self, user: Option<&UserId>) -> Result<BulkTurn, NoTurn> {
        let end = Instant::now() + self.wait;
        let user = match user {
            Some(user) => {
                let turns = of_user(&self.users, user, self.per_user);
                Some(self.permit(turns, "bulk_reads_per_user", end).await?)
            }
            None => None,
        };
        let server = self.permit(self.server.clone(), "bulk_reads", end).await?;
        Ok(BulkTurn { user, _server: server, began: Instant::now(), rests: true })
    }

    async fn permit(
        &self,
        of: Arc<Semaphore>,
        bound: &'static str,
        end: Instant,
    ) -> Result<OwnedSemaphorePermit, NoTurn> {
        if let Ok(permit) = of.clone().try_acquire_owned() {
            return Ok(permit);
        }
        self.metrics.bound_hit(bound);
        if let Ok(Ok(permit)) = tokio::time::timeout_at(end, of.acquire_owned()).await {
            return Ok(permit);
        }
        self.metrics.bound_hit("bulk_wait_ms");
        Err(NoTurn)
    }
}

/// Returns a user's semaphore. A new semaphore has `most` permits.
fn of_user(turns: &Turns, user: &UserId, most: usize) -> Arc<Semaphore> {
    let mut users = turns.lock().unwrap_or_else(PoisonError::into_inner);
    if users.len() >= REMEMBERED {
        users.retain(|_, reads| Arc::strong_count(reads) > 1 || reads.available_permits() < most);
    }
    users.entry(user.clone()).or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
}
