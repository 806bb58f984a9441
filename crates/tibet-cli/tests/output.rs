//! What goes where: colours, pipes, full disks, odd characters.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use common::{Home, finish};

const EVERYTHING: [&str; 18] = [
    "demo",
    "info",
    "id show",
    "ip",
    "id export",
    "id export --format bundle",
    "register",
    "verify jis:home:hub",
    "resolve jis:home:hub",
    "resolve jis:nobody",
    "find mqtt",
    "find nothing",
    "status",
    "trust jis:home:hub",
    "audit list",
    "audit export",
    "audit verify",
    "completion bash",
];

#[test]
fn there_are_no_colours_in_pipes_and_none_in_json() {
    let home = Home::with_hub();
    for args in EVERYTHING {
        for json in ["", " --json"] {
            let ran = home.run(&format!("{args}{json}"));
            assert!(!ran.out.contains('\x1b') && !ran.err.contains('\x1b'), "{args}{json}");
            assert!(!ran.out.is_empty(), "{args}{json}");
        }
    }
    let forced =
        finish(home.command().env("CLICOLOR_FORCE", "1").args(["resolve", "jis:home:hub", "--json"]));
    assert!(!forced.out.contains('\x1b'), "not even when colours are forced");
}

/// Runs on a terminal, made by util-linux's script.
fn on_a_terminal(home: &Home, variable: Option<&str>, args: &str) -> Option<String> {
    let binary = env!("CARGO_BIN_EXE_tibet-overlay");
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &format!("{binary} {args}"), "/dev/null"]).stdin(Stdio::null());
    command.env_clear().env("HOME", home.path(".")).env("TERM", "xterm");
    if let Some(variable) = variable {
        command.env(variable, "1");
    }
    let output = command.output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn on_a_terminal_there_are_colours_unless_they_are_not_wanted() {
    let home = Home::with_hub();
    let Some(coloured) = on_a_terminal(&home, None, "resolve jis:home:hub") else {
        println!("SKIPPED: there is no program named script, which makes a terminal");
        assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none());
        return;
    };
    assert!(coloured.contains("\x1b[1m") && coloured.contains("203.0.113.1:44321"), "{coloured:?}");
    let plain = on_a_terminal(&home, Some("NO_COLOR"), "resolve jis:home:hub").expect("as before");
    assert!(!plain.contains('\x1b') && plain.contains("203.0.113.1:44321"), "{plain:?}");
    let json = on_a_terminal(&home, None, "resolve jis:home:hub --json").expect("as before");
    assert!(!json.contains('\x1b') && json.starts_with('{'), "{json:?}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let home = Home::with_hub();
    // More than a pipe holds, so that the writer meets the closed end.
    for _ in 0..200 {
        home.ok("trust jis:home:hub 0.5 --reason again");
    }
    assert!(home.ok("audit export").len() > 70_000);
    for args in [
        "audit export",
        "audit export --format json",
        "audit list --limit 1000 --json",
        "completion zsh",
        "--help",
    ] {
        let mut child = home
            .command()
            .args(args.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut line = String::new();
        let mut reader = BufReader::with_capacity(16, child.stdout.take().expect("a pipe"));
        reader.read_line(&mut line).expect("read");
        drop(reader);
        let output = child.wait_with_output().expect("ended");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), err.as_ref()), (Some(0), ""), "{args}");
        assert!(!line.is_empty(), "{args}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let home = Home::with_hub();
    for args in EVERYTHING {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("opened");
        let output = home.command().args(args.split(' ')).stdout(full).output().expect("ran");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{args}: {err}");
        assert!(err.starts_with("error: cannot write the "), "{args}: {err}");
    }
}

#[test]
fn a_closed_standard_output_is_no_reason_to_panic() {
    let home = Home::with_hub();
    for args in EVERYTHING {
        let output = home
            .command()
            .args(args.split(' '))
            .stdout(File::open("/dev/null").expect("opened for reading only"))
            .output()
            .expect("ran");
        assert!(output.status.code().is_some_and(|code| code < 100), "{args}: {output:?}");
    }
}

#[test]
fn control_characters_in_what_the_user_gave_do_not_reach_the_terminal() {
    let home = Home::with_hub();
    let odd = "jis:\u{1b}[31mred\u{7}\r\n";
    for args in [
        vec!["resolve", odd],
        vec!["id", "new", odd],
        vec!["register", "--capability", odd],
        vec!["register", "--endpoint", odd],
        vec!["audit", "verify", odd],
        vec!["--config", odd, "info"],
        vec!["id", "revoke", "--reason", odd],
        vec!["status", "--state-dir", odd],
        vec!["id", "show", "--state-dir", odd],
    ] {
        for json in [false, true] {
            let ran = finish(home.command().args(&args).args(json.then_some("--json")));
            assert!(ran.code.is_some_and(|code| code != 0 && code < 100), "{args:?}: {ran:?}");
            let printed = format!("{}{}", ran.out, ran.err);
            assert!(!printed.contains(|c: char| c.is_control() && c != '\n'), "{args:?}: {printed:?}");
        }
    }
    // A reason in the log is somebody else's text when it is shown.
    home.run_args(&["trust", "jis:home:hub", "0.5", "--reason", "\u{1b}]0;title\u{7}"]);
    for args in ["audit list", "audit export", "trust jis:home:hub", "status", "info"] {
        let out = home.ok(args);
        assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{args}: {out:?}");
    }
    let info = home.run_args(&["info", "--state-dir", odd]);
    assert!(!info.out.contains(|c: char| c.is_control() && c != '\n'), "{info:?}");
}

#[test]
fn a_file_from_elsewhere_does_not_reach_the_terminal_unescaped() {
    let home = Home::with_hub();
    let line = home.ok("audit export");
    let id = line.split('"').nth(3).expect("an id").to_owned();
    home.write("odd.jsonl", line.replace(&id, "tibet_\\u001b[2J\\u0007"));
    let ran = home.run("audit verify odd.jsonl");
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("\\u{1b}"), "{}", ran.out);
    assert!(!ran.out.contains(|c: char| c.is_control() && c != '\n'), "{:?}", ran.out);
}

#[test]
fn paths_that_are_no_utf_8_are_paths() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new();
    let odd = std::ffi::OsStr::from_bytes(b"st\xffate");
    for args in [
        &["id", "new", "jis:a"][..],
        &["register"],
        &["info"],
        &["id", "show"],
        &["verify", "jis:a"],
        &["audit", "verify"],
    ] {
        for json in [false, true] {
            let ran =
                finish(home.command().arg("--state-dir").arg(odd).args(args).args(json.then_some("--json")));
            let again = args[0] == "id" && args[1] == "new" && json;
            assert_eq!(ran.code, Some(if again { 1 } else { 0 }), "{args:?} {json}: {}", ran.err);
        }
    }
}

#[test]
fn completion_scripts_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = home.ok(&format!("completion {shell}"));
        assert!(script.contains("tibet-overlay") && script.contains("resolve"), "{shell}");
    }
    if let Ok(bash) = std::process::Command::new("bash")
        .arg("-n")
        .arg(home.write("script", home.ok("completion bash")))
        .status()
    {
        assert!(bash.success(), "bash can read it");
    }
}

#[test]
fn no_secret_is_ever_printed() {
    let home = Home::with_hub();
    let mut secrets = Vec::new();
    for file in ["identity.pem", "next-identity.pem", "transport.pem"] {
        let pem = std::fs::read_to_string(home.state().join("identities/home.hub").join(file)).expect("read");
        let body = pem.lines().nth(1).expect("a body");
        secrets.push(body[body.len() - 43..].to_owned());
    }
    for args in EVERYTHING {
        for json in ["", " --json"] {
            let ran = home.run(&format!("{args}{json}"));
            for secret in &secrets {
                assert!(
                    !ran.out.contains(secret.as_str()) && !ran.err.contains(secret.as_str()),
                    "{args}{json}"
                );
            }
        }
    }
}
