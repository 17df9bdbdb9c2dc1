//! `parlor token`: prints a signed token.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use handlers::UserId;
use parlor::config::Config;

use crate::Failure;

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// The user's id.
    #[arg(long)]
    user: UserId,
    /// The user's e-mail address.
    #[arg(long)]
    email: Option<String>,
    /// How long the token is valid: 90s, 15m, 12h, 1d.
    #[arg(long, default_value = "1d", value_parser = duration)]
    ttl: Duration,
}

/// Prints a token, signed with the configured or the created secret.
pub(crate) fn run(mut config: Config, token: &TokenArgs) -> Result<ExitCode, Failure> {
    parlor::auth::keep_own_secret(&mut config)?;
    let token = parlor::auth::sign(&config.auth, &token.user, token.email.as_deref(), token.ttl)?;
    writeln!(io::stdout(), "{token}")?;
    Ok(ExitCode::SUCCESS)
}

/// Parses a number and its unit: s, m, h or d.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("a number and a unit are needed: 90s, 15m, 12h, 1d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a whole number"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "the duration is too large".to_owned())
}
