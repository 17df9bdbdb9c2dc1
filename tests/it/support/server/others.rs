//! More ways to start a server, and access to its parts: with other actions, on another URI, or as a separate process.

use std::net::SocketAddr;
use std::sync::Arc;

use handlers::Action;
use parlor::App;
use parlor::config::Config;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::super::mongo::Database;
use super::super::transcript::Transcript;
use super::{DEFAULTS, SECRET, Server, log_with_the_output};

impl Server {
    /// Starts a server with these actions instead of the built-in ones.
    pub(crate) async fn start_with(actions: &'static [Action], overrides: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new());
        Self::run_with(actions, overrides, Database::uri(), database, Transcript::new()).await
    }

    /// Starts another server on the same database, with another URI and other settings.
    pub(crate) async fn beside_over(&self, uri: &str, overrides: &[(&str, &str)]) -> Self {
        let (database, transcript) = (Arc::clone(&self.database), self.transcript.clone());
        Self::run_with(handlers::ACTIONS, overrides, uri, database, transcript).await
    }

    async fn run_with(
        actions: &'static [Action],
        overrides: &[(&str, &str)],
        uri: &str,
        database: Arc<Database>,
        transcript: Transcript,
    ) -> Self {
        log_with_the_output();
        let config = Config::load(None, settings(uri, &database.name, overrides));
        let config = config.unwrap_or_else(|error| panic!("configuration: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut server = Self::at(listener.local_addr().unwrap(), database, transcript.clone());
        let serve = App::new(config).actions(actions).serve(listener, server.shutdown.clone());
        server.task = tokio::spawn(async move {
            if let Err(error) = serve.await {
                transcript.note("server", "!!", &format!("ended: {error}"));
            }
        });
        server
    }

    /// Wraps a server that already runs at this address. [`Server::shut_down`] has no effect on the wrapped server.
    pub(crate) fn at(address: SocketAddr, database: Arc<Database>, transcript: Transcript) -> Self {
        Self {
            address,
            shutdown: CancellationToken::new(),
            task: tokio::spawn(std::future::ready(())),
            http: reqwest::Client::new(),
            secret: SECRET.to_owned(),
            database,
            transcript,
        }
    }

    /// Returns the server's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the transcript of the server's sockets.
    pub(crate) fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Returns the server's database.
    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.database
    }
}

/// Returns the environment variables of a server with these overrides.
pub(crate) fn settings(uri: &str, database: &str, overrides: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = [("MONGODB__URI", uri), ("MONGODB__DATABASE", database)];
    let defaults = DEFAULTS.iter().chain(&own);
    let kept = defaults.filter(|(key, _)| !overrides.iter().any(|(other, _)| other == key));
    kept.chain(overrides).map(|(key, value)| (format!("PARLOR__{key}"), (*value).to_owned())).collect()
}
