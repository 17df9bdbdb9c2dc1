//! Limits bulk reads. A bulk read can keep the database busy for up to a second. The server does bulk reads for first
//! frames of inbox connections (Level 3), for resumes, and for pages of the list of rooms. Large histories, and the
//! lists and exports of the API, are also bulk reads.
//!
//! The number of concurrent bulk reads is bounded, for the server and for each user. Bulk reads have their own database
//! connections, so a write or a small read never waits for a connection that a bulk read uses. A bulk read waits first
//! for a permit of its user, and then for a permit of the server. Therefore reads that wait for their user's permit
//! hold no permit of the server.
//!
//! After a bulk read, the user's permit rests: it is returned only after a pause of twice the read's duration, at most
//! 5 s. Therefore each permit of a user keeps the database busy for at most a third of the time, if its reads take up
//! to 2.5 s. In a measurement, one user did as many bulk reads as these bounds permit. The median delay of the other
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

/// The maximum number of messages of a small history. The read of a larger history is a bulk read.
pub(crate) const SMALL_HISTORY: usize = 100;

/// The number of users whose permits are kept in memory. When this number is reached, the permits of users without a
/// running or waiting read are removed.
const REMEMBERED: usize = 1_000;

/// The maximum number of concurrent small reads of a user. A small read costs the database little, but may take some MB
/// of this server's memory.
const SMALL_READS: usize = 2;

/// The permits of each user.
type Turns = Mutex<HashMap<UserId, Arc<Semaphore>>>;

/// The permits of bulk reads, and the database client for them.
pub(super) struct BulkReads {
    client: Client,
    server: Arc<Semaphore>,
    users: Turns,
    /// The permits of each user for small reads.
    small: Turns,
    per_user: usize,
    wait: Duration,
    metrics: Arc<Metrics>,
}

/// The time for which a user's permit rests after a read, as a multiple of the read's duration.
const REST: u32 = 2;

/// The maximum time for which a permit rests.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// The permits of one bulk read. When this value is dropped, the server's permit is returned immediately. The user's
/// permit is returned after its rest.
#[derive(Debug)]
pub(crate) struct BulkTurn {
    user: Option<OwnedSemaphorePermit>,
    _server: OwnedSemaphorePermit,
    began: Instant,
    rests: bool,
}

impl BulkTurn {
    /// Makes the user's permit return without a rest when this value is dropped. The caller uses this for the read of a
    /// single room, because a client that reconnects may read many rooms concurrently, on separate sockets.
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
    /// Applies the configured bounds of a server to the store. These are the number of bulk reads, the number of their
    /// database connections, and the sizes of two caches (members and deletions).
    ///
    /// # Errors
    /// The same errors as those of [`open`](Self::open).
    pub(crate) async fn for_server(
        mut self,
        config: &Config,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let limits = &config.limits;
        let mut options = client_options(&config.mongodb).await?;
        // Exports have a separate bound (`api.exports`), because an export uses its connection until the client has
        // received the whole export.
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

    /// Waits for the permits of a bulk read. `user` is `None` if a request of the HTTP API needs the read. Returns the
    /// store for the read, and the permits. The caller must hold the permits until it has encoded the result.
    pub(crate) async fn bulk(&self, user: Option<&UserId>) -> Result<(Self, Option<BulkTurn>), NoTurn> {
        let Some(bulk) = &self.bulk else { return Ok((self.clone(), None)) };
        let turn = bulk.turn(user).await?;
        Ok((self.on_bulk_connections(), Some(turn)))
    }

    /// Waits for a permit for a small read. Each user has [`SMALL_READS`] such permits, which bound the memory that the
    /// user's small reads take.
    pub(crate) async fn own_turn(&self, user: &UserId) -> Result<Option<BulkTurn>, NoTurn> {
        let Some(bulk) = &self.bulk else { return Ok(None) };
        let end = Instant::now() + bulk.wait;
        let permit = bulk.permit(of_user(&bulk.small, user, SMALL_READS), "bulk_reads_per_user", end).await?;
        Ok(Some(BulkTurn { user: None, _server: permit, began: Instant::now(), rests: false }))
    }

    /// Returns this store with the database connections of bulk reads. The caller must already hold the permits of a
    /// bulk read.
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

/// Returns a user's semaphore. If the user has no semaphore in `turns`, creates one with `most` permits.
fn of_user(turns: &Turns, user: &UserId, most: usize) -> Arc<Semaphore> {
    let mut users = turns.lock().unwrap_or_else(PoisonError::into_inner);
    if users.len() >= REMEMBERED {
        users.retain(|_, reads| Arc::strong_count(reads) > 1 || reads.available_permits() < most);
    }
    users.entry(user.clone()).or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
}
