//! Prints tables with aligned columns. Escapes characters in texts that could control a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Table, presets};
use serde_json::Value;

/// The most characters of a long text that a table shows.
const TEXT_SHOWN: usize = 72;

/// Prints a table with the column titles `head`. If `rows` is empty, prints only the titles.
pub(super) fn print(head: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    writeln!(io::stdout(), "{}", table.trim_fmt())
}

/// Prints a line on stderr that says what the command does. If the line can't be written, the command continues.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "parlor: {text}");
}

/// Prints a value as JSON, through [`json_line`].
pub(super) fn print_json(value: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{}", json_line(&value.to_string()))
}

/// Returns the JSON unchanged if stdout is a pipe or a file. If stdout is a terminal, escapes the characters that
/// could control the terminal. The escaped JSON decodes to the same value.
pub(super) fn json_line(json: &str) -> Cow<'_, str> {
    if io::stdout().is_terminal() { Cow::Owned(escaped_json(json)) } else { Cow::Borrowed(json) }
}

/// Escapes the characters that [`drives`] accepts, except line breaks, as `\u` escapes of JSON. These escapes are valid
/// only in JSON strings. Outside of strings, the server's JSON has no characters that must be escaped.
fn escaped_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if drives(c) && c != '\n' {
            // Writing to a String can't fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns whether a character may control a terminal, or change the direction of text. All these characters are
/// below U+FFFF.
fn drives(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}

/// Returns the text of a table's cell: a string without quotes, or `-` for null.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    }
}

/// Returns the first [`TEXT_SHOWN`] characters of a text, in one line.
pub(super) fn beginning(text: &str) -> String {
    let mut shown: String = text.chars().take(TEXT_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    visible(&shown)
}

/// Escapes the characters of a text that control a terminal or change the direction of text.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if drives(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_escaped() {
        assert_eq!(visible("a\u{1b}[31mb\n\u{9b}c\u{202e}d\re"), r"a\u{1b}[31mb\n\u{9b}c\u{202e}d\re");
        assert_eq!(visible("ünïcödé 日本 🎉"), "ünïcödé 日本 🎉");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "é".repeat(TEXT_SHOWN + 1);
        assert_eq!(beginning(&text).chars().count(), TEXT_SHOWN + 1);
        assert!(beginning(&text).ends_with('…'));
        assert_eq!(beginning(&text[2..]), text[2..]);
    }

    #[test]
    fn json_on_a_terminal_is_the_same_and_drives_nothing() {
        let json = serde_json::json!({"text": "\u{9b}31m \u{202e} é 😀 \n \u{1b}"}).to_string();
        let shown = escaped_json(&json);
        assert_eq!(shown, r#"{"text":"\u009b31m \u202e é 😀 \n \u001b"}"#);
        assert_eq!(
            serde_json::from_str::<Value>(&shown).unwrap(),
            serde_json::from_str::<Value>(&json).unwrap()
        );
    }
}
