//! Change events over MongoDB's limit of 16 MiB. The database can't send an event over this limit, and ends the stream.
//! The server's change stream and the hook's stream must continue after the event.

use mongodb::bson::{Document, doc};

use super::{say, unharmed};
use crate::support::{Metered, Mongod, Receiver, ReceiverReply, Server, chat};

/// Returns a document whose change event is larger than 16 MiB: the event has the document's key of 5 MiB four times.
fn large_key(n: i64) -> Document {
    doc! { "_id": format!("{n}{}", "x".repeat(5 << 20)) }
}

/// Inserts a document with a large key, which causes a change event over 16 MiB.
async fn insert(mongod: &Mongod, server: &Server, collection: &str, n: i64) {
    let database = mongod.database(&server.database().name).await;
    database.collection::<Document>(collection).insert_one(large_key(n)).await.unwrap();
}

#[tokio::test]
async fn events_of_other_collections_do_not_break_the_stream() {
    let mongod = Mongod::start().await;
    let metered = Metered::new();
    let settings = [("FEED__HEARTBEAT_MS", "50"), metered.setting()];
    let server = Server::start_over(&mongod.uri("parlor"), &settings).await;
    server.room(&[1, 2]).await;
    let (mut one, mut two) = (server.join(1, 2).await, server.join(2, 1).await);
    insert(&mongod, &server, "somebody_elses", 1).await;
    // The test also makes such an insert in a transaction.
    let database = mongod.database(&server.database().name).await;
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let others = database.collection::<Document>("somebody_elses");
    others.insert_one(large_key(2)).session(&mut session).await.unwrap();
    session.commit_transaction().await.unwrap();
    say(&mut one, 1, 1, "unharmed").await;
    two.until(chat(1, 1, "unharmed")).await;
    for place in ["feed", "feed_event_too_large", "feed_history_lost"] {
        assert_eq!(metered.sample(&format!(r#"parlor_faults_total{{place="{place}"}}"#)).await, 0, "{place}");
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_an_event_that_is_too_large() {
    let mongod = Mongod::start().await;
    let receiver = Receiver::start(|_| ReceiverReply::Ok(String::new())).await;
    let (metered, url) = (Metered::new(), receiver.url("/"));
    let settings = [
        ("FEED__HEARTBEAT_MS", "50"),
        ("FEED__STALE_MS", "1000"),
        ("HOOKS__AFTER_SEND__URL", &*url),
        ("HOOKS__LEASE_MS", "1000"),
        metered.setting(),
    ];
    let server = Server::start_over(&mongod.uri("parlor"), &settings).await;
    let other = unharmed(&mongod, &server).await;
    server.room(&[1, 2]).await;
    let (mut one, mut elsewhere) = (server.join(1, 2).await, other.join(1, 2).await);
    for n in 0..2 {
        let first = n * 2 + 1;
        say(&mut elsewhere, first, 1, "before").await;
        one.until(chat(first, 1, "before")).await;
        insert(&mongod, &server, "messages", n).await;
        say(&mut elsewhere, first + 1, 1, "after").await;
        one.until(chat(first + 1, 1, "after")).await;
        server.until_status("/readyz", 200).await;
    }
    // The hook reads its events from a change stream of its own.
    receiver.until(|asked| (1..=4).all(|n| asked.iter().any(|one| one.json()["message_id"] == n))).await;
    for place in ["feed_event_too_large", "hook_event_too_large"] {
        let counted = metered.sample(&format!(r#"parlor_faults_total{{place="{place}"}}"#)).await;
        assert!((1..=4).contains(&counted), "{place}: {counted}");
    }
}
