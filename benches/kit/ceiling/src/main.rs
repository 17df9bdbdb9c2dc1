//! Measures the database alone: its figures are an upper bound (a ceiling) for a chat server on the same machine.
//!
//! The program executes only the operations that every durable chat with receipts needs for each message. It inserts
//! the message with write concern majority and receives the change event of this insert. Then it raises the reader's
//! mark, the id of the last message that the reader has read. This write also has write concern majority, and the
//! program receives its change event. The program has no sockets and no chat logic. While a write of messages runs,
//! new messages wait. The next write takes the waiting messages as one batch, at most 500. Marks are written in the
//! same way, at most 1,000 in a batch.
//!
//! Prints one JSON object. Latencies are in microseconds. Each latency starts when the program queues the message for
//! the writer.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use futures::StreamExt;
use mongodb::Client;
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use mongodb::options::ClientOptions;
use tokio::sync::mpsc;

#[derive(Parser)]
struct Args {
    /// URI of a replica set. The program first drops the database `ceiling` and then uses it.
    #[arg(long, default_value = "mongodb://127.0.0.1:27017/?directConnection=true")]
    uri: String,
    /// Messages a second. 0: as many as possible.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 1000)]
    rooms: i64,
    /// How marks are written: one update for each room, or one journal document for each batch.
    #[arg(long, default_value = "update", value_parser = ["update", "journal"])]
    marks: String,
    /// Largest number of messages that wait for the writer. Applies only with rate 0.
    #[arg(long, default_value_t = 512)]
    waiting: usize,
}

#[derive(Clone, Copy)]
struct Sent {
    room: i64,
    n: i64,
    due: i64,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64
}

fn quantile(times: &mut [i64], q: f64) -> Option<i64> {
    times.sort_unstable();
    times.get(((times.len().max(1) - 1) as f64 * q) as usize).copied()
}

#[tokio::main]
async fn main() -> mongodb::error::Result<()> {
    let args = Args::parse();
    let mut options = ClientOptions::parse(&args.uri).await?;
    options.write_concern = Some(mongodb::options::WriteConcern::majority());
    let db = Client::with_options(options)?.database("ceiling");
    db.drop().await?;
    for name in ["messages", "members", "journal"] {
        db.create_collection(name).await?;
    }
    let members = (0..args.rooms)
        .map(|room| doc! { "_id": { "room": room, "user": 1i64 }, "delivered": 0i64, "read": 0i64 })
        .collect::<Vec<_>>();
    db.collection::<Document>("members").insert_many(members).await?;

    let mut feed = db
        .watch()
        .pipeline([doc! { "$match": { "operationType": { "$in": ["insert", "update"] } } }])
        .batch_size(2000)
        .await?
        .with_type::<RawDocumentBuf>();
    let (sends, mut to_write) = mpsc::channel::<Sent>(if args.rate == 0 { args.waiting } else { 1 << 20 });
    let (seen, mut to_mark) = mpsc::unbounded_channel::<Sent>();

    let reader = tokio::spawn(async move {
        let (mut messages, mut marks, mut last) = (Vec::new(), Vec::new(), Instant::now());
        while let Ok(Some(Ok(event))) = tokio::time::timeout(Duration::from_secs(2), feed.next()).await {
            last = Instant::now();
            let at = now();
            let field = |d: &mongodb::bson::RawDocument, k: &str| d.get_i64(k).unwrap_or_default();
            if let Ok(d) = event.get_document("fullDocument") {
                let due = field(d, "due");
                if d.get("marks").ok().flatten().is_some() {
                    marks.extend(std::iter::repeat_n(at - due, field(d, "count") as usize));
                } else {
                    messages.push(at - due);
                    let _ = seen.send(Sent { room: field(d, "room"), n: field(d, "n"), due });
                }
            } else if let Ok(u) = event.get_document("updateDescription")
                && let Ok(f) = u.get_document("updatedFields")
            {
                marks.push(at - field(f, "due"));
            }
        }
        (messages, marks, last)
    });

    let messages = db.collection::<RawDocumentBuf>("messages");
    let writer = tokio::spawn(async move {
        let (mut batch, mut batches, mut written) = (Vec::new(), 0u64, 0u64);
        while to_write.recv_many(&mut batch, 500).await > 0 {
            let docs = batch.drain(..).map(|s| {
                rawdoc! { "_id": { "room": s.room, "n": s.n }, "room": s.room, "n": s.n, "sender": 1i64,
                "text": "Hello, how are you? This is a message body", "due": s.due }
            });
            let docs = docs.collect::<Vec<_>>();
            written += docs.len() as u64;
            batches += 1;
            messages.insert_many(docs).await?;
        }
        Ok::<_, mongodb::error::Error>((written, batches))
    });

    let journal = args.marks == "journal";
    let marker = tokio::spawn({
        let db = db.clone();
        async move {
            let mut batch = Vec::new();
            while to_mark.recv_many(&mut batch, 1000).await > 0 {
                let (count, due) = (batch.len() as i64, batch[0].due);
                let newest: HashMap<i64, Sent> = batch.drain(..).map(|s| (s.room, s)).collect();
                let mut statements = RawArrayBuf::new();
                for s in newest.values() {
                    statements.push(rawdoc! { "q": { "_id": { "room": s.room, "user": 1i64 } },
                    "u": { "$max": { "delivered": s.n, "read": s.n }, "$set": { "due": s.due } } });
                }
                if journal {
                    let entry = rawdoc! { "due": due, "count": count, "marks": statements };
                    db.collection::<RawDocumentBuf>("journal").insert_one(entry).await?;
                } else {
                    let command = rawdoc! { "update": "members", "updates": statements, "ordered": false,
                    "writeConcern": { "w": "majority" } };
                    db.run_raw_command(command).await?;
                }
            }
            Ok::<_, mongodb::error::Error>(())
        }
    });

    let start = Instant::now();
    let (mut sent, mut last_n, mut random) = (0u64, vec![0i64; args.rooms as usize], 1u64);
    while start.elapsed() < Duration::from_secs(args.seconds) {
        let due = match args.rate {
            0 => sent + 64,
            rate => (start.elapsed().as_secs_f64() * rate as f64) as u64,
        };
        while sent < due {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let room = ((random >> 33) % args.rooms as u64) as usize;
            last_n[room] += 1;
            if sends.send(Sent { room: room as i64, n: last_n[room], due: now() }).await.is_err() {
                break;
            }
            sent += 1;
        }
        if args.rate > 0 {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
    drop(sends);
    let (written, batches) = writer.await.expect("writer")?;
    let (mut seen_at, mut marked_at, last) = reader.await.expect("reader");
    marker.await.expect("marker")?;
    let seconds = (last - start).as_secs_f64();
    let report = serde_json::json!({
        "marks": args.marks, "offered": args.rate, "messages": written, "events": seen_at.len(), "marked": marked_at.len(),
        "per_second": (written as f64 / seconds).round(), "mean_batch": (written as f64 / batches as f64).round(),
        "event_p50_us": quantile(&mut seen_at, 0.5), "event_p99_us": quantile(&mut seen_at, 0.99),
        "mark_p50_us": quantile(&mut marked_at, 0.5), "mark_p99_us": quantile(&mut marked_at, 0.99),
    });
    println!("{report}");
    db.drop().await
}
