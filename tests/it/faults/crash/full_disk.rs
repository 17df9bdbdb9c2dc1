//! The disk of the database is full, so the database can't write and soon ends. When the disk has free space and the
//! database runs again, the server must recover.

use super::FaultTest;
use crate::support::Mongod;

#[tokio::test]
async fn server_recovers_when_a_full_database_disk_has_room_again() {
    let mut mongod = Mongod::start_on_a_disk().await;
    let fault_test = FaultTest::begin(&mongod.uri("parlor")).await;
    fault_test.readiness.fault_begins();
    mongod.fill_the_disk().await;
    fault_test.until_noticed().await;
    mongod.kill().await;
    mongod.clear_the_disk();
    mongod.again().await;
    fault_test.assert_survived(&mongod.uri("the-test")).await;
}
