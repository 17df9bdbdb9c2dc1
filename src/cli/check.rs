//! `parlor check`: checks the configuration and the database.

use std::io::{self, Write};
use std::process::ExitCode;

use parlor::config::Config;
use parlor::store::inspect;

use crate::Failure;

/// Checks configuration, database and replica set, creates missing collections and indexes, and prints the findings.
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
    let (store, embedded) = parlor::open_store(config).await?;
    let looked = async {
        let advice = inspect(&store).await?;
        // The findings say more than an error of this step.
        let prepared = store.prepare().await;
        Ok::<_, parlor::store::StoreError>((advice, prepared))
    };
    let looked = looked.await;
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    let (advice, prepared) = looked?;
    for advice in &advice {
        writeln!(out, "{}  {}", if advice.fatal { "FAULT" } else { "ok   " }, advice.finding)?;
    }
    prepared?;
    writeln!(out, "ok     collections and indexes")?;
    let faulty = advice.iter().any(|advice| advice.fatal);
    Ok(if faulty { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
