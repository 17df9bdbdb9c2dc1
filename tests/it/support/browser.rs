//! A real browser, which a test controls by `WebDriver`.

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

/// The longest time that the driver or the browser may take to start.
const START: Duration = Duration::from_mins(1);

/// The pause between two checks for an element.
const EVERY: Duration = Duration::from_millis(20);

/// A browser with a profile of its own. Dropping this value also ends the driver (the process that controls the
/// browser).
pub(crate) struct Browser {
    client: Client,
    // Fields are dropped in order. The driver stands before the profile, because the browser writes to its profile
    // until the driver ends the browser.
    _driver: Process,
    _profile: TempDir,
}

/// The pointing device that the page detects. By this device, the page chooses its layout and the element that gets the
/// focus. A headless browser has no pointing device, so the test sets one.
#[derive(Clone, Copy)]
pub(crate) enum Pointer {
    Mouse,
    Finger,
}

/// A window of the browser.
pub(crate) struct Window<'b> {
    client: &'b Client,
    handle: WindowHandle,
}

/// Keys without a character (`WebDriver`, 17.4.2).
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
        // The numbers of Chromium's engine Blink: hover none 1, hover 2; pointer coarse 2, fine 4.
        let (hover, pointer) = match pointer {
            Pointer::Mouse => (2, 4),
            Pointer::Finger => (1, 2),
        };
        let arguments = [
            "--headless",
            "--no-sandbox",
            // Without this flag, texts fade in, and the driver may read a text as empty while it fades in.
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
            // An alert stays open, so that a test can see it.
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

    /// Opens a URL in a new window.
    pub(crate) async fn window(&self, url: &str) -> Window<'_> {
        let handle = self.client.new_window(false).await.unwrap().handle;
        let window = Window { client: &self.client, handle };
        window.goto(url).await;
        window
    }

    /// Returns the browser's log entries since the last call: errors of scripts, refused content, and failed loads.
    pub(crate) async fn log(&self) -> Vec<String> {
        let entries = self.client.issue_cmd(Chrome("se/log", json!({"type": "browser"}))).await.unwrap();
        let entries = entries.as_array().expect("the log is a list");
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// Ends the browser's session.
    pub(crate) async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

impl Window<'_> {
    /// Brings this window to the front, and returns the `WebDriver` client.
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

    /// Waits for an element and returns it. `what` is a CSS selector, or an `XPath` if it begins with a slash.
    pub(crate) async fn see(&self, what: &str) -> fantoccini::elements::Element {
        self.see_within(PATIENCE, what).await
    }

    /// Waits for an element like [`Self::see`], but for at most `limit`.
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

    /// Waits until no element matches this `XPath`.
    pub(crate) async fn miss(&self, what: &str) {
        self.see(&format!("/html[not({what})]")).await;
    }

    /// Waits for an element and clicks on it. The click fails if the element is hidden or covered.
    pub(crate) async fn click(&self, what: &str) {
        let element = self.see(what).await;
        element.click().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    /// Waits for an element and types a text into it.
    pub(crate) async fn fill(&self, what: &str, text: &str) {
        self.see(what).await.send_keys(text).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    /// Presses keys on the element that has the focus.
    pub(crate) async fn press(&self, keys: &str) {
        let focused = self.front().await.active_element().await.unwrap();
        focused.send_keys(keys).await.unwrap_or_else(|error| panic!("{keys:?}: {error}"));
    }

    /// Waits for an element and returns its visible text.
    pub(crate) async fn text(&self, what: &str) -> String {
        self.see(what).await.text().await.unwrap()
    }

    /// Runs a script in the page, and returns the script's result.
    pub(crate) async fn script(&self, script: &str) -> Value {
        let client = self.front().await;
        client.execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// From now on, runs a script at the start of each page, before the page's own scripts.
    pub(crate) async fn begin_with(&self, script: &str) {
        let command = json!({"cmd": "Page.addScriptToEvaluateOnNewDocument", "params": {"source": script}});
        self.front().await.issue_cmd(Chrome("goog/cdp/execute", command)).await.unwrap();
    }

    /// Emulates a phone's screen of this width in CSS pixels, because a window can't be that narrow.
    pub(crate) async fn phone(&self, width: u32) {
        let metrics = json!({"width": width, "height": 740, "deviceScaleFactor": 1, "mobile": true});
        let command = json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics});
        self.front().await.issue_cmd(Chrome("goog/cdp/execute", command)).await.unwrap();
    }

    /// Sets the system's colour scheme to dark.
    pub(crate) async fn dark(&self) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": features});
        self.front().await.issue_cmd(Chrome("goog/cdp/execute", command)).await.unwrap();
    }

    /// Returns whether an alert of a script is open.
    pub(crate) async fn has_alert(&self) -> bool {
        match self.front().await.get_alert_text().await {
            Ok(_) => true,
            Err(error) if error.is_no_such_alert() => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A command that only Chromium's driver has: its path below the session, and its body.
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
