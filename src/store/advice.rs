//! What of a connection string makes a server slow without an error: it is said at the start.

use mongodb::options::ClientOptions;

use crate::config;

/// With fewer connections messages, receipts, connects and requests wait for each other. Measured with one: 1.7 s a message.
const FEW_CONNECTIONS: u32 = 8;

/// Warns of a pool that is very small, by `maxPoolSize` in the URI or by `mongodb.pool_size`.
pub(crate) async fn warn_of_small_pool(settings: &config::MongodbConfig) {
    let Some(uri) = &settings.uri else { return };
    // What is wrong with the URI is said where it is used.
    let Ok(options) = ClientOptions::parse(uri.expose()).await else { return };
    // Zero is without bound.
    let connections = options.max_pool_size.unwrap_or(settings.pool_size);
    if (1..FEW_CONNECTIONS).contains(&connections) {
        tracing::warn!(
            connections,
            "maxPoolSize in mongodb.uri, or mongodb.pool_size, is so small that messages wait for a connection; \
             {FEW_CONNECTIONS} or more are better"
        );
    }
}
