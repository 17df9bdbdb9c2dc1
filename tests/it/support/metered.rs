//! Reads the metrics of a server from its admin listener.

use super::{PATIENCE, eventually, eventually_within, free_port};

/// The address of a server's admin listener. The server must be started with [`Metered::setting`].
pub(crate) struct Metered(String);

impl Metered {
    /// Chooses a free port on 127.0.0.1 for the admin listener.
    pub(crate) fn new() -> Self {
        Self(format!("127.0.0.1:{}", free_port()))
    }

    /// Returns the setting `admin.listen`, which makes the server open this admin listener.
    pub(crate) fn setting(&self) -> (&str, &str) {
        ("ADMIN__LISTEN", &self.0)
    }

    /// Returns the page `/metrics` as text.
    pub(crate) async fn page(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.0)).await.unwrap().text().await.unwrap()
    }

    /// Returns the value of a sample, given its name with labels. Returns 0 if there is no such sample.
    pub(crate) async fn sample(&self, name: &str) -> u64 {
        let page = self.page().await;
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Returns how often the server hit a limit, by the metric `parlor_limits_hit_total`.
    pub(crate) async fn hits(&self, bound: &str) -> u64 {
        self.sample(&format!("parlor_limits_hit_total{{bound=\"{bound}\"}}")).await
    }

    /// Waits until a sample has at least this value.
    pub(crate) async fn until_at_least(&self, name: &str, value: u64) {
        let what = format!("{name} is at least {value}");
        let sample = async || self.sample(name).await;
        eventually_within(2 * PATIENCE, &what, sample, |sample| *sample >= value).await;
    }

    /// Waits until a sample has exactly this value.
    pub(crate) async fn until(&self, name: &str, value: u64) {
        let sample = async || self.sample(name).await;
        eventually(&format!("{name} is {value}"), sample, |sample| *sample == value).await;
    }
}
