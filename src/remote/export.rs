//! `parlor export`

use std::io::{self, Write as _};

use clap::Args;
use handlers::UserId;
use parlor::config::Config;
use reqwest::Method;
use serde_json::Value;

use super::{Api, Asked};
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
    let (mut out, mut last_line) = (io::stdout().lock(), Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|error| format!("the export broke off: {error}"))? {
        out.write_all(&chunk)?;
        // Of what went by, the line that may be the last.
        last_line.extend_from_slice(&chunk);
        let whole = last_line.strip_suffix(b"\n").unwrap_or(&last_line);
        if let Some(at) = whole.iter().rposition(|byte| *byte == b'\n') {
            last_line.drain(..=at);
        }
    }
    out.flush()?;
    let end: Value = serde_json::from_slice(&last_line).unwrap_or_default();
    if end["type"] == "end" { Ok(()) } else { Err("the export broke off: its end is missing".into()) }
}
