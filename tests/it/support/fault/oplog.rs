//! An oplog that has rolled over: the place from which a change stream would resume is gone.

use mongodb::bson::{Document, Timestamp, doc};
use tokio::time::timeout;

use super::super::PATIENCE;
use super::Mongod;

/// The bytes of one write, which is larger than the oplog.
const FILLER: usize = 2 << 20;

impl Mongod {
    /// Returns the time of the database.
    pub(crate) async fn now(&self) -> Timestamp {
        let answer = self.admin(doc! { "hello": 1 }).await;
        answer.get_timestamp("operationTime").unwrap()
    }

    /// Writes to an unused database until the oplog has no entry of this time.
    pub(crate) async fn rolls_over(&self, time: Timestamp) {
        let filler = self.database("filler").await.collection::<Document>("filler");
        let oplog = self.database("local").await.collection::<Document>("oplog.rs");
        let rolled = async {
            loop {
                let first = oplog.find_one(doc! {}).sort(doc! { "$natural": 1 }).await.unwrap().unwrap();
                if first.get_timestamp("ts").unwrap() > time {
                    return;
                }
                filler.insert_one(doc! { "text": "x".repeat(FILLER) }).await.unwrap();
            }
        };
        let rolled = timeout(2 * PATIENCE, rolled).await;
        assert!(rolled.is_ok(), "the oplog has not rolled over within {:?}", 2 * PATIENCE);
    }
}
