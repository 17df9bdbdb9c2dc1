//! Bulk reads: first frames of inbox connections, resumes, pages of rooms, large histories, and lists and exports of
//! the API.
//!
//! One of them can keep the database busy for a second. So they are bounded in number, for a server and for a user, and
//! run on database connections of their own: writes and small reads never queue behind them for a connection. A read
//! first waits for its user's turn, then for the server's: the waiting reads of one user hold nothing that others need.
//! After a read its user's turn rests for twice as long as the read took. So one user keeps the database busy for a third
//! of the time at most, and the median of what others do is as without that user.

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

/// A history of more messages than this is a bulk read.
pub(crate) const SMALL_HISTORY: usize = 100;

/// The number of users after which those without a running read are removed.
const REMEMBERED: usize = 1_000;

/// The maximum of concurrent reads of a user that are small for the database, but may take some MB of memory.
const SMALL_READS: usize = 2;

/// The semaphores of the users.
type Turns = Mutex<HashMap<UserId, Arc<Semaphore>>>;

/// The bounds of bulk reads, and the database client that they use.
pub(super) struct BulkReads {
    client: Client,
    server: Arc<Semaphore>,
    users: Turns,
    /// For reads that are small for the database.
    small: Turns,
    per_user: usize,
    wait: Duration,
    metrics: Arc<Metrics>,
}

/// After a read its user's turn rests for this many times the read's duration.
const REST: u32 = 2;

/// The maximum of that rest.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// The permits of one bulk read. The server's is given back when dropped, the user's after its rest.
#[derive(Debug)]
pub(crate) struct BulkTurn {
    user: Option<OwnedSemaphorePermit>,
    _server: OwnedSemaphorePermit,
    began: Instant,
    rests: bool,
}

impl BulkTurn {
    /// Releases the user's permit together with the server's. It is for the read of one room, which a client may repeat
    /// on many sockets at the same time.
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

/// No turn came within `limits.bulk_wait_ms`.
#[derive(Debug)]
pub(crate) struct NoTurn;

impl From<NoTurn> for StoreError {
    fn from(_: NoTurn) -> Self {
        Self::Full
    }
}

impl Store {
    /// Sets a server's bounds: the number of bulk reads and their own database client, and the sizes of the caches of
    /// rooms.
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
        // An export has a turn of its own (`api.exports`), since it lasts as long as its client reads.
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

    /// Waits for the turn of a bulk read of a user, or of the API. Returns the store to read with, and the turn, which
    /// must be held until the result is encoded.
    pub(crate) async fn bulk(&self, user: Option<&UserId>) -> Result<(Self, Option<BulkTurn>), NoTurn> {
        let Some(bulk) = &self.bulk else { return Ok((self.clone(), None)) };
        let turn = bulk.turn(user).await?;
        Ok((self.on_bulk_connections(), Some(turn)))
    }

    /// Waits for the turn of a read that is small for the database, but takes memory. A user has [`SMALL_READS`] of
    /// them at a time.
    pub(crate) async fn own_turn(&self, user: &UserId) -> Result<Option<BulkTurn>, NoTurn> {
        let Some(bulk) = &self.bulk else { return Ok(None) };
        let end = Instant::now() + bulk.wait;
        let permit = bulk.permit(of_user(&bulk.small, user, SMALL_READS), "bulk_reads_per_user", end).await?;
        Ok(Some(BulkTurn { user: None, _server: permit, began: Instant::now(), rests: false }))
    }

    /// Returns the same store on the connections of bulk reads, for callers that have a turn already.
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

/// Returns a user's semaphore, which has `most` permits.
fn of_user(turns: &Turns, user: &UserId, most: usize) -> Arc<Semaphore> {
    let mut users = turns.lock().unwrap_or_else(PoisonError::into_inner);
    if users.len() >= REMEMBERED {
        users.retain(|_, reads| Arc::strong_count(reads) > 1 || reads.available_permits() < most);
    }
    users.entry(user.clone()).or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
}
