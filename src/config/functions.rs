//! `[functions]` and `[functions.<name>]`: the actions that the application adds, as HTTP servers or as files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use handlers::{Action, UserId};

use super::allowed_host::AllowedHost;
use super::error::shown;
use super::layers::Values;
use super::ranges::{FRAME_BYTES, IN_FLIGHT, NumberRange, PER_MINUTE, WATCH_MS};
use super::{Config, ConfigError, ReceiverConfig, Secret};

const MAX_FUNCTIONS: NumberRange = 1..=10_000;
/// The deployment of a function must fit into one document of the database, which has 16 MiB at most.
const FILE_BYTES: NumberRange = 1_024..=8 << 20;
const CPU_MS: NumberRange = 1..=60_000;
const ALL_MEMORY_MIB: NumberRange = 16..=65_536;
/// An instance of the JavaScript engine takes half a MiB. A component can't have more than 256 MiB.
const MEMORY_MIB: NumberRange = 1..=256;
/// Zero stands for the number of CPU cores.
const IDLE_INSTANCES: NumberRange = 0..=1_000;
/// Above 1 MiB, the stack of the JavaScript engine in its own memory would end first.
const STACK_KIB: NumberRange = 64..=1_024;
const HOST_CALLS: NumberRange = 1..=100_000;
const FETCHES: NumberRange = 1..=1_000;
const FETCH_BYTES: NumberRange = 1_024..=64 << 20;
const STATE_KEYS: NumberRange = 1..=100_000;
const STATE_VALUE_BYTES: NumberRange = 64..=1 << 20;
const STATE_BYTES: NumberRange = 1_024..=64 << 20;
const LOG_LINES: NumberRange = 1..=10_000;
const LOG_LINE_BYTES: NumberRange = 64..=65_536;

/// The keys of `[functions]`, for all functions that are files.
#[derive(Clone, Debug)]
pub struct FunctionFilesConfig {
    /// The folder of the files. None: no functions are read from files.
    pub folder: Option<PathBuf>,
    /// The interval between two looks at the folder.
    pub watch: Duration,
    /// The most files.
    pub max_functions: usize,
    /// The largest file, in bytes.
    pub file_bytes: usize,
    /// The longest CPU time of loading a file.
    pub load: Duration,
    /// The memory that all instances may use together, in bytes.
    pub memory_bytes: usize,
    /// The most idle instances of a file. None: as many as CPU cores.
    pub idle_instances: Option<usize>,
    /// The stack of a call, in bytes.
    pub stack_bytes: usize,
}

/// `[functions.<name>]`
#[derive(Clone, Debug)]
pub struct FunctionConfig {
    /// The HTTP server of the function. Its URL is empty if the function is a file.
    pub receiver: ReceiverConfig,
    /// The most calls of a user in a minute. None: only the limits of `[limits]` for all frames apply.
    pub per_minute: Option<u32>,
    /// The most calls that a socket may send without a pause. None: only `per_minute` applies.
    pub burst: Option<u32>,
    /// The largest frame, in bytes. None: the limit of `[limits]`.
    pub max_bytes: Option<usize>,
    /// The senders in whose name the function may send a message.
    pub may_send_as: Vec<UserId>,
    /// The settings of a function that is a file.
    pub file: FileFunctionConfig,
}

/// The keys of `[functions.<name>]` that apply to files only.
#[derive(Clone, Debug, PartialEq)]
pub struct FileFunctionConfig {
    /// The CPU time of a call.
    pub cpu: Duration,
    /// The CPU time of a call of `before_send`.
    pub before_send_cpu: Duration,
    /// The most running calls of `before_send`.
    pub before_send_in_flight: usize,
    /// The memory of a call, in bytes.
    pub memory_bytes: usize,
    /// The most host calls of a call.
    pub host_calls: usize,
    /// The hosts to which the file may send requests.
    pub hosts: Vec<AllowedHost>,
    /// The most requests of a call.
    pub fetches: usize,
    /// The most bytes of all request bodies of a call, and of all response bodies.
    pub fetch_bytes: usize,
    /// The variables that the file can read.
    pub env: BTreeMap<String, Secret>,
    /// The most stored keys of a scope.
    pub state_keys: usize,
    /// The largest stored value, in bytes.
    pub state_value_bytes: usize,
    /// The most bytes of all keys and values of a scope.
    pub state_bytes: usize,
    /// The most log lines of a call.
    pub log_lines: usize,
    /// The longest log line, in bytes.
    pub log_line_bytes: usize,
}

impl FunctionFilesConfig {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let folder = values.path_beside_file("functions.folder")?;
        Ok(Self {
            folder,
            watch: values.millis("functions.watch_ms", WATCH_MS)?,
            max_functions: values.number("functions.max_functions", MAX_FUNCTIONS)?,
            file_bytes: values.number("functions.file_bytes", FILE_BYTES)?,
            load: values.millis("functions.load_ms", CPU_MS)?,
            memory_bytes: mib(values.number("functions.memory_mib", ALL_MEMORY_MIB)?),
            idle_instances: Some(values.number("functions.idle_instances", IDLE_INSTANCES)?)
                .filter(|most| *most > 0),
            stack_bytes: values.number::<usize>("functions.stack_kib", STACK_KIB)? << 10,
        })
    }
}

impl FunctionConfig {
    /// Reads all sections.
    pub(super) fn read_all(values: &mut Values) -> Result<BTreeMap<String, Self>, ConfigError> {
        let names = values.names("functions").into_iter();
        names.map(|name| Ok((name.clone(), Self::read(values, &format!("functions.{name}"))?))).collect()
    }

    /// Reads the defaults, which a file without a section has.
    pub(super) fn read_default(values: &mut Values) -> Result<Self, ConfigError> {
        values.open_unnamed("functions");
        Self::read(values, "functions.")
    }

    fn read(values: &mut Values, section: &str) -> Result<Self, ConfigError> {
        let receiver = ReceiverConfig::read_shared(values, section)?;
        let mut above_zero = |key: &str, bounds: &NumberRange| {
            let number: u32 = values.number(&format!("{section}.{key}"), 0..=*bounds.end())?;
            Ok(Some(number).filter(|number| *number > 0))
        };
        Ok(Self {
            receiver,
            per_minute: above_zero("per_minute", &PER_MINUTE)?,
            burst: above_zero("burst", &PER_MINUTE)?,
            max_bytes: above_zero("max_bytes", &FRAME_BYTES)?.map(|bytes| bytes as usize),
            may_send_as: read_senders(values, &format!("{section}.may_send_as"))?,
            file: FileFunctionConfig::read(values, section)?,
        })
    }

    /// Returns whether the function is an HTTP server.
    pub(crate) fn is_http(&self) -> bool {
        !self.receiver.url.expose().is_empty()
    }

    /// Returns the longest time of a call: the function's `timeout_ms` for its answer, plus `handler`, the time in
    /// which Parlor applies the answer.
    pub(crate) fn deadline(&self, handler: Duration) -> Duration {
        self.receiver.timeout + handler
    }

    pub(super) fn check(&self, name: &str) -> Result<(), ConfigError> {
        let section = format!("functions.{name}");
        if Action::named(name).is_some() {
            let fault = "is an action of Parlor's own, which can't be taken over";
            return Err(ConfigError::new(format!("{section}.url"), fault));
        }
        if self.is_http() { self.receiver.check(&section) } else { Ok(()) }
    }
}

impl Config {
    /// Returns the settings of a function: its section, or the defaults of a file without a section.
    pub(crate) fn function(&self, name: &str) -> &FunctionConfig {
        self.functions.get(name).unwrap_or(&self.function_default)
    }
}

impl FileFunctionConfig {
    fn read(values: &mut Values, section: &str) -> Result<Self, ConfigError> {
        let key = |name: &str| format!("{section}.{name}");
        Ok(Self {
            cpu: values.millis(&key("cpu_ms"), CPU_MS)?,
            before_send_cpu: values.millis(&key("before_send_cpu_ms"), CPU_MS)?,
            before_send_in_flight: values.number(&key("before_send_max_in_flight"), IN_FLIGHT)?,
            memory_bytes: mib(values.number(&key("memory_mib"), MEMORY_MIB)?),
            host_calls: values.number(&key("host_calls"), HOST_CALLS)?,
            hosts: read_hosts(values, &key("hosts"))?,
            fetches: values.number(&key("fetches"), FETCHES)?,
            fetch_bytes: values.number(&key("fetch_bytes"), FETCH_BYTES)?,
            env: values.function_env(section),
            state_keys: values.number(&key("state_keys"), STATE_KEYS)?,
            state_value_bytes: values.number(&key("state_value_bytes"), STATE_VALUE_BYTES)?,
            state_bytes: values.number(&key("state_bytes"), STATE_BYTES)?,
            log_lines: values.number(&key("log_lines"), LOG_LINES)?,
            log_line_bytes: values.number(&key("log_line_bytes"), LOG_LINE_BYTES)?,
        })
    }
}

fn mib(number: usize) -> usize {
    number << 20
}

fn read_senders(values: &mut Values, key: &str) -> Result<Vec<UserId>, ConfigError> {
    let listed = values.list(key)?;
    let senders: Result<_, _> = listed
        .iter()
        .map(|text| text.parse().map_err(|_| format!("takes ids of users, which {} is not", shown(text))))
        .collect();
    senders.map_err(|fault: String| values.fault(key, fault))
}

fn read_hosts(values: &mut Values, key: &str) -> Result<Vec<AllowedHost>, ConfigError> {
    let listed = values.list(key)?;
    let hosts: Result<_, _> = listed.iter().map(|text| AllowedHost::parse(text)).collect();
    hosts.map_err(|fault: String| values.fault(key, fault))
}
