//! Opens the change stream, and decides from its errors where the next stream continues.

use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ReadPreference, SelectionCriteria};

use crate::config::ReadFrom;
use crate::store::Store;
use crate::store::receipts::journal;

/// How long the database waits for a change before it answers that there was none.
const MAX_AWAIT: Duration = Duration::from_secs(1);

/// The collections whose changes are followed. No part of this server uses other collections. An event of another
/// application's collection may even be too large to be sent (see [`is_too_large`]).
///
/// The database applies this filter before it builds an event. So a document of another collection with an `_id` of
/// 5 MiB broke no stream. A list of excluded collections would be as fast (6.0.5, 38 microseconds of
/// processor time for an event, inserts included; medians of three).
const FOLLOWED: [&str; 8] =
    ["rooms", "messages", "members", "marks", "heartbeats", "presence", "signals", "erasures"];

/// The operations on documents, and on collections and indexes that are dropped.
const OPERATIONS: [&str; 7] = ["insert", "update", "replace", "delete", "drop", "rename", "dropIndexes"];

/// The error codes that mean that the resume point is lost: `ChangeStreamFatalError`, `ChangeStreamHistoryLost`,
/// `CappedPositionLost`, `InvalidResumeToken`.
const HISTORY_LOST: [i32; 4] = [280, 286, 136, 260];

/// The error code `BSONObjectTooLarge`.
const TOO_LARGE: i32 = 10334;

/// Returns whether a stream can't continue at its resume token, because the database no longer has the changes after
/// the token.
pub(crate) fn is_history_lost(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Command(command) => HISTORY_LOST.contains(&command.code),
        ErrorKind::MissingResumeToken => true,
        _ => false,
    }
}

/// Returns whether the next event is larger than a document may be. The database can never send the event: a stream
/// can only continue after it.
///
/// An `_id` of 5 MiB is enough for such an event. The event contains the document's key, and its resume token contains
/// the key again at twice its length.
pub(crate) fn is_too_large(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == TOO_LARGE)
}

/// Returns the point right after an event.
pub(super) fn token_after(event: &RawDocument) -> Option<ResumeToken> {
    let id = event.get_document("_id").ok()?;
    bson::deserialize_from_slice(id.as_bytes()).ok()
}

/// The failures to open a stream since the last received event.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    refusals: u32,
}

/// The first pause. An election takes some seconds. A broken connection is replaced much sooner.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause. No socket receives events until the stream is open again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After this many refusals in a row the stream no longer tries the same position. The next event in the stream is then
/// the likely cause, whatever the error says.
const REFUSALS: u32 = 8;

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: FIRST_PAUSE, refusals: 0 }
    }
}

impl Backoff {
    /// Returns the pause after one more failure. It doubles each time.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Records that the database refused to continue the stream. Returns true after too many refusals: then the stream
    /// gives up this position.
    pub(super) fn refused(&mut self) -> bool {
        self.refusals += 1;
        self.refusals >= REFUSALS
    }
}

impl Store {
    /// Opens the stream on this database, after `token`, or from now on.
    pub(super) async fn watch(
        &self,
        token: Option<ResumeToken>,
        read_from: ReadFrom,
    ) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        // The filter is short, because the database evaluates it for each change. With all conditions of
        // `is_of_interest`, an event took the database 20 microseconds. With the operations alone, it took 12 (6.0.5,
        // one insert of 50 messages after the other, medians of three).
        let changes = doc! { "$match": {
            "operationType": { "$in": OPERATIONS.as_slice() },
            "ns.coll": { "$in": FOLLOWED.as_slice() },
            // An update that folds receipt markers is no news: the markers were sent when they were raised.
            format!("updateDescription.updatedFields.{}", journal::MARKED_AT.as_str()): { "$exists": false },
        } };
        // Expanded events include dropped indexes.
        let watch = self.database().watch().pipeline([changes]).show_expanded_events(true);
        let watch = watch.max_await_time(MAX_AWAIT).batch_size(1000);
        let member = match read_from {
            ReadFrom::Primary => ReadPreference::Primary,
            ReadFrom::Secondary => ReadPreference::SecondaryPreferred { options: None },
        };
        let watch = watch.selection_criteria(SelectionCriteria::ReadPreference(member));
        let stream = match token {
            Some(token) => watch.resume_after(token).await?,
            None => watch.await?,
        };
        Ok(stream.with_type())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_one() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..5).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 2_000]);
    }

    #[test]
    fn position_is_abandoned_after_repeated_refusals() {
        let mut backoff = Backoff::default();
        let given_up = (1..=10).find(|_| backoff.refused());
        assert_eq!(given_up, Some(REFUSALS));
    }
}
