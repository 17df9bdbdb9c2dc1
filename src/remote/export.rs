//! `parlor export`

use std::io::{self, Write as _};

use clap::Args;
use handlers::UserId;
use parlor::config::Config;
use reqwest::Method;
use serde_json::Value;

use super::{Api, Asked, table};
use crate::Failure;

#[derive(Args)]
pub(crate) struct Export {
    /// The user's id.
    #[arg(long)]
    user: UserId,
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(config: &Config, export: &Export) -> Result<(), Failure> {
    let api = Api::new(config, &export.asked)?;
    let request = api.request(Method::GET, &["users", &export.user.to_string(), "export"], &[])?;
    let mut answer = api.answer(request).await?;
    let (mut out, mut waiting, mut last_line) = (io::stdout().lock(), Vec::new(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|error| format!("the export broke off: {error}"))? {
        waiting.extend_from_slice(&chunk);
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            last_line = waiting.drain(..=end).collect();
            out.write_all(table::json_line(&String::from_utf8_lossy(&last_line)).as_bytes())?;
        }
    }
    out.write_all(&waiting)?;
    out.flush()?;
    let end: Value = serde_json::from_slice(&last_line).unwrap_or_default();
    if end["type"] == "end" { Ok(()) } else { Err("the export broke off: its end is missing".into()) }
}
