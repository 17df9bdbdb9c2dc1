//! Warns at the start of connection string options that make a server slow without an error.

use mongodb::options::ClientOptions;

use crate::config;

/// With fewer connections, messages, receipts, connects and requests wait for each other. Measured with one: 1.7 s a
/// message.
const FEW_CONNECTIONS: u32 = 8;

/// Warns if the connection pool is very small, by `maxPoolSize` in the URI or by `mongodb.pool_size`.
pub(crate) async fn warn_of_small_pool(settings: &config::MongodbConfig) {
    let Some(uri) = &settings.uri else { return };
    // Errors of the URI are reported by the code that connects.
    let Ok(options) = ClientOptions::parse(uri.expose()).await else { return };
    // Zero means no bound.
    let connections = options.max_pool_size.unwrap_or(settings.pool_size);
    if (1..FEW_CONNECTIONS).contains(&connections) {
        tracing::warn!(
            connections,
            "maxPoolSize in mongodb.uri, or mongodb.pool_size, is so small that messages wait for a connection; \
             {FEW_CONNECTIONS} or more are better"
        );
    }
}
