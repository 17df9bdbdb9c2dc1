//! A real browser, driven by `WebDriver`.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::PATIENCE;
use super::process::Process;

/// How long the driver, and the browser, may take to start.
const START: Duration = Duration::from_mins(1);

/// How often is looked whether what a test waits for has come.
const EVERY: Duration = Duration::from_millis(20);

/// A browser with a profile of its own. It is gone when this is, and its driver too.
pub(crate) struct Browser {
    client: Client,
    // Before the profile: fields are dropped in order, and the browser writes to it until its end.
    _driver: Process,
    _profile: TempDir,
}

/// What one points with; the page shows and focuses accordingly. A browser without a screen has neither.
#[derive(Clone, Copy)]
pub(crate) enum Pointer {
    Mouse,
    Finger,
}

/// A window of it.
pub(crate) struct Window<'b> {
    client: &'b Client,
    handle: WindowHandle,
}

/// Keys without a character of their own (`WebDriver`, 17.4.2).
pub(crate) mod key {
    pub(crate) const TAB: &str = "\u{E004}";
    pub(crate) const BACK_TAB: &str = "\u{E008}\u{E004}\u{E000}";
    pub(crate) const ENTER: &str = "\u{E007}";
    pub(crate) const ESCAPE: &str = "\u{E00C}";
    pub(crate) const END: &str = "\u{E010}";
    pub(crate) const HOME: &str = "\u{E011}";
    pub(crate) const LEFT: &str = "\u{E012}";
    pub(crate) const UP: &str = "\u{E013}";
    pub(crate) const RIGHT: &str = "\u{E014}";
    pub(crate) const DOWN: &str = "\u{E015}";
}

impl Browser {
    pub(crate) async fn open(pointer: Pointer) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(chromedriver());
        command.arg("--port=0");
        let driver = Process::start("chromedriver", command, Duration::ZERO);
        let port = driver.says("started successfully on port ", START).await;
        // Blink's own numbers: hover none 1, hover 2; pointer coarse 2, fine 4.
        let (hover, pointer) = match pointer {
            Pointer::Mouse => (2, 4),
            Pointer::Finger => (1, 2),
        };
        let arguments = [
            "--headless",
            "--no-sandbox",
            // Text that fades in has none for the driver at first.
            "--force-prefers-reduced-motion",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1000,760",
            &format!(
                "--blink-settings=primaryHoverType={hover},availableHoverTypes={hover},\
                 primaryPointerType={pointer},availablePointerTypes={pointer}"
            ),
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
            // An alert stays, to be seen.
            "unhandledPromptBehavior": "ignore",
        });
        let capabilities: Capabilities = serde_json::from_value(capabilities).unwrap();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let url = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
        let connect = builder.capabilities(capabilities).connect(&url);
        let Ok(connected) = tokio::time::timeout(START, connect).await else {
            panic!("the browser does not start within {START:?}\n{}", driver.said())
        };
        let client = connected
            .unwrap_or_else(|error| panic!("the browser does not start: {error}\n{}", driver.said()));
        Self { client, _driver: driver, _profile: profile }
    }

    /// Opens a page in a window of its own.
    pub(crate) async fn window(&self, url: &str) -> Window<'_> {
        let handle = self.client.new_window(false).await.unwrap().handle;
        let window = Window { client: &self.client, handle };
        window.goto(url).await;
        window
    }

    /// What the browser has logged since this was last asked: faults of scripts, refused contents, failed loads.
    pub(crate) async fn log(&self) -> Vec<String> {
        let entries = self.client.issue_cmd(Chrome("se/log", json!({"type": "browser"}))).await.unwrap();
        let entries = entries.as_array().expect("the log is a list");
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// Ends it in good order.
    pub(crate) async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

impl Window<'_> {
    /// The client, with this window in front.
    async fn front(&self) -> &Client {
        self.client.switch_to_window(self.handle.clone()).await.unwrap();
        self.client
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.front().await.goto(url).await.unwrap();
    }

    pub(crate) async fn reload(&self) {
        self.front().await.refresh().await.unwrap();
    }

    /// Waits for an element, by CSS, or by `XPath` where it begins with a slash.
    pub(crate) async fn see(&self, what: &str) -> fantoccini::elements::Element {
        self.see_within(PATIENCE, what).await
    }

    /// Waits for one that may take longer, or must be faster.
    pub(crate) async fn see_within(&self, limit: Duration, what: &str) -> fantoccini::elements::Element {
        let client = self.front().await;
        let locator = if what.starts_with('/') { Locator::XPath(what) } else { Locator::Css(what) };
        match client.wait().at_most(limit).every(EVERY).for_element(locator).await {
            Ok(element) => element,
            Err(CmdError::WaitTimeout) => {
                let page = self.script("return document.body.innerText").await;
                let page = page.as_str().unwrap_or_default();
                panic!("{what} did not come within {limit:?}; the page reads\n{page}")
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Waits until there is no such element, by `XPath`.
    pub(crate) async fn miss(&self, what: &str) {
        self.see(&format!("/html[not({what})]")).await;
    }

    /// Clicks on an element once it is there. What isn't shown, or is covered, can't be clicked.
    pub(crate) async fn click(&self, what: &str) {
        let element = self.see(what).await;
        element.click().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    /// Types into an element.
    pub(crate) async fn fill(&self, what: &str, text: &str) {
        self.see(what).await.send_keys(text).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let focused = self.front().await.active_element().await.unwrap();
        focused.send_keys(keys).await.unwrap_or_else(|error| panic!("{keys:?}: {error}"));
    }

    /// The shown text of an element.
    pub(crate) async fn text(&self, what: &str) -> String {
        self.see(what).await.text().await.unwrap()
    }

    /// What a script returns.
    pub(crate) async fn script(&self, script: &str) -> Value {
        let client = self.front().await;
        client.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Has each page that is opened from now on begin with a script of the test's.
    pub(crate) async fn begin_with(&self, script: &str) {
        let command = json!({"cmd": "Page.addScriptToEvaluateOnNewDocument", "params": {"source": script}});
        self.front().await.issue_cmd(Chrome("goog/cdp/execute", command)).await.unwrap();
    }

    /// Makes it a phone's screen, so wide in CSS pixels; a window can't be as narrow.
    pub(crate) async fn phone(&self, width: u32) {
        let metrics = json!({"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": true});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics});
        self.front().await.issue_cmd(Chrome("goog/cdp/execute", command)).await.unwrap();
    }

    /// Makes the system's colours dark.
    pub(crate) async fn dark(&self) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": features});
        self.front().await.issue_cmd(Chrome("goog/cdp/execute", command)).await.unwrap();
    }

    /// Whether a dialog of a script is open.
    pub(crate) async fn has_alert(&self) -> bool {
        match self.front().await.get_alert_text().await {
            Ok(_) => true,
            Err(error) if error.is_no_such_alert() => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A command that only Chromium's driver has: its path in the session, and its body.
#[derive(Debug)]
struct Chrome(&'static str, Value);

impl WebDriverCompatibleCommand for Chrome {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}

fn chromedriver() -> PathBuf {
    if let Some(path) = env::var_os("CHROMEDRIVER").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join("chromedriver")).find(|file| file.is_file());
    found.expect(
        "a browser is needed: run .ci/run, or install Debian's chromium and chromium-driver, or set CHROMEDRIVER",
    )
}
