//! `feed.read_from = "secondary"`: the change stream reads from a secondary, not from the primary. If that secondary is
//! killed, the stream moves to another member of the replica set.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};

use super::say;
use crate::support::{Mongod, PATIENCE, Server, chat, eventually_within};

/// Returns whether a server called `app` has a change stream open on this member.
async fn is_read(mongod: &Mongod, app: &str) -> bool {
    let operations = doc! { "$currentOp": { "allUsers": true, "idleCursors": true } };
    let admin = mongod.database("admin").await;
    let operations: Vec<Document> = admin.aggregate([operations]).await.unwrap().try_collect().await.unwrap();
    operations.iter().map(ToString::to_string).any(|one| one.contains("$changeStream") && one.contains(app))
}

async fn is_secondary(mongod: &Mongod) -> bool {
    let hello = mongod.database("admin").await.run_command(doc! { "hello": 1 }).await;
    hello.is_ok_and(|hello| hello.get_bool("secondary").unwrap_or(false))
}

/// Returns, for each member of the replica set, whether the server `parlor` reads its change stream from that member.
async fn readers(three: &[Mongod; 3]) -> [bool; 3] {
    [
        is_read(&three[0], "parlor").await,
        is_read(&three[1], "parlor").await,
        is_read(&three[2], "parlor").await,
    ]
}

#[tokio::test]
async fn feed_moves_to_another_secondary_when_its_own_is_killed() {
    let mut three = Mongod::start_three().await;
    let secondaries = async || [is_secondary(&three[1]).await, is_secondary(&three[2]).await];
    let limit = 2 * PATIENCE;
    eventually_within(limit, "two of three are secondaries", secondaries, |two| *two == [true; 2]).await;
    let hosts = three.each_ref().map(Mongod::host).join(",");
    let uri = format!("mongodb://{hosts}/?replicaSet=rs0&appName=parlor&heartbeatFrequencyMS=500");

    let server = Server::start_over(&uri, &[("FEED__READ_FROM", "secondary")]).await;
    server.room(&[1, 2]).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    say(&mut one, 1, 1, "by a secondary").await;
    two.until(chat(1, 1, "by a secondary")).await;
    let read = readers(&three).await;
    assert_eq!((read[0], read[1] ^ read[2]), (false, true), "one secondary, and not the primary: {read:?}");

    let (killed, other) = if read[1] { (1, 2) } else { (2, 1) };
    three[killed].kill().await;
    say(&mut one, 2, 1, "by the other").await;
    two.until(chat(2, 1, "by the other")).await;
    assert_eq!((is_read(&three[0], "parlor").await, is_read(&three[other], "parlor").await), (false, true));
}

#[tokio::test]
async fn feed_is_read_from_the_primary_when_there_is_no_secondary() {
    let mongod = Mongod::start().await;
    let server = Server::start_over(&mongod.uri("parlor"), &[("FEED__READ_FROM", "secondary")]).await;
    server.room(&[1, 2]).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    say(&mut one, 1, 1, "by the primary").await;
    two.until(chat(1, 1, "by the primary")).await;
    assert!(is_read(&mongod, "parlor").await);
}
