//! Finds out why a database can't be used, for `parlor serve` and `parlor check`: what is wrong, where, and what to do.
//!
//! If the driver finds no server it says little more than that. So each server of the URI is then asked directly.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::future::join_all;
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, ServerAddress};

use super::error::{UnusableDatabase, hint};
use super::error_text::{self, NO_LOGIN};
use super::{Store, StoreError};

/// How long a server may take to answer when it is asked directly.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most servers of a URI that are asked and named.
const MAX_SERVERS: usize = 5;

/// `maxWireVersion` of MongoDB 6.0.
const OLDEST_WIRE_VERSION: i32 = 17;

/// The reason why a database can't be used.
#[derive(Debug)]
pub struct Diagnosis {
    /// What is wrong, where, and what to do, on one line.
    pub text: String,
    /// Whether waiting does not help: the settings or the database must be changed.
    pub lasting: bool,
}

impl Store {
    /// Explains the error of an operation. Asks the servers of the URI if the driver could not reach the database.
    pub async fn diagnose(&self, error: &StoreError) -> Diagnosis {
        match error {
            StoreError::Unreachable(_) => self.ask_servers(error).await,
            StoreError::Fault(fault) if fault.downcast_ref().is_some_and(is_login_refused) => {
                let source = self.options.credential.as_ref().and_then(|login| login.source.as_deref());
                let source = source.or(self.options.default_database.as_deref()).unwrap_or("admin");
                let text = format!(
                    "{} refused the user or the password of mongodb.uri, which belong to the database `{source}`; check both, \
                     or add authSource=<database that the user was created in>",
                    self.addresses()
                );
                Diagnosis { text, lasting: true }
            }
            StoreError::Fault(_) => Diagnosis { text: error.to_string(), lasting: true },
            _ => Diagnosis { text: error.to_string(), lasting: false },
        }
    }

    /// Fails if the database is too old, or is no replica set and no cluster.
    pub(crate) async fn check_deployment(&self) -> Result<(), StoreError> {
        let hello = self.hello().await?;
        match self.fault_of(&hello) {
            Some(fault) => Err(UnusableDatabase(fault).into()),
            None => Ok(()),
        }
    }

    /// Fails if no change stream can be opened, for example because the user lacks the right to.
    pub async fn check_change_stream(&self) -> Result<(), StoreError> {
        let db = self.db.clone();
        self.run_detached(async move { Ok(db.watch().await.map(drop)?) }).await
    }

    /// Returns the database's description of itself.
    pub(super) async fn hello(&self) -> Result<Document, StoreError> {
        let admin = self.client.database("admin");
        self.run_detached(async move { Ok(admin.run_command(doc! { "hello": 1 }).await?) }).await
    }

    /// Returns why Parlor can't work with a database of this description.
    pub(super) fn fault_of(&self, hello: &Document) -> Option<String> {
        if hello.get_i32("maxWireVersion").unwrap_or_default() < OLDEST_WIRE_VERSION {
            return Some(
                "MongoDB is older than 6.0, the oldest that Parlor works with: upgrade it".to_owned(),
            );
        }
        fault_of_set(&self.addresses(), hello)
    }

    /// Returns the addresses of the URI, for a person.
    fn addresses(&self) -> String {
        let named: Vec<_> = self.options.hosts.iter().take(MAX_SERVERS).map(ToString::to_string).collect();
        named.join(", ")
    }

    async fn ask_servers(&self, error: &StoreError) -> Diagnosis {
        let asked = self.options.hosts.iter().take(MAX_SERVERS).map(|address| self.ask(address));
        let answers = join_all(asked).await;
        let wanted = self.options.repl_set_name.as_deref();
        let mut silent = Vec::new();
        for (address, answer) in &answers {
            let hello = match answer {
                Ok(hello) => hello,
                Err(error) => {
                    silent.push(format!("{address} ({})", cause(error)));
                    continue;
                }
            };
            if let Some(text) = fault_of_set(&address.to_string(), hello) {
                // A set may be initiated while Parlor waits for it.
                return Diagnosis { text, lasting: !hello.contains_key("isreplicaset") };
            }
            let Ok(set) = hello.get_str("setName") else { continue };
            if let Some(wanted) = wanted.filter(|wanted| *wanted != set) {
                let text = format!(
                    "the replica set at {address} is called `{set}`, but mongodb.uri asks for `{wanted}`: set replicaSet={set}"
                );
                return Diagnosis { text, lasting: true };
            }
            let text = match hello.get_str("primary") {
                Ok(primary) => format!(
                    "{error}; {address} says that the primary is {primary}: this machine must reach it by that name"
                ),
                Err(_) => {
                    format!("the replica set `{set}` at {address} has no primary: see rs.status() in mongosh")
                }
            };
            return Diagnosis { text, lasting: false };
        }
        if silent.len() < answers.len() || silent.is_empty() {
            return Diagnosis { text: error.to_string(), lasting: false };
        }
        let silent = silent.join(", ");
        let advice = hint(&silent).unwrap_or("check the address in mongodb.uri, and that the database runs");
        Diagnosis {
            text: format!("the database can't be reached: nothing answers at {silent}; {advice}"),
            lasting: false,
        }
    }

    /// Asks one server, without a login and whatever its set is.
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

/// Returns why a server did not answer.
fn cause(error: &StoreError) -> String {
    match error {
        StoreError::Unreachable(Some(error)) | StoreError::Unknown(Some(error)) => error_text::cause(error),
        error => error.to_string(),
    }
}

/// Returns why change streams can't work at a server: it is in no replica set.
fn fault_of_set(address: &str, hello: &Document) -> Option<String> {
    if hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|kind| kind == "isdbgrid") {
        return None;
    }
    Some(if hello.get_bool("isreplicaset").unwrap_or(false) {
        format!("{address} is in no replica set yet: run rs.initiate() there, in mongosh")
    } else {
        format!(
            "{address} is a standalone server: change streams need a replica set; start mongod with --replSet rs0 and run \
             rs.initiate() in mongosh"
        )
    })
}

fn is_login_refused(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Authentication { .. } => true,
        ErrorKind::Command(command) => command.code == NO_LOGIN,
        _ => false,
    }
}
