//! Edits and deletes are numbered in the order in which they are told, whichever server makes them.

use super::{Live, Told, edit, missed};
use crate::support::{Server, chat, edited};

/// A message that is edited twice in a row gives the number of the first of the two away. A server that wrote before
/// both must not take it: whoever was told of the second would never hear of what was numbered before it.
#[tokio::test]
async fn a_number_that_is_free_again_is_nobodys() {
    let here = Server::start(&[]).await;
    let there = here.beside().await;
    let room = here.room(&[1, 2]).await;
    let (mut one, mut two) = (Live::fresh(&here, 1, room).await, Live::fresh(&there, 1, room).await);
    let mut n = 0;
    for id in 1..=2 {
        one.say_alone(id, 1, "said").await;
    }
    two.hear_until(chat(2, 1, "said")).await;
    let mut one_edits = async |live: &mut Live, other: &mut Live, id: i64| {
        n += 1;
        let text = format!("version {n}");
        live.send(edit(id, &text)).await;
        live.hear(edited(id, &text)).await;
        other.hear(edited(id, &text)).await;
        text
    };
    one_edits(&mut one, &mut two, 1).await;
    one_edits(&mut two, &mut one, 2).await;
    one_edits(&mut one, &mut two, 1).await;
    one_edits(&mut one, &mut two, 1).await;
    let since = one.cursor.clone();
    let text = one_edits(&mut two, &mut one, 2).await;
    let told = Told { edited: vec![(2, text)], ..Told::default() };
    assert_eq!(missed(&here, room, &since).await, told, "since {since}");
}
