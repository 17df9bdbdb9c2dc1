//! Reads all metrics of a server from its admin listener, as a map.

use std::collections::HashMap;

use super::free_port;

/// The address of a server's admin listener.
pub(crate) struct Samples {
    pub(crate) admin: String,
}

impl Samples {
    pub(crate) fn new() -> Self {
        Self { admin: format!("127.0.0.1:{}", free_port()) }
    }

    /// Returns the values of all samples of `/metrics`, by name with labels.
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

    /// Returns the value of a sample as a whole number, or 0 if there is no such sample.
    pub(crate) async fn number(&self, name: &str) -> u32 {
        self.all().await.get(name).map_or(0, |value| value.parse().unwrap())
    }
}

/// Raises the limit of open files of the test process as far as the system allows.
pub(crate) fn may_open_many_files() {
    let nothing: [(String, String); 0] = [];
    parlor::app::open_files::raise(&parlor::config::Config::load(None, nothing).unwrap());
}
