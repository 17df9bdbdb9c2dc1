//! Creates the collections and indexes when a server starts. Also collects the findings about the database's deployment
//! that `parlor check` prints.

use std::time::Duration;

use bson::{Bson, Document, doc};
use mongodb::IndexModel;
use mongodb::error::ErrorKind;
use mongodb::options::IndexOptions;

use super::messages::revisions::UNFINISHED;
use super::rooms::consent::PENDING;
use super::{Store, StoreError};

/// The time after which MongoDB removes the heartbeat of a dead server. A heartbeat is a document that a running server
/// updates regularly.
const HEARTBEAT_KEPT: Duration = Duration::from_hours(1);

/// The time after which MongoDB removes an ephemeral event (for example typing). Within this time, every server
/// receives the event from the change stream.
const SIGNALS_KEPT: Duration = Duration::from_mins(1);

/// The names of all collections.
const COLLECTIONS: [&str; 13] = [
    "rooms",
    "messages",
    "members",
    "marks",
    "counters",
    "heartbeats",
    "presence",
    "signals",
    "requests",
    "erasures",
    "hooks",
    "set_aside",
    super::function_state::COLLECTION,
];

/// The name of the index that makes each `client_id` unique among the messages of one sender in one room.
pub(super) const BY_CLIENT: &str = "client_id";

/// The database's error code for a collection that exists already (`NamespaceExists`).
const EXISTS: i32 = 48;

impl Store {
    /// Checks that Parlor can use the database, and creates missing collections and indexes. Every server calls this
    /// function at its start. Several servers may call it concurrently.
    ///
    /// # Errors
    /// Fails if Parlor can't use or reach the database. [`Store::diagnose`] explains the error.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        self.check_deployment().await?;
        for collection in COLLECTIONS {
            let db = self.db.clone();
            let made = self.run_detached(async move { Ok(db.create_collection(collection).await?) }).await;
            match made {
                Err(StoreError::Fault(error)) if !already_there(&*error) => {
                    return Err(StoreError::Fault(error));
                }
                Err(error @ (StoreError::Unreachable(_) | StoreError::Unknown(_))) => return Err(error),
                _ => {}
            }
        }
        for (collection, index) in indexes() {
            let collection = self.db.collection::<Document>(collection);
            self.run_detached(async move { Ok(collection.create_index(index).await?) }).await?;
        }
        self.raise_room_counter().await
    }
}

fn already_there(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let kind = error.downcast_ref::<mongodb::error::Error>().map(|error| &*error.kind);
    matches!(kind, Some(ErrorKind::Command(command)) if command.code == EXISTS)
}

/// Returns all indexes that Parlor creates, with their collections. MongoDB itself creates an index on `_id` in each
/// collection. Queries for a room's messages and members use the index on `_id`.
pub(super) fn indexes() -> Vec<(&'static str, IndexModel)> {
    let unique_pair = IndexOptions::builder()
        .name("pair".to_owned())
        .unique(true)
        .partial_filter_expression(doc! { "pair": { "$exists": true } })
        .build();
    // Several attempts of one HTTP request with an idempotency key have the same `write_id`. With this index, only one
    // of the attempts creates a room.
    let made_once = IndexOptions::builder().name("write_id".to_owned()).unique(true).sparse(true).build();
    let deleted = IndexOptions::builder()
        .name("deleted".to_owned())
        .partial_filter_expression(doc! { "deleted_at": { "$exists": true } })
        .build();
    let by_user = IndexOptions::builder().name("user".to_owned()).build();
    let expiring = |after| {
        let options = IndexOptions::builder().name("at".to_owned()).expire_after(after).build();
        IndexModel::builder().keys(doc! { "at": 1 }).options(options).build()
    };
    // Finds the messages of a user for the export and the erasure. The count of a user's own messages after a receipt
    // marker also uses this index. The index leaves out messages without a sender.
    let by_sender = IndexOptions::builder()
        .name("sender_room".to_owned())
        .partial_filter_expression(doc! { "sender": { "$exists": true } })
        .build();
    let sender = doc! { "sender": 1, "_id.room": 1, "_id.n": 1 };
    let of_room = |name: &str, field: &str| {
        let options = IndexOptions::builder().name(name.to_owned());
        let options = options.partial_filter_expression(doc! { field: { "$exists": true } }).build();
        IndexModel::builder().keys(doc! { "_id.room": 1, "_id.n": 1 }).options(options).build()
    };
    let by_client = IndexOptions::builder()
        .name(BY_CLIENT.to_owned())
        .unique(true)
        .partial_filter_expression(doc! { "client_id": { "$exists": true } })
        .build();
    let client = doc! { "_id.room": 1, "sender": 1, "client_id": 1 };
    let by_revision = IndexOptions::builder()
        .name("rev".to_owned())
        .partial_filter_expression(doc! { "rev": { "$exists": true } })
        .build();
    let revision = doc! { "_id.room": 1, "rev": 1 };
    let unfinished = IndexOptions::builder()
        .name("journal".to_owned())
        .partial_filter_expression(doc! { UNFINISHED: { "$exists": true } })
        .build();
    let spent = IndexOptions::builder().name("expires_at".to_owned()).expire_after(Duration::ZERO).build();
    // This index has entries only if users create direct rooms by connecting (`rooms.direct`).
    let pending = IndexOptions::builder()
        .name(PENDING.to_owned())
        .partial_filter_expression(doc! { PENDING: true })
        .build();
    let about = IndexOptions::builder().name("about".to_owned()).sparse(true).build();
    let named = IndexOptions::builder().name("users".to_owned()).build();
    // If a server dies while it delivers an event to a webhook, another server delivers the event again. If the
    // webhook's receiver does not accept the event, both servers may store it in the collection `set_aside`. With this
    // index, the collection has only one document of the event.
    let event = IndexOptions::builder().name("event".to_owned()).unique(true).build();
    let by_owner = IndexOptions::builder().name("owner".to_owned()).build();
    let stale = IndexOptions::builder()
        .name("expires_at".to_owned())
        .expire_after(super::function_state::KEPT)
        .build();
    let connected = IndexOptions::builder()
        .name("servers".to_owned())
        .partial_filter_expression(doc! { "online": true })
        .build();
    vec![
        ("presence", IndexModel::builder().keys(doc! { "servers": 1 }).options(connected).build()),
        ("messages", IndexModel::builder().keys(sender).options(by_sender).build()),
        ("messages", of_room("alive", "text")),
        ("messages", of_room("gone", "deleted_at")),
        ("messages", IndexModel::builder().keys(client).options(by_client).build()),
        ("messages", IndexModel::builder().keys(revision).options(by_revision).build()),
        ("requests", IndexModel::builder().keys(doc! { "expires_at": 1 }).options(spent).build()),
        ("requests", IndexModel::builder().keys(doc! { "about": 1 }).options(about).build()),
        ("rooms", IndexModel::builder().keys(doc! { "pair": 1 }).options(unique_pair).build()),
        ("rooms", IndexModel::builder().keys(doc! { "write_id": 1 }).options(made_once).build()),
        ("rooms", IndexModel::builder().keys(doc! { "deleted_at": 1 }).options(deleted).build()),
        ("rooms", IndexModel::builder().keys(doc! { UNFINISHED: 1 }).options(unfinished).build()),
        (
            "members",
            IndexModel::builder().keys(doc! { "_id.user": 1, "_id.room": 1 }).options(by_user).build(),
        ),
        ("set_aside", IndexModel::builder().keys(doc! { "users": 1 }).options(named).build()),
        ("set_aside", IndexModel::builder().keys(doc! { "hook": 1, "event": 1 }).options(event).build()),
        ("members", IndexModel::builder().keys(doc! { "_id.room": 1 }).options(pending).build()),
        (
            super::function_state::COLLECTION,
            IndexModel::builder().keys(doc! { "_id.owner": 1, "_id.scope": 1 }).options(by_owner).build(),
        ),
        (
            super::function_state::COLLECTION,
            IndexModel::builder().keys(doc! { "expires_at": 1 }).options(stale).build(),
        ),
        ("heartbeats", expiring(HEARTBEAT_KEPT)),
        ("signals", expiring(SIGNALS_KEPT)),
    ]
}

/// One finding of [`inspect`] about the database's deployment.
#[derive(Debug)]
pub struct Advice {
    /// Whether the finding prevents Parlor from running.
    pub fatal: bool,
    /// The finding, and the remedy if it is a problem.
    pub finding: String,
}

/// Inspects the database's deployment: its version, and whether it is a replica set whose members all hold data.
///
/// # Errors
/// [`StoreError::Unreachable`] if no node answers.
pub async fn inspect(store: &Store) -> Result<Vec<Advice>, StoreError> {
    let mut advice = Vec::new();
    let mut say = |fatal, finding: String| advice.push(Advice { fatal, finding });
    let hello = store.hello().await?;
    match (store.fault_of(&hello), hello.get_str("setName")) {
        (Some(fault), _) => say(true, fault.text),
        (None, Ok(set)) => {
            let primary = hello.get_str("primary").unwrap_or("unknown");
            say(false, format!("replica set `{set}`, primary {primary}"));
        }
        (None, Err(_)) => say(false, "sharded cluster".to_owned()),
    }
    say(false, format!("database `{}`", store.db.name()));
    if let Some(arbiters) = hello.get("arbiters").and_then(Bson::as_array)
        && !arbiters.is_empty()
    {
        let names: Vec<_> = arbiters.iter().filter_map(Bson::as_str).collect();
        say(
            true,
            format!(
                "an arbiter ({}): with one data-bearing member down no write reaches a majority; make it a full member",
                names.join(", ")
            ),
        );
    }
    if let Ok(hosts) = hello.get_array("hosts")
        && hosts.len() == 2
    {
        say(false, "two members: neither may fail without writes stopping; three are better".to_owned());
    }
    Ok(advice)
}
