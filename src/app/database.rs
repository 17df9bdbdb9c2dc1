//! Opens the database of a configuration, and waits until the database is available. If `mongodb.uri` is not set,
//! Parlor starts its own `mongod` process, the embedded `mongod`.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::keep_own_secret;
use crate::config::{Config, MongodbConfig, Secret};
use crate::error::StartError;
use crate::mongod::{self, EmbeddedMongod, MongodError, MongodOptions};
use crate::store::Store;

/// The longest time that a starting server waits for its database. Then the server waits for its change stream, again
/// for at most this time.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two attempts to reach the database.
const START_PAUSE: Duration = Duration::from_millis(500);

/// Opens the database of a configuration, for a command that ends soon. If no URI is configured, uses the embedded
/// `mongod` of `mongodb.data_dir`. Starts this `mongod`, unless a Parlor server on this machine already runs it.
///
/// # Errors
/// The configuration can't be used, or the embedded `mongod` can't be started.
pub async fn open_store(mut config: Config) -> Result<(Store, Option<EmbeddedMongod>), StartError> {
    let embedded = if config.mongodb.uri.is_some() {
        None
    } else {
        match start_embedded(&config.mongodb).await {
            Ok(embedded) => {
                config.mongodb.uri = Some(Secret::new(embedded.uri()));
                Some(embedded)
            }
            Err(error @ MongodError::InUse { .. }) => {
                config.mongodb.uri = mongod::running(&config.mongodb.data_dir).map(Secret::new);
                if config.mongodb.uri.is_none() {
                    return Err(error.into());
                }
                None
            }
            Err(error) => return Err(error.into()),
        }
    };
    let store = Store::open(&config.mongodb, config.limits.rooms_cached).await?;
    Ok((store, embedded))
}

async fn start_embedded(mongodb: &MongodbConfig) -> Result<EmbeddedMongod, MongodError> {
    let MongodbConfig { data_dir, mongod, cache_mib, .. } = mongodb;
    EmbeddedMongod::start(&MongodOptions {
        data_dir: data_dir.clone(),
        mongod: mongod.clone(),
        cache_mib: *cache_mib,
    })
    .await
}

/// Starts the embedded `mongod` if no URI is configured. Creates a secret for signing tokens if no key is configured.
pub(crate) async fn embed(config: &mut Config) -> Result<Option<EmbeddedMongod>, StartError> {
    if keep_own_secret(config)? {
        tracing::info!(data_dir = %config.mongodb.data_dir.display(), "no key is configured; signing tokens with the secret stored in data_dir");
    }
    if config.mongodb.uri.is_some() {
        return Ok(None);
    }
    let embedded = start_embedded(&config.mongodb).await?;
    config.mongodb.uri = Some(Secret::new(embedded.uri()));
    Ok(Some(embedded))
}

/// Creates the collections and indexes. While the database is unavailable, tries again until [`START_TIMEOUT`] has
/// passed.
pub(crate) async fn prepare(store: &Store, shutdown: &CancellationToken) -> Result<(), StartError> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let Err(error) = store.prepare().await else { return Ok(()) };
        let diagnosis =
            shutdown.run_until_cancelled(store.diagnose(&error)).await.ok_or_else(stopped_early)?;
        if diagnosis.lasting || Instant::now() > deadline {
            return Err(StartError::new(diagnosis.text));
        }
        tracing::warn!(error = diagnosis.text, "the database is not available yet; trying again");
        if shutdown.run_until_cancelled(tokio::time::sleep(START_PAUSE)).await.is_none() {
            return Err(stopped_early());
        }
    }
}

/// Returns the error of a server that was stopped before it had started.
pub(crate) fn stopped_early() -> StartError {
    StartError::new("stopped before the database was available")
}

/// Returns the error of a server that wrote a heartbeat (a document) and did not receive it from the change stream
/// within [`START_TIMEOUT`].
pub(crate) fn silent_stream() -> StartError {
    StartError::new(format!(
        "the change stream delivers nothing: no heartbeat came back within {START_TIMEOUT:?}; reduce the load of the \
         database, or set feed.read_from to \"primary\" if it is \"secondary\""
    ))
}
