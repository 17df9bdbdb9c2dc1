//! All metrics of a server, by name and labels.

use std::collections::HashMap;

use super::free_port;

/// Where a server is to have its admin listener, and is asked.
pub(crate) struct Samples {
    pub(crate) admin: String,
}

impl Samples {
    pub(crate) fn new() -> Self {
        Self { admin: format!("127.0.0.1:{}", free_port()) }
    }

    /// All of `/metrics`, by name and labels.
    pub(crate) async fn all(&self) -> HashMap<String, String> {
        let answer = reqwest::get(format!("http://{}/metrics", self.admin)).await.unwrap();
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        let page = answer.text().await.unwrap();
        assert!(page.ends_with("# EOF\n"), "{page}");
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap();
                (name.to_owned(), value.to_owned())
            })
            .collect()
    }

    /// One of them, a whole number; zero where there is none.
    pub(crate) async fn number(&self, name: &str) -> u32 {
        self.all().await.get(name).map_or(0, |value| value.parse().unwrap())
    }
}

/// Lets this process have as many sockets as it may.
pub(crate) fn may_open_many_files() {
    let nothing: [(String, String); 0] = [];
    parlor::app::open_files::raise(&parlor::config::Config::load(None, nothing).unwrap());
}
