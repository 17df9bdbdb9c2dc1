//! Rows for people: columns that line up, texts that can't drive a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Table, presets};
use serde_json::Value;

/// How much of a text a row shows, in characters.
const TEXT_SHOWN: usize = 72;

/// Prints a table; nothing but its head where there are no rows.
pub(super) fn print(head: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    writeln!(io::stdout(), "{}", table.trim_fmt())
}

/// Prints a value as it came, as [`json_line`] has it.
pub(super) fn print_json(value: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{}", json_line(&value.to_string()))
}

/// JSON as it came, in a pipe or a file. On a terminal what could drive that is escaped, which is the same JSON.
pub(super) fn json_line(json: &str) -> Cow<'_, str> {
    if io::stdout().is_terminal() { Cow::Owned(escaped_json(json)) } else { Cow::Borrowed(json) }
}

/// Outside its strings JSON has nothing of the kind.
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

/// Whether a terminal may do something at it, or turn what follows around. None is beyond U+FFFF.
fn drives(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}

/// A value in a cell: a text without its quotes, nothing as `-`.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    }
}

/// The beginning of a text, in one line.
pub(super) fn beginning(text: &str) -> String {
    let mut shown: String = text.chars().take(TEXT_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    visible(&shown)
}

/// A text whose control characters, and those that turn its direction around, are escaped.
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
    fn nothing_that_drives_a_terminal_is_shown_as_it_came() {
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
