//! A stranger's fuzzer against the whole API: schemathesis, from the description alone (SECURITY T23).

mod http_support;

use std::path::Path;
use std::process::{Command, Stdio};

use http_support::{Served, TOKEN, config};

/// `TIBET_SCHEMATHESIS` is the program; `TIBET_HTTP_EXAMPLES` how many requests it makes up for each route and phase.
#[test]
fn t23_made_up_requests_get_answers_as_described_and_no_server_errors() {
    let Some(program) = std::env::var_os("TIBET_SCHEMATHESIS") else {
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "TIBET_SCHEMATHESIS is not set");
        println!("SKIPPED: TIBET_SCHEMATHESIS is not set to a schemathesis program");
        return;
    };
    let served = Served::with_devices(config());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/http_fuzz.sh");
    let out = Command::new(script)
        .arg(format!("http://{}", served.address))
        .env("TIBET_SCHEMATHESIS", program)
        .env("TIBET_OPERATOR_TOKEN", TOKEN)
        .current_dir(served.directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("the script runs");
    let text = String::from_utf8_lossy(&out.stdout);
    println!("{text}");
    assert!(out.status.success(), "{text}\n{}", String::from_utf8_lossy(&out.stderr));
    let metrics = served.get("/metrics").body;
    let class = |class: &str| {
        let start = format!("tibet_http_responses_total{{class=\"{class}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok()).expect("a count")
    };
    assert!(class("2xx") > 100 && class("4xx") > 100, "{metrics}");
}
