//! `before_send`: asks the application about each new or edited text before it is written. Files that export
//! `before_send` are asked first, in the order of their names, then the server of `[hooks.before_send]`. Each sees the
//! text that the one before has left, and the first rejection ends the chain. The application may let the text pass, replace it, or reject it with a reason that the sender sees. Edits are checked
//! too. Otherwise a sender could write a harmless message and later replace its text by an edit.
//!
//! The sender waits for the hook's answer, at most for half of the time until the action's deadline. If the hook gives
//! no valid answer, the setting `on_failure` decides. With `open` the text passes; with `closed` the sender gets the
//! error `unavailable`.
//!
//! The sender may be removed from the room while Parlor waits for the hook. Therefore Parlor reads the membership again
//! after each wait, before it writes the text. A server without this hook sends no request and does not read the
//! membership again.

use std::sync::Arc;
use std::time::Duration;

use handlers::{
    AppendOutcome, ClientId, Code, Draft, Error, History, HistoryCursor, MessageId, Pending, Role, Room,
};
use handlers::{RoomId, Text, UserId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::config::url::UnusableUrl;
use crate::config::{Config, OnFailure};
use crate::functions::call::Export;
use crate::functions::file::CallContext;
use crate::functions::host::room::FunctionRoom;
use crate::functions::target::{NextFunctions, Target};
use crate::outbound::{OutboundError, Receiver};
use crate::store::{BoundRoom, RECHECK_AFTER};
use crate::telemetry::metrics::Metrics;

/// The maximum number of characters of a rejection's reason that the sender sees. A longer reason is cut.
pub(crate) const REASON_CHARS: usize = 200;

/// The hook `before_send`: whom it asks, and its settings.
#[derive(Debug)]
pub(crate) struct BeforeSend {
    /// Whom the hook asks, in this order, with the names for the log.
    targets: Vec<(String, Target)>,
    on_failure: OnFailure,
    text_chars: usize,
    page_bytes: usize,
    metrics: Arc<Metrics>,
}

#[derive(Serialize)]
struct BeforeSendRequest<'a> {
    id: String,
    hook: &'static str,
    room_id: RoomId,
    sender_id: &'a UserId,
    /// The id of the edited message. None for a new message.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    text: &'a str,
}

/// The result of a request to the hook that got no valid answer.
struct Unanswered {
    failure: String,
    /// Whether a request was sent. If so, Parlor waited for the receiver, and must check the membership again.
    waited: bool,
    /// Whether the receiver works for other senders and fails only for the requests of this sender.
    own: bool,
}

/// The application's answer. If both fields are None, the text passes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BeforeSendAnswer {
    #[serde(default)]
    pub(crate) text: Option<Draft>,
    #[serde(default)]
    pub(crate) reject: Option<String>,
}

impl BeforeSend {
    /// Creates the hook from its configuration and the loaded files. None if no URL is configured and no file exports
    /// `before_send`.
    pub(crate) fn new(
        config: &Config,
        files: &NextFunctions,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<Arc<Self>>, UnusableUrl> {
        let mut targets = Vec::new();
        for (file, target) in files.targets(Export::BeforeSend) {
            targets.push((format!("functions.{}", file.name()), target));
        }
        if let Some(settings) = &config.hooks.before_send {
            let receiver = Receiver::new("hooks.before_send", settings, metrics)?;
            targets.push(("hooks.before_send".to_owned(), Target::Http(Box::new(receiver))));
        }
        if targets.is_empty() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Self {
            targets,
            page_bytes: config.limits.page_bytes,
            on_failure: config.hooks.settings.on_failure,
            text_chars: config.limits.text_chars,
            metrics: metrics.clone(),
        })))
    }

    /// Asks the hook, and returns the text that may be written. If Parlor waited for the hook, then checks that the
    /// caller is still a member.
    async fn ask(&self, room: &BoundRoom, message_id: Option<MessageId>, text: Text) -> Result<Text, Error> {
        let (mut text, mut waited) = (text, false);
        for target in &self.targets {
            let (moderated, waits) = self.moderate(target, room, message_id, text).await?;
            text = moderated;
            waited |= waits;
        }
        if waited {
            room.recheck().await?;
        }
        Ok(text)
    }

    /// Asks one of the targets. Returns the text that may be written, and whether the call waited for the answer.
    async fn moderate(
        &self,
        (name, target): &(String, Target),
        room: &BoundRoom,
        message_id: Option<MessageId>,
        text: Text,
    ) -> Result<(Text, bool), Error> {
        let question = BeforeSendRequest {
            id: room.request.to_hex(),
            hook: "before_send",
            room_id: room.room,
            sender_id: &room.caller,
            message_id,
            text: text.as_str(),
        };
        let question = serde_json::to_string(&question).map_err(Error::internal)?;
        // Half of the time until the action's deadline is for the hook. The other half is for the write of the message.
        let timeout = room.deadline.saturating_duration_since(Instant::now()) / 2;
        let began = Instant::now();
        // A file answers within microseconds, unless it waits for a host call.
        let waits = || target.is_remote() || began.elapsed() >= RECHECK_AFTER;
        let answer = match self.request_answer(target, room, question, timeout).await {
            Ok(answer) => answer,
            Err(Unanswered { failure, waited, own }) => {
                return Ok((self.handle_failure(name, &failure, own, text)?, waited && waits()));
            }
        };
        let text = self.apply_answer(name, answer, text)?;
        Ok((text, waits()))
    }

    /// Applies a valid answer: returns the original text or its replacement, or fails if the text is rejected.
    fn apply_answer(&self, name: &str, answer: BeforeSendAnswer, text: Text) -> Result<Text, Error> {
        match (answer.reject, answer.text) {
            (Some(reason), _) => {
                self.metrics.hook("before_send", "rejected");
                Err(Error::new(Code::Rejected, shorten_reason(&reason)))
            }
            (None, Some(replaced)) => match replaced.within(self.text_chars, "text") {
                Ok(replaced) => {
                    self.metrics.hook("before_send", "rewritten");
                    Ok(replaced)
                }
                Err(error) => self.handle_failure(name, error.message(), false, text),
            },
            (None, None) => {
                self.metrics.hook("before_send", "passed");
                Ok(text)
            }
        }
    }

    async fn request_answer(
        &self,
        target: &Target,
        room: &BoundRoom,
        question: String,
        timeout: Duration,
    ) -> Result<BeforeSendAnswer, Unanswered> {
        let bad = |failure: String| Unanswered { failure, waited: true, own: false };
        let context = || CallContext {
            room: Some(FunctionRoom {
                room: room.room,
                reader: Some(room.caller.clone()),
                page_bytes: self.page_bytes,
            }),
            user: Some(room.caller.clone()),
            is_late: false,
            request: room.request.to_hex(),
        };
        let answer = match tokio::time::timeout(timeout, target.call(&room.caller, question, context)).await {
            Ok(answer) => answer.map_err(|error| Unanswered {
                failure: error.to_string(),
                waited: !error.was_not_sent(),
                own: matches!(error, OutboundError::CallerBusy | OutboundError::HeldBack { others: true }),
            })?,
            Err(_) => {
                return Err(bad("the receiver did not answer within half of the action's time".to_owned()));
            }
        };
        read(&answer).map_err(bad)
    }

    /// Decides about a text for which there is no valid answer. `own` means that the receiver fails only for the texts
    /// of this caller. Such a text is refused even with `on_failure = "open"`. Otherwise a caller could bypass the
    /// check by sending a few texts that make the receiver fail.
    fn handle_failure(&self, name: &str, failure: &str, own: bool, text: Text) -> Result<Text, Error> {
        match self.on_failure {
            OnFailure::Open if !own => {
                self.metrics.hook("before_send", "failed_open");
                tracing::warn!(hook = name, failure, "before_send failed; the message passes");
                Ok(text)
            }
            OnFailure::Open | OnFailure::Closed => {
                self.metrics.hook("before_send", "failed_closed");
                let cause = format!("{name}: {failure}");
                Err(Error::caused(
                    Code::Unavailable,
                    "the message could not be checked; try again later",
                    cause,
                ))
            }
        }
    }
}

/// Parses an answer. An empty answer lets the text pass. The error text contains no part of the answer.
pub(crate) fn read(answer: &[u8]) -> Result<BeforeSendAnswer, String> {
    if answer.is_empty() {
        return Ok(BeforeSendAnswer { text: None, reject: None });
    }
    if !answer.trim_ascii_start().starts_with(b"{") {
        return Err("the receiver's answer is not a JSON object".to_owned());
    }
    // The error message of `serde_json` may quote the answer, so only the position of the mistake is reported.
    serde_json::from_slice(answer).map_err(|error| {
        format!("the receiver's answer is malformed at line {}, column {}", error.line(), error.column())
    })
}

/// Returns the reason as the sender sees it: at most [`REASON_CHARS`] characters. An empty reason becomes a default
/// text.
pub(crate) fn shorten_reason(reason: &str) -> String {
    match reason.trim() {
        "" => "the message was rejected".to_owned(),
        reason => reason.chars().take(REASON_CHARS).collect(),
    }
}

/// A room whose new and edited texts the hook checks.
pub(crate) struct ModeratedRoom {
    pub(crate) room: BoundRoom,
    pub(crate) hook: Arc<BeforeSend>,
}

impl Room for ModeratedRoom {
    fn append(&self, text: Text, client_id: Option<ClientId>) -> Pending<'_, AppendOutcome> {
        Box::pin(async move {
            match (self.hook.ask(&self.room, None, text).await, client_id) {
                (Ok(text), client_id) => self.room.append(text, client_id).await,
                (Err(refused), None) => Err(refused),
                // A client sends a message again if it did not receive the answer to its first `send`. The first `send`
                // may have written the message. In this case the sender gets the written message, even if the hook
                // rejects the text now.
                (Err(refused), Some(client_id)) => self.room.appended_before(client_id).await?.ok_or(refused),
            }
        })
    }

    fn author(&self, id: MessageId) -> Pending<'_, UserId> {
        self.room.author(id)
    }

    fn edit(&self, id: MessageId, text: Text) -> Pending<'_, ()> {
        Box::pin(async move { self.room.edit(id, self.hook.ask(&self.room, Some(id), text).await?).await })
    }

    fn delete(&self, id: MessageId) -> Pending<'_, ()> {
        self.room.delete(id)
    }

    fn role(&self) -> Pending<'_, Role> {
        self.room.role()
    }

    fn history(&self, from: HistoryCursor, limit: usize) -> Pending<'_, History> {
        self.room.history(from, limit)
    }

    fn read(&self, id: MessageId) -> Pending<'_, ()> {
        self.room.read(id)
    }

    fn typing(&self) -> Pending<'_, ()> {
        self.room.typing()
    }
}
