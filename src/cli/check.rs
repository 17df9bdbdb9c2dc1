//! `parlor check`: checks the configuration and the database.

use std::io::{self, Write};
use std::process::ExitCode;

use parlor::config::{Config, ReadFrom};
use parlor::store::{Advice, Store, inspect};

use crate::Failure;

/// Checks the configuration, the function files, the database and the database's replica set. Creates missing collections and indexes.
/// Prints all findings.
pub(crate) async fn run(config: Config) -> Result<ExitCode, Failure> {
    let mut out = io::stdout();
    writeln!(out, "ok     configuration")?;
    for option in config.mongodb.options_without_effect() {
        writeln!(out, "ok     {option}")?;
    }
    for warning in config.warnings() {
        writeln!(out, "WARN   {warning}")?;
    }
    let _log = parlor::telemetry::logging::init(&config)?;
    let functions = parlor::check_functions(&config).await;
    let read_from = config.feed.read_from;
    let (store, embedded) = parlor::open_store(config).await?;
    let looked = inspect_and_prepare(&store, read_from).await;
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    let DatabaseFindings { advice, fault } = looked;
    for advice in &advice {
        writeln!(out, "{}  {}", if advice.fatal { "FAULT" } else { "ok   " }, advice.finding)?;
    }
    for function in &functions {
        match function {
            Ok(loaded) => writeln!(out, "ok     {loaded}")?,
            Err(refused) => writeln!(out, "FAULT  {refused}")?,
        }
    }
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    if functions.iter().any(Result::is_err) {
        return Ok(ExitCode::FAILURE);
    }
    if advice.iter().any(|advice| advice.fatal) {
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "ok     collections and indexes")?;
    writeln!(out, "ok     change streams")?;
    Ok(ExitCode::SUCCESS)
}

/// The findings about a database, and the error at which the checks stopped.
struct DatabaseFindings {
    advice: Vec<Advice>,
    fault: Option<String>,
}

/// Does the checks and preparations that a starting server does in the database. Stops at the first error.
async fn inspect_and_prepare(store: &Store, read_from: ReadFrom) -> DatabaseFindings {
    let mut advice = Vec::new();
    let checked = async {
        advice = inspect(store).await?;
        store.prepare().await?;
        store.check_change_stream(read_from).await
    };
    let fault = match checked.await {
        Ok(()) => None,
        Err(error) => Some(store.diagnose(&error).await.text),
    };
    // An error that is already among the findings is not reported again.
    let fault = fault.filter(|fault| !advice.iter().any(|advice| advice.finding == *fault));
    DatabaseFindings { advice, fault }
}
