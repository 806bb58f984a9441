//! Where settings come from: flag before environment before file before default.

mod common;

use common::{Home, finish, network, text};

fn state_dir(home: &Home, environment: &[(&str, &str)], args: &[&str]) -> String {
    let ran = finish(home.command().envs(environment.iter().copied()).args(args).args(["info", "--json"]));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let info: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    info["state_dir"].as_str().expect("text").to_owned()
}

#[test]
fn flag_before_environment_before_file_before_default() {
    let home = Home::new();
    let default = home.state();
    assert_eq!(state_dir(&home, &[], &[]), text(&default));
    assert_eq!(state_dir(&home, &[("XDG_STATE_HOME", "/xdg")], &[]), "/xdg/tibet");
    assert_eq!(
        state_dir(&home, &[("XDG_STATE_HOME", "relative")], &[]),
        text(&default),
        "as the specification has it"
    );
    let file = home.write("my.toml", "state_dir = \"/from/file\"\n");
    assert_eq!(state_dir(&home, &[], &["--config", &file]), "/from/file");
    assert_eq!(state_dir(&home, &[("TIBET_CONFIG", &file)], &[]), "/from/file");
    let environment = [
        ("TIBET_STATE_DIR", "/from/environment"),
        ("TIBET_CONFIG", file.as_str()),
        ("XDG_STATE_HOME", "/xdg"),
    ];
    assert_eq!(state_dir(&home, &environment, &[]), "/from/environment");
    assert_eq!(state_dir(&home, &environment, &["--state-dir", "/from/flag"]), "/from/flag");
}

#[test]
fn the_usual_files_are_found() {
    let home = Home::new();
    home.write(".config/tibet/overlay.toml", "state_dir = \"/from/home\"\n");
    assert_eq!(state_dir(&home, &[], &[]), "/from/home");
    home.write("xdg/tibet/overlay.toml", "state_dir = \"/from/xdg\"\n");
    let xdg = home.path("xdg");
    assert_eq!(state_dir(&home, &[("XDG_CONFIG_HOME", text(&xdg))], &[]), "/from/xdg");
    let other = home.write("other.toml", "");
    assert_eq!(
        state_dir(&home, &[], &["--config", &other]),
        text(&home.state()),
        "a file that is named is the only one"
    );
}

#[test]
fn every_key_works_and_the_network_changes_the_address() {
    let home = Home::new();
    let secret = home.write("passphrase", "x\n");
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    let paths = (home.path("state"), home.path("registry"));
    let keys = format!(
        "state_dir = {:?}\nregistry = {:?}\nidentity = \"jis:b\"\npassphrase_file = {secret:?}\n",
        text(&paths.0),
        text(&paths.1)
    );
    let file = home.write("my.toml", &keys);
    home.ok(&format!("--config {file} id new jis:a"));
    home.ok(&format!("--config {file} id new jis:b"));
    let shown = home.json(&format!("--config {file} id show"), 0);
    assert_eq!(shown["name"], "jis:b");
    home.ok(&format!("--config {file} register"));
    assert!(paths.1.join("registry/registry.db").exists() && !paths.0.join("registry").exists());
    assert_eq!(home.json(&format!("--config {file} id show --identity jis:a"), 0)["name"], "jis:a");

    let tibet = home.write("tibet.toml", format!("{keys}network = \"tibet\"\n"));
    assert_eq!(
        home.json(&format!("--config {tibet} id show"), 0)["overlay_address"],
        shown["overlay_address"],
        "the default"
    );
    let other = home.write("other.toml", format!("{keys}network = \"other\"\n"));
    assert_ne!(
        home.json(&format!("--config {other} id show"), 0)["overlay_address"],
        shown["overlay_address"]
    );
}

#[test]
fn a_wrong_file_is_refused_with_the_line() {
    let home = Home::new();
    let cases = [
        (
            "statedir = \"/x\"\n",
            "line 1: unknown field `statedir`, expected one of `state_dir`, `registry`, `identity`, `node`, `passphrase_file`, `serve`, `network`",
        ),
        ("# a comment\n\nnetwork = 7\n", "line 3: invalid type: integer `7`, expected a string"),
    ];
    for (contents, told) in cases {
        let file = home.write("my.toml", contents);
        assert_eq!(
            home.run(&format!("--config {file} info")).refusal(),
            (Some(78), format!("error: {file}: {told}\n").as_str())
        );
    }
    for contents in [&b"state_dir = \n"[..], b"[", b"\xff\xfe", b"state_dir = \"a\"\nstate_dir = \"b\"\n"] {
        let file = home.write("my.toml", contents);
        let ran = home.run(&format!("--config {file} info"));
        assert_eq!(ran.code, Some(78), "{ran:?}");
        assert!(
            ran.err.starts_with(&format!("error: {file}: ")) && ran.err.matches('\n').count() == 1,
            "{}",
            ran.err
        );
    }
    assert_eq!(
        home.run("--config nowhere.toml info").refusal(),
        (Some(78), "error: nowhere.toml: No such file or directory (os error 2)\n")
    );
    home.write(".config/tibet/overlay.toml", "x = 1");
    assert_eq!(home.run("info").code, Some(78), "the usual file is not skipped over when it is wrong");
}

#[test]
fn without_a_home_it_says_what_to_give() {
    let home = Home::new();
    let ran = finish(home.command().env_remove("HOME").arg("info"));
    assert_eq!(
        ran.refusal(),
        (Some(78), "error: neither HOME nor XDG_STATE_HOME is set\n  try: --state-dir DIR\n")
    );
    assert_eq!(finish(home.command().env_remove("HOME").args(["info", "--state-dir", "x"])).code, Some(0));
}

#[test]
fn flags_may_stand_before_or_after_the_subcommand() {
    let home = Home::new();
    home.ok("--state-dir D id new jis:a");
    assert_eq!(home.json("id show --state-dir D", 0)["name"], home.json("--state-dir D id show", 0)["name"]);
}

#[test]
fn a_file_without_end_is_not_read_without_end() {
    let home = Home::with_hub();
    for args in ["--config /dev/zero info", "register --grant /dev/zero", "register --token /dev/zero"] {
        let ran = home.run(args);
        assert!(matches!(ran.code, Some(2 | 78)) && ran.err.contains("too long"), "{args}: {ran:?}");
    }
}

/// One rule for all commands: flag before environment before the configuration file before the state directory.
#[test]
fn every_command_works_on_the_store_that_was_chosen() {
    let home = Home::new();
    let (own, chosen) = (home.state().join("registry/registry.db"), home.path("chosen.db"));
    let store = format!("sqlite:{}", text(&chosen));
    let file = home.write("my.toml", format!("[serve]\nstore = {store:?}\n"));
    home.ok("id new jis:home:hub");
    home.ok("--state-dir S id new jis:home:lamp");
    home.ok(&format!("register --capability mqtt --config {file}"));
    home.ok(&format!("--state-dir S --registry {} --config {file} register", text(&home.state())));
    let ways = [format!("--config {file}"), format!("--store {store}")];
    for way in &ways {
        let status = home.json(&format!("status {way}"), 0);
        assert_eq!((&status["total_devices"], &status["store"]), (&2.into(), &text(&chosen).into()));
        assert_eq!(home.json(&format!("verify jis:home:hub {way}"), 0)["verified"], true);
        assert_eq!(home.json(&format!("resolve jis:home:hub {way}"), 0)["resolved"], true);
        assert_eq!(home.json(&format!("find mqtt {way}"), 0)["total"], 1);
        home.ok(&format!("trust jis:home:lamp 0.4 {way}"));
        home.ok(&format!("vouch jis:home:lamp {way}"));
        assert_eq!(
            home.json(&format!("audit list --action register {way}"), 0)["tokens"][0]["action"],
            "register"
        );
        assert_eq!(home.json(&format!("audit verify {way}"), 0)["intact"], true);
        assert!(home.ok(&format!("audit export {way}")).contains("jis:home:lamp"));
        assert_eq!(home.json(&format!("pending list {way}"), 0)["requests"], serde_json::json!([]));
        let origin = home.json(&format!("status {way}"), 0)["registry"].clone();
        assert_eq!(home.json(&format!("enrol jis:home:* {way}"), 0)["origin"], origin);
        assert_eq!(home.json(&format!("grant jis:home:hub:* {way}"), 0)["origin"], origin);
        assert_eq!(home.json(&format!("id rotate {way}"), 0)["registry_told"], true);
        assert!(!own.exists(), "{way}");
    }
    let ran = finish(home.command().env("TIBET_STORE", &store).args(["status", "--json"]));
    assert!(ran.out.contains("\"total_devices\":2"), "{ran:?}");
    // The flag wins, and what is not there is not made by looking.
    assert_eq!(
        home.run(&format!("status --config {file} --store sqlite:{}", text(&home.path("none.db")))).code,
        Some(1)
    );
    assert!(!home.path("none.db").exists());
    let wrong = home.write("wrong.toml", "[serve]\nstore = \"mysql://x\"\n");
    let ran = home.run(&format!("status --config {wrong}"));
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.err.contains("store in the configuration file: a store is sqlite:PATH"), "{}", ran.err);
}

#[test]
fn info_names_the_nodes_and_whether_a_daemon_runs() {
    let home = Home::new();
    let info = home.json("info", 0);
    assert_eq!((&info["nodes"], &info["daemons"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert!(home.ok("info").contains("none runs; tibet-overlay up --node ADDR starts one"));
    let file = home.write("my.toml", "node = [\"node.example\"]\n");
    assert_eq!(home.json(&format!("info --config {file}"), 0)["nodes"][0], "node.example:7150");
    let (server, device) = (Home::new(), Home::new());
    let (_node, at) = network::serve(&server);
    let _up = network::up(&device, "jis:home:hub", &at, "");
    assert_eq!(device.json("info", 0)["daemons"], serde_json::json!(["jis:home:hub"]));
    assert!(device.ok("info").contains("runs as jis:home:hub"));
}
