//! `parlor function list`: the function files that a server has found.

use std::io::{self, Write as _};

use clap::Args;
use parlor::config::Config;
use serde_json::Value;

use super::{ApiClient, ServerArgs, output};
use crate::Failure;

#[derive(Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// The digits of a version that the table shows. Logs and metrics show the same.
const SHORT: usize = 7;

pub(crate) async fn run(config: &Config, list: &ListArgs) -> Result<(), Failure> {
    let ListArgs { server } = list;
    let api = ApiClient::new(config, server)?;
    let answer = api.get(&["functions"], &[]).await?;
    if server.json {
        return Ok(output::print_json(&answer)?);
    }
    let functions = answer["functions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if functions.is_empty() {
        writeln!(io::stdout(), "the server has found no function files in functions.folder")?;
        return Ok(());
    }
    output::print(&["FUNCTION", "VERSION", "EXPORTS", "STATE"], functions.iter().map(row).collect())?;
    Ok(())
}

fn row(function: &Value) -> Vec<String> {
    let version = function["version"]["sha256"].as_str().map_or("-", |sha| sha.get(..SHORT).unwrap_or(sha));
    let exports: Vec<_> =
        function["exports"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let refused = function["refused"].as_str();
    let state = match (function["version"].is_null(), refused) {
        (_, None) => "running".to_owned(),
        (true, Some(refused)) => format!("refused: {refused}"),
        (false, Some(refused)) => format!("running; a newer file is refused: {refused}"),
    };
    [&function["name"], &version.into(), &exports.join(", ").into(), &state.into()].map(output::cell).into()
}
