//! Chooses the format of the metrics by the client's `Accept` header (RFC 9110, 12.5.1).

use salvo::http::HeaderMap;
use salvo::http::header::ACCEPT;

use crate::telemetry::metrics::format::MetricsFormat;

impl MetricsFormat {
    /// Returns the format with the greater weight in `Accept`: the classic text format or `OpenMetrics`. If the weights
    /// are equal, returns `OpenMetrics`. An invalid weight counts as 1.
    pub(crate) fn preferred(headers: &HeaderMap) -> Self {
        let lists = headers.get_all(ACCEPT).iter().filter_map(|list| list.to_str().ok());
        let ranges: Vec<_> = lists.flat_map(|list| list.split(',')).map(MediaRange::parse).collect();
        let weight = |kind, version| {
            let fitting =
                ranges.iter().filter_map(|range| range.fit(kind, version).map(|fit| (fit, range.weight)));
            // The weight comes from the most specific range that matches, even if a wider range has a greater weight.
            fitting.max_by_key(|(fit, weight)| (*fit, *weight)).map_or(0, |(_, weight)| weight)
        };
        let open = weight("application/openmetrics-text", "1.0.0");
        if weight("text/plain", "0.0.4") > open { Self::Classic } else { Self::OpenMetrics }
    }
}

/// One media range of an `Accept` header, such as `text/*;q=0.5`.
struct MediaRange {
    kind: String,
    version: Option<String>,
    /// The weight in thousandths, because the header has up to three decimals.
    weight: u32,
}

impl MediaRange {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
        let kind = parts.next().unwrap_or_default();
        let (mut version, mut weight) = (None, 1_000);
        for (name, value) in
            parts.filter_map(|part| Some(part.split_once('=')?).map(|(n, v)| (n.to_owned(), v.to_owned())))
        {
            match &*name {
                "version" => version = Some(value.trim_matches('"').to_owned()),
                "q" => weight = thousandths(&value).unwrap_or(weight),
                _ => {}
            }
        }
        Self { kind, version, weight }
    }

    /// Returns how specific the range is: a greater number is more specific. Returns `None` if the range does not match
    /// the media type `kind` in this version.
    fn fit(&self, kind: &str, version: &str) -> Option<u8> {
        if self.version.as_deref().is_some_and(|wanted| wanted != version) {
            return None;
        }
        let group = kind.split('/').next().unwrap_or_default();
        match &*self.kind {
            "*/*" => Some(0),
            range if range.strip_suffix("/*") == Some(group) => Some(1),
            range if range == kind => Some(2),
            _ => None,
        }
    }
}

fn thousandths(weight: &str) -> Option<u32> {
    let weight: f64 = weight.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 1000")]
    Some((weight * 1_000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use salvo::http::HeaderValue;

    use super::*;

    fn wanted(accept: &[&str]) -> MetricsFormat {
        let mut headers = HeaderMap::new();
        for list in accept {
            headers.append(ACCEPT, HeaderValue::from_str(list).unwrap());
        }
        MetricsFormat::preferred(&headers)
    }

    #[test]
    fn the_classic_format_is_served_when_it_weighs_more() {
        for accept in [
            "text/plain",
            "text/plain; version=0.0.4",
            "text/plain;version=\"0.0.4\";q=0.9, application/openmetrics-text;q=0.5",
            "TEXT/PLAIN",
            "text/*",
            "text/plain, */*;q=0.1",
            "application/json;q=0.9, text/plain;q=0.1",
            "*/*, application/openmetrics-text;q=0",
        ] {
            assert_eq!(wanted(&[accept]), MetricsFormat::Classic, "{accept}");
        }
        assert_eq!(wanted(&["text/html", "text/plain;q=0.2"]), MetricsFormat::Classic);
    }

    #[test]
    fn openmetrics_is_served_in_every_other_case() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in
            ["*/*", "application/openmetrics-text", "text/html", "", "text/plain;version=1.0.0", prometheus]
        {
            assert_eq!(wanted(&[accept]), MetricsFormat::OpenMetrics, "{accept}");
        }
        assert_eq!(wanted(&[]), MetricsFormat::OpenMetrics);
    }
}
