//! Which database a configuration means, and that it is there: the configured one, or a private one.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::keep_own_secret;
use crate::config::{Config, Mongodb, Secret};
use crate::error::StartError;
use crate::mongod::{self, Embedded, EmbeddedError, Options};
use crate::store::{Store, StoreError};

/// How long a server that starts waits for its database to be there.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two tries of that.
const START_PAUSE: Duration = Duration::from_millis(500);

/// The database of a configuration, for a command that is done soon: the configured one, else the private one,
/// which is that of the server that runs on the same data folder, or is started.
///
/// # Errors
/// The configuration can't be used, or the private database can't be started.
pub async fn open_store(mut config: Config) -> Result<(Store, Option<Embedded>), StartError> {
    let embedded = if config.mongodb.uri.is_some() {
        None
    } else {
        match start_embedded(&config.mongodb).await {
            Ok(embedded) => {
                config.mongodb.uri = Some(Secret::new(embedded.uri()));
                Some(embedded)
            }
            Err(error @ EmbeddedError::InUse { .. }) => {
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

async fn start_embedded(mongodb: &Mongodb) -> Result<Embedded, EmbeddedError> {
    let Mongodb { data_dir, mongod, cache_mib, .. } = mongodb;
    Embedded::start(&Options { data_dir: data_dir.clone(), mongod: mongod.clone(), cache_mib: *cache_mib })
        .await
}

/// Starts the private database and makes a secret, where the configuration has none.
pub(crate) async fn embed(config: &mut Config) -> Result<Option<Embedded>, StartError> {
    if keep_own_secret(config)? {
        tracing::info!(data_dir = %config.mongodb.data_dir.display(), "no key is configured: tokens are signed with the secret kept in data_dir");
    }
    if config.mongodb.uri.is_some() {
        return Ok(None);
    }
    let embedded = start_embedded(&config.mongodb).await?;
    config.mongodb.uri = Some(Secret::new(embedded.uri()));
    Ok(Some(embedded))
}

/// Makes collections and indexes, as soon as the database is there.
pub(crate) async fn prepare(store: &Store, shutdown: &CancellationToken) -> Result<(), StartError> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        let prepared = match store.check_version().await {
            Ok(()) => store.prepare().await,
            Err(error) => Err(error),
        };
        match prepared {
            Ok(()) => return Ok(()),
            Err(error @ StoreError::Fault(_)) => return Err(error.into()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "waiting for the database"),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(START_PAUSE)).await.is_none() {
            return Err(stopped_early());
        }
    }
}

/// It was told to end before it had begun.
pub(crate) fn stopped_early() -> StartError {
    StartError::new("stopped before the database was there")
}
