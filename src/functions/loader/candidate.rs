//! The file that is to be loaded for a name, if there is exactly one that may be loaded.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use handlers::Action;

use super::engines::LoadFile;
use super::folder::{FileFault, FolderContent, FoundFile};
use crate::config::{Config, FunctionConfig, Secret};
use crate::functions::file::FunctionVersion;

/// The longest name, in bytes: as of a section of the configuration.
const NAME_BYTES: usize = 64;

/// A file that may be loaded.
pub(super) struct Candidate<'a> {
    found: &'a FoundFile,
    content: Arc<[u8]>,
    /// The modules that the file may import. Empty if it imports none.
    modules: &'a [(String, String)],
    config: &'a FunctionConfig,
}

/// Why no file may be loaded for a name.
#[derive(Debug)]
pub(super) enum Unloadable {
    Name,
    /// The name is a built-in action.
    BuiltIn(String),
    /// The configuration has a URL for the name.
    HasUrl(String),
    /// Several files have the name.
    Several(String),
    /// There are more files than `functions.max_functions`.
    TooMany(usize),
    File(FileFault),
}

impl<'a> Candidate<'a> {
    /// Returns the file to load for a name of the folder.
    pub(super) fn of(name: &str, content: &'a FolderContent, config: &'a Config) -> Result<Self, Unloadable> {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if name.len() > NAME_BYTES || !name.split('_').all(is_word) {
            return Err(Unloadable::Name);
        }
        if Action::named(name).is_some() {
            return Err(Unloadable::BuiltIn(name.to_owned()));
        }
        if config.functions.get(name).is_some_and(FunctionConfig::is_http) {
            return Err(Unloadable::HasUrl(name.to_owned()));
        }
        let most = config.function_files.max_functions;
        if content.functions.keys().take(most).all(|allowed| allowed != name) {
            return Err(Unloadable::TooMany(most));
        }
        let files = content.functions.get(name).map(Vec::as_slice).unwrap_or_default();
        let [found] = files else {
            let files: Vec<_> = files.iter().map(|found| found.file.as_str()).collect();
            return Err(Unloadable::Several(files.join(" and ")));
        };
        let code = found.content.clone().map_err(Unloadable::File)?;
        let modules = if contains(&code, b"./lib/") { content.modules.as_slice() } else { &[] };
        Ok(Self { found, content: code, modules, config: config.function(name) })
    }

    pub(super) fn file(&self) -> LoadFile<'_> {
        LoadFile {
            file: &self.found.file,
            kind: self.found.kind,
            content: &self.content,
            modules: self.modules,
            config: self.config,
        }
    }

    pub(super) fn version(&self) -> FunctionVersion {
        FunctionVersion { kind: self.found.kind, sha256: sha256(&[&self.content]) }
    }

    /// Returns one text for all on which loading depends. A file is loaded again when this text changes.
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(self.found.kind, &self.content, self.modules, &self.config.file.env)
    }
}

impl Unloadable {
    /// Returns the bound that is reached.
    pub(super) fn bound(&self) -> Option<&'static str> {
        match self {
            Self::TooMany(_) => Some("functions"),
            Self::File(FileFault::TooLarge(_)) => Some("function_file_bytes"),
            _ => None,
        }
    }
}

impl fmt::Display for Unloadable {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => {
                write!(to, "a name is of a-z, 0-9 and single _ between them, {NAME_BYTES} at most")
            }
            Self::BuiltIn(name) => {
                write!(to, "`{name}` is an action of Parlor's own, which can't be taken over")
            }
            Self::HasUrl(name) => {
                write!(to, "functions.{name}.url is set, too; remove the file or the url")
            }
            Self::Several(files) => write!(to, "{files} have the same name; remove one of them"),
            Self::TooMany(most) => {
                write!(to, "there are more than {most} files (functions.max_functions)")
            }
            Self::File(fault) => write!(to, "{fault}"),
        }
    }
}

/// Returns what a loaded function depends on, as one text.
fn fingerprint(
    kind: &str,
    content: &[u8],
    modules: &[(String, String)],
    env: &BTreeMap<String, Secret>,
) -> String {
    let mut parts: Vec<&[u8]> = vec![kind.as_bytes(), content];
    for (name, code) in modules {
        parts.extend([name.as_bytes(), code.as_bytes()]);
    }
    for (name, value) in env {
        parts.extend([name.as_bytes(), value.expose().as_bytes()]);
    }
    sha256(&parts)
}

/// Returns the SHA-256 of some parts and their lengths, in hexadecimal. Of a single part: the SHA-256 of the part.
fn sha256(parts: &[&[u8]]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        if parts.len() > 1 {
            context.update(&part.len().to_le_bytes());
        }
        context.update(part);
    }
    let mut hex = String::new();
    for byte in context.finish().as_ref() {
        // Writing to a String can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn contains(content: &[u8], text: &[u8]) -> bool {
    content.windows(text.len()).any(|window| window == text)
}
