//! An oplog that has rolled over: the place from which a change stream would resume is gone.

use mongodb::bson::{Document, Timestamp, doc};
use tokio::time::timeout;

use super::super::PATIENCE;
use super::Mongod;

/// What is written at once to push the rest out, in bytes: more than the oplog has room for.
const FILLER: usize = 2 << 20;

impl Mongod {
    /// What time it is there.
    pub(crate) async fn now(&self) -> Timestamp {
        let answer = self.admin(doc! { "hello": 1 }).await;
        answer.get_timestamp("operationTime").unwrap()
    }

    /// Writes, to a database that is nobody's, until its oplog has nothing of this time any more.
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
