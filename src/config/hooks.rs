//! `[hooks]`: the application's servers that are asked before a message is written, and told of what happened.

use std::time::Duration;

use super::layers::Values;
use super::ranges::{Bounds, WAIT_MS};
use super::{ConfigError, Receiver};

const WINDOW: Bounds = 1..=100_000;
/// Zero tries for ever.
const TRIES: Bounds = 0..=1_000_000;
const SET_ASIDE: Bounds = 1..=1_000_000;
/// Less, and a server that has much to do loses it; longer, and a dead one keeps it for too long.
const LEASE_MS: Bounds = 500..=600_000;
/// Zero tells at once.
const OFFLINE_WAIT_MS: Bounds = 0..=600_000;

/// All hooks; one without a URL is none.
#[derive(Clone, Debug)]
pub struct Hooks {
    /// Asked about each message before it is written.
    pub before_send: Option<Receiver>,
    /// Told of each message, edit and delete.
    pub after_send: Option<Receiver>,
    /// Told of whoever comes online.
    pub connected: Option<Receiver>,
    /// Told of whoever is gone.
    pub disconnected: Option<Receiver>,
    /// Told of messages for whoever isn't there.
    pub offline: Option<Receiver>,
    /// What they have in common, and what one has alone.
    pub settings: HookSettings,
}

/// What isn't the receivers'.
#[derive(Clone, Debug)]
pub struct HookSettings {
    /// Events that are read past the oldest that isn't told.
    pub window: usize,
    /// Before an event is told again, the first time.
    pub retry: Duration,
    /// The same, at most.
    pub retry_max: Duration,
    /// Tries that count, before an event is set aside; zero: none is.
    pub max_tries: u32,
    /// Events that are set aside, at most.
    pub set_aside: u64,
    /// How long a server that died keeps the others from telling.
    pub lease: Duration,
    /// From a message's commit to the question who wasn't there.
    pub offline_wait: Duration,
    /// What becomes of a message that can't be asked about.
    pub on_failure: OnFailure,
}

/// `hooks.before_send.on_failure`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It passes.
    Open,
    /// It is refused.
    Closed,
}

impl Hooks {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let given = |receiver: Receiver| Some(receiver).filter(|receiver| !receiver.url.expose().is_empty());
        let before_send = given(Receiver::read_shared(values, "hooks.before_send")?);
        let mut receiver = |name: &str| Ok(given(Receiver::read(values, &format!("hooks.{name}"))?));
        let after_send = receiver("after_send")?;
        let connected = receiver("connected")?;
        let disconnected = receiver("disconnected")?;
        let offline = receiver("offline")?;
        let on_failure = |text: &str| match text {
            "open" => Some(OnFailure::Open),
            "closed" => Some(OnFailure::Closed),
            _ => None,
        };
        let settings = HookSettings {
            window: values.number("hooks.window", WINDOW)?,
            retry: values.millis("hooks.retry_ms", WAIT_MS)?,
            retry_max: values.millis("hooks.retry_max_ms", WAIT_MS)?,
            max_tries: values.number("hooks.max_tries", TRIES)?,
            set_aside: values.number("hooks.set_aside", SET_ASIDE)?,
            lease: values.millis("hooks.lease_ms", LEASE_MS)?,
            offline_wait: values.millis("hooks.offline.wait_ms", OFFLINE_WAIT_MS)?,
            on_failure: values.parsed(
                "hooks.before_send.on_failure",
                "\"open\" or \"closed\"",
                on_failure,
            )?,
        };
        Ok(Self { before_send, after_send, connected, disconnected, offline, settings })
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { before_send, after_send, connected, disconnected, offline, settings } = self;
        for (name, receiver) in [
            ("before_send", before_send),
            ("after_send", after_send),
            ("connected", connected),
            ("disconnected", disconnected),
            ("offline", offline),
        ] {
            receiver.as_ref().map_or(Ok(()), |receiver| receiver.check(&format!("hooks.{name}")))?;
        }
        if settings.retry_max < settings.retry {
            return Err(ConfigError::new("hooks.retry_max_ms", "must be hooks.retry_ms or more"));
        }
        Ok(())
    }
}
