//! The members of every JSON object the command prints. Programs rely on them: one may be added, none renamed or removed.

mod common;

use common::{Home, members, network};
use serde_json::Value;

fn check(value: &Value, schema: &str, expected: &str) {
    assert_eq!(value["schema"], schema);
    assert_eq!(value["version"], 1, "{schema}");
    let mut expected: std::collections::BTreeSet<String> =
        expected.split_whitespace().map(str::to_owned).collect();
    expected.extend(["schema".to_owned(), "version".to_owned()]);
    assert_eq!(members(value), expected, "{schema}");
}

const IDENTITY: &str = "name did fingerprint overlay_address public_key generation status
    files files.identity_key files.next_key files.next_key_is_offline";
const RESOLVED: &str =
    "name resolved endpoint endpoints behind_nat capabilities fingerprint overlay_address public_key
    generation seq expires_at stale trust_score zone source node reason notes record presence last_seen observed bound_since";
const VERIFIED: &str = "name verified trust_score zone fingerprint public_key generation bound_since presence asked path node node_key
    device rtt_ms device_rtt_ms reason notes proof";
const FOUND_NONE: &str = "capability node total devices";
const FOUND: &str =
    "capability node total devices devices[].name devices[].endpoint devices[].presence devices[].trust_score
    devices[].zone";
const REGISTERED: &str =
    "name changed fingerprint overlay_address generation seq expires_at endpoints capabilities behind_nat trust_score zone
    registry nodes";
const CHANGED_KEY: &str = "registry_told nodes";
const TRUST: &str =
    "name trust_score zone source disputed fira fira.score fira.frequency fira.integrity fira.recency
    fira.anomaly fira.interactions fira.verify_pass fira.verify_fail fira.anomalies";

#[test]
fn demo_and_info() {
    let home = Home::new();
    check(
        &home.json("demo", 0),
        "tibet.overlay.demo",
        "holds steps steps[].title steps[].holds steps[].details devices devices[].name devices[].fingerprint
         devices[].overlay_address devices[].endpoint devices[].generation devices[].active devices[].trust_score devices[].zone",
    );
    check(
        &home.json("info", 0),
        "tibet.overlay.info",
        "program_version state_dir registry_file registry_exists config_file network identities nodes daemons",
    );
}

#[test]
fn identities() {
    let home = Home::new();
    check(&home.json("id new jis:home:hub", 0), "tibet.overlay.id.new", IDENTITY);
    check(&home.json("id show", 0), "tibet.overlay.id", IDENTITY);
    check(&home.json("id export --format pem", 0), "tibet.overlay.id.export", "pem");
    check(&home.json("id export --format bundle", 0), "tibet.overlay.id.export", "events record");
    let did = home.json("id export --format did", 0);
    assert_eq!(did["schema"], "tibet.overlay.id.export");
    assert!(did["did_document"]["verificationMethod"].is_array(), "{did}");
    let changed = format!("{IDENTITY} {CHANGED_KEY}");
    check(&home.json("id rotate", 0), "tibet.overlay.id.rotate", &changed);
    check(&home.json("id revoke", 0), "tibet.overlay.id.revoke", &format!("{changed} daemon_ended"));
}

#[test]
fn the_registry() {
    let home = Home::new();
    home.ok("id new jis:home:hub");
    check(
        &home.json("register --capability mqtt --endpoint 203.0.113.1:1", 0),
        "tibet.overlay.register",
        REGISTERED,
    );
    check(&home.json("verify jis:home:hub", 0), "tibet.overlay.verify", VERIFIED);
    check(&home.json("verify jis:nobody", 1), "tibet.overlay.verify", VERIFIED);
    check(&home.json("resolve jis:home:hub", 0), "tibet.overlay.resolve", RESOLVED);
    check(&home.json("resolve jis:nobody", 1), "tibet.overlay.resolve", RESOLVED);
    check(&home.json("find mqtt", 0), "tibet.overlay.find", FOUND);
    check(&home.json("find nothing", 1), "tibet.overlay.find", FOUND_NONE);
    check(
        &home.json("status", 0),
        "tibet.overlay.status",
        "registry store total_devices behind_nat_percent average_trust zones zones.groen zones.geel zones.rood revoked capabilities
         tokens devices devices[].name devices[].endpoint devices[].behind_nat devices[].trust_score devices[].zone
         devices[].stale",
    );
    check(&home.json("trust jis:home:hub", 0), "tibet.overlay.trust", TRUST);
    check(&home.json("trust jis:home:hub 0.8", 0), "tibet.overlay.trust", TRUST);
    home.ok("--state-dir S id new jis:sensor");
    home.ok(&format!("--state-dir S --registry {} register", common::text(&home.state())));
    check(
        &home.json("vouch jis:sensor", 0),
        "tibet.overlay.vouch",
        "voucher subject factor expires_at trust_score zone source",
    );
}

/// The same members whoever answers: the registry here, a node, the daemon.
#[test]
fn a_node_and_the_daemon_answer_in_the_shapes_of_the_registry() {
    let (server, hub, asker) = (Home::new(), Home::new(), Home::new());
    let (_node, at) = network::serve(&server);
    let _up = network::up(&hub, "jis:home:hub", &at, "--capability mqtt");
    asker.ok("id new jis:home:phone");
    let node = format!("--node {at}");
    let nodes = "nodes[].node nodes[].registered nodes[].changed nodes[].observed nodes[].bound_since nodes[].problem";
    check(
        &asker.json(&format!("register {node}"), 0),
        "tibet.overlay.register",
        &format!("{REGISTERED} {nodes}"),
    );
    for (home, way) in [(&asker, node.as_str()), (&hub, "")] {
        check(&home.json(&format!("verify jis:home:hub {way}"), 0), "tibet.overlay.verify", VERIFIED);
        check(&home.json(&format!("verify jis:nobody {way}"), 1), "tibet.overlay.verify", VERIFIED);
        check(&home.json(&format!("resolve jis:home:hub {way}"), 0), "tibet.overlay.resolve", RESOLVED);
        check(&home.json(&format!("resolve jis:nobody {way}"), 1), "tibet.overlay.resolve", RESOLVED);
        check(&home.json(&format!("find mqtt {way}"), 0), "tibet.overlay.find", FOUND);
        check(&home.json(&format!("find nothing {way}"), 1), "tibet.overlay.find", FOUND_NONE);
    }
    let told = "nodes[].node nodes[].told nodes[].problem";
    let changed = format!("{IDENTITY} {CHANGED_KEY} {told}");
    check(&asker.json(&format!("id rotate {node}"), 0), "tibet.overlay.id.rotate", &changed);
    check(&hub.json("id rotate", 0), "tibet.overlay.id.rotate", &changed);
    check(&hub.json("id revoke", 0), "tibet.overlay.id.revoke", &format!("{changed} daemon_ended"));
}

/// A claim looks the same wherever the operator sees it.
#[test]
fn a_name_that_waits_for_a_human() {
    const CLAIM: &str = "name fingerprint key source since state decided_at";
    let (server, hub) = (Home::new(), Home::new());
    // Whole, or not there; and without a space, which would end the argument.
    let hook = "--approval --approval-hook cat>part&&mv${IFS}part${IFS}claim";
    let node = network::run(&server, &format!("serve --bind 127.0.0.1:0 --http none --policy token {hook}"));
    let serving = node.event("serving", "", "");
    let at = serving["address"].as_str().expect("an address");
    hub.ok("id new jis:home:hub");
    let waits = hub.run(&format!("register --node {at}"));
    assert!(waits.code == Some(75) && waits.err.contains("wants a human to decide"), "{waits:?}");

    let of_each = CLAIM.split(' ').map(|member| format!("requests[].{member}")).collect::<Vec<_>>().join(" ");
    let listed = server.json("pending list", 0);
    check(&listed, "tibet.overlay.pending", &format!("requests {of_each}"));
    let until = std::time::Instant::now() + common::running::DEADLINE;
    let told = loop {
        match std::fs::read_to_string(server.path("claim")) {
            Ok(told) => break told,
            Err(error) => assert!(std::time::Instant::now() < until, "the hook was not run: {error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let told: Value = serde_json::from_str(&told).expect("JSON");
    check(&told, "tibet.overlay.pending.claim", CLAIM);
    for member in CLAIM.split(' ') {
        assert_eq!(told[member], listed["requests"][0][member], "{member}");
    }
    assert_eq!((&told["state"], &told["decided_at"]), (&"waiting".into(), &Value::Null));

    let approved = server.json("pending approve jis:home:hub", 0);
    check(&approved, "tibet.overlay.pending.decided", CLAIM);
    assert_eq!(approved["state"], "approved");
    assert!(approved["decided_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{approved}");
    assert!(server.ok("pending list").contains("approved"));
    hub.ok(&format!("register --node {at}"));
}

#[test]
fn what_goes_on_says_where() {
    let (server, hub) = (Home::new(), Home::new());
    let node = network::run(&server, "serve --bind 127.0.0.1:0 --http none");
    let serving = node.event("serving", "", "");
    check(
        &serving,
        "tibet.overlay.serve",
        "event name address key identities http operator_socket store policy approval relay",
    );
    hub.ok("id new jis:home:hub");
    let at = serving["address"].as_str().expect("an address");
    let up = network::run(&hub, &format!("up --node {at} --bind 127.0.0.1:0 --no-discovery"));
    check(&up.event("up", "", ""), "tibet.overlay.up", "event name address nodes control");
    let registered = up.event("node", "state", "registered");
    check(&registered, "tibet.overlay.up", "event node key state observed expires_at problem");
    assert!(registered["observed"].is_string(), "{registered}");
}

#[test]
fn the_audit_log() {
    let home = Home::with_hub();
    let listed = home.json("audit list", 0);
    assert_eq!(
        (listed["schema"].as_str(), listed["version"].as_u64()),
        (Some("tibet.overlay.audit.list"), Some(1))
    );
    let token: Vec<&str> =
        listed["tokens"][0].as_object().expect("a token").keys().map(String::as_str).collect();
    let mut expected = [
        "token_id",
        "action",
        "timestamp",
        "actor",
        "erin",
        "eraan",
        "eromheen",
        "erachter",
        "parent_id",
        "state",
        "content_hash",
        "signature",
    ];
    expected.sort_unstable();
    assert_eq!(token, expected);
    check(&home.json("audit export -o log.jsonl", 0), "tibet.overlay.audit.export", "tokens file head key");
    check(
        &home.json("audit verify", 0),
        "tibet.overlay.audit.verify",
        "intact signatures_checked tokens head key total_findings findings identities identity_problems index_problem",
    );
    check(
        &home.json("audit verify log.jsonl", 0),
        "tibet.overlay.audit.verify",
        "intact signatures_checked tokens head key total_findings findings",
    );
    let log = std::fs::read_to_string(home.path("log.jsonl")).expect("read").replace("Overlay", "overlay");
    home.write("altered.jsonl", log);
    check(
        &home.json("audit verify altered.jsonl", 1),
        "tibet.overlay.audit.verify",
        "intact signatures_checked tokens head key total_findings findings findings[].index findings[].token_id findings[].problem",
    );
}

#[test]
fn errors() {
    let home = Home::new();
    let ran = home.run("--json id show");
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "errors go to standard error");
    let error: Value = serde_json::from_str(&ran.err).expect("one JSON object");
    check(&error, "tibet.error", "error error.code error.message error.hint");
    assert_eq!(error["error"]["code"], 1);
}

#[test]
fn times_and_identifiers_have_one_spelling() {
    let home = Home::with_hub();
    let resolved = home.json("resolve jis:home:hub", 0);
    let text =
        |member: &str| resolved[member].as_str().unwrap_or_else(|| panic!("{member}: {resolved}")).to_owned();
    let expires = text("expires_at");
    assert!(
        expires.ends_with('Z') && expires.len() == "2026-11-22T22:26:12.625Z".len(),
        "RFC 3339 in UTC: {expires}"
    );
    assert!(text("fingerprint").len() == 64 && text("fingerprint").bytes().all(|b| b.is_ascii_hexdigit()));
    assert!(text("public_key").starts_with("z6Mk"));
    assert!(
        text("overlay_address").parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.is_unique_local())
    );
}

/// SECURITY R54: what is shown of a peer comes from its record.
#[test]
fn the_commands_round_the_mesh() {
    const PINGED: &str = "name answered decision zone trust_score path tunnel node device rtt_ms device_rtt_ms tried tried[].path
        tried[].result";
    let (server, hub, asker) = (Home::new(), Home::new(), Home::new());
    let (_node, at) = network::serve(&server);
    let _up = network::up(&hub, "jis:home:hub", &at, "");
    asker.ok("id new jis:home:phone");
    asker.ok(&format!("register --node {at}"));
    const FORWARD: &str = "listen name port overlay_address problem removed open_to_network";
    let forward = hub.json("forward 0 jis:home:phone:80", 0);
    check(&forward, "tibet.overlay.forward", FORWARD);
    let listen = forward["listen"].as_str().expect("an address");
    check(&hub.json(&format!("forward --remove {listen}"), 0), "tibet.overlay.forward", FORWARD);
    for command in ["expose 80", "expose --remove 80"] {
        check(&hub.json(command, 0), "tibet.overlay.expose", "overlay_address port local removed");
    }
    for (home, command) in [
        (&hub, "ip".to_owned()),
        (&hub, "ip jis:home:phone".to_owned()),
        (&asker, format!("ip jis:home:hub --node {at}")),
    ] {
        check(&home.json(&command, 0), "tibet.overlay.ip", "name overlay_address dns_name");
    }
    let config = format!("wg-config jis:home:hub --node {at} --endpoint 203.0.113.1:7150");
    check(
        &asker.json(&config, 0),
        "tibet.overlay.wg_config",
        "name overlay_address peer peer_overlay_address peer_public_key endpoint stale config",
    );
    // Nobody is there, so it is no peer that could be pinged in a tunnel either.
    check(&hub.json("ping jis:home:phone", 1), "tibet.overlay.ping", PINGED);
    let status = hub.json("status --peers", 0);
    assert_eq!(status["schema"], "tibet.overlay.up.status");
    assert_eq!(members(&status), members(&hub.json("status", 0)), "--peers changes what people see");
}
