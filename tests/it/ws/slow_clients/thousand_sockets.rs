//! A thousand sockets in the room of two users don't read, while the two users chat. Both users receive messages in
//! time. The server closes and counts each of the thousand sockets, and frees their memory.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::support::{
    Client, End, PATIENCE, Program, Samples, Server, chat, eventually_within, may_open_many_files,
};

const DEAF: usize = 1_000;

/// The number of sockets that are opened concurrently.
const AT_ONCE: usize = 50;

/// The number of messages before the silent sockets connect, so that the server has allocated the memory for a chat.
const WARM: usize = 50;

/// The metric of sockets that were closed with 4008 because their queue was full.
const CLOSED: &str = r#"parlor_limits_hit_total{bound="send_queue"}"#;

/// The longest time that a message may take to the other user. The server also queues and writes the message for a
/// thousand other sockets. It is a debug build, and shares a core with the database and the test.
const IN_TIME: Duration = Duration::from_secs(5);

/// The allowed growth of resident memory after the first thousand sockets: the memory that the allocator keeps, 64 KiB
/// for each socket.
const KEPT_KIB: u64 = 64 << 10;

/// The allowed growth after each further thousand sockets, which can use the memory that the allocator kept.
const LEAKED_KIB: u64 = 8 << 10;

/// Opens [`DEAF`] sockets whose clients read no frame. The clients' receive buffers in the kernel are small. So the
/// buffers fill up quickly, and the server's queues for these sockets become full soon.
async fn deaf(server: &Server, user: i64) -> Vec<Client> {
    let mut all = Vec::with_capacity(DEAF);
    for _ in 0..DEAF / AT_ONCE {
        let query = format!("firts_user={user}&second_user=1/");
        let dial = || server.dial_as(user, &query).receive_buffer(4096).open();
        all.extend(join_all((0..AT_ONCE).map(|_| dial())).await);
    }
    all
}

/// The two users who chat, and the last message id of their room.
struct Talk {
    two: [Client; 2],
    last: i64,
}

impl Talk {
    /// Makes the room of user 1 and `peer`, opens a socket of each, and sends [`WARM`] messages.
    async fn of(server: &Server, peer: i64) -> Self {
        server.room(&[1, peer]).await;
        let mut talk = Self { two: [server.join(1, peer).await, server.join(peer, 1).await], last: 0 };
        for _ in 0..WARM {
            talk.say("warm").await;
        }
        talk
    }

    /// Sends a message and waits until both users have received it. Returns the time that this took.
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

/// Opens a thousand silent sockets. The two users chat until the server has closed all of them.
async fn round(server: &Server, samples: &Samples, peer: i64) {
    let mut talk = Talk::of(server, peer).await;
    let closed = samples.number(CLOSED).await;
    let deaf = deaf(server, peer).await;
    // The chat begins only after all sockets are open. A socket that connects later would receive the messages of the
    // chat in its history. The server could then close the socket because the write of the history takes too long, and
    // not because the queue is full.
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
        // A client that starts to read soon enough receives the close code. Otherwise its connection is lost.
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
        // All silent sockets belong to one user, so the limits of a user are high.
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
