//! Creates and stores the secret that signs tokens, for a server without a key in its configuration.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;

use super::AuthError;
use crate::config::file::{FileKind, TrustedFile};
use crate::config::{Config, MIN_SECRET_BYTES, Secret};

/// The name of the secret's file in `mongodb.data_dir`.
const FILE: &str = "secret";

/// Returns the secret that is stored in `data_dir`. If no secret is stored, creates 32 random bytes in hexadecimal,
/// and stores them in a file that only its owner can read. Processes that start at the same time get the same
/// secret. White space at the end of the file is ignored.
///
/// # Errors
/// The file can't be read or created, or the secret is too short. The message tells the operator what to do.
fn keep_secret(data_dir: &Path) -> Result<Secret, AuthError> {
    let path = data_dir.join(FILE);
    if !path.try_exists().is_ok_and(|exists| exists) {
        let made = make(data_dir, &path);
        made.map_err(|error| {
            unusable(&path, &format!("could not store a secret here: {error}; repair that"))
        })?;
    }
    read_secret(&path)
}

/// Reads the stored secret, and checks the file's owner and mode.
fn read_secret(path: &Path) -> Result<Secret, AuthError> {
    let text = TrustedFile::read(path, FileKind::Secret).and_then(TrustedFile::into_text);
    let text = text.map_err(|fault| unusable(path, &fault))?;
    let secret = text.trim_ascii_end();
    if secret.len() < MIN_SECRET_BYTES {
        let fault = format!("has fewer than {MIN_SECRET_BYTES} bytes; delete it for a new one");
        return Err(unusable(path, &fault));
    }
    Ok(Secret::new(secret))
}

fn unusable(path: &Path, fault: &str) -> AuthError {
    AuthError(format!("{}: {fault}, or set auth.secret", path.display()))
}

/// Writes the secret to a temporary file, and then links this file to its final name. Unlike a rename, a link never
/// replaces an existing file. So if another process has already stored a secret, this secret stays.
fn make(data_dir: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    let new = data_dir.join(format!("{FILE}.{}", random::<8>()?));
    let written = write(&new).and_then(|()| match fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&new);
    written.and(removed)
}

fn write(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(random::<MIN_SECRET_BYTES>()?.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Returns `BYTES` random bytes as hexadecimal digits.
fn random<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(io::Error::other)?;
    let mut digits = String::with_capacity(2 * BYTES);
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    Ok(digits)
}

/// If no key for verifying tokens is configured, uses the secret in `mongodb.data_dir`, and creates the secret if
/// it does not exist. Returns true if no key was configured.
///
/// # Errors
/// The secret can't be read or can't be created.
pub fn keep_own_secret(config: &mut Config) -> Result<bool, AuthError> {
    if config.auth.has_key() {
        return Ok(false);
    }
    config.auth.secret = Some(keep_secret(&config.mongodb.data_dir)?);
    config.auth.secret_is_own = true;
    Ok(true)
}

/// If no key is configured, uses the secret that a server has stored in `mongodb.data_dir`, and returns the path of the
/// secret's file. Never creates a secret: a running server would not know the new secret, and would refuse the tokens
/// that the new secret signs.
///
/// # Errors
/// There is no stored secret, or it can't be read. The message names the path, and says what to do.
pub fn use_stored_secret(config: &mut Config) -> Result<Option<PathBuf>, AuthError> {
    if config.auth.has_key() {
        return Ok(None);
    }
    let path = config.mongodb.data_dir.join(FILE);
    let path = std::path::absolute(&path).unwrap_or(path);
    if path.try_exists().is_ok_and(|exists| !exists) {
        return Err(AuthError(format!(
            "no key is configured, and no server has stored a secret in {}; run this in the folder of the server, or set \
             PARLOR__AUTH__SECRET or PARLOR__MONGODB__DATA_DIR as for the server",
            path.display()
        )));
    }
    config.auth.secret = Some(read_secret(&path)?);
    config.auth.secret_is_own = true;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    #[test]
    fn stored_secret_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("new/data");
        let threads: Vec<_> = (0..16)
            .map(|_| {
                thread::spawn({
                    let data = data.clone();
                    move || keep_secret(&data)
                })
            })
            .collect();
        let kept: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect();
        assert!(kept.iter().all(|secret| secret.expose() == kept[0].expose()));
        assert_eq!(kept[0].expose().len(), 64);
        assert_eq!(keep_secret(&data).unwrap().expose(), kept[0].expose());
        assert_ne!(keep_secret(dir.path()).unwrap().expose(), kept[0].expose());

        let files: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn bad_secret_file_gives_advice() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        for (bytes, advice) in [
            (&b""[..], "delete it"),
            (b"short\n", "delete it"),
            (b"\xff\xfe", "is UTF-16"),
            (b"\xfd", "not UTF-8"),
        ] {
            std::fs::write(&file, bytes).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            let error = keep_secret(dir.path()).unwrap_err().to_string();
            assert!(
                error.contains(advice) && error.contains("auth.secret") && !error.contains("short"),
                "{error}"
            );
        }
        assert!(keep_secret(&file).unwrap_err().to_string().contains("auth.secret"));
        std::fs::write(&file, "x".repeat(MIN_SECRET_BYTES)).unwrap();
        for mode in [0o666, 0o644, 0o620] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = keep_secret(dir.path()).unwrap_err().to_string();
            let advice = format!("`chmod 600 {}`", file.display());
            assert!(error.contains(&advice) && error.contains("auth.secret"), "{error}");
        }
    }
}
