//! `parlor export`: prints all stored data of a user as JSON lines.

use std::io::{self, Write as _};

use clap::Args;
use handlers::UserId;
use parlor::config::Config;
use reqwest::Method;
use serde_json::Value;

use super::lines::{AnswerLines, NextLine};
use super::{ApiClient, ServerArgs, output};
use crate::Failure;
use crate::cli::user_id;

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// The user's id.
    #[arg(long, value_parser = user_id)]
    user: UserId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(config: &Config, export: &ExportArgs) -> Result<(), Failure> {
    let api = ApiClient::new(config, &export.server)?;
    let request = api.request(Method::GET, &["users", &export.user.to_string(), "export"], &[])?;
    let mut lines = AnswerLines::of(api.answer(request).await?);
    let (mut out, mut last_line) = (io::stdout().lock(), Vec::new());
    loop {
        match lines.next().await? {
            NextLine::Line(line) => {
                out.write_all(output::json_line(&String::from_utf8_lossy(&line)).as_bytes())?;
                last_line = line;
            }
            NextLine::End(rest) => {
                out.write_all(&rest)?;
                break;
            }
            NextLine::Broken(cause) => return Err(format!("the export broke off: {cause}").into()),
        }
    }
    out.flush()?;
    let end: Value = serde_json::from_slice(&last_line).unwrap_or_default();
    if end["type"] == "end" { Ok(()) } else { Err("the export broke off: its end is missing".into()) }
}
