//! `parlor token`: prints a signed token.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use handlers::UserId;
use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;
use parlor::config::Config;

use crate::Failure;
use crate::cli::user_id;

/// The parser of durations.
const SPANS: SpanParser = SpanParser::new();

#[derive(Args)]
pub(crate) struct TokenArgs {
    /// The user's id.
    #[arg(long, value_parser = user_id)]
    user: UserId,
    /// The user's e-mail address.
    #[arg(long)]
    email: Option<String>,
    /// The time for which the token is valid, such as 90s, 15m, 12h, 1d or 1d 12h.
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

/// Parses a duration of at least a second. A day has 24 hours and a week 7 days; months and years have no fixed length.
fn duration(text: &str) -> Result<Duration, String> {
    let length =
        SPANS.parse_span(text).and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    let length =
        length.map_err(|_| "numbers and units are needed: 90s, 15m, 12h, 1d, or 1d 12h".to_owned())?;
    Duration::try_from(length)
        .ok()
        .filter(|length| *length >= Duration::from_secs(1))
        .ok_or_else(|| "the duration must be at least 1s".to_owned())
}
