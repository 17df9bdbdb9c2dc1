//! Reads the files that a server must trust: its configuration, its keys and its certificates.
//!
//! A user who can write to these files controls the server. A user who can read a secret can forge tokens. Therefore
//! the server refuses a key file or certificate that another user owns or can change. The server also refuses a
//! configuration file that everyone can change. If a secret file belongs to the server's user and everyone can read it,
//! the server refuses it, too. The checks examine the opened file. So another process can't replace the file between
//! the check and the reading.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The largest configuration or key file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The byte order mark. Editors on Windows put it before a UTF-8 text.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Mode bits of a file: users other than the owner may write; everyone may write; everyone may read.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const WRITABLE_BY_ALL: u32 = 0o002;
const READABLE_BY_ALL: u32 = 0o004;

/// The kind of a file's content. The kind decides which users may change the file and read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Settings. The file's owner and the file's group may change them, for example a group of administrators.
    Settings,
    /// Public keys and certificates. Only the owner may change them.
    Public,
    /// A secret. Only the owner may change it, and not everyone may read it.
    Secret,
}

/// The content of a checked file, without a byte order mark.
pub(crate) struct TrustedFile {
    path: PathBuf,
    owner: u32,
    mode: u32,
    bytes: Vec<u8>,
}

impl TrustedFile {
    /// Reads a file of at most [`MAX_FILE_BYTES`].
    ///
    /// # Errors
    /// The file can't be read, is too large, or can't be trusted. The text says what to do.
    pub(crate) fn read(path: &Path, holds: FileKind) -> Result<Self, String> {
        let unread = |error: std::io::Error| format!("can't be read: {error}");
        let file = File::open(path).map_err(unread)?;
        let metadata = file.metadata().map_err(unread)?;
        let mut read =
            Self { path: path.to_owned(), owner: metadata.uid(), mode: mode(&metadata), bytes: Vec::new() };
        if metadata.is_file() {
            read.check(holds)?;
        }
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut read.bytes).map_err(unread)?;
        if read.bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(format!("has more than {MAX_FILE_BYTES} bytes"));
        }
        if matches!(read.bytes.get(..2), Some(b"\xff\xfe" | b"\xfe\xff")) {
            return Err("is UTF-16: save it as UTF-8".to_owned());
        }
        if read.bytes.starts_with(BOM) {
            read.bytes.drain(..BOM.len());
        }
        Ok(read)
    }

    /// Checks the file's owner and mode for a kind. For example, a file that was read as public keys may contain a
    /// shared secret. Parlor then checks the file as a secret.
    ///
    /// # Errors
    /// The file's owner or mode is not permitted for the kind `holds`. The text says what to do.
    pub(crate) fn check(&self, holds: FileKind) -> Result<(), String> {
        let me = rustix::process::geteuid().as_raw();
        judge(holds, self.owner, self.mode, me, &self.path)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Returns the content as text.
    ///
    /// # Errors
    /// The content is not UTF-8.
    pub(crate) fn into_text(self) -> Result<String, String> {
        String::from_utf8(self.bytes).map_err(|_| "can't be read: it is not UTF-8".to_owned())
    }
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// Checks whether a file of the kind `holds` may have this owner and mode. `me` is the user id under which the server
/// runs.
fn judge(holds: FileKind, owner: u32, mode: u32, me: u32, path: &Path) -> Result<(), String> {
    let path = path.display();
    let (writable, right) = match holds {
        FileKind::Settings => (WRITABLE_BY_ALL, "o-w"),
        FileKind::Public => (WRITABLE_BY_OTHERS, "644"),
        FileKind::Secret => (WRITABLE_BY_OTHERS, "600"),
    };
    // Containers often mount settings from a host whose users have other ids than the users in the container. So the
    // owner of settings is not checked.
    if holds != FileKind::Settings && owner != me && owner != 0 {
        return Err(format!(
            "belongs to user {owner}, but the server runs as user {me}: run `chown {me} {path}`, and look at what it holds"
        ));
    }
    if mode & writable != 0 {
        return Err(format!(
            "can be changed by other users (mode {mode:04o}): look at what it holds, then run `chmod {right} {path}`"
        ));
    }
    // Kubernetes and Docker mount secrets as files of root with the modes 0644 and 0444. So a secret that root owns
    // is accepted even if everyone can read it.
    if holds == FileKind::Secret && owner == me && mode & READABLE_BY_ALL != 0 {
        return Err(format!(
            "holds a secret that every user can read (mode {mode:04o}): run `chmod 600 {path}`, and replace the secret if others use this machine"
        ));
    }
    Ok(())
}

/// Checks that only the server's user and root can replace a program. A program is started by its path, so all
/// directories of the path are checked too. The program's own directory must not be writable for other users. A
/// directory above it may be writable for everyone if it has the sticky bit, as /tmp has. In a directory with this bit,
/// users can't rename the files of other users.
///
/// # Errors
/// The text names the file or directory that others can change, and what to do.
pub(crate) fn check_place(path: &Path) -> Result<(), String> {
    let me = rustix::process::geteuid().as_raw();
    let unread = |error: std::io::Error| format!("{} can't be looked at: {error}", path.display());
    let whole = path.canonicalize().map_err(unread)?;
    for (above, place) in whole.ancestors().enumerate() {
        let metadata = place.metadata().map_err(unread)?;
        let is_sticky = above > 1 && metadata.mode() & 0o1000 != 0;
        // The parents of the program's directory may be writable for a group, because the administrator decides which
        // users are in the group.
        let writable = if above > 1 { WRITABLE_BY_ALL } else { WRITABLE_BY_OTHERS };
        let mode = if is_sticky { 0 } else { mode(&metadata) & writable };
        judge(FileKind::Public, metadata.uid(), mode, me, place)
            .map_err(|fault| format!("{} {fault}", place.display()))?;
    }
    Ok(())
}

/// Normalizes PEM: removes a byte order mark, and makes every line break a plain newline. A line break may also be
/// written as the characters `\n`, `\r` or `\r\n` with backslashes. Users write them in environment variables, which
/// often can't contain real line breaks.
pub(crate) fn plain_pem(given: &str) -> Cow<'_, str> {
    let text = given.strip_prefix('\u{feff}').unwrap_or(given);
    if !text.contains('\\') && !text.contains('\r') {
        return Cow::Borrowed(text);
    }
    let breaks = text.replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\r", "\n");
    Cow::Owned(breaks.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Returns a document without its byte order mark.
pub(crate) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BOM).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn file_is_refused_when_others_own_or_change_it() {
        const ME: u32 = 1000;
        let judged = |holds, owner, mode| judge(holds, owner, mode, ME, Path::new("f"));
        for (holds, owner, mode, fault) in [
            (FileKind::Secret, ME, 0o600, None),
            (FileKind::Secret, 0, 0o640, None),
            (FileKind::Secret, 0, 0o444, None),
            (FileKind::Secret, ME, 0o644, Some("`chmod 600 f`")),
            (FileKind::Secret, ME, 0o604, Some("every user can read")),
            (FileKind::Secret, ME, 0o660, Some("`chmod 600 f`")),
            (FileKind::Secret, ME, 0o602, Some("changed by other users")),
            (FileKind::Secret, 1001, 0o600, Some("belongs to user 1001")),
            (FileKind::Public, ME, 0o644, None),
            (FileKind::Public, ME, 0o664, Some("`chmod 644 f`")),
            (FileKind::Public, ME, 0o646, Some("`chmod 644 f`")),
            (FileKind::Public, 1001, 0o644, Some("`chown 1000 f`")),
            (FileKind::Settings, 1001, 0o664, None),
            (FileKind::Settings, ME, 0o666, Some("`chmod o-w f`")),
        ] {
            let said = judged(holds, owner, mode).err().unwrap_or_default();
            assert!(
                fault.map_or(said.is_empty(), |fault| said.contains(fault)),
                "{holds:?} {mode:o}: {said}"
            );
        }
    }

    #[test]
    fn content_is_read_without_a_byte_order_mark() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bytes, text) in [
            (&b"plain"[..], Ok("plain")),
            (b"\xef\xbb\xbfmarked", Ok("marked")),
            (b"\xff\xfep\0", Err("is UTF-16: save it as UTF-8")),
            (b"\xc3", Err("can't be read: it is not UTF-8")),
        ] {
            fs::write(&file, bytes).unwrap();
            let read = TrustedFile::read(file.path(), FileKind::Secret).and_then(TrustedFile::into_text);
            assert_eq!(read.as_deref().map_err(String::as_str), text);
        }
        fs::write(&file, vec![b'x'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]).unwrap();
        assert!(TrustedFile::read(file.path(), FileKind::Secret).is_err(), "more than is read");
    }

    #[test]
    fn place_is_refused_when_others_can_replace_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("folder");
        let program = folder.join("program");
        fs::create_dir(&folder).unwrap();
        fs::write(&program, "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (above, of_folder, of_program, good) in [
            (0o700, 0o700, 0o500, true),
            (0o755, 0o755, 0o755, true),
            (0o1777, 0o700, 0o500, true),
            (0o777, 0o700, 0o500, false),
            (0o700, 0o777, 0o500, false),
            (0o700, 0o1777, 0o500, false),
            (0o700, 0o770, 0o500, false),
            (0o700, 0o700, 0o722, false),
        ] {
            set(&program, of_program);
            set(&folder, of_folder);
            set(root.path(), above);
            let checked = check_place(&program);
            assert_eq!(checked.is_ok(), good, "{above:o} {of_folder:o} {of_program:o}: {checked:?}");
        }
        set(root.path(), 0o700);
    }
}
