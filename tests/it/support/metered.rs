//! The metrics of a server, read from its admin listener.

use super::{PATIENCE, eventually, eventually_within, free_port};

/// The admin listener of a server that is started with [`Metered::setting`].
pub(crate) struct Metered(String);

impl Metered {
    /// Chooses a free port.
    pub(crate) fn new() -> Self {
        Self(format!("127.0.0.1:{}", free_port()))
    }

    /// Returns the setting for the server.
    pub(crate) fn setting(&self) -> (&str, &str) {
        ("ADMIN__LISTEN", &self.0)
    }

    /// Returns all metrics as text.
    pub(crate) async fn page(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.0)).await.unwrap().text().await.unwrap()
    }

    /// Returns a sample by its name and labels, or 0 if there is none.
    pub(crate) async fn sample(&self, name: &str) -> u64 {
        let page = self.page().await;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Returns how often a limit was hit.
    pub(crate) async fn hits(&self, bound: &str) -> u64 {
        self.sample(&format!("parlor_limits_hit_total{{bound=\"{bound}\"}}")).await
    }

    /// Waits until a sample has at least this value.
    pub(crate) async fn until_at_least(&self, name: &str, value: u64) {
        let what = format!("{name} is at least {value}");
        let sample = async || self.sample(name).await;
        eventually_within(2 * PATIENCE, &what, sample, |sample| *sample >= value).await;
    }

    /// Waits until a sample has this value.
    pub(crate) async fn until(&self, name: &str, value: u64) {
        let sample = async || self.sample(name).await;
        eventually(&format!("{name} is {value}"), sample, |sample| *sample == value).await;
    }
}
