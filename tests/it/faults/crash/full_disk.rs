//! The database's disk is full: the database writes nothing, and soon ends. Once there is room and the database runs again,
//! the server recovers.

use super::Ordeal;
use crate::support::Mongod;

#[tokio::test]
async fn server_recovers_when_a_full_database_disk_has_room_again() {
    let mut mongod = Mongod::start_on_a_disk().await;
    let ordeal = Ordeal::begin(&mongod.uri("parlor")).await;
    ordeal.readiness.fault_begins();
    mongod.fill_the_disk().await;
    ordeal.is_noticed().await;
    mongod.kill().await;
    mongod.clear_the_disk();
    mongod.again().await;
    ordeal.survived(&mongod.uri("the-test")).await;
}
