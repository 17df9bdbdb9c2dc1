//! Runs the store's database operations. An operation always runs to its end, even if its caller stops waiting. A
//! caller waits for an operation only for a limited time.

use bson::{RawArrayBuf, doc, rawdoc};
use tracing::Instrument;

use super::{Store, StoreError};

impl Store {
    /// Runs an operation in a separate task, because the driver's futures must not be dropped before they end. The
    /// caller waits for at most `mongodb.operation_ms`. After this time, the caller receives [`StoreError::Unknown`].
    pub(super) async fn run_detached<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.operation, tokio::spawn(operation.in_current_span())).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(StoreError::Fault(Box::new(panic))),
            Err(_) => Err(StoreError::Unknown(None)),
        }
    }

    /// Runs the statements of an `update` command. Returns after a majority has stored the writes. A failed statement
    /// does not stop the other statements.
    ///
    /// # Errors
    /// [`StoreError::Fault`] if any statement failed.
    pub(super) async fn update_each(
        &self,
        collection: &str,
        statements: RawArrayBuf,
    ) -> Result<(), StoreError> {
        let command = rawdoc! {
            "update": collection,
            "updates": statements,
            "ordered": false,
            "writeConcern": { "w": "majority" },
        };
        let db = self.db.clone();
        let answer = self.run_detached(async move { Ok(db.run_raw_command(command).await?) }).await?;
        match answer.get("writeErrors").or_else(|| answer.get("writeConcernError")) {
            Some(errors) => Err(StoreError::Fault(errors.to_string().into())),
            None => Ok(()),
        }
    }

    /// Checks that the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let db = self.db.clone();
        self.run_detached(async move { Ok(db.run_command(doc! { "ping": 1 }).await.map(|_| ())?) }).await
    }
}
