//! Options of `mongodb.uri`: those that contradict what Parlor needs are refused by name, compressors work.

use mongodb::bson::doc;

use crate::support::{Home, Mongod, Server, chat, free_port};

const SECRET: &str = "a secret of the tests, at least 32 bytes long";

#[tokio::test]
async fn serve_and_check_refuse_a_contradicting_uri_option() {
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    for (option, name) in [
        ("readPreference=secondaryPreferred", "readPreference"),
        ("readConcernLevel=majority", "readConcernLevel"),
        ("w=1", "w"),
        ("retryWrites=false", "retryWrites"),
    ] {
        let uri = format!("mongodb://127.0.0.1:{}/?{option}&serverSelectionTimeoutMS=300", free_port());
        for command in ["serve", "check"] {
            let ran = home.run_with(&[("MONGODB__URI", &uri)], &[command]).await;
            let said = ran.refused();
            assert!(said.contains("mongodb.uri: "), "{command}: {said}");
            assert!(said.contains(&format!("its option {name} contradicts")), "{command}: {said}");
            assert!(said.contains("(PARLOR__MONGODB__URI)"), "{command}: {said}");
        }
    }
}

#[tokio::test]
async fn check_names_uri_options_without_effect() {
    let mongod = Mongod::start().await;
    let uri = format!("{}&waitQueueTimeoutMS=5000", mongod.uri("parlor"));
    let checked = Home::new().await.set("MONGODB__URI", &uri).run(&["check"]).await;
    let line = checked.printed().lines().find(|line| line.contains("waitQueueTimeoutMS"));
    assert!(line.is_some_and(|line| line.contains("has no effect")), "{checked:#?}");
}

#[tokio::test]
async fn compressors_of_the_uri_carry_messages() {
    let mongod = Mongod::start().await;
    for compressor in ["zstd", "snappy", "zlib"] {
        let uri = format!("{}&compressors={compressor}", mongod.uri("parlor"));
        let server = Server::start_over(&uri, &[]).await;
        server.room(&[1, 2]).await;
        let mut one = server.join(1, 2).await;
        one.say("compressed").await;
        one.until(chat(1, 1, "compressed")).await;
        let status = mongod.database("admin").await.run_command(doc! { "serverStatus": 1 }).await.unwrap();
        let network = status.get_document("network").unwrap().get_document("compression").unwrap();
        let used = network.get_document(compressor).unwrap().get_document("decompressor").unwrap();
        assert!(
            used.get("bytesIn").and_then(mongodb::bson::Bson::as_i64).unwrap() > 0,
            "{compressor}: {network}"
        );
    }
}
