//! Generates `docs/operate/configuration.md`, the reference of all keys, from `default.toml` and the ranges in the
//! code.

#[path = "../../../tests/it/support/checked_in.rs"]
mod checked_in;

use std::fmt::Write;

use handlers::{ACTIONS, Limits};
use toml::Value;

use crate::config::Config;
use crate::config::reload::is_live;
use crate::config::variable::variable;

const PAGE: &str = "docs/operate/configuration.md";
const SOURCE: &str = include_str!("../../../config/default.toml");

const INTRO: &str = "\
<!-- Made from config/default.toml by a test: UPDATE_CONTRACTS=1 cargo test --lib reference -->

# Configuration

[`config/default.toml`](../../config/default.toml) has every key with its default value and is built into the binary. A file that you give
with `--config FILE` (or `PARLOR_CONFIG=FILE`) overrides these defaults. The environment overrides both: `limits.text_chars` is
`PARLOR__LIMITS__TEXT_CHARS`. In the environment, lists are comma separated.

An unknown key or an invalid value stops the start. The error names the key and the place. The start and `parlor check` warn of values
that contradict each other. They also warn of variables that look like settings but are not read, such as `PARLOR_LISTEN`.

The line below each key shows its environment variable, its default, its allowed values, and how a change takes effect. **reload**: send
SIGHUP; sockets stay open ([how](deployment.md#change-settings-while-it-runs)). **restart**: restart the server. If you only reload, a
warning names the key.

Most servers need only these:

| key | purpose |
| --- | --- |
| [`listen`](#listen) | address for clients |
| [`admin.listen`](#adminlisten) | metrics and probes |
| [`mongodb.uri`](#mongodburi) | your replica set |
| [`auth.secret`](#authsecret), [`auth.public_key`](#authpublic_key), [`auth.jwks`](#authjwks) or [`auth.discovery`](#authdiscovery) | the key that signs your users' tokens |
| [`auth.audience`](#authaudience) | accepts only tokens for this application |
| [`api.keys`](#apikeys) | service keys of your backend |
| [`http.proxies`](#httpproxies), [`http.origins`](#httporigins) | your proxies, your web pages |
| [`rooms.direct`](#roomsdirect) | whether only your backend creates a room of two users |
";

/// A section of `default.toml`, with its comment and its keys.
#[derive(Default)]
struct SectionDoc {
    /// The section's name. `<name>` stands for a name that the operator chooses. The name is empty for the keys
    /// before the first section.
    name: String,
    intro: String,
    keys: Vec<KeyDoc>,
}

struct KeyDoc {
    /// The whole name of the key, such as `limits.text_chars`.
    name: String,
    /// The default in the form of TOML.
    default: String,
    /// The comment above the key. A key of a hook without a comment has the same meaning as the key of this name in
    /// `[functions.<name>]`.
    comment: String,
}

/// Reads the sections and keys, with the comments above them. The section `[actions.edit]` is commented out in the
/// file, as an example of the sections of all actions.
fn sections(text: &str) -> Vec<SectionDoc> {
    let mut sections = vec![SectionDoc::default()];
    let mut comment = String::new();
    for line in text.lines() {
        if let Some(words) = line.strip_prefix('#') {
            let words = words.strip_prefix(' ').unwrap_or(words);
            let _ = writeln!(comment, "{words}");
        } else if line.is_empty() {
            sections.extend(commented_out(&std::mem::take(&mut comment)));
        } else if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_end_matches(']').replace('"', "");
            sections.push(SectionDoc { name, intro: std::mem::take(&mut comment), ..SectionDoc::default() });
        } else if let (Some((key, default)), Some(section)) = (line.split_once(" = "), sections.last_mut()) {
            let dot = if section.name.is_empty() { "" } else { "." };
            let name = format!("{}{dot}{key}", section.name);
            let comment = std::mem::take(&mut comment);
            section.keys.push(KeyDoc { name, default: default.to_owned(), comment });
        } else {
            panic!("neither a comment, a section nor a key: {line}");
        }
    }
    sections
}

/// If a block of comments contains the section `[actions.edit]`, returns this section under the name
/// `actions.<name>`.
fn commented_out(block: &str) -> Option<SectionDoc> {
    let (intro, section) = block.split_once("\n[")?;
    let mut section = sections(&format!("[{section}")).pop()?;
    let (above, example) = section.name.split_once('.')?;
    let (from, to) = (format!("{above}.{example}"), format!("{above}.<name>"));
    section.name.clone_from(&to);
    section.intro = intro.trim().to_owned();
    for key in &mut section.keys {
        key.name = key.name.replace(&from, &to);
    }
    Some(section)
}

/// Loads a configuration in which only the key `key` is set, to `value`. Returns the error's text, or none if the
/// value is valid.
fn refusal(key: &str, value: &str) -> Option<String> {
    // Replaces the placeholder by a valid name: an existing action, or any name for a function.
    let key = key.replace("actions.<name>", "actions.edit").replace("<name>", "example");
    let loaded = Config::load_unchecked(None, [(variable(&key), value.to_owned())]);
    loaded.err().map(|error| error.to_string())
}

/// Returns the accepted values of a key. The function sets the key to an invalid value and takes the accepted values
/// from the error's text.
fn accepted(key: &KeyDoc) -> Option<String> {
    let default = format!("value = {}", key.default).parse::<toml::Table>().unwrap();
    match default.get("value").unwrap() {
        Value::Integer(_) => {
            let error = refusal(&key.name, "99999999999").unwrap();
            let range = error.split_once("must be from ").and_then(|(_, rest)| rest.split_once(", which"));
            let range = range.and_then(|(range, _)| range.split_once(" to "));
            let (least, most) = range.unwrap_or_else(|| panic!("{}: no range in {error:?}", key.name));
            Some(format!("{} to {}", grouped(least), grouped(most)))
        }
        Value::String(_) => {
            let error = refusal(&key.name, "?")?;
            let takes = error.split_once("takes ").and_then(|(_, rest)| rest.split_once(", which"));
            // An error without "takes" does not list the accepted values, so the page shows no values.
            takes.map(|(values, _)| values.to_owned())
        }
        _ => Some("a list".to_owned()),
    }
}

/// Returns a number with a comma after each group of thousands.
fn grouped(digits: &str) -> String {
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a comment as Markdown. Escapes special characters, except in code.
fn prose(comment: &str) -> String {
    let parts = comment.trim_end().split('`').enumerate();
    let escaped = parts.map(|(at, part)| match at % 2 {
        0 => part.replace('*', "\\*").replace('<', "\\<"),
        _ => part.to_owned(),
    });
    escaped.collect::<Vec<_>>().join("`")
}

fn shown_default(key: &KeyDoc) -> String {
    match key.default.as_str() {
        "\"\"" | "[]" => "empty".to_owned(),
        default => format!("`{default}`"),
    }
}

fn change(key: &str) -> &'static str {
    if is_live(key) { "reload" } else { "restart" }
}

fn page() -> String {
    let mut page = INTRO.to_owned();
    for section in sections(SOURCE) {
        if !section.name.is_empty() {
            let _ = write!(page, "\n## `[{}]`\n", section.name);
        }
        let intro = prose(&section.intro);
        if !intro.is_empty() {
            let _ = write!(page, "\n{intro}\n");
        }
        if section.name == "actions.<name>" {
            page.push_str(&actions());
        }
        let (described, same): (Vec<_>, Vec<_>) =
            section.keys.iter().partition(|key| !key.comment.is_empty());
        for key in described {
            let KeyDoc { name, comment, .. } = key;
            let values = accepted(key).map_or_else(String::new, |values| format!(" · {values}"));
            let _ = write!(
                page,
                "\n### `{name}`\n\n{}\n\n`{}` · default {}{values} · {}\n",
                prose(comment),
                variable(name),
                shown_default(key),
                change(name)
            );
        }
        if !same.is_empty() {
            page.push_str(&as_of_functions(&section.name, &same));
        }
    }
    page
}

/// Lists the keys of a hook that `[functions.<name>]` also has. Each row links to the function's key, which explains
/// the meaning.
fn as_of_functions(section: &str, keys: &[&KeyDoc]) -> String {
    let mut table = format!("\nFurther keys of `[{section}]`, as of [a function](#functionsname):\n\n");
    table.push_str("| key | default | accepts | change |\n| --- | --- | --- | --- |\n");
    let functions = sections(SOURCE).into_iter().find(|section| section.name == "functions.<name>").unwrap();
    for key in keys {
        let last = key.name.rsplit('.').next().unwrap();
        let same = format!("functions.<name>.{last}");
        assert!(functions.keys.iter().any(|key| key.name == same), "{}: has no comment", key.name);
        let values = accepted(key).unwrap_or_default();
        let _ = writeln!(
            table,
            "| [`{last}`](#functionsname{last}) | {} | {values} | {} |",
            shown_default(key),
            change(&key.name)
        );
    }
    table
}

/// Lists the default limits of each built-in action.
fn actions() -> String {
    let mut table = String::from(
        "\n| action | `per_minute` | `burst` | `max_bytes` | `timeout_ms` | `max_in_flight` |\n",
    );
    table.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
    let shown = |number: Option<String>| number.map_or_else(|| "0".to_owned(), |number| grouped(&number));
    for action in ACTIONS {
        let Limits { per_minute, burst, max_bytes, timeout_ms, max_in_flight, .. } = action.spec.limits;
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} | {} |",
            action.name,
            shown(per_minute.map(|number| number.to_string())),
            shown(burst.map(|number| number.to_string())),
            shown(max_bytes.map(|number| number.to_string())),
            shown(timeout_ms.map(|number| number.to_string())),
            grouped(&max_in_flight.to_string())
        );
    }
    table
}

#[test]
fn reference_is_what_the_code_and_default_toml_make() {
    checked_in::checked_in(PAGE, &page());
}

#[test]
fn comment_becomes_markdown_without_emphasis_or_html() {
    assert_eq!(prose("HS* and `a*b<c>` and <name>\n"), "HS\\* and `a*b<c>` and \\<name>");
    assert_eq!(grouped("1000000"), "1,000,000");
    assert_eq!(grouped("100"), "100");
}
