//! Loads files for the commands of the command line, without a server.

use std::path::Path;
use std::sync::Arc;

use super::candidate::Candidate;
use super::folder::FunctionFolder;
use super::{FunctionLoader, FunctionStatus};
use crate::config::{Config, FunctionFilesConfig};
use crate::functions::program::Program;
use crate::telemetry::metrics::Metrics;

/// Loads all function files of a configuration, as a server does at its start. Returns a line for each file: what it
/// exports, or why it is refused.
pub async fn check_functions(config: &Config) -> Vec<Result<String, String>> {
    let loader = FunctionLoader::new(&config.function_files, &Arc::new(Metrics::new()));
    loader.look(config, true).await;
    let line = |status: FunctionStatus| match status.refused {
        Some(refused) => Err(format!("function {}: {refused}", status.name)),
        None => Ok(format!("function {} ({})", status.name, status.exports.join(", "))),
    };
    loader.status().await.into_iter().map(line).collect()
}

/// Loads one file, with the modules of the folder `lib` beside it.
pub(crate) async fn load_for_trial(config: &Config, path: &Path, name: &str) -> Result<Program, String> {
    let settings = &config.function_files;
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let settings = FunctionFilesConfig { folder: Some(beside.to_owned()), ..settings.clone() };
    let loader = FunctionLoader::new(&settings, &Arc::new(Metrics::new()));
    let folder = FunctionFolder::new(&settings).map(|mut folder| folder.look(true));
    let content = folder.transpose().map_err(|error| format!("{}: {error}", beside.display()))?;
    let content = content.unwrap_or_default();
    if !content.functions.contains_key(name) {
        return Err(format!("{}: no such function file", path.display()));
    }
    let candidate = Candidate::of(name, &content, config).map_err(|unloadable| unloadable.to_string())?;
    loader.load_file(candidate.file()).await
}
