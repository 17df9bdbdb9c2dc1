//! `[mongodb]`: the database.

use std::path::PathBuf;
use std::time::Duration;

use super::error::shown;
use super::layers::Values;
use super::ranges::NumberRange;
use super::{ConfigError, Secret, uri};

/// `mongod` itself accepts no cache below 256 MiB.
const CACHE_MIB: NumberRange = 256..=1_048_576;
const POOL_SIZE: NumberRange = 1..=10_000;
/// With a time below the minimum, operations would fail at every short pause of the network. A time above the maximum
/// is probably a mistake in the unit, such as microseconds instead of milliseconds.
const DATABASE_MS: NumberRange = 10..=600_000;
const INDEXES_SECONDS: NumberRange = 1..=86_400;

/// The longest database name, in bytes: MongoDB's own limit.
const MAX_DATABASE_BYTES: usize = 63;

/// The characters that MongoDB refuses in a database name, on any platform.
const NOT_IN_DATABASE: &[char] = &['/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?'];

/// `[mongodb]`
#[derive(Clone, Debug)]
pub struct MongodbConfig {
    /// The connection string. None: Parlor starts an embedded `mongod`. It is a secret, because it may contain a
    /// password.
    pub uri: Option<Secret>,
    /// The name of Parlor's database.
    pub database: String,
    /// The directory for the files of the embedded `mongod`, and for the secret that Parlor creates.
    pub data_dir: PathBuf,
    /// The path of the `mongod` binary that Parlor starts. None: Parlor searches for a `mongod` binary.
    pub mongod: Option<PathBuf>,
    /// The cache size of the embedded `mongod`, in MiB.
    pub cache_mib: u32,
    /// The most connections of one connection pool to each MongoDB server.
    pub pool_size: u32,
    /// The interval between two checks that all indexes exist.
    pub indexes: Duration,
    /// How long a database operation waits for a usable MongoDB server (server selection).
    pub selection: Duration,
    /// The longest time of one database operation. After this time, the outcome of the operation is unknown.
    pub operation: Duration,
}

impl MongodbConfig {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let uri = values.optional("mongodb.uri")?.map(Secret);
        Ok(Self {
            database: Self::read_database(values, uri.as_ref())?,
            uri,
            data_dir: values.text("mongodb.data_dir")?.into(),
            mongod: values.optional("mongodb.mongod")?.map(Into::into),
            cache_mib: values.number("mongodb.cache_mib", CACHE_MIB)?,
            pool_size: values.number("mongodb.pool_size", POOL_SIZE)?,
            indexes: values.seconds("mongodb.indexes_seconds", INDEXES_SECONDS)?,
            selection: values.millis("mongodb.selection_ms", DATABASE_MS)?,
            operation: values.millis("mongodb.operation_ms", DATABASE_MS)?,
        })
    }

    /// Reads the name of the database. If `mongodb.database` is not set and the path of the URI is a valid name,
    /// returns the path.
    fn read_database(values: &mut Values, uri: Option<&Secret>) -> Result<String, ConfigError> {
        let name = values.text("mongodb.database")?;
        let path = uri.and_then(|uri| uri::database(uri.expose()));
        let path = path.filter(|path| values.is_default("mongodb.database") && check_database(path).is_ok());
        Ok(path.unwrap_or(name))
    }

    /// Checks that the URI does not name a different database than `mongodb.database`.
    fn check_path(&self, path: &str) -> Result<(), String> {
        if path == self.database {
            return Ok(());
        }
        // The error doesn't show the path, because it may be a part of the password: a password with a slash is
        // split at the slash.
        check_database(path).map_err(|_| "its path is not the name of a database".to_owned())?;
        let (path, name) = (shown(path), shown(&self.database));
        Err(format!(
            "its path names the database {path}, but mongodb.database is {name}: remove one of them. If users are created in \
             {path}, say so by authSource"
        ))
    }

    /// Returns a sentence for each option of the URI that Parlor ignores.
    pub fn options_without_effect(&self) -> Vec<String> {
        self.uri.as_ref().map_or_else(Vec::new, |uri| uri::without_effect(uri.expose()))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let scheme = |uri: &str| uri.starts_with("mongodb://") || uri.starts_with("mongodb+srv://");
        if self.uri.as_ref().is_some_and(|uri| !scheme(uri.expose())) {
            return Err(ConfigError::new("mongodb.uri", "must begin with mongodb:// or mongodb+srv://"));
        }
        if let Some(uri) = &self.uri {
            let fault = |fault| ConfigError::new("mongodb.uri", fault);
            uri::check(uri.expose()).map_err(fault)?;
            uri::database(uri.expose()).map_or(Ok(()), |path| self.check_path(&path)).map_err(fault)?;
        }
        check_database(&self.database).map_err(|fault| ConfigError::new("mongodb.database", fault))?;
        if self.data_dir.as_os_str().is_empty() {
            return Err(ConfigError::new("mongodb.data_dir", "must name a directory"));
        }
        Ok(())
    }
}

/// Checks a database's name against MongoDB's rules. The error says what is wrong.
fn check_database(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_DATABASE_BYTES {
        return Err(format!("must have 1 to {MAX_DATABASE_BYTES} bytes"));
    }
    if name.contains(NOT_IN_DATABASE) || name.contains(char::is_control) {
        return Err(format!("{} has a character that MongoDB refuses there", shown(name)));
    }
    Ok(())
}
