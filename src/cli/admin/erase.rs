//! `parlor erase`: erases a user, and waits until the erasure is complete.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use handlers::UserId;
use parlor::config::Config;

use super::{ApiClient, ServerArgs, output};
use crate::Failure;
use crate::cli::user_id;

/// The pause between two requests that ask the server whether the erasure is complete.
const PAUSE: Duration = Duration::from_millis(300);

/// The longest time to wait for an erasure. It is enough for some millions of messages.
const TIMEOUT: Duration = Duration::from_mins(10);

#[derive(Args)]
pub(crate) struct EraseArgs {
    /// The user's id.
    #[arg(long, value_parser = user_id)]
    user: UserId,
    /// Don't ask for confirmation.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(config: &Config, erase: &EraseArgs) -> Result<(), Failure> {
    let api = ApiClient::new(config, &erase.server)?;
    let user = erase.user.to_string();
    if !erase.yes && !is_meant(&user)? {
        return Err("nothing was erased".into());
    }
    let mut answer = api.delete(&["users", &user]).await?;
    output::note("erasing the user; `parlor users` shows the state");
    let deadline = Instant::now() + TIMEOUT;
    while answer["erasing"] == true {
        if Instant::now() > deadline {
            return Err(
                "the erasure is still running and will finish by itself; `parlor users` shows its state"
                    .into(),
            );
        }
        tokio::time::sleep(PAUSE).await;
        answer = api.get(&["users", &user], &[]).await?;
    }
    output::note("erased");
    if erase.server.json {
        return Ok(output::print_json(&answer)?);
    }
    Ok(())
}

/// Asks the operator at the terminal to type the id of the user again, and returns whether the id matches. Fails if
/// there is no terminal.
fn is_meant(user: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err("there is no terminal to confirm at: add --yes".into());
    }
    write!(io::stderr(), "This can't be undone. The user's id, once more: ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == user)
}
