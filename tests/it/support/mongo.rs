//! One database server for all tests of this process. The environment variable `MONGODB_URI` gives its URI. Without
//! this variable, the tests start a child process, or (with the feature `docker`) a container. When this process ends
//! for any reason, the child process or container ends, too, and its files are deleted.

use std::any::Any;
use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use mongodb::Client;
use tokio::sync::mpsc::UnboundedSender;

/// The database server's URI, and a channel to the thread that drops databases.
struct Mongo {
    uri: String,
    drops: UnboundedSender<(String, mpsc::Sender<()>)>,
}

/// The URI of a database server, and the values that keep this server running until they are dropped.
struct Found {
    uri: String,
    _held: Box<dyn Any>,
}

/// Returns the database server of this process. The first call starts it.
fn mongo() -> &'static Mongo {
    static MONGO: OnceLock<Result<Mongo, String>> = OnceLock::new();
    MONGO.get_or_init(start).as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// The name of a test's own database. Dropping this value drops the database.
pub(crate) struct Database {
    pub(crate) name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("parlor_it_{}_{}_{n}", std::process::id(), super::now().as_millis()) }
    }

    /// Returns the URI of the database server, which is the same for every test.
    pub(crate) fn uri() -> &'static str {
        &mongo().uri
    }
}

impl Drop for Database {
    /// The database server's thread drops the database, because the test's own runtime may be ending.
    fn drop(&mut self) {
        let (done, dropped) = mpsc::channel();
        if mongo().drops.send((self.name.clone(), done)).is_ok() {
            let _ = dropped.recv_timeout(Duration::from_secs(10));
        }
    }
}

/// Starts the database server in a thread with its own runtime, and returns its URI. Each test has its own runtime, and
/// a child process may end with the thread that started it. Therefore a separate thread starts the server, and stays.
fn start() -> Result<Mongo, String> {
    let (drops, mut names) = tokio::sync::mpsc::unbounded_channel::<(String, mpsc::Sender<()>)>();
    let (tell, told) = mpsc::channel();
    let keep = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let found = match find().await {
                Ok(found) => found,
                Err(error) => return tell.send(Err(error)).unwrap(),
            };
            let client = Client::with_uri_str(&found.uri).await.unwrap();
            tell.send(Ok(found.uri.clone())).unwrap();
            while let Some((name, done)) = names.recv().await {
                let _ = client.database(&name).drop().await;
                let _ = done.send(());
            }
        });
    };
    thread::Builder::new().name("mongo".to_owned()).spawn(keep).unwrap();
    let uri = told.recv().map_err(|_| "no MongoDB for the tests: starting one panicked".to_owned())??;
    Ok(Mongo { uri, drops })
}

async fn find() -> Result<Found, String> {
    if let Ok(uri) = env::var("MONGODB_URI")
        && !uri.is_empty()
    {
        return Ok(Found { uri, _held: Box::new(()) });
    }
    let embedded = match embedded().await {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let container = match container().await {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    Err(format!(
        "no MongoDB for the tests:\n- MONGODB_URI is not set\n- a mongod of this process: {embedded}\n- a container: \
         {container}"
    ))
}

async fn embedded() -> Result<Found, String> {
    let data_dir = env::temp_dir().join(format!("parlor-it-{}", std::process::id()));
    let files = data_dir.display().to_string();
    let options = parlor::mongod::MongodOptions { data_dir, mongod: None, cache_mib: 256 };
    let mongod = parlor::mongod::EmbeddedMongod::start(&options).await.map_err(|error| error.to_string())?;
    let pid = mongod.pid().map(|pid| pid.to_string()).unwrap_or_default();
    let end = r#"kill -9 "$1"; for i in 1 2 3 4 5 6 7 8 9; do kill -0 "$1" && sleep 0.1; done; rm -rf "$2""#;
    let held = (after_this_process(end, &[&pid, &files]), options);
    Ok(Found { uri: mongod.uri().to_string(), _held: Box::new((mongod, held)) })
}

#[cfg(feature = "docker")]
async fn container() -> Result<Found, String> {
    use mongodb::bson::doc;
    use testcontainers::core::{IntoContainerPort, WaitFor};
    use testcontainers::runners::AsyncRunner;
    use testcontainers::{GenericImage, ImageExt};

    let image = GenericImage::new("mongo", "7.0")
        .with_exposed_port(27017.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Waiting for connections"))
        .with_cmd(["mongod", "--replSet", "rs0", "--bind_ip_all"]);
    let container = image.start().await.map_err(|error| error.to_string())?;
    let watch = after_this_process(r#"docker rm -f "$1""#, &[container.id()]);
    let host = container.get_host().await.map_err(|error| error.to_string())?;
    let port = container.get_host_port_ipv4(27017).await.map_err(|error| error.to_string())?;
    let uri = format!("mongodb://{host}:{port}/?directConnection=true");
    let client = Client::with_uri_str(&uri).await.map_err(|error| error.to_string())?;
    let admin = client.database("admin");
    let set = doc! {"_id": "rs0", "members": [{"_id": 0, "host": "127.0.0.1:27017"}]};
    admin.run_command(doc! {"replSetInitiate": set}).await.map_err(|error| error.to_string())?;
    let primary = async {
        while !admin.run_command(doc! {"hello": 1}).await?.get_bool("isWritablePrimary").unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        Ok::<_, mongodb::error::Error>(())
    };
    match tokio::time::timeout(Duration::from_secs(60), primary).await {
        Ok(Ok(())) => Ok(Found { uri, _held: Box::new((container, watch)) }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the replica set has no primary after 60 s".to_owned()),
    }
}

#[cfg(not(feature = "docker"))]
#[expect(clippy::unused_async, reason = "as its counterpart")]
async fn container() -> Result<Found, String> {
    Err("not tried, the tests were built without the feature `docker`".to_owned())
}

/// Runs a shell script after this process has ended for any reason. The script waits for the end of a pipe that only
/// this process holds. The script has its own process group, so that Ctrl-C in the terminal does not end it.
fn after_this_process(script: &str, arguments: &[&str]) -> Child {
    Command::new("sh")
        .args(["-c", &format!("cat; {script}"), "sh"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}
