//! The server as a process of its own, which a test can signal and kill.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::super::mongo::Database;
use super::super::server::others::settings;
use super::super::transcript::Transcript;
use super::super::{PATIENCE, Server, mongod};
use super::Owned;

/// A running process of the program `parlor`. Dropping this value kills the process.
pub(crate) struct Program {
    server: Server,
    pub(super) child: Owned,
    log: watch::Receiver<String>,
    deaf: Arc<Notify>,
    /// The environment variables that the test gave to the process.
    settings: Vec<(String, String)>,
}

impl Program {
    /// Starts the program on a new database of the shared database server.
    pub(crate) async fn start(overrides: &[(&str, &str)]) -> Self {
        Self::start_over(Database::uri(), overrides).await
    }

    /// Starts the program on a new database at this URI.
    pub(crate) async fn start_over(uri: &str, overrides: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new());
        let settings = settings(uri, &database.name, overrides);
        Self::run(settings, database, Transcript::new()).await
    }

    /// Starts the program with an embedded `mongod`, whose files are in this folder.
    pub(crate) async fn start_private(data: &Path, overrides: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new());
        let mut settings = settings("", &database.name, overrides);
        settings.retain(|(key, _)| key != "PARLOR__MONGODB__URI");
        // With an embedded `mongod`, the messenger is on by default.
        settings.push(("PARLOR__PAGE__ENABLED".to_owned(), "off".to_owned()));
        let own = [("DATA_DIR", data), ("MONGOD", &*mongod().await)];
        settings.extend(
            own.map(|(key, path)| (format!("PARLOR__MONGODB__{key}"), path.to_str().unwrap().to_owned())),
        );
        Self::run(settings, database, Transcript::new()).await
    }

    /// Starts the program so that it trusts only the certificates in this file.
    pub(crate) async fn start_trusting(certificates: &Path, overrides: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new());
        let mut settings = settings(Database::uri(), &database.name, overrides);
        settings.push(("SSL_CERT_FILE".to_owned(), certificates.to_str().unwrap().to_owned()));
        // Otherwise the program would also trust the system's folder of certificates.
        settings.push(("SSL_CERT_DIR".to_owned(), String::new()));
        Self::run(settings, database, Transcript::new()).await
    }

    /// Starts another process with the same settings and database, on another port.
    pub(crate) async fn again(&self) -> Self {
        self.again_with(&[]).await
    }

    /// Starts another process with the real clock instead of this process's [`Clock`].
    pub(crate) async fn again_by_everyones_clock(&self) -> Self {
        let mut settings = self.settings.clone();
        settings.retain(|(name, _)| name.starts_with("PARLOR__"));
        Self::run(settings, Arc::clone(self.database()), self.transcript().clone()).await
    }

    /// Starts another process with the same settings, except for `overrides`.
    pub(crate) async fn again_with(&self, overrides: &[(&str, &str)]) -> Self {
        let mut settings = self.settings.clone();
        for (key, value) in overrides {
            let key = format!("PARLOR__{key}");
            settings.retain(|(other, _)| *other != key);
            settings.push((key, (*value).to_owned()));
        }
        Self::run(settings, Arc::clone(self.database()), self.transcript().clone()).await
    }

    pub(super) async fn run(
        settings: Vec<(String, String)>,
        database: Arc<Database>,
        transcript: Transcript,
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlor"));
        command.env("PARLOR__ADMIN__LISTEN", "");
        command.envs(settings.iter().map(|(key, value)| (key, value)));
        command.env("PARLOR__LISTEN", "127.0.0.1:0").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Owned::spawn(command);
        let (said, mut log) = watch::channel(String::new());
        let mut lines = BufReader::new(child.child.stderr.take().unwrap()).lines();
        let noted = transcript.clone();
        let deaf = Arc::new(Notify::new());
        let deafened = deaf.clone();
        tokio::spawn(async move {
            loop {
                let line = tokio::select! {
                    line = lines.next_line() => line,
                    // The pipe stays open but is not read, so it fills up.
                    () = deafened.notified() => std::future::pending().await,
                };
                let Ok(Some(line)) = line else { return };
                noted.note("parlor", "!!", &line);
                said.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        // If the program can't start, it ends before this limit and prints the cause.
        let serving = log.wait_for(|log| log.contains("serving on"));
        let serving = timeout(4 * PATIENCE, serving).await.map(|log| log.map(|log| log.clone()));
        let Ok(serving) = serving else {
            panic!("parlor does not serve {:?} after its start; it said:\n{}", 4 * PATIENCE, *log.borrow())
        };
        let Ok(log_so_far) = serving else {
            let (status, log) = (child.ended().await, log.borrow().clone());
            panic!("parlor ended before it served, with {status:?}; it said:\n{log}")
        };
        let server = Server::at(address(&log_so_far), database, transcript);
        Self { server, child, log, deaf, settings }
    }

    /// Sends a signal to the process, by the signal's name.
    pub(crate) fn signal(&self, name: &str) {
        self.transcript().note("parlor", "<-", name);
        self.child.signal(name);
    }

    /// Returns the process's log so far.
    pub(crate) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Stops reading the process's log, so that the log's pipe fills up.
    pub(crate) fn deafen(&self) {
        self.deaf.notify_one();
    }

    /// Waits until the process's log has these words.
    pub(crate) async fn logged(&mut self, words: &str) {
        let logged = timeout(PATIENCE, self.log.wait_for(|log| log.contains(words))).await;
        assert!(matches!(logged, Ok(Ok(_))), "the log does not say {words:?} within {PATIENCE:?}");
    }

    /// Waits until the process ends. Returns its exit code, or `None` if a signal ended it.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let code = self.child.ended().await.code();
        self.server.transcript().note("parlor", "!!", &format!("ended with {code:?}"));
        code
    }
}

impl Deref for Program {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Program {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Returns the address in the log line `serving on` of a server.
fn address(log: &str) -> SocketAddr {
    let url = log.split("serving on http://").nth(1).unwrap_or_default();
    let address = url.split('/').next().unwrap_or_default();
    address.parse().unwrap_or_else(|_| panic!("no address in {log:?}"))
}
