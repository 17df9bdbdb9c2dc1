//! Handles the replica set of the embedded `mongod`, which is the only member. Creates the set at the first start,
//! changes the set's configuration after a change of the port, and waits until `mongod` is primary.
//!
//! Change streams and majority writes need a replica set, even with one member. The set's configuration names the
//! member by host and port. If `mongod` listens on a different port, it does not find itself in the configuration and
//! does not become primary. A forced reconfiguration (`replSetReconfig` with `force`) sets the new port. Before the
//! reconfiguration, `mongod` connects to the old port to find out whether it is itself the member there. If another
//! program listens on the old port and does not answer, the start takes half a minute longer.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{ClientOptions, ServerAddress};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::START_LIMIT;

/// The set's name.
pub(super) const SET: &str = "parlor";

/// The time limit of one command. A `mongod` in recovery doesn't listen yet, so no command has to wait for a recovery.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

/// The pause between two checks whether `mongod` listens or is primary.
const POLL: Duration = Duration::from_millis(20);

/// MongoDB's error code for "the replica set has no configuration yet".
const NOT_YET_INITIALIZED: i32 = 94;

/// The reason why `mongod` is not primary.
pub(super) enum NotPrimary {
    /// The process exited. The text has the exit status of the process.
    Ended(String),
    /// Another program listens on the port.
    PortTaken,
    /// `mongod` was not primary at the deadline. The text names the last state or error.
    Slow(String),
}

impl fmt::Display for NotPrimary {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(how) => to.write_str(how),
            Self::PortTaken => to.write_str("another program has its port"),
            Self::Slow(last) => write!(to, "it was not primary within {} s ({last})", START_LIMIT.as_secs()),
        }
    }
}

/// Returns when the `mongod` on `port`, with its files in `db`, is a writable primary. The caller may drop this future
/// at any time, because the driver's operations run in separate tasks.
pub(super) async fn primary(port: u16, db: &Path, deadline: Instant) -> Result<(), NotPrimary> {
    // Wait for the port without the driver, because the driver waits half a second before it tries again.
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if Instant::now() > deadline {
            return Err(NotPrimary::Slow("it doesn't listen".to_owned()));
        }
        sleep(POLL).await;
    }
    let client = Client::with_options(direct(port)).map_err(|error| NotPrimary::Slow(error.to_string()))?;
    loop {
        let last = match step(&client, port, db).await {
            Ok(SetState::Primary) => return Ok(()),
            Ok(SetState::Stranger) => return Err(NotPrimary::PortTaken),
            Ok(SetState::Waiting) => "it waits for its election".to_owned(),
            Err(failed) => failed.text,
        };
        if Instant::now() > deadline {
            return Err(NotPrimary::Slow(last));
        }
        sleep(POLL).await;
    }
}

enum SetState {
    Primary,
    Waiting,
    Stranger,
}

/// Checks the state of the set. If the set is missing or names the wrong port, sends the command that corrects this.
async fn step(client: &Client, port: u16, db: &Path) -> Result<SetState, CommandError> {
    let host = format!("127.0.0.1:{port}");
    // Check first that the program on this port is the `mongod` that this server started. Two servers that search for a
    // free port at the same time may find the same port. They must not change each other's database.
    let options = command(client, doc! { "getCmdLineOpts": 1 }).await?;
    if db_path(&options) != Some(&*db.to_string_lossy()) {
        return Ok(SetState::Stranger);
    }
    let hello = command(client, doc! { "hello": 1 }).await?;
    if hello.get_bool("isWritablePrimary").unwrap_or(false) {
        return Ok(SetState::Primary);
    }
    let members = [doc! { "_id": 0, "host": &host }];
    match command(client, doc! { "replSetGetConfig": 1 }).await {
        Err(failed) if failed.code == Some(NOT_YET_INITIALIZED) => {
            command(client, doc! { "replSetInitiate": { "_id": SET, "members": members } }).await?;
        }
        Err(failed) => return Err(failed),
        Ok(mut answer) => {
            let config =
                answer.get_document_mut("config").map_err(|error| CommandError::from(error.to_string()))?;
            if !names(config, &host) {
                tracing::info!(port, "moving the embedded mongod to another port");
                let version = config.get_i32("version").unwrap_or(1);
                config.insert("version", version.saturating_add(1));
                config.insert("members", members);
                command(client, doc! { "replSetReconfig": config.clone(), "force": true }).await?;
            }
        }
    }
    Ok(SetState::Waiting)
}

fn names(config: &Document, host: &str) -> bool {
    let Ok(members) = config.get_array("members") else { return false };
    members.iter().filter_map(|member| member.as_document()?.get_str("host").ok()).eq([host])
}

fn db_path(options: &Document) -> Option<&str> {
    options.get_document("parsed").ok()?.get_document("storage").ok()?.get_str("dbPath").ok()
}

/// Returns client options for a direct connection to the `mongod` on this port. A direct connection works in every
/// state of the replica set.
fn direct(port: u16) -> ClientOptions {
    ClientOptions::builder()
        .hosts(vec![ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: Some(port) }])
        .direct_connection(true)
        .connect_timeout(COMMAND_LIMIT)
        .server_selection_timeout(COMMAND_LIMIT)
        .build()
}

/// The failure of a command. `code` is MongoDB's error code, or `None` if there was no answer.
struct CommandError {
    code: Option<i32>,
    text: String,
}

impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self { code: None, text }
    }
}

/// Runs one command in a separate task, because an operation of the driver must not be dropped before it ends.
async fn command(client: &Client, command: Document) -> Result<Document, CommandError> {
    let admin = client.database("admin");
    let task = tokio::spawn(async move { admin.run_command(command).await });
    match timeout(COMMAND_LIMIT, task).await {
        Err(_) => Err(CommandError::from("a command got no answer".to_owned())),
        Ok(Err(error)) => Err(CommandError::from(error.to_string())),
        Ok(Ok(Ok(answer))) => Ok(answer),
        Ok(Ok(Err(error))) => match *error.kind {
            ErrorKind::Command(error) => Err(CommandError { code: Some(error.code), text: error.message }),
            _ => Err(CommandError::from(error.to_string())),
        },
    }
}
