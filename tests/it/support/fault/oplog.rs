//! Makes the oplog (the list of writes from which change streams read) lose old entries. A change stream can't resume
//! from a lost entry.

use mongodb::bson::{Document, Timestamp, doc};
use tokio::time::timeout;

use super::super::PATIENCE;
use super::Mongod;

/// The size of one write in bytes, which is larger than the short oplog.
const FILLER: usize = 2 << 20;

impl Mongod {
    /// Returns the database's cluster time (MongoDB's logical clock).
    pub(crate) async fn now(&self) -> Timestamp {
        let answer = self.admin(doc! { "hello": 1 }).await;
        answer.get_timestamp("operationTime").unwrap()
    }

    /// Writes to an unused database until the oplog's first entry is later than `time`.
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
