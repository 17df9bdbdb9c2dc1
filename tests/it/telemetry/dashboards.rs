//! The dashboard and the alerts in `config/` use only metrics that a server reports. The metrics of the alerts are
//! reported even before their first event. The runbook explains each `place` of the metric `parlor_faults_total`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{FunctionsFolder, Server, eventually, free_port, room_with_one_socket};

/// Returns the path of a file in the repository.
fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

async fn metrics(admin: &str) -> String {
    reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap()
}

/// Returns the page `/metrics` of a new server to which no client has connected.
async fn at_first() -> String {
    let admin = format!("127.0.0.1:{}", free_port());
    let server = Server::start(&[("ADMIN__LISTEN", &admin)]).await;
    assert_eq!(server.get("/healthz").await, 200, "it serves by now");
    metrics(&admin).await
}

/// Returns the names that samples may have, by the metric families of the page `/metrics`.
fn sample_names(page: &str) -> BTreeSet<String> {
    let families = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names = families.flat_map(|(family, kind)| {
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => panic!("{family} is a {kind}, which this test knows nothing of"),
        };
        endings.iter().map(move |ending| format!("{family}{ending}"))
    });
    names.collect()
}

/// Returns the names of Parlor's metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("parlor_")).map(str::to_owned).collect()
}

/// Returns each text between `before` and the next quotation mark.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once('"')).map(|(value, _)| value)
}

/// Some metrics appear only after their first event. Therefore a client connects and sends frames, and the server calls
/// a function and a hook, which fail.
#[tokio::test]
async fn dashboard_and_alerts_ask_for_what_is_counted() {
    let admin = format!("127.0.0.1:{}", free_port());
    let nobody = format!("http://127.0.0.1:{}/", free_port());
    let folder = FunctionsFolder::with(&[("file.js", "export default () => { for (;;) {} }")]);
    let settings = [
        ("ADMIN__LISTEN", &*admin),
        ("FUNCTIONS__ANYTHING__URL", &nobody),
        ("HOOKS__AFTER_SEND__URL", &nobody),
    ];
    let (_server, mut one) = room_with_one_socket(&[&folder.settings(), &settings[..]].concat()).await;
    one.say_alone(1, 1, "hello").await;
    one.send(json!({"action": "file"})).await;
    assert_eq!(one.next().await["code"], "timeout");
    one.send(json!({"action": "anything"})).await;
    assert_eq!(one.next().await["type"], "error");
    // Parlor sends events to hooks in the background.
    let unknown = async || asked_in_vain(&metrics(&admin).await);
    eventually("a server reports all metrics", unknown, String::is_empty).await;
}

/// Returns the metrics that the dashboard and the alerts use, but that the page `/metrics` lacks.
fn asked_in_vain(page: &str) -> String {
    let counted = sample_names(page);
    let mut unknown = String::new();
    for file in ["config/grafana.json", "config/alerts.yaml"] {
        let asked = named(&fs::read_to_string(path(file)).unwrap());
        assert!(asked.contains("parlor_sockets"), "{file} was read: {asked:?}");
        for name in asked.difference(&counted) {
            unknown.push_str(name);
            unknown.push_str(", asked for in ");
            unknown.push_str(file);
            unknown.push_str("; ");
        }
    }
    unknown
}

#[tokio::test]
async fn alert_metrics_are_zero_before_the_first_event() {
    let page = at_first().await;
    let alerts = fs::read_to_string(path("config/alerts.yaml")).unwrap();
    let mut waited_for = BTreeSet::new();
    for value in quoted(&alerts, "place=~\"").flat_map(|values| values.split('|')) {
        waited_for.insert(format!("parlor_faults_total{{place=\"{value}\"}} 0"));
    }
    for value in quoted(&alerts, "bound=~\"").flat_map(|values| values.split('|')) {
        waited_for.insert(format!("parlor_limits_hit_total{{bound=\"{value}\"}} 0"));
    }
    waited_for.insert("parlor_reloads_total{outcome=\"refused\"} 0".to_owned());
    assert!(waited_for.len() > 3, "{waited_for:?}");
    for sample in &waited_for {
        assert!(page.lines().any(|line| line == sample), "no line says {sample}:\n{page}");
    }
}

#[tokio::test]
async fn counters_of_bounds_and_errors_exist_from_the_start() {
    let page = at_first().await;
    let mut files = vec![path("src")];
    let mut looked_at = 0;
    while let Some(file) = files.pop() {
        if file.is_dir() {
            files.extend(fs::read_dir(&file).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(source) = fs::read_to_string(&file) else { continue };
        for (call, sample) in [
            ("metrics.bound_hit(\"", "parlor_limits_hit_total{bound="),
            ("metrics.count_fault(\"", "parlor_faults_total{place="),
        ] {
            for value in quoted(&source, call) {
                let line = format!("{sample}\"{value}\"}} 0");
                assert!(
                    page.lines().any(|said| said == line),
                    "{} counts `{value}`, which src/telemetry/metrics/label_values.rs leaves out",
                    file.display()
                );
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 10, "only {looked_at} places that count were found");
}

#[tokio::test]
async fn runbook_explains_each_place_of_faults() {
    let page = at_first().await;
    let runbook = fs::read_to_string(path("docs/operate/runbook.md")).unwrap();
    let places: BTreeSet<_> = quoted(&page, "parlor_faults_total{place=\"").collect();
    assert!(places.len() > 10, "{places:?}");
    for place in places {
        assert!(runbook.contains(&format!("`{place}`")), "docs/operate/runbook.md says nothing of `{place}`");
    }
}
