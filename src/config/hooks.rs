//! `[hooks]`: the application's webhooks. Before Parlor stores a message, it asks the webhook `before_send`. Parlor
//! sends events to the four webhooks `after_send`, `connected`, `disconnected` and `offline`.

use std::time::Duration;

use super::layers::Values;
use super::ranges::{NumberRange, WAIT_MS};
use super::{ConfigError, ReceiverConfig};

const WINDOW: NumberRange = 1..=100_000;
/// Zero means that Parlor repeats an event without a limit.
const TRIES: NumberRange = 0..=1_000_000;
const SET_ASIDE: NumberRange = 1..=1_000_000;
/// A lease is a time-limited lock: the server that holds it sends a webhook's events. With a time below the minimum, a
/// busy server could fail to renew its lease. With a time above the maximum, the events would wait too long after a
/// server has died.
const LEASE_MS: NumberRange = 500..=600_000;
/// Zero means that Parlor checks immediately after a message's commit which members are offline.
const OFFLINE_WAIT_MS: NumberRange = 0..=600_000;

/// All webhooks. A webhook without a URL is off.
#[derive(Clone, Debug)]
pub struct HooksConfig {
    /// The webhook that is asked about each message before the message is written.
    pub before_send: Option<ReceiverConfig>,
    /// The webhook for each message, edit and delete.
    pub after_send: Option<ReceiverConfig>,
    /// The webhook for users who come online.
    pub connected: Option<ReceiverConfig>,
    /// The webhook for users who go offline.
    pub disconnected: Option<ReceiverConfig>,
    /// The webhook for messages to users who are offline.
    pub offline: Option<ReceiverConfig>,
    /// The settings of `[hooks]` besides the five receivers above.
    pub settings: HookSettings,
}

/// The settings of `[hooks]` that are not part of a [`ReceiverConfig`]. Most settings apply to several webhooks.
/// `offline_wait` and `on_failure` apply to one webhook each.
#[derive(Clone, Debug)]
pub struct HookSettings {
    /// The highest number of events that a server has read from the change stream for one webhook but not yet
    /// delivered.
    pub window: usize,
    /// The pause before the first retry of an event.
    pub retry: Duration,
    /// The longest pause between retries.
    pub retry_max: Duration,
    /// The number of tries before Parlor sets an event aside. Parlor then stores the event for an operator, and sends
    /// the later events. Zero: Parlor sets no event aside and repeats it without a limit.
    pub max_tries: u32,
    /// The most events that are set aside, over all webhooks together.
    pub set_aside: u64,
    /// How long a webhook's lease lasts without renewal. If a server dies, another server continues its webhooks
    /// after this time.
    pub lease: Duration,
    /// The time from a message's commit until Parlor checks which members of the room are offline.
    pub offline_wait: Duration,
    /// Whether a message is accepted if the webhook `before_send` gives no valid answer.
    pub on_failure: OnFailure,
}

/// `hooks.before_send.on_failure`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The message is accepted.
    Open,
    /// The message is refused.
    Closed,
}

impl HooksConfig {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        let given =
            |receiver: ReceiverConfig| Some(receiver).filter(|receiver| !receiver.url.expose().is_empty());
        let before_send = given(ReceiverConfig::read_shared(values, "hooks.before_send")?);
        let mut receiver = |name: &str| Ok(given(ReceiverConfig::read(values, &format!("hooks.{name}"))?));
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
