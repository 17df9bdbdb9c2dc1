//! `parlor token`: prints a signed token.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use handlers::UserId;
use parlor::config::Config;

use crate::Failure;
use crate::cli::user_id;

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// The user's id.
    #[arg(long, value_parser = user_id)]
    user: UserId,
    /// The user's e-mail address.
    #[arg(long)]
    email: Option<String>,
    /// The time for which the token is valid, such as 90s, 15m, 12h or 1d.
    #[arg(long, default_value = "1d", value_parser = duration)]
    ttl: Duration,
}

/// Prints a token that is signed by the configured secret. If no key is configured, the secret that a server has
/// stored in `mongodb.data_dir` signs the token. Then the path of the secret's file is printed on stderr, because
/// each data directory has its own secret.
pub(crate) fn run(mut config: Config, token: &TokenArgs) -> Result<ExitCode, Failure> {
    let stored = parlor::auth::use_stored_secret(&mut config)?;
    let token = parlor::auth::sign(&config.auth, &token.user, token.email.as_deref(), token.ttl)?;
    writeln!(io::stdout(), "{token}")?;
    if let Some(file) = stored {
        // The token on stdout is complete without this line on stderr. So an error of this write is ignored.
        let _ = writeln!(io::stderr(), "parlor: signed with the secret in {}", file.display());
    }
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
