//! How the store runs a database operation: detached from its caller, and with a limit on the wait.

use bson::{RawArrayBuf, doc, rawdoc};
use tracing::Instrument;

use super::{Store, StoreError};

impl Store {
    /// Runs an operation to its end even if the caller is dropped, because the driver's futures must not be dropped
    /// half way. The caller waits for `mongodb.operation_ms` at most.
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

    /// Runs the statements of an `update` command, all of them even if some have no effect. Returns once a majority
    /// has them.
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
