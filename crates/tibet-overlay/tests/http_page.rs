//! The page for people, in a browser.

mod http_support;
#[path = "common/raw.rs"]
mod raw;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use http_support::{Served, config, device};
use jis::AnswerOutcome;
use raw::{Asker, Raw};
use tibet_overlay::intents::{Failure, OverlayRequest, RegisterRequest};
use tibet_overlay::system;

/// A browser that runs without a screen: `TIBET_CHROMIUM`, or one on the path.
fn browser() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("TIBET_CHROMIUM") {
        return Some(given.into());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|at| names.map(|name| at.join(name))).find(|file| file.is_file())
}

/// Runs the browser on the page, after a virtual time in which it has asked for everything. Gives what it printed and what it logged.
fn browse(browser: &Path, served: &Served, options: &[String]) -> (String, String) {
    let profile = tempfile::tempdir().expect("directory");
    let out = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ])
        .args([
            "--no-first-run",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--v=0",
            "--virtual-time-budget=4000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(options)
        .arg(format!("http://{}/", served.address))
        .stdin(Stdio::null())
        .output()
        .expect("a browser that starts");
    assert!(out.status.success(), "{out:?}");
    (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// With a device that is online.
fn served() -> Served {
    let served = Served::with_devices(config());
    let mut sensor = device("jis:home:sensor", &["temperature.read"]);
    let raw = Raw::connect(served.node.as_ref().expect("a node").local_addr());
    let registration = sensor.registration(None, system::now()).expect("signed");
    let request = RegisterRequest {
        record: registration.record,
        events: registration.events,
        transport: registration.transport,
        permission: None,
    };
    // Below a name that somebody has asked for is no name that is there: first come decides.
    let (outcome, values) = raw.ask(
        &Asker::from(sensor.node_identity().expect("active")),
        &OverlayRequest::Register(Box::new(request)),
    );
    assert_eq!(outcome, AnswerOutcome::Yes, "{:?}", Failure::read(&values));
    served
}

#[test]
fn the_page_is_one_file_and_nothing_else_may_run_in_it() {
    let served = Served::start(config());
    let page = served.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    for outside in [
        "http://",
        "https://",
        "src=\"",
        "@import",
        "innerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        " on",
        "style=\"",
    ] {
        let allowed = outside == " on"
            && !page.body.contains(" onclick")
            && !page.body.contains(" onload")
            && !page.body.contains(" onerror");
        assert!(allowed || !page.body.contains(outside), "{outside}");
    }
}

#[test]
fn the_page_shows_what_the_node_knows_and_logs_no_error() {
    let Some(browser) = browser() else {
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "there is no chromium here");
        println!("SKIPPED: there is no chromium on the path");
        return;
    };
    let served = served();
    let (page, log) = browse(&browser, &served, &["--dump-dom".into()]);
    for shown in [
        "jis:home:hub",
        "jis:home:sensor",
        "data-shown=\"yes\"",
        ">ready<",
        "temperature.read",
        "<td class=\"ROOD\">revoked</td>",
        "trust_change",
        "<td class=\"online\">online</td>",
        "<b id=\"identities\">6</b>",
        "<b id=\"online\">1</b>",
        "<b id=\"pending\">1</b>",
        &served.node.as_ref().expect("a node").handle().key().to_multibase(),
    ] {
        assert!(page.contains(shown), "{shown}: {page}\n{log}");
    }
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    // An empty node is no error either.
    let empty = Served::start(config());
    let (page, log) = browse(&browser, &empty, &["--dump-dom".into()]);
    assert!(
        page.contains("No device has registered yet") && page.contains("No device offers anything"),
        "{page}\n{log}"
    );
    assert!(!log.contains("CONSOLE"), "{log}");
    // For people who change the page: TIBET_SCREENSHOTS=DIRECTORY.
    let Some(directory) = std::env::var_os("TIBET_SCREENSHOTS") else { return };
    for (served, what) in [(&served, "devices"), (&empty, "empty")] {
        for (width, height) in [(1280, 1250), (400, 2300)] {
            for scheme in ["light", "dark"] {
                let file = Path::new(&directory).join(format!("{what}-{width}-{scheme}.png"));
                let mut options = vec![
                    format!("--screenshot={}", file.display()),
                    format!("--window-size={width},{height}"),
                ];
                if scheme == "dark" {
                    options.push("--blink-settings=preferredColorScheme=0".into());
                }
                browse(&browser, served, &options);
                assert!(file.is_file());
            }
        }
    }
}
