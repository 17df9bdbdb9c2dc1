//! The two text formats in which `/metrics` can answer.

/// The text formats of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsFormat {
    /// `OpenMetrics` 1.0: for a client that prefers this format or states no preference.
    OpenMetrics,
    /// The classic format, 0.0.4: for a client that prefers this format.
    Classic,
}

impl MetricsFormat {
    /// Returns the media type of the format.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}
