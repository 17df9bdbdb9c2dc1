//! Reads the folder of function files.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::FunctionFilesConfig;

/// A file that was written to more recently is not read yet: an editor may still write to it.
const SETTLED: Duration = Duration::from_millis(200);

/// The folder of modules that scripts import, below the folder of files.
const LIB: &str = "lib";

/// The content of the folder.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FolderContent {
    /// The function files, by their names without the ending.
    pub(super) functions: BTreeMap<String, Vec<FoundFile>>,
    /// The modules that scripts may import, such as `lib/words.js`, with their code.
    pub(super) modules: Vec<(String, String)>,
}

/// A file with the name of a function.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FoundFile {
    /// The name of the file.
    pub(super) file: String,
    /// Its ending.
    pub(super) kind: &'static str,
    /// The content, or why it was not read.
    pub(super) content: Result<Arc<[u8]>, FileFault>,
}

/// Why a file was not read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FileFault {
    /// It has more than this many bytes.
    TooLarge(usize),
    Unreadable(String),
}

impl fmt::Display for FileFault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(most) => write!(to, "has more than {most} bytes (functions.file_bytes)"),
            Self::Unreadable(error) => write!(to, "can't be read: {error}"),
        }
    }
}

/// The folder, with what was read of it before.
#[derive(Debug)]
pub(super) struct FunctionFolder {
    path: PathBuf,
    file_bytes: usize,
    read: BTreeMap<PathBuf, (Stamp, Arc<[u8]>)>,
}

/// By what a file that has not changed is known.
#[derive(Clone, Debug, PartialEq)]
struct Stamp {
    len: u64,
    inode: u64,
    changed: (i64, i64),
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            modified: metadata.modified().ok(),
        }
    }
}

impl FunctionFolder {
    /// None if functions are not read from files.
    pub(super) fn new(settings: &FunctionFilesConfig) -> Option<Self> {
        let path = settings.folder.clone()?;
        Some(Self { path, file_bytes: settings.file_bytes, read: BTreeMap::new() })
    }

    /// Reads the folder. A folder that does not exist is empty. With `is_start`, files that were just written are read,
    /// too.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub(super) fn look(&mut self, is_start: bool) -> io::Result<FolderContent> {
        let mut content = FolderContent::default();
        let mut seen = BTreeMap::new();
        for path in paths(&self.path)? {
            let Some((file, name, kind)) = name_of(&path) else { continue };
            let Some(read) = self.read(&path, is_start, &mut seen) else { continue };
            let found = FoundFile { file, kind, content: read };
            content.functions.entry(name).or_default().push(found);
        }
        for path in paths(&self.path.join(LIB))? {
            let Some((file, _, "js")) = name_of(&path) else { continue };
            if let Some(Ok(code)) = self.read(&path, is_start, &mut seen)
                && let Ok(code) = str::from_utf8(&code)
            {
                content.modules.push((format!("{LIB}/{file}"), code.to_owned()));
            }
        }
        self.read = seen;
        Ok(content)
    }

    /// Reads a file, or takes what was read before if the file has not changed. None if the file is gone, or if it is
    /// being written and was not read before.
    fn read(
        &self,
        path: &Path,
        is_start: bool,
        seen: &mut BTreeMap<PathBuf, (Stamp, Arc<[u8]>)>,
    ) -> Option<Result<Arc<[u8]>, FileFault>> {
        let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
        let stamp = Stamp::of(&metadata);
        let before = self.read.get(path);
        let is_fresh = stamp
            .modified
            .and_then(|modified| SystemTime::now().duration_since(modified).ok())
            .is_some_and(|age| age < SETTLED);
        if let Some((known, content)) = before
            && (*known == stamp || (is_fresh && !is_start))
        {
            seen.insert(path.to_owned(), (known.clone(), content.clone()));
            return Some(Ok(content.clone()));
        }
        if is_fresh && !is_start {
            return None;
        }
        if metadata.len() > self.file_bytes as u64 {
            return Some(Err(FileFault::TooLarge(self.file_bytes)));
        }
        match fs::read(path) {
            Ok(content) => {
                let content: Arc<[u8]> = content.into();
                seen.insert(path.to_owned(), (stamp, content.clone()));
                Some(Ok(content))
            }
            Err(error) => Some(Err(FileFault::Unreadable(error.to_string()))),
        }
    }
}

/// Returns the entries of a folder in the order of their names.
fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    Ok(paths)
}

/// Returns the name of a file, its name without the ending, and its kind. None for a file that is no function, such as
/// `request.json` or `parlor.d.ts`.
fn name_of(path: &Path) -> Option<(String, String, &'static str)> {
    let file = path.file_name()?.to_str()?;
    let (name, ending) = file.split_once('.')?;
    let kind = match ending {
        "js" => "js",
        "wasm" => "wasm",
        _ => return None,
    };
    (!name.is_empty()).then(|| (file.to_owned(), name.to_owned(), kind))
}
