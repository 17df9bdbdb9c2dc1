//! `parlor erase`

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use handlers::UserId;
use parlor::config::Config;

use super::{Api, Asked, table};
use crate::Failure;

#[derive(Args)]
pub(crate) struct Erase {
    /// The user's id.
    #[arg(long)]
    user: UserId,
    /// Don't ask whether it is meant.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    asked: Asked,
}

pub(super) async fn run(config: &Config, erase: &Erase) -> Result<(), Failure> {
    let api = Api::new(config, &erase.asked)?;
    let user = erase.user.to_string();
    if !erase.yes && !is_meant(&user)? {
        return Err("nothing was erased".into());
    }
    let answer = api.delete(&["users", &user]).await?;
    if erase.asked.json {
        return Ok(table::print_json(&answer)?);
    }
    Ok(())
}

/// Whether whoever sits at the terminal types the id again; without a terminal nobody can be asked.
fn is_meant(user: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err("there is no terminal to ask at: --yes says that it is meant".into());
    }
    write!(io::stderr(), "This can't be undone. The user's id, once more: ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == user)
}
