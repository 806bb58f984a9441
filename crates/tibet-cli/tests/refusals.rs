//! Wrong inputs: the exit code, and word for word what the user is told to do.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use common::{Home, finish, text};

/// Runs and compares the exit code and standard error; nothing may be on standard output.
fn refused(home: &Home, args: &str, code: i32, err: &str) {
    let ran = home.run(args);
    assert_eq!((ran.code, ran.err.as_str()), (Some(code), err), "{args}");
    assert_eq!(ran.out, "", "{args}");
}

#[test]
fn where_nothing_is_yet() {
    let home = Home::new();
    let state = home.state();
    let state = text(&state);
    let no_registry = format!(
        "error: there is no registry in {state}\n  try: tibet-overlay register makes one; --registry DIR or --store STORE uses another\n"
    );
    for args in
        ["trust jis:a", "trust jis:a 0.5", "audit list", "audit export", "audit verify", "pending list"]
    {
        refused(&home, args, 1, &no_registry);
    }
    let no_node_either = format!(
        "error: there is no registry in {state}\n  try: --node ADDR asks an overlay node, or tibet-overlay up --node ADDR in another terminal; tibet-overlay register makes a registry here, --registry DIR uses another\n"
    );
    for args in ["verify jis:a", "resolve jis:a", "find mqtt", "status"] {
        refused(&home, args, 1, &no_node_either);
    }
    let no_identity =
        format!("error: there is no identity in {state}\n  try: tibet-overlay id new jis:home:hub\n");
    for args in ["id show", "id export", "id rotate", "id revoke", "register", "vouch jis:a"] {
        refused(&home, args, 1, &no_identity);
    }
    refused(
        &home,
        "id show --identity jis:home:hub",
        1,
        &format!(
            "error: there is no identity jis:home:hub in {state}\n  try: tibet-overlay id new jis:home:hub\n"
        ),
    );
    assert!(!home.path(".local").exists(), "a refusal makes nothing");
}

#[test]
fn names() {
    let home = Home::with_hub();
    let label = |text: &str| {
        format!(
            "error: label \"{text}\": use a-z, 0-9, '-' and '_', beginning and ending with a letter or digit, at most 63 bytes\n"
        )
    };
    for args in ["id new", "resolve", "verify", "trust", "vouch", "id show --identity"] {
        refused(&home, &format!("{args} jis:-hub"), 2, &label("-hub"));
    }
    let long = "a".repeat(64);
    refused(&home, &format!("resolve jis:{long}"), 2, &label(&long));
    for odd in ["jis:", "jis:a::b", "jis:ä", "did:web:a", "jis:a/b", "jis:a:b:c:d:e:f:g:h:i"] {
        let ran = home.run(&format!("resolve {odd}"));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{odd}: {}", ran.err);
        assert!(ran.err.starts_with("error: "), "{odd}: {}", ran.err);
    }
    refused(
        &home,
        "id new jis:home:hub",
        1,
        &format!(
            "error: jis:home:hub exists already in {}\n  try: tibet-overlay id show, or another name\n",
            text(&home.state().join("identities/home.hub"))
        ),
    );
    let unknown = "error: jis:nobody is not registered here\n  try: tibet-overlay status lists the names this registry knows\n";
    refused(&home, "trust jis:nobody", 1, unknown);
    refused(&home, "trust jis:nobody 0.5", 1, unknown);
    refused(&home, "vouch jis:nobody", 1, unknown);
    // Asked for and not found is an answer, and goes where answers go.
    let ran = home.run("resolve jis:nobody");
    assert_eq!(
        (ran.code, ran.out.as_str(), ran.err.as_str()),
        (Some(1), "✗ jis:nobody is not registered here\n", "")
    );
    let ran = home.run("find nothing");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "no device offers nothing\n", ""));
}

#[test]
fn arguments() {
    let home = Home::with_hub();
    let cases = [
        (
            "register --endpoint here",
            "endpoint \"here\": an endpoint is written address:port, for example 203.0.113.1:44321 or [2001:db8::1]:7150",
        ),
        (
            "register --capability @@",
            "capability \"@@\": a capability is 1 to 64 characters of a-z, 0-9, '.', '_', '-', '/' and begins with a letter or digit",
        ),
        (
            "find @@",
            "capability \"@@\": a capability is 1 to 64 characters of a-z, 0-9, '.', '_', '-', '/' and begins with a letter or digit",
        ),
        ("register --ttl 0", "a record holds for 1 second to 24 hours"),
        ("register --ttl 86401", "a record holds for 1 second to 24 hours"),
        ("trust jis:home:hub 7", "a trust score is a number from 0 to 1"),
        ("trust jis:home:hub NaN", "a trust score is a number from 0 to 1"),
        ("trust jis:home:hub inf", "a trust score is a number from 0 to 1"),
        ("vouch jis:home:hub --factor 1.1", "--factor is a number from 0 to 1"),
        ("vouch jis:home:hub --factor NaN", "--factor is a number from 0 to 1"),
        ("vouch jis:home:hub --days 0", "--days is a number from 1 to 30"),
        ("vouch jis:home:hub --days 31", "--days is a number from 1 to 30"),
        ("vouch jis:home:hub --days 18446744073709551615", "--days is a number from 1 to 30"),
        ("audit verify --head x", "--head: expected COUNT:TOKEN-ID:HASH, as audit verify prints it"),
        ("audit verify --head x:y:z", "--head: expected COUNT:TOKEN-ID:HASH, as audit verify prints it"),
        ("audit list --since yesterday", "--since: expected a time such as 2026-11-21T08:30:00, or a date"),
        ("audit list --since 2026-1-1", "--since: expected a time such as 2026-11-21T08:30:00, or a date"),
    ];
    for (args, told) in cases {
        refused(&home, args, 2, &format!("error: {told}\n"));
    }
    let grant = home.write("grant", "not hex");
    refused(&home, &format!("register --grant {grant}"), 2, &format!("error: {grant}: not hexadecimal\n"));
    let ran = home.run("register --token nowhere");
    assert_eq!(ran.refusal(), (Some(2), "error: nowhere: No such file or directory (os error 2)\n"));
    refused(&home, "audit verify nowhere", 69, "error: nowhere: No such file or directory (os error 2)\n");
    let ran = home.run("audit verify log --key abc");
    assert!(ran.code == Some(2) && ran.err.starts_with("error: --key: "), "{ran:?}");
    // Nothing of all this changed anything.
    assert_eq!(home.json("status", 0)["tokens"].as_u64(), Some(1));
}

#[test]
fn what_clap_refuses_is_misuse() {
    let home = Home::new();
    for args in [
        "",
        "nonsense",
        "resolve",
        "find",
        "id",
        "id new",
        "audit",
        "completion tcsh",
        "demo extra",
        "--no-such-flag info",
        "register --grant a --token b",
        "trust jis:a 0.5 --clear",
        "id export --format xml",
    ] {
        let ran = home.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args}");
        assert!(
            ran.err.contains("Usage: tibet-overlay") || ran.err.contains("--help"),
            "{args}: {}",
            ran.err
        );
    }
    assert!(home.run("resolv jis:a").err.contains("resolve"), "a typing error is understood");
    for args in ["--help", "help", "register --help", "help id rotate", "--version", "id --version"] {
        let ran = home.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{args}");
        assert!(!ran.out.is_empty(), "{args}");
    }
}

#[test]
fn a_flag_that_would_do_nothing_is_refused_where_it_was_typed() {
    let home = Home::with_hub();
    let node = "--node 127.0.0.1:9";
    let on_registry =
        "the same without --node where the registry is; --registry DIR or --store STORE says which one";
    for command in ["trust", "vouch", "audit", "pending", "enrol", "grant", "serve"] {
        let rest = match command {
            "audit" => "list",
            "pending" => "list",
            "serve" => "--http none",
            "enrol" | "grant" => "jis:home:*",
            _ => "jis:home:hub",
        };
        refused(
            &home,
            &format!("{command} {rest} {node}"),
            2,
            &format!(
                "error: {command} works on a registry, and asks no node: --node would do nothing\n  try: {on_registry}\n"
            ),
        );
    }
    for command in ["id show", "id new jis:b", "id export", "demo"] {
        let name = command.trim_end_matches(" jis:b");
        refused(
            &home,
            &format!("{command} {node}"),
            2,
            &format!("error: {name} asks no node: --node would do nothing\n  try: the same without --node\n"),
        );
    }
    for command in ["forward 1 jis:a:1", "expose 1", "status --peers"] {
        let name = command.trim_end_matches(" 1 jis:a:1").trim_end_matches(" 1");
        refused(
            &home,
            &format!("{command} {node}"),
            2,
            &format!("error: {name} asks no node: --node would do nothing\n  try: the same without --node\n"),
        );
    }
    refused(
        &home,
        "wg-config jis:a --registry x",
        2,
        "error: wg-config uses no registry: --registry would do nothing\n  try: the same without --registry\n",
    );
    refused(
        &home,
        "ping jis:a --store sqlite:x",
        2,
        "error: ping uses no registry: --store would do nothing\n  try: the same without --store\n",
    );
    refused(
        &home,
        &format!("resolve jis:home:hub {node} --registry x"),
        2,
        "error: --node asks a node, and --registry chooses a registry here: resolve does one of them\n  try: the same without --registry, or without --node\n",
    );
    // The environment is for all commands alike.
    let ran = finish(home.command().env("TIBET_NODE", "127.0.0.1:9").args(["trust", "jis:home:hub"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        home.json("status --registry .local/state/tibet", 0)["tokens"].as_u64(),
        Some(1),
        "nothing was changed"
    );
}

#[test]
fn several_identities_need_a_choice() {
    let home = Home::new();
    home.ok("id new jis:b");
    home.ok("id new jis:a");
    refused(
        &home,
        "id show",
        2,
        "error: there are several identities here\n  try: --identity jis:a or jis:b\n",
    );
    assert_eq!(home.json("id show --identity a", 0)["name"], "jis:a");
    assert_eq!(home.json("id show --identity did:jis:b", 0)["name"], "jis:b");
}

#[test]
fn key_files_that_others_can_read_are_not_used() {
    let home = Home::with_hub();
    let key = home.state().join("identities/home.hub/identity.pem");
    let told = |what: &str| format!("error: {} {what}\n", text(&key));
    fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("chmod");
    let others =
        format!("can be read or changed by others (mode 640); make it yours alone: chmod 600 {}", text(&key));
    for args in ["id show", "id export", "id rotate", "register", "verify jis:home:hub"] {
        refused(&home, args, 77, &told(&others));
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("chmod");
    home.ok("id show");
    let real = home.path("real.pem");
    fs::rename(&key, &real).expect("moved");
    std::os::unix::fs::symlink(&real, &key).expect("link");
    refused(&home, "id show", 77, &told("is not a regular file (symbolic links are not followed)"));
    fs::remove_file(&key).expect("removed");
    fs::write(&key, "").expect("written");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("chmod");
    let ran = home.run("id show");
    assert_eq!(ran.code, Some(78), "{}", ran.err);
    assert!(ran.err.contains(text(&key)) && ran.err.contains("BEGIN PRIVATE KEY"), "{}", ran.err);
}

#[test]
fn another_identitys_trouble_does_not_stop_a_verification() {
    let home = Home::with_hub();
    home.ok("id new jis:other");
    fs::write(home.state().join("identities/other/device.json"), "{").expect("written");
    assert_eq!(home.json("verify jis:home:hub", 0)["verified"], true);
    assert_eq!(home.run("verify jis:other").code, Some(78));
}

#[test]
fn a_passphrase_is_asked_for_by_file() {
    let home = Home::new();
    let secret = home.write("passphrase", "correct horse\nsecond line\n");
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("chmod");
    let wrong = home.write("wrong", "battery staple\n");
    fs::set_permissions(&wrong, Permissions::from_mode(0o600)).expect("chmod");
    home.ok(&format!("id new jis:home:hub --passphrase-file {secret}"));
    let key = home.state().join("identities/home.hub/identity.pem");
    let needed = format!(
        "error: {}: the key is encrypted: a passphrase is needed\n  try: --passphrase-file FILE\n",
        text(&key)
    );
    for args in ["id show", "register", "id rotate"] {
        refused(&home, args, 77, &needed);
    }
    refused(
        &home,
        &format!("id show --passphrase-file {wrong}"),
        77,
        &format!("error: {}: wrong passphrase\n", text(&key)),
    );
    home.ok(&format!("register --passphrase-file {secret}"));
    home.ok(&format!("id rotate --passphrase-file {secret}"));
    home.ok(&format!("verify jis:home:hub --passphrase-file {secret}"));
    let open = home.write("open", "correct horse");
    fs::set_permissions(&open, Permissions::from_mode(0o644)).expect("chmod");
    assert_eq!(
        home.run(&format!("id show --passphrase-file {open}")).code,
        Some(77),
        "a secret that others can read"
    );
}

#[test]
fn a_registry_that_is_damaged_or_none_is_a_matter_of_configuration() {
    let home = Home::with_hub();
    let directory = home.state().join("registry");
    let (file, key) = (directory.join("registry.db"), directory.join("log.pem"));
    let good = fs::read(&file).expect("read");
    fs::write(&file, b"not a database ".repeat(400)).expect("written");
    let ran = home.run("status");
    assert_eq!(ran.code, Some(78), "{}", ran.err);
    assert!(ran.err.contains(text(&file)), "it names the file: {}", ran.err);
    fs::write(&file, good).expect("written");
    fs::rename(&key, home.path("log.pem")).expect("moved");
    refused(
        &home,
        "status",
        78,
        &format!(
            "error: {} is missing, and the registry's log cannot be continued without it; restore it from a backup, or copy it from the node that made this registry\n",
            text(&key)
        ),
    );
}

#[test]
fn places_that_cannot_be_used() {
    let home = Home::new();
    let file = home.write("file", "");
    let ran = home.run(&format!("id new jis:a --state-dir {file}"));
    assert!(matches!(ran.code, Some(77 | 78)) && ran.err.contains(&file), "{ran:?}");
    // A directory that is closed to us: our own without permissions, or, since root may do anything, root's own to nobody.
    let closed = home.path("closed");
    fs::create_dir(&closed).expect("dir");
    fs::set_permissions(&closed, Permissions::from_mode(0o000)).expect("chmod");
    let state = closed.join("state");
    let mut command = home.command();
    command.args(["id", "new", "jis:a", "--state-dir", text(&state)]);
    if rustix::process::geteuid().is_root() {
        command.current_dir("/").uid(65_534).gid(65_534);
    }
    match command.output() {
        Ok(output) => {
            let err = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(77), "{err}");
            assert!(err.contains("Permission denied"), "{err}");
        }
        Err(error) => {
            println!("SKIPPED: nobody cannot run the program where it is: {error}");
            assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none());
        }
    }
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("chmod");
}

#[test]
fn a_registry_in_use_is_waited_for_and_then_given_up() {
    let home = Home::with_hub();
    let connection = rusqlite::Connection::open(home.state().join("registry/registry.db")).expect("opened");
    connection.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let ran = home.run("register --endpoint 203.0.113.1:9");
    assert_eq!(ran.code, Some(75), "{}", ran.err);
    connection.execute_batch("ROLLBACK").expect("unlocked");
    home.ok("register --endpoint 203.0.113.1:9");
    assert_eq!(home.json("resolve jis:home:hub", 0)["endpoint"], "203.0.113.1:9");
}

#[test]
fn two_registrations_at_once_both_end_well_or_say_try_again() {
    let home = Home::with_hub();
    for round in 0..5 {
        let start = |port: u32| {
            let endpoint = format!("203.0.113.1:{port}");
            home.command()
                .args(["register", "--endpoint", &endpoint])
                .stderr(std::process::Stdio::piped())
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("started")
        };
        let running = [start(1000 + 2 * round), start(1001 + 2 * round)];
        for child in running {
            let output = child.wait_with_output().expect("ended");
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 75)), "{code:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert_eq!(
        home.json("trust jis:home:hub", 0)["disputed"],
        false,
        "one number was never used for two records"
    );
    assert_eq!(home.json("audit verify", 0)["intact"], true);
    home.ok("register --endpoint 203.0.113.1:3000");
    assert_eq!(home.json("resolve jis:home:hub", 0)["endpoint"], "203.0.113.1:3000");
}
