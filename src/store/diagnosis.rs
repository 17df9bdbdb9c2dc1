//! Finds the reason why Parlor can't use its database. `parlor serve` and `parlor check` show this reason: the problem,
//! the database server that has the problem, and the remedy.
//!
//! If the driver finds no usable database server, the driver's error does not name the cause. Parlor then sends the
//! command `hello`, which needs no login, to the database servers in the URI.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, SelectionCriteria, ServerAddress};

use super::error::{UnusableDatabase, hint};
use super::error_text::{self, NO_LOGIN};
use super::{Store, StoreError};
use crate::config::ReadFrom;

/// The time limit for a database server's answer to `hello`.
const PATIENCE: Duration = Duration::from_secs(2);

/// The maximum number of database servers to which Parlor sends `hello`, and the maximum number that an error names.
const MAX_SERVERS: usize = 5;

/// `maxWireVersion` of MongoDB 6.0.
const OLDEST_WIRE_VERSION: i32 = 17;

/// The reason why a database can't be used.
#[derive(Debug)]
pub struct Diagnosis {
    /// The problem, the database server that has the problem, and the remedy, on one line.
    pub text: String,
    /// True if the error lasts until an operator changes the settings or the database. False if the error may end
    /// although no operator changes anything.
    pub lasting: bool,
}

impl Store {
    /// Explains the error of an operation. If the driver could not reach the database, first sends `hello` to the
    /// database servers in the URI, at most `MAX_SERVERS`.
    pub async fn diagnose(&self, error: &StoreError) -> Diagnosis {
        match error {
            StoreError::Unreachable(_) => self.ask_servers(error).await,
            StoreError::Fault(fault) if fault.downcast_ref().is_some_and(is_login_refused) => {
                let source = self.options.credential.as_ref().and_then(|login| login.source.as_deref());
                let source = source.or(self.options.default_database.as_deref()).unwrap_or("admin");
                let text = format!(
                    "{} refused the user or the password of mongodb.uri; MongoDB looked for the user in the database `{source}`: \
                     check the user and the password, or set authSource=<database in which the user was created>",
                    self.addresses()
                );
                Diagnosis { text, lasting: true }
            }
            StoreError::Fault(fault) => {
                let unusable = fault.downcast_ref::<UnusableDatabase>();
                Diagnosis {
                    text: error.to_string(),
                    lasting: unusable.is_none_or(|unusable| unusable.lasting),
                }
            }
            _ => Diagnosis { text: error.to_string(), lasting: false },
        }
    }

    /// Checks that the database is a replica set or a sharded cluster, and that it runs MongoDB 6.0 or newer.
    ///
    /// # Errors
    /// The error says what is wrong and what to do.
    pub(super) async fn check_deployment(&self) -> Result<(), StoreError> {
        let hello = self.hello().await?;
        match self.fault_of(&hello) {
            Some(fault) => Err(fault.into()),
            None => Ok(()),
        }
    }

    /// Opens a change stream on the member that a server would read from, and closes it again. Does not wait for an event.
    ///
    /// # Errors
    /// The stream can't be opened, for example because the user lacks the right to read the database.
    pub async fn check_change_stream(&self, read_from: ReadFrom) -> Result<(), StoreError> {
        let db = self.db.clone();
        let watch = async move {
            Ok(db.watch().selection_criteria(SelectionCriteria::from(read_from)).await.map(drop)?)
        };
        self.run_detached(watch).await
    }

    /// Returns the database's answer to the command `hello`. The answer contains the version of the wire protocol and
    /// the name of the replica set.
    pub(super) async fn hello(&self) -> Result<Document, StoreError> {
        let admin = self.client.database("admin");
        self.run_detached(async move { Ok(admin.run_command(doc! { "hello": 1 }).await?) }).await
    }

    /// Returns the reason why Parlor can't use the database. `hello` is the database's answer to
    /// [`hello`](Self::hello). Returns `None` if Parlor can use the database.
    pub(super) fn fault_of(&self, hello: &Document) -> Option<UnusableDatabase> {
        if hello.get_i32("maxWireVersion").unwrap_or_default() < OLDEST_WIRE_VERSION {
            let text = "MongoDB is older than 6.0, the oldest that Parlor works with: upgrade it".to_owned();
            return Some(UnusableDatabase { text, lasting: true });
        }
        fault_of_set(&self.addresses(), hello)
    }

    /// Returns the addresses in the URI for an error text, at most [`MAX_SERVERS`].
    fn addresses(&self) -> String {
        let named: Vec<_> = self.options.hosts.iter().take(MAX_SERVERS).map(ToString::to_string).collect();
        named.join(", ")
    }

    /// Sends `hello` to the database servers in the URI, at most [`MAX_SERVERS`], and explains `error` from the
    /// answers. Prefers the answer of a member of the replica set that the URI names. The next choice is a member of
    /// another replica set, and the last is a database server without a replica set.
    async fn ask_servers(&self, error: &StoreError) -> Diagnosis {
        let asked = self.options.hosts.iter().take(MAX_SERVERS).map(|address| self.ask(address));
        let (mut members, mut others, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for (address, answer) in join_all(asked).await {
            match answer {
                Ok(hello) => match hello.get_str("setName").map(ToOwned::to_owned) {
                    Ok(set) => members.push((address, set, hello)),
                    Err(_) => others.push((address, hello)),
                },
                Err(error) => silent.push(format!("{address} ({})", cause(&error))),
            }
        }
        let wanted = self.options.repl_set_name.as_deref();
        if let Some((address, set, hello)) =
            members.iter().find(|(_, set, _)| wanted.is_none_or(|wanted| wanted == set))
        {
            let text = match hello.get_str("primary") {
                Ok(primary) if members.iter().any(|(address, ..)| address.to_string() == primary) => {
                    error.to_string()
                }
                Ok(primary) => format!(
                    "{error}; {address} says that the primary is {primary}: this machine must reach it by that name"
                ),
                Err(_) => {
                    format!("the replica set `{set}` at {address} has no primary: see rs.status() in mongosh")
                }
            };
            return Diagnosis { text, lasting: false };
        }
        if let Some(((address, set, _), wanted)) = members.first().zip(wanted) {
            let text = format!(
                "the replica set at {address} is called `{set}`, but mongodb.uri asks for `{wanted}`: set replicaSet={set}"
            );
            // A database server that does not answer now may be a member of the replica set that the URI names.
            return Diagnosis { text, lasting: silent.is_empty() };
        }
        let faults: Vec<_> =
            others.iter().filter_map(|(address, hello)| fault_of_set(&address.to_string(), hello)).collect();
        let lasting = silent.is_empty() && faults.iter().all(|fault| fault.lasting);
        if let Some(fault) = faults.into_iter().next() {
            return Diagnosis { text: fault.text, lasting };
        }
        if !others.is_empty() || silent.is_empty() {
            return Diagnosis { text: error.to_string(), lasting: false };
        }
        let silent = silent.join(", ");
        let advice = hint(&silent).unwrap_or("check the address in mongodb.uri, and that the database runs");
        Diagnosis {
            text: format!("the database can't be reached: nothing answers at {silent}; {advice}"),
            lasting: false,
        }
    }

    /// Sends `hello` to one database server, and returns the answer. The command needs no login, and the database
    /// server may be a member of any replica set.
    async fn ask<'a>(&self, address: &'a ServerAddress) -> (&'a ServerAddress, Result<Document, StoreError>) {
        let options = ClientOptions::builder()
            .hosts(vec![address.clone()])
            .tls(self.options.tls.clone())
            .direct_connection(true)
            .connect_timeout(PATIENCE)
            .server_selection_timeout(PATIENCE)
            .build();
        let answer = self.run_detached(async move {
            let admin = Client::with_options(options)?.database("admin");
            Ok(admin.run_command(doc! { "hello": 1 }).await?)
        });
        (address, answer.await)
    }
}

/// Returns the reason why a database server did not answer.
fn cause(error: &StoreError) -> String {
    match error {
        StoreError::Unreachable(Some(error)) | StoreError::Unknown(Some(error)) => error_text::cause(error),
        error => error.to_string(),
    }
}

/// Returns the problem of a database server that is neither in a replica set nor a router (`mongos`) of a sharded
/// cluster. Change streams don't work on a database server without a replica set.
fn fault_of_set(address: &str, hello: &Document) -> Option<UnusableDatabase> {
    if hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|kind| kind == "isdbgrid") {
        return None;
    }
    let is_member_to_be = hello.get_bool("isreplicaset").unwrap_or(false);
    let text = if is_member_to_be {
        format!("{address} is in no replica set yet: run rs.initiate() there, in mongosh")
    } else {
        format!(
            "{address} is a standalone server: change streams need a replica set; start mongod with --replSet rs0 and run \
             rs.initiate() in mongosh"
        )
    };
    // The error does not last if the operator initiates the replica set while Parlor waits.
    Some(UnusableDatabase { text, lasting: !is_member_to_be })
}

/// Returns whether the database refused the user or the password.
fn is_login_refused(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Authentication { .. } => true,
        ErrorKind::Command(command) => command.code == NO_LOGIN,
        _ => false,
    }
}
