//! Waits for a state that a test can only poll: a document, a metric, an answer of the API.

use std::fmt::Debug;
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::Document;
use tokio::time::{sleep, timeout};

use super::PATIENCE;

/// The pause between two probes. Without a pause, the probes would load the database under test.
const INTERVAL: Duration = Duration::from_millis(15);

/// Calls `probe` until `reached` accepts the returned value, and returns this value. After [`PATIENCE`], panics with
/// the text `what` and the last value.
pub(crate) async fn eventually<T: Debug>(
    what: &str,
    probe: impl AsyncFnMut() -> T,
    reached: impl Fn(&T) -> bool,
) -> T {
    eventually_within(PATIENCE, what, probe, reached).await
}

/// Works like [`eventually`], with its own time limit.
pub(crate) async fn eventually_within<T: Debug>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> T,
    reached: impl Fn(&T) -> bool,
) -> T {
    let mut last = None;
    let probing = async {
        loop {
            let value = probe().await;
            if reached(&value) {
                return value;
            }
            last = Some(value);
            sleep(INTERVAL).await;
        }
    };
    timeout(limit, probing)
        .await
        .ok()
        .unwrap_or_else(|| panic!("not within {limit:?}: {what}; the last value was {last:?}"))
}

/// Calls `probe` until it returns a value, and returns that value. Panics after [`PATIENCE`].
pub(crate) async fn eventually_some<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let mut found = None;
    let is_found = async || {
        found = probe().await;
        found.is_some()
    };
    eventually(what, is_found, |is_found| *is_found).await;
    found.unwrap()
}

/// Waits until `reached` accepts the number of documents that match the filter. Panics after twice [`PATIENCE`].
pub(crate) async fn eventually_count<T: Send + Sync>(
    collection: &Collection<T>,
    filter: Document,
    reached: impl Fn(u64) -> bool,
) {
    let what = format!("the number of {} with {filter}", collection.name());
    let count = async || collection.count_documents(filter.clone()).await.unwrap();
    eventually_within(2 * PATIENCE, &what, count, |count| reached(*count)).await;
}
