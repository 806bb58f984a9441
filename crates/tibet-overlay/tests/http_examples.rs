//! The examples of `docs/spec/http.md`, run as they stand.

mod http_support;

use std::path::Path;
use std::process::{Command, Stdio};

use http_support::{Served, TOKEN, config};

#[test]
fn the_examples_of_the_page_do_what_it_says() {
    let curl = Command::new("curl").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !curl.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "there is no curl here");
        println!("SKIPPED: there is no curl");
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/http.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, examples) = page.split_once("```sh\n").expect("examples");
    let (examples, _) = examples.split_once("```").expect("their end");
    let served = Served::with_devices(config());
    let mut run = 0;
    for line in examples.lines() {
        let (command, status) = line.rsplit_once('#').expect("a status");
        let command = command
            .replace("http://127.0.0.1:7180", &format!("http://{}", served.address))
            .replace("$TIBET_STATE_DIR/node/operator.sock", &served.socket().display().to_string());
        let out = Command::new("sh")
            .arg("-c")
            .arg(format!("{command} -o /dev/null -w '%{{http_code}}'"))
            .env("TIBET_OPERATOR_TOKEN", TOKEN)
            .env("no_proxy", "*")
            .output()
            .expect("a shell");
        assert_eq!(String::from_utf8_lossy(&out.stdout), status.trim(), "{line}");
        run += 1;
    }
    assert!(run >= 12, "{run}");
}
