//! The database's disk is full: it writes nothing, and soon ends by itself. Once there is room, and it has been started
//! again, all goes on.

use super::Ordeal;
use crate::support::Mongod;

#[tokio::test]
async fn a_full_disk_under_the_database_is_said_and_all_goes_on_once_there_is_room() {
    let mut mongod = Mongod::start_on_a_disk().await;
    let ordeal = Ordeal::begin(&mongod.uri("parlor")).await;
    ordeal.truth.fault();
    mongod.fill_the_disk().await;
    ordeal.is_noticed().await;
    mongod.kill().await;
    mongod.clear_the_disk();
    mongod.again().await;
    ordeal.survived(&mongod.uri("the-test")).await;
}
