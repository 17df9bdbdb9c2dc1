//! The classic text format of Prometheus, version 0.0.4.

/// Converts a page of metrics from the format `OpenMetrics`. The lines with values are equal in the two formats. The
/// classic format has no `# UNIT` lines and no `# EOF` line. In its `# HELP` and `# TYPE` lines, the name of a counter
/// ends with `_total`.
pub(super) fn from_openmetrics(page: &str) -> String {
    let is_counter = |name: &str| {
        page.lines().any(|line| {
            line.strip_prefix("# TYPE ").is_some_and(|line| line.split_once(' ') == Some((name, "counter")))
        })
    };
    let mut classic = String::with_capacity(page.len() + 1024);
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) if is_counter(name) => {
                classic.extend(["# ", what, " ", name, "_total ", rest]);
            }
            _ => classic.push_str(line),
        }
        classic.push('\n');
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_name_of_their_samples() {
        let page = "# HELP a_frames Frames of clients.\n# TYPE a_frames counter\na_frames_total{action=\"send\"} 3\n\
                    # HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                    a_seconds_bucket{le=\"+Inf\"} 1\na_seconds_sum 0.5\na_seconds_count 1\n\
                    # HELP a_frames_open Open.\n# TYPE a_frames_open gauge\na_frames_open 1\n# EOF\n";
        assert_eq!(
            from_openmetrics(page),
            "# HELP a_frames_total Frames of clients.\n# TYPE a_frames_total counter\na_frames_total{action=\"send\"} 3\n\
             # HELP a_seconds Time.\n# TYPE a_seconds histogram\n\
             a_seconds_bucket{le=\"+Inf\"} 1\na_seconds_sum 0.5\na_seconds_count 1\n\
             # HELP a_frames_open Open.\n# TYPE a_frames_open gauge\na_frames_open 1\n"
        );
    }
}
