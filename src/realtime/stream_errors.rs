//! Opens the change stream. If the stream fails, its error decides at which position the next stream continues.

use std::time::Duration;

use bson::{RawDocument, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::SelectionCriteria;

use crate::config::ReadFrom;
use crate::store::Store;
use crate::store::receipts::journal;

/// How long the database waits for a change before it sends an empty answer.
const MAX_AWAIT: Duration = Duration::from_secs(1);

/// The collections whose changes the stream contains. The server uses no event of other collections. Without this
/// filter, a large event of another application's collection could break the stream (see [`is_too_large`]).
///
/// The database applies this filter before it builds an event. In a test, a document with an `_id` of 5 MiB in another
/// collection did not break the stream. A filter that excludes all other collections would be as fast. With each of the
/// two filters, an event took 38 microseconds of processor time, including the insert (MongoDB 6.0.5, medians of three
/// runs).
const FOLLOWED: [&str; 8] =
    ["rooms", "messages", "members", "marks", "heartbeats", "presence", "signals", "erasures"];

/// The operations in the stream: writes of documents, drops and renames of collections, and drops of indexes.
const OPERATIONS: [&str; 7] = ["insert", "update", "replace", "delete", "drop", "rename", "dropIndexes"];

/// The error codes of a database that can't continue a stream at its position: `ChangeStreamFatalError`,
/// `ChangeStreamHistoryLost`, `CappedPositionLost`, `InvalidResumeToken`.
const HISTORY_LOST: [i32; 4] = [280, 286, 136, 260];

/// The number of MongoDB's error code `BSONObjectTooLarge`.
const TOO_LARGE: i32 = 10334;

/// Returns whether a stream can't continue at its resume token, usually because the database no longer has the changes
/// after the token.
pub(crate) fn is_history_lost(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Command(command) => HISTORY_LOST.contains(&command.code),
        ErrorKind::MissingResumeToken => true,
        _ => false,
    }
}

/// Returns whether the next event is larger than MongoDB's maximum document size. The database can never send this
/// event, so a stream can only continue after it.
///
/// A document whose `_id` has 5 MiB is enough for this error. The event contains the `_id`, and the event's resume
/// token contains the `_id` again at twice its length.
pub(crate) fn is_too_large(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == TOO_LARGE)
}

/// Returns the resume token of an event. A stream that is opened with this token continues right after the event.
pub(super) fn token_after(event: &RawDocument) -> Option<ResumeToken> {
    let id = event.get_document("_id").ok()?;
    bson::deserialize_from_slice(id.as_bytes()).ok()
}

/// Counts the failures to open a stream since the last received event.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    refusals: u32,
}

/// The pause after the first failure. It is short, because a broken connection is replaced quickly. The later pauses
/// are longer, because the election of a new primary takes some seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause. It is short, because no socket receives events until the stream is open again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The number of successive refusals after which the next stream starts at the current time. A refusal is an error with
/// which the database refuses to continue the stream at its position. After this many refusals, the next event at the
/// old position is the likely cause, even if the error names another cause.
const REFUSALS: u32 = 8;

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: FIRST_PAUSE, refusals: 0 }
    }
}

impl Backoff {
    /// Returns the pause after a failure. Each pause is twice as long as the previous pause, up to [`LONGEST_PAUSE`].
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Records that the database refused to continue the stream. Returns true after [`REFUSALS`] refusals. In this case
    /// the caller abandons the stream's position, and the next stream starts at the current time.
    pub(super) fn refused(&mut self) -> bool {
        self.refusals += 1;
        self.refusals >= REFUSALS
    }
}

impl Store {
    /// Opens the change stream on this database. The stream starts after `token`, or at the current time if `token` is
    /// none.
    pub(super) async fn watch(
        &self,
        token: Option<ResumeToken>,
        read_from: ReadFrom,
    ) -> Result<ChangeStream<RawDocumentBuf>, Error> {
        // The database evaluates the filter for each change, so the filter is short. With all conditions of
        // `is_of_interest`, an event took the database 20 microseconds. With only the condition for the operations, an
        // event took 12 microseconds. This was measured with MongoDB 6.0.5 and inserts of 50 messages one after the
        // other (medians of three runs).
        let changes = doc! { "$match": {
            "operationType": { "$in": OPERATIONS.as_slice() },
            "ns.coll": { "$in": FOLLOWED.as_slice() },
            // An update of this field only copies receipt markers into the documents of their members. The stream
            // already reported these markers when they were written to the collection `marks`.
            format!("updateDescription.updatedFields.{}", journal::MARKED_AT.as_str()): { "$exists": false },
        } };
        // Without the option for expanded events, the stream does not report dropped indexes.
        let watch = self.database().watch().pipeline([changes]).show_expanded_events(true);
        let watch = watch.max_await_time(MAX_AWAIT).batch_size(1000);
        let watch = watch.selection_criteria(SelectionCriteria::from(read_from));
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
