//! The errors and warnings about databases that Parlor can't use, or that it can use only slowly.

use std::fs;

use mongodb::bson::{Document, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::SECRET;
use super::check::start_mongod;
use crate::support::{Database, Home, PATIENCE, Process};

/// The opcodes of MongoDB's wire protocol: the query that a driver sends first, the reply to this query, and all later
/// messages.
const OP_QUERY: i32 = 2004;
const OP_REPLY: i32 = 1;
const OP_MSG: i32 = 2013;

/// Starts a fake database, which answers every request like a MongoDB 5.0 primary answers `hello`. Returns its URI.
async fn old_mongod() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hello = doc! {
        "helloOk": true, "isWritablePrimary": true, "ismaster": true, "secondary": false, "setName": "old", "setVersion": 1,
        "hosts": [&address], "me": &address, "primary": &address, "maxBsonObjectSize": 16_777_216,
        "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30,
        "minWireVersion": 0, "maxWireVersion": 13, "readOnly": false, "ok": 1.0,
    };
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer_all(stream, hello.clone()));
        }
    });
    format!("mongodb://{address}/?replicaSet=old&serverSelectionTimeoutMS=5000")
}

async fn answer_all(mut stream: TcpStream, hello: Document) -> std::io::Result<()> {
    let hello = mongodb::bson::serialize_to_vec(&hello).unwrap();
    loop {
        let [length, id, _, opcode] = [
            stream.read_i32_le().await?,
            stream.read_i32_le().await?,
            stream.read_i32_le().await?,
            stream.read_i32_le().await?,
        ];
        let mut body = vec![0; usize::try_from(length - 16).unwrap()];
        stream.read_exact(&mut body).await?;
        let (opcode, head) = if opcode == OP_QUERY {
            // The reply's flags, cursor id and start (all 0), and the number of its documents (1).
            (OP_REPLY, [&[0; 16][..], &1_i32.to_le_bytes()].concat())
        } else {
            // The message's flags, and the type of its only section.
            (OP_MSG, vec![0; 5])
        };
        let length = i32::try_from(16 + head.len() + hello.len()).unwrap();
        let header = [length, 0, id, opcode].map(i32::to_le_bytes).concat();
        stream.write_all(&[&header[..], &head, &hello].concat()).await?;
    }
}

#[tokio::test]
async fn a_database_older_than_6_refuses_to_start() {
    let uri = old_mongod().await;
    let home = Home::new().await.set("MONGODB__URI", &uri).set("AUTH__SECRET", SECRET);
    let refused = home.run(&["serve"]).await;
    assert!(refused.refused().contains("MongoDB is older than 6.0"), "{refused:#?}");
    let checked = home.run(&["check"]).await;
    let fault = checked.out.lines().find(|line| line.starts_with("FAULT")).unwrap_or_default();
    assert!(fault.contains("MongoDB is older than 6.0"), "{checked:#?}");
}

#[tokio::test]
async fn a_database_that_takes_tls_only_is_hinted_at() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = dir.path().join("mongod.pem");
    fs::write(&pem, format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem())).unwrap();
    let pem = pem.display().to_string();
    let tls = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", &pem];
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let (_mongod, port) = start_mongod(&data, &tls).await;
    let uri = format!("mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=500");
    let home = Home::new().await.set("MONGODB__URI", &uri);
    let checked = home.run(&["check"]).await;
    assert!(checked.refused().contains("add tls=true to mongodb.uri"), "{checked:#?}");
}

#[tokio::test]
async fn a_very_small_pool_is_warned_of() {
    let database = Database::new();
    let home = Home::new().await.set("MONGODB__DATABASE", &database.name).set("AUTH__SECRET", SECRET);
    let words = "is so small that messages wait for a connection";
    let separator = if Database::uri().contains('?') { '&' } else { '?' };
    for (uri, pool, warned) in [
        (format!("{}{separator}maxPoolSize=1", Database::uri()), "32", true),
        (Database::uri().to_owned(), "2", true),
        (Database::uri().to_owned(), "8", false),
    ] {
        let settings = [("MONGODB__URI", &*uri), ("MONGODB__POOL_SIZE", pool)];
        let server = Process::start("parlor", home.command(&settings, &["serve"]), PATIENCE);
        server.says("serving on", 4 * PATIENCE).await;
        assert_eq!(server.said().contains(words), warned, "{uri} {pool}: {}", server.said());
    }
}
