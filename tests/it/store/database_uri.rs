//! Options in `mongodb.uri`: Parlor refuses an option that contradicts Parlor's needs, and the error names the option.
//! The URI's path names the database. Options for compression work.

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
async fn path_of_the_uri_names_the_database() {
    let mongod = Mongod::start().await;
    let uri = |path: &str| format!("mongodb://{}/{path}?replicaSet=rs0", mongod.host());
    let home = Home::new().await;
    for (path, database, used) in [
        ("", None, "parlor"),
        ("otherdb", None, "otherdb"),
        ("otherdb", Some("otherdb"), "otherdb"),
        ("admin", Some("chat"), "chat"),
        ("", Some("chat"), "chat"),
    ] {
        let uri = uri(path);
        let mut settings = vec![("MONGODB__URI", uri.as_str())];
        settings.extend(database.map(|database| ("MONGODB__DATABASE", database)));
        let checked = home.run_with(&settings, &["check"]).await;
        let named = format!("database `{used}`");
        assert!(
            checked.printed().lines().any(|line| line.ends_with(&named)),
            "{path} {database:?}: {checked:#?}"
        );
        let collections = mongod.database(used).await.list_collection_names().await.unwrap();
        assert!(collections.iter().any(|name| name == "rooms"), "{used}: {collections:?}");
    }
    for command in ["serve", "check"] {
        let uri = uri("otherdb");
        let settings = [("MONGODB__URI", uri.as_str()), ("MONGODB__DATABASE", "chat")];
        let refused = home.run_with(&settings, &[command]).await;
        let said = refused.refused();
        let named =
            "mongodb.uri: its path names the database \"otherdb\", but mongodb.database is \"chat\": ";
        assert!(said.contains(named) && said.ends_with("(PARLOR__MONGODB__URI)"), "{said}");
    }
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
