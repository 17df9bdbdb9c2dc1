//! Warns at the start of the server about options of the MongoDB connection string that make the server slow without an
//! error.

use mongodb::options::ClientOptions;

use crate::config;

/// With fewer database connections than this number, messages, receipts, connecting sockets and API requests wait for
/// each other. In a measurement with a pool of one connection, a message took 1.7 s.
const FEW_CONNECTIONS: u32 = 8;

/// Warns if the connection pool is smaller than [`FEW_CONNECTIONS`]. `maxPoolSize` in the URI takes precedence over
/// `mongodb.pool_size`.
pub(crate) async fn warn_of_small_pool(settings: &config::MongodbConfig) {
    let Some(uri) = &settings.uri else { return };
    // This function ignores an invalid URI. The code that connects to the database reports it.
    let Ok(options) = ClientOptions::parse(uri.expose()).await else { return };
    // Zero means that the pool has no bound.
    let connections = options.max_pool_size.unwrap_or(settings.pool_size);
    if (1..FEW_CONNECTIONS).contains(&connections) {
        tracing::warn!(
            connections,
            "maxPoolSize in mongodb.uri, or mongodb.pool_size, is so small that messages wait for a connection; \
             {FEW_CONNECTIONS} or more are better"
        );
    }
}
