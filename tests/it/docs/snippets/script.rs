//! Builds a shell script from the snippets of a page. The script runs each snippet in order, in one shell.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::page::Snippet;

/// The text that the script prints when a snippet has ended. The line number of the snippet follows.
pub(super) const ENDED: &str = "== ended: ";

/// The beginning of each script. A failed command ends the script. At its end, the script stops all programs that it
/// has started.
const HEAD: &str = r#"set -eE -o pipefail
trap 'jobs=$(jobs -p); [[ -z $jobs ]] || kill $jobs 2>/dev/null || true; wait' EXIT
trap 'echo "== failed: line $LINENO of $BASH_SOURCE"' ERR
trap 'exit 1' TERM
"#;

/// The command that compiles a TypeScript program, as in `docs/client-library.md`.
const TSC: &str = "npx tsc --strict --target es2022 --module nodenext --types node";

/// Writes the snippets and the script `page.sh` into the page's folder. The script writes the output of each snippet to
/// a file. For example, the output of the snippet on line 7 of the page goes to `.snippets/7.out`.
pub(super) fn write(folder: &Path, snippets: &[Snippet], address: &str) {
    fs::create_dir(folder.join(".snippets")).unwrap();
    let mut script = HEAD.to_owned();
    for snippet in snippets {
        let (line, file) = (snippet.line, &snippet.file);
        let piece = format!(".snippets/{line}.{}", extension(&snippet.language));
        fs::write(folder.join(&piece), snippet.text.replace("127.0.0.1:8001", address)).unwrap();
        let run = match (snippet.language.as_str(), file.as_str()) {
            ("sh", _) => format!("source {piece}"),
            ("js", "") => format!("node --experimental-websocket {piece}"),
            ("ts", "") => {
                let compiled = piece.replace(".mts", ".mjs");
                format!("{TSC} {piece} && node --experimental-websocket {compiled}")
            }
            ("python", "") => format!("python3 {piece}"),
            (_, file) => format!("tee --append {file} < {piece}"),
        };
        // The input of each snippet is `/dev/null`. Otherwise a command could read the rest of the script as its input.
        let _ = writeln!(script, "{{ {run}; }} < /dev/null > .snippets/{line}.out\necho '{ENDED}{line}'");
    }
    fs::write(folder.join("page.sh"), script).unwrap();
}

fn extension(language: &str) -> &str {
    match language {
        "js" => "mjs",
        "ts" => "mts",
        "python" => "py",
        other => other,
    }
}

/// Tells whether `text` is equal to the output `said` on a page. In `said`, `…` stands for any text within a line.
pub(super) fn is_as_said(said: &str, text: &str) -> bool {
    let (said, text): (Vec<_>, Vec<_>) = (said.lines().collect(), text.lines().collect());
    said.len() == text.len() && said.iter().zip(&text).all(|(said, text)| line_matches(said, text))
}

fn line_matches(said: &str, text: &str) -> bool {
    let text = text.trim_end();
    let mut pieces = said.split('…');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let pieces: Vec<_> = pieces.collect();
    let Some((last, between)) = pieces.split_last() else { return rest.is_empty() };
    for piece in between {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn output_matches_when_only_ellipses_differ() {
    for (said, text) in [("a…c", "abc"), ("…", "\n"), ("a", "a\n"), ("a … b…", "a x b"), ("…1…1", "21 and 1")]
    {
        assert!(is_as_said(said, text), "{said:?} {text:?}");
    }
    for (said, text) in [("a…c", "abcd"), ("a", "ab"), ("a", "a\nb"), ("a\nb", "a"), ("a…a", "a")] {
        assert!(!is_as_said(said, text), "{said:?} {text:?}");
    }
}
