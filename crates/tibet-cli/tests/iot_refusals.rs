//! Wrong inputs of `tibet-iot`: exit code 2, what is wrong, and what to try. And the rest of its surface: demo, help, completion.

mod common;

use common::{Home, finish, iot};

const SEND: &str = "send jis:home:sensor 127.0.0.1:9 read --my-did jis:home:hub";

#[test]
fn wrong_inputs_are_refused_with_something_to_try_and_make_nothing() {
    let home = Home::new();
    let listen = "listen --did jis:home:hub --no-discovery --port 0";
    for (args, told) in [
        (format!("{listen} --trust jis:a"), "--trust: expected NAME=SCORE, not \"jis:a\""),
        (format!("{listen} --trust jis:a=1.5"), "--trust: a score is 0 to 1, not \"1.5\""),
        (format!("{listen} --trust jis:a=NaN"), "--trust: a score is 0 to 1"),
        (format!("{listen} --trust jis:A=0.5"), "--trust: names are lower-case: write jis:a"),
        (format!("{listen} --key jis:a"), "--key: expected NAME=KEY"),
        (format!("{listen} --key jis:a=z6Mk"), "--key: "),
        (format!("{listen} --allow-unsigned jis:-"), "--allow-unsigned: label"),
        (format!("{listen} --bind localhost"), "--bind: expected an IP address of this machine"),
        (format!("{listen} --bind 127.0.0.1:7150"), "--bind: expected an IP address"),
        (format!("{listen} --payload [1]"), "--payload: expected a JSON object in braces"),
        (format!("{listen} --payload {{1"), "--payload: not JSON: "),
        (format!("{listen} --capability Käse"), "--capability: "),
        (format!("{listen} --device-type -"), "--device-type: "),
        (format!("{listen} --peer jis:a"), "--peer: expected NAME=HOST:PORT"),
        (format!("{listen} --peer jis:a=127.0.0.1"), "--peer: expected HOST:PORT"),
        ("listen --did jis:-hub".to_owned(), "--did: label \"-hub\""),
        (format!("{SEND} --timeout -1"), "--timeout: expected seconds, 0 to 86400"),
        (format!("{SEND} --timeout=-1"), "--timeout: expected seconds"),
        (format!("{SEND} --timeout inf"), "--timeout: expected seconds"),
        (format!("{SEND} --wait 1e9"), "--wait: expected seconds"),
        ("send jis:- 127.0.0.1:9 read".to_owned(), "DID: label"),
        ("send jis:a 127.0.0.1 read".to_owned(), "HOST:PORT: expected HOST:PORT, not \"127.0.0.1\""),
        ("send jis:a 127.0.0.1:0 read".to_owned(), "HOST:PORT: a port is 1 to 65535"),
        ("send jis:a ::1:7150 read".to_owned(), "an IPv6 address stands in brackets: [::1]:7150"),
        (
            "send jis:a [::1]:9 read --bind 127.0.0.1".to_owned(),
            "[::1]:9 is IPv6, and --bind 127.0.0.1 is not",
        ),
        ("discover --timeout nan".to_owned(), "--timeout: expected seconds"),
        ("keys forget jis:-".to_owned(), "NAME: label"),
    ] {
        let ran = iot::run(&home, &args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args}: {ran:?}");
        assert!(ran.err.starts_with("error: ") && ran.err.contains(told), "{args}: {}", ran.err);
        assert!(ran.err.contains("\n  try: ") || ran.err.contains("try '--help'"), "{args}: {}", ran.err);
    }
    assert!(!home.path(".local").exists(), "a refusal makes nothing");
    for args in
        ["", "listen --count 0", "listen --rate 0", "send jis:a", "listen --port 65536", "send --count 0"]
    {
        assert_eq!(iot::run(&home, args).code, Some(2), "{args}");
    }
}

#[test]
fn without_an_identity_it_is_said_how_to_make_one() {
    let home = Home::new();
    let state = home.state().display().to_string();
    for (args, option) in [
        ("listen --no-discovery", "--did"),
        ("send jis:a 127.0.0.1:9 read", "--my-did"),
        ("keys list", "--did"),
    ] {
        let ran = iot::run(&home, args);
        let expected =
            format!("error: there is no identity in {state}\n  try: {option} jis:home:hub makes one\n");
        assert_eq!((ran.code, ran.err.replace("/./", "/")), (Some(1), expected), "{args}");
    }
    home.ok("id new jis:a");
    home.ok("id new jis:b");
    let ran = iot::run(&home, "listen --no-discovery");
    assert_eq!(
        ran.refusal(),
        (Some(2), "error: there are several identities here\n  try: --did jis:a or jis:b\n")
    );
    let ran = iot::run(&home, "send jis:a 127.0.0.1:9 read --my-did jis:a");
    assert_eq!(
        ran.refusal(),
        (Some(2), "error: jis:a does not ask itself\n  try: --my-did jis:home:hub, the name of this side\n")
    );
    let ran = finish(iot::command(&home).env("TIBET_IDENTITY", "jis:b").args(["keys", "list"]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "jis:b has not heard of anybody yet\n"));
}

#[test]
fn an_address_of_another_machine_and_a_damaged_file_are_told_apart() {
    let home = Home::new();
    let ran = iot::run(&home, "listen --did jis:a --no-discovery --bind 192.0.2.1");
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(
        ran.err.contains("this machine has no such address") && ran.err.contains("try: --bind"),
        "{ran:?}"
    );
    home.write(".local/state/tibet/nodes/a/known-keys", "nonsense\n");
    let ran = iot::run(&home, "listen --did jis:a --no-discovery --port 0");
    assert!(matches!(ran.code, Some(77 | 78)), "{ran:?}");
}

#[test]
fn the_demo_holds_and_needs_nothing() {
    let home = Home::new();
    let ran = iot::run(&home, "demo");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    assert!(ran.out.contains("9 of 9 held") && ran.out.matches("✓ ").count() == 10, "{}", ran.out);
    let [demo] = &iot::json(&home, "demo", 0)[..] else { panic!("one object") };
    assert_eq!((&demo["schema"], &demo["holds"]), (&"tibet.iot.demo".into(), &true.into()));
    assert_eq!(demo["steps"].as_array().map(Vec::len), Some(9));
    assert!(!home.path(".local").exists());
}

#[test]
fn help_has_examples_and_every_shell_its_completion() {
    let home = Home::new();
    for args in [
        "--help",
        "listen --help",
        "send --help",
        "discover --help",
        "keys list --help",
        "keys forget --help",
    ] {
        let ran = iot::run(&home, args);
        assert_eq!(ran.code, Some(0), "{args}");
        let examples = ran.out.split("Example").nth(1).unwrap_or_default();
        assert!(examples.contains("\n  tibet-iot "), "{args}: {}", ran.out);
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = iot::run(&home, &format!("completion {shell}"));
        assert!(
            ran.code == Some(0) && ran.out.contains("tibet-iot") && ran.out.contains("discover"),
            "{shell}"
        );
    }
}
