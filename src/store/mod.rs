//! The database layer: the stored documents, their indexes, and all operations on MongoDB.
//!
//! A write succeeds only after a majority of the database's members has stored it, so the write survives the loss of a
//! member. No caller waits longer than `mongodb.operation_ms` for an operation, except for change streams and exports.
//! This layer does not know the clients' sockets. Sockets receive the written changes through the [change
//! stream](crate::realtime::change_stream), which is the database's ordered list of committed changes.

pub(crate) mod advice;
pub(crate) mod batching;
pub(crate) mod bulk_reads;
pub(crate) mod codec;
pub(crate) mod database_clock;
pub(crate) mod diagnosis;
pub(crate) mod ephemeral;
pub(crate) mod error;
pub(crate) mod error_text;
pub(crate) mod function_state;
pub(crate) mod idempotency;
pub(crate) mod indexes;
pub(crate) mod json_size;
mod lru_map;
pub(crate) mod messages;
mod operation;
pub(crate) mod peers;
pub(crate) mod point_in_time;
pub(crate) mod receipts;
pub(crate) mod room_port;
pub(crate) mod rooms;
pub(crate) mod schema;
pub(crate) mod set_aside_events;
pub(crate) mod stream_position;
pub(crate) mod typing;
pub(crate) mod users;
pub(crate) mod webhook_leases;

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{DateTime, Document, RawDocumentBuf, doc};
use handlers::{RoomId, Time};
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database};

pub(crate) use self::advice::warn_of_small_pool;
use self::batching::BatchPacer;
use self::bulk_reads::BulkReads;
pub(crate) use self::bulk_reads::{BulkTurn, NoTurn, SMALL_HISTORY};
use self::database_clock::DatabaseClock;
pub use self::diagnosis::Diagnosis;
pub use self::error::StoreError;
pub(crate) use self::error_text::summary;
pub(crate) use self::idempotency::{Claim, RequestAttempt, RequestKey, StoredResponse};
use self::indexes::Indexes;
use self::messages::deletions::Deletions;
pub use self::messages::insert::{Writer, Written};
pub(crate) use self::messages::renderer::MessageRenderer;
pub(crate) use self::messages::resume::ResumedRoom;
use self::messages::revisions::RevisionLocks;
pub(crate) use self::messages::sequence_cache::{LastMessage, SequenceCache};
pub(crate) use self::messages::snapshot::{Snapshot, WAITING};
use self::peers::Peers;
pub(crate) use self::point_in_time::UnreadCount;
use self::receipts::overlay::Overlay;
pub use self::receipts::writer::Receipts;
pub use self::room_port::BoundRoom;
pub(crate) use self::room_port::{RECHECK_AFTER, begin_by};
use self::rooms::activity_cache::ActivityCache;
use self::rooms::changed_since::RecentRoomChanges;
pub(crate) use self::rooms::create::RoomPlan;
pub use self::rooms::create::{NewMember, NewRoom};
pub(crate) use self::rooms::inbox_page::{InboxPage, InboxQuery, KnownPosition, RoomLookup, Watermarks};
pub(crate) use self::rooms::list::RoomPageQuery;
pub(crate) use self::rooms::membership::{JoinOutcome, LeaveOutcome};
pub(crate) use self::rooms::position::RoomListPosition;
pub(crate) use self::rooms::room_view::{to_delta, to_room_view};
pub(crate) use self::rooms::summary::RoomSummary;
pub use self::schema::{Advice, inspect};
use self::stream_position::StreamPosition;
pub use self::typing::Audience;
use self::typing::Typists;
use self::users::contacts::Contacts;
pub(crate) use self::users::erase::Erasure;
use self::users::erasing::ErasingUsers;
pub(crate) use self::users::export::{ExportedMembership, ExportedMessage};
pub use self::users::presence::UserPresence;

use crate::config;
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;

/// The database operations for handlers, sockets and the API. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    client: Client,
    options: Arc<ClientOptions>,
    db: Database,
    messages: Collection<RawDocumentBuf>,
    members: Collection<RawDocumentBuf>,
    operation: Duration,
    numbers: Arc<SequenceCache>,
    activity: Arc<ActivityCache>,
    revisions: Arc<RevisionLocks>,
    typists: Arc<Typists>,
    peers: Peers,
    touched: Arc<RecentRoomChanges>,
    overlay: Arc<Overlay>,
    reached: Arc<StreamPosition>,
    /// The permits of bulk reads (large reads whose number is limited). None in a command of the command line, and in
    /// the store that a bulk read itself uses.
    bulk: Option<Arc<BulkReads>>,
    indexes: Arc<Indexes>,
    database_clock: Arc<DatabaseClock>,
    contacts: Arc<Contacts>,
    deletions: Arc<Deletions>,
    erasing: Arc<ErasingUsers>,
}

impl Store {
    /// Opens the store. The driver connects at the first operation, so this call reports only errors of the URI, and
    /// not an unreachable database.
    ///
    /// # Errors
    /// [`StoreError::Fault`] if the URI is missing or can't be used.
    pub async fn open(settings: &config::MongodbConfig, rooms_cached: usize) -> Result<Self, StoreError> {
        let options = client_options(settings).await?;
        let client = Client::with_options(options.clone())?;
        let db = client.database(&settings.database);
        Ok(Self {
            messages: db.collection("messages"),
            members: db.collection("members"),
            client,
            options: Arc::new(options),
            db,
            operation: settings.operation,
            numbers: Arc::new(SequenceCache::new(rooms_cached)),
            activity: Arc::new(ActivityCache::new(rooms_cached)),
            revisions: Arc::default(),
            typists: Arc::default(),
            peers: Peers::default(),
            touched: Arc::new(RecentRoomChanges::new(rooms_cached)),
            overlay: Arc::default(),
            reached: Arc::default(),
            bulk: None,
            indexes: Arc::default(),
            database_clock: Arc::default(),
            contacts: Arc::new(Contacts::new(0, None)),
            deletions: Arc::new(Deletions::new(0, None)),
            erasing: Arc::default(),
        })
    }

    /// Returns this store with new database connections, for callers whose old connections may hang.
    pub(crate) fn reconnected(&self) -> Result<Self, StoreError> {
        let client = Client::with_options(ClientOptions::clone(&self.options))?;
        let db = client.database(self.db.name());
        let (messages, members) = (db.collection("messages"), db.collection("members"));
        Ok(Self { client, db, messages, members, ..self.clone() })
    }

    /// Returns the driver's database object, for the change stream.
    pub(crate) fn database(&self) -> &Database {
        &self.db
    }

    /// Writes the heartbeat of the server `server`, with the number `beat`. Returns after a majority has stored the
    /// heartbeat. Returns true if this server had no heartbeat document. Then the server is new, or another server
    /// declared this server dead and removed the document.
    pub(crate) async fn beat(&self, server: ObjectId, beat: i64) -> Result<bool, StoreError> {
        let heartbeats = self.db.collection::<Document>("heartbeats");
        // If two heartbeats reach the database in the wrong order, `$max` keeps the greater number.
        let update = doc! { "$max": { "beat": beat }, "$currentDate": { "at": true } };
        self.run_detached(async move {
            let beaten = heartbeats.update_one(doc! { "_id": server }, update).upsert(true).await?;
            Ok(beaten.upserted_id.is_some())
        })
        .await
    }

    /// Returns this server's estimate of the database's clock.
    pub(crate) fn database_clock(&self) -> &DatabaseClock {
        &self.database_clock
    }

    /// Returns the time for a new document: the estimated time of the database, not this server's own time.
    pub(crate) fn now(&self) -> Time {
        self.database_clock.now()
    }

    /// Returns the time for a new document in a room. The time is not earlier than the time of the last message in the
    /// room that this server knows.
    pub(crate) fn now_in(&self, room: RoomId) -> DateTime {
        let last = self.numbers.last(room).unwrap_or_default();
        DateTime::from_millis(self.now().max(last.at).0)
    }

    /// Clears all caches of rooms. The caller does this after collections were dropped: a room id may then belong to a
    /// new room, whose message numbers begin at 1 again.
    pub(crate) fn forget_rooms(&self) {
        self.numbers.clear();
        self.activity.clear();
        self.touched.clear();
        self.typists.clear();
        self.overlay.clear();
        self.contacts.clear_rooms();
        self.deletions.clear();
    }

    /// Returns the cache of the rooms' last activity.
    pub(crate) fn activity(&self) -> &ActivityCache {
        &self.activity
    }

    /// Returns the record of the rooms that changed recently.
    pub(crate) fn touched(&self) -> &RecentRoomChanges {
        &self.touched
    }

    /// Returns the cache of online users and of the members of rooms.
    pub(crate) fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// Returns the cache of deleted messages.
    pub(crate) fn deletions(&self) -> &Deletions {
        &self.deletions
    }

    /// Returns the receipt markers that the members' documents may not contain yet.
    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Returns the position that this server's change stream has reached.
    pub(crate) fn reached(&self) -> &StreamPosition {
        &self.reached
    }

    /// Returns this server's id, and whether other servers use the same database.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Returns the cache of each room's last message number.
    pub(crate) fn numbers(&self) -> Arc<SequenceCache> {
        self.numbers.clone()
    }

    /// Starts the message writer and the receipts writer. The writers run until the supervisor stops them.
    ///
    /// # Errors
    /// The same errors as those of [`open`](Self::open).
    pub async fn writers(
        &self,
        config: &config::Config,
        metrics: &Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Result<(Writer, Receipts), StoreError> {
        // The driver's retries are off, because the message writer and the receipts writer themselves find out whether
        // a write happened. With retries, the database would record the session of each write, which costs processor
        // time. At full speed, the database's processor time for each message was 0.061 ms with retries, and 0.056 ms
        // without retries. These are medians of five runs with MongoDB 6.0.5; the runs with and without retries
        // alternated.
        let mut options = client_options(&config.mongodb).await?;
        options.retry_writes = Some(false);
        let db = Client::with_options(options)?.database(self.db.name());
        let journal = db.collection("marks");
        let (limits, pace) = (&config.limits, BatchPacer::of(config.limits.batch));
        Ok((
            Writer::start(self.clone(), db, pace.clone(), limits, metrics.clone(), supervisor),
            Receipts::start(self.clone(), journal, pace, limits, metrics.clone(), supervisor),
        ))
    }
}

/// Returns the options of every connection: reads go to the primary, every write waits for a majority, and each wait
/// has a limit.
///
/// The client has no default read concern, because a default would override the snapshot of a session. Each read that
/// needs a read concern sets the concern itself. If options in the URI contradict these options, the configuration
/// refuses the URI (`config/uri.rs`). Contradicting options from a DNS record are overridden here.
async fn client_options(settings: &config::MongodbConfig) -> Result<ClientOptions, StoreError> {
    let uri = settings.uri.as_ref().ok_or_else(|| StoreError::Fault("mongodb.uri is not set".into()))?;
    let mut options = ClientOptions::parse(uri.expose()).await?;
    options.app_name.get_or_insert_with(|| "parlor".to_owned());
    options.max_pool_size.get_or_insert(settings.pool_size);
    options.server_selection_timeout.get_or_insert(settings.selection);
    options.connect_timeout.get_or_insert(settings.selection);
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.read_concern = None;
    options.write_concern = Some(WriteConcern::majority());
    if options.load_balanced == Some(true) {
        return Err(StoreError::Fault("loadBalanced=true in the URI's DNS record is not supported".into()));
    }
    Ok(options)
}

/// Returns an aggregation expression for the database's current time plus `by`. Leases (rights that expire at a stored
/// time) use the database's time, because the servers' clocks may differ.
fn from_now(by: Duration) -> Document {
    doc! { "$add": ["$$NOW", i64::try_from(by.as_millis()).unwrap_or(i64::MAX)] }
}
