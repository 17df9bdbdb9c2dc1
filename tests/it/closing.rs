//! A client's goodbye is answered by one, whatever it says.

use crate::support::{End, Server, alone};

#[tokio::test]
async fn a_clients_close_is_answered_with_its_code() {
    let (server, mut other) = alone(&[]).await;
    for code in [None, Some(1000), Some(1001), Some(3000), Some(4999)] {
        let one = server.join(1, 2).await;
        // 1005 stands for none (RFC 6455, 7.1.5).
        assert_eq!(one.goodbye(code).await, End::Closed(code.unwrap_or(1005)), "after {code:?}");
    }
    other.quiet().await;
}

#[tokio::test]
async fn a_close_is_answered_behind_what_was_to_be_told() {
    let server = Server::start(&[]).await;
    server.room(&[1, 2]).await;
    let mut one = server.join(1, 2).await;
    for n in 0..20 {
        one.say(&format!("one last word {n}")).await;
    }
    assert_eq!(one.goodbye(Some(1000)).await, End::Closed(1000));
    // What it said is said.
    let mut two = server.connect(2, 1).await;
    assert_eq!(two.history().await.len(), 20);
}
