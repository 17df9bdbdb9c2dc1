//! A thousand sockets don't read, in the room of two users who chat. The two are served in time, each of the thousand is
//! closed and counted, and their memory is freed.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::support::{
    Client, End, PATIENCE, Program, Samples, Server, chat, eventually_within, may_open_many_files,
};

const DEAF: usize = 1_000;

/// The sockets that are opened concurrently.
const AT_ONCE: usize = 50;

/// What is said before they come, so that all is there that a talk takes.
const WARM: usize = 50;

/// The metric of sockets that were closed with 4008 because their queue was full.
const CLOSED: &str = r#"parlor_limits_hit_total{bound="send_queue"}"#;

/// How long a message may take to its peer while it is also queued, and written, for a thousand others: by a debug
/// build, on a core that the database and the test share.
const IN_TIME: Duration = Duration::from_secs(5);

/// By how much resident memory may have grown once the first thousand are gone: what the allocator keeps of their worst
/// moment, 64 KiB each...
const KEPT_KIB: u64 = 64 << 10;

/// ...and what each further thousand may add, which find that already there.
const LEAKED_KIB: u64 = 8 << 10;

/// Opens sockets that do nothing. Their buffers are small, so that the server soon notices.
async fn deaf(server: &Server, user: i64) -> Vec<Client> {
    let mut all = Vec::with_capacity(DEAF);
    for _ in 0..DEAF / AT_ONCE {
        let query = format!("firts_user={user}&second_user=1/");
        let dial = || server.dial_as(user, &query).receive_buffer(4096).open();
        all.extend(join_all((0..AT_ONCE).map(|_| dial())).await);
    }
    all
}

/// The two users who chat, and the last number of their room.
struct Talk {
    two: [Client; 2],
    last: i64,
}

impl Talk {
    async fn of(server: &Server, peer: i64) -> Self {
        server.room(&[1, peer]).await;
        let mut talk = Self { two: [server.join(1, peer).await, server.join(peer, 1).await], last: 0 };
        for _ in 0..WARM {
            talk.say("warm").await;
        }
        talk
    }

    /// Sends a message, waits until both users have received it, and returns the time that it took.
    async fn say(&mut self, text: &str) -> Duration {
        let said = Instant::now();
        self.last += 1;
        self.two[0].say(text).await;
        for client in &mut self.two {
            client.until(chat(self.last, 1, text)).await;
        }
        said.elapsed()
    }
}

/// Opens a thousand sockets. The two users chat until all of them are closed.
async fn round(server: &Server, samples: &Samples, peer: i64) {
    let mut talk = Talk::of(server, peer).await;
    let closed = samples.number(CLOSED).await;
    let deaf = deaf(server, peer).await;
    // One that is still to come in would have what the two say in its history, and end by another bound.
    let (expected, open) =
        (u32::try_from(DEAF + 2).unwrap(), async || samples.number("parlor_sockets").await);
    eventually_within(4 * PATIENCE, "all sockets are open", open, |open| *open >= expected).await;
    let (began, text, mut slowest) = (Instant::now(), "x".repeat(4096), Duration::ZERO);
    while samples.number("parlor_sockets").await > 2 {
        slowest = slowest.max(talk.say(&text).await);
        assert!(began.elapsed() < 2 * PATIENCE, "they are still open after {:?}", 2 * PATIENCE);
    }
    assert!(slowest < IN_TIME, "a message took {slowest:?}");
    let closed = samples.number(CLOSED).await - closed;
    assert_eq!(usize::try_from(closed).unwrap(), DEAF, "each was closed for its queue, once");
    eprintln!("{} messages, the slowest in {slowest:?}, all closed in {:?}", talk.last, began.elapsed());
    let ends = timeout(PATIENCE, join_all(deaf.into_iter().map(async |mut deaf| deaf.hear_out().await.1)));
    for end in ends.await.expect("they end") {
        // A client that reads again in time gets the reason.
        assert!(matches!(end, End::Closed(4008) | End::Lost), "{end:?}");
    }
    for client in talk.two {
        client.leave().await;
    }
}

#[tokio::test]
async fn thousand_silent_clients_slow_nobody_and_leave_no_memory() {
    may_open_many_files();
    let samples = Samples::new();
    let overrides = [
        ("ADMIN__LISTEN", samples.admin.as_str()),
        ("LIMITS__SEND_QUEUE", "64"),
        ("LIMITS__SOCKETS_PER_USER", "2000"),
        // All sockets are of one user.
        ("LIMITS__CONNECTS_PER_MINUTE", "10000"),
        ("LIMITS__USER_BYTES", "1073741824"),
        ("SOCKETS__SEND_BUFFER_BYTES", "8192"),
    ];
    let server = Program::start(&overrides).await;
    drop(Talk::of(&server, 2).await);
    let before = server.resident_kib();
    round(&server, &samples, 3).await;
    let after = server.resident_kib();
    round(&server, &samples, 4).await;
    let again = server.resident_kib();
    eprintln!("resident: {before} KiB before, {after} KiB after a thousand, {again} KiB after another");
    assert!(after < before + KEPT_KIB, "{before} KiB have become {after} KiB");
    assert!(again < after + LEAKED_KIB, "{after} KiB have become {again} KiB");
}
