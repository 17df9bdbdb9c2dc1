//! `parlor function test`: calls a function file once, without a server.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use parlor::config::Config;
use parlor::{TrialPlan, try_function};
use serde_json::{Value, json};

use crate::Failure;

#[derive(Args)]
pub(crate) struct TestArgs {
    /// The function file.
    file: PathBuf,
    /// A JSON file with the input of the call, as the function gets it.
    request: PathBuf,
    /// The export to call. By default: the `hook` of the input, or default.
    #[arg(long, value_name = "NAME")]
    export: Option<String>,
    /// A JSON file with the answer that the function must give.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// A JSON file with the values that are stored before the call, such as {"room":{"tea":1}}.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// A JSON file with the room: kind, name, members, and messages (oldest first).
    #[arg(long, value_name = "FILE")]
    room: Option<PathBuf>,
    /// Send the function's requests to the hosts that its configuration lists. By default: refuse them.
    #[arg(long)]
    allow_fetch: bool,
}

/// The exit code is 1 if the function fails, or if its answer is another than the expected one.
pub(super) async fn run(config: &Config, args: TestArgs) -> Result<ExitCode, Failure> {
    let TestArgs { file, request, export, expect, state, room, allow_fetch } = args;
    let given = |file: Option<PathBuf>, default: Value| file.map_or(Ok(default), |file| read(&file));
    let expected = expect.map(|file| read(&file)).transpose()?;
    let room_of_two = json!({ "kind": "direct", "name": null, "messages": [], "members":
        [{ "user_id": 1, "role": "member" }, { "user_id": 2, "role": "member" }] });
    let plan = TrialPlan {
        input: read(&request)?,
        state: given(state, json!({}))?,
        room: given(room, room_of_two)?,
        file,
        export,
        allow_fetch,
    };
    let report = try_function(config, plan).await?;
    let mut out = io::stdout();
    for line in &report.log {
        writeln!(out, "log     {line}")?;
    }
    let is_fine = match &report.outcome {
        Ok(answer) => {
            writeln!(out, "answer  {answer}")?;
            expected.as_ref().is_none_or(|expected| expected == answer)
        }
        Err(error) => {
            writeln!(out, "failed  {error}")?;
            false
        }
    };
    if let (Some(expected), false) = (&expected, is_fine) {
        writeln!(out, "not     {expected}")?;
    }
    writeln!(out, "state   {}", report.state)?;
    writeln!(out, "used    {} ms CPU, {} KiB", report.cpu.as_millis(), report.memory_bytes / 1_024)?;
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> Result<Value, Failure> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?)
}
