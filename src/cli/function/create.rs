//! `parlor function new`: creates a function file, and a call to try it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use parlor::config::Config;

use crate::Failure;

#[derive(Args)]
pub(crate) struct NewArgs {
    /// The name of the action: a-z, 0-9 and _.
    name: String,
    /// The folder of the function. By default: functions.folder.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// The function that `new` writes.
const SOURCE: &str = r#"// {"action":"NAME","text":"hello"}: answers the caller, and counts the calls of the room.
export default async function ({ user, request }) {
  if (typeof request.text !== "string") return { reject: "text: a text is needed" };
  const calls = await state.room.add("calls");
  return { reply: { text: request.text.toUpperCase(), user_id: user.id, calls } };
}
"#;

/// The call to try it.
const CALL: &str = r#"{
  "request_id": "674b0c1e9f3c2a0012345678",
  "action": "NAME",
  "user": { "id": 1, "email": "anna@example.com" },
  "room_id": 7,
  "request": { "action": "NAME", "text": "hello" }
}
"#;

/// The answer to this call.
const ANSWER: &str = r#"{ "reply": { "text": "HELLO", "user_id": 1, "calls": 1 } }
"#;

pub(super) fn run(config: &Config, args: &NewArgs) -> Result<(), Failure> {
    let NewArgs { name, folder } = args;
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !name.split('_').all(is_word) || name.len() > 64 {
        return Err("a name is of a-z, 0-9 and single _ between them, 64 at most".into());
    }
    if handlers::Action::named(name).is_some() {
        return Err(format!("`{name}` is an action of Parlor's own, which can't be taken over").into());
    }
    let folder = folder.as_ref().or(config.function_files.folder.as_ref());
    let folder = folder.ok_or("functions.folder is not set; name a folder with --folder")?;
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut out = io::stdout();
    for (ending, content) in [("js", SOURCE), ("request.json", CALL), ("answer.json", ANSWER)] {
        let path = folder.join(format!("{name}.{ending}"));
        write_new(&path, &content.replace("NAME", name))?;
        writeln!(out, "wrote {}", path.display())?;
    }
    let shown = folder.join(name);
    let shown = shown.display();
    writeln!(
        out,
        "try it: parlor function test {shown}.js {shown}.request.json --expect {shown}.answer.json"
    )?;
    Ok(())
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, content: &str) -> Result<(), Failure> {
    let fault = |error: io::Error| format!("{}: {error}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(fault)?;
    Ok(file.write_all(content.as_bytes()).map_err(fault)?)
}
