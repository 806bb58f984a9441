//! Other people's programs: tibet-core and jis-core for Python, and OpenSSL.
//!
//! Where one is missing the test says so in one line and passes, unless `TIBET_REQUIRE_ALL` is set, as it is in CI. `TIBET_PYTHON` is the
//! Python of an environment with `interop/requirements.txt` installed.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Home, text};
use jis::{PublicKey, SecretKey, Signature};
use serde_json::{Value, json};
use tibet_core::{Draft, FileStore, Fsync, LogCheck, Micros, Minter, Provider, verify_store};

/// Tells of a program that is not here. In CI everything is.
#[allow(clippy::print_stdout, reason = "that is how a test tells")]
fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none(), "required, but {why}");
}

/// Runs one of our Python programs in `interop/`; `None` where there is no Python with the packages.
fn python<S: AsRef<OsStr>>(script: &str, args: &[S], input: &str) -> Option<String> {
    let Some(python) = std::env::var_os("TIBET_PYTHON") else {
        skip("TIBET_PYTHON does not name a Python with interop/requirements.txt installed");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop").join(script);
    Some(run(Command::new(python).arg("-I").arg(script).args(args), input))
}

/// Runs OpenSSL; `None` where there is none.
fn openssl(args: &[&str], input: &str) -> Option<String> {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        skip("there is no openssl");
        return None;
    }
    Some(run(Command::new("openssl").args(args), input))
}

fn run(command: &mut Command, input: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn identity_key(home: &Home) -> std::path::PathBuf {
    home.state().join("identities/home.hub/identity.pem")
}

/// A home with a log of every kind of token, some with odd texts in them.
fn eventful() -> Home {
    let home = Home::with_hub();
    home.ok("verify jis:home:hub");
    home.ok("resolve jis:home:hub");
    home.ok("register --endpoint [2001:db8::1]:7150 --capability mqtt --capability modbus --behind-nat");
    home.ok("id rotate");
    let odd = [
        "kaas ✓ \u{1f9c0}",
        "quote \" backslash \\ slash /",
        "line\nfeed and tab\t",
        "\u{1b}[31m\u{7f}\u{80}",
        "\u{2028}\u{feff}",
    ];
    for reason in odd {
        home.run_args(&["trust", "jis:home:hub", "0.1", "--reason", reason]);
    }
    for score in ["0", "1", "0.30000000000000004", "0.00001"] {
        home.ok(&format!("trust jis:home:hub {score}"));
    }
    home.ok("trust jis:home:hub --clear");
    home.ok("id revoke --reason lost");
    home.ok("id rotate");
    home.ok("audit export -o log.jsonl");
    home
}

#[test]
fn python_loads_and_verifies_our_export() {
    let home = eventful();
    let log = fs::read_to_string(home.path("log.jsonl")).expect("read");
    let tokens: Vec<Value> = log.lines().map(parse).collect();
    let Some(out) = python("verify_log.py", &[text(&home.path("log.jsonl")), "trust_change"], "") else {
        return;
    };
    let seen = parse(&out);
    assert_eq!(seen["count"], tokens.len());
    assert_eq!(
        seen["report"],
        json!({ "valid": tokens.len(), "invalid": 0, "corrupted_ids": [], "integrity": true })
    );
    assert_eq!(seen["each"], json!(vec![true; tokens.len()]));
    let ids = |action: Option<&str>| -> Vec<&Value> {
        let wanted = tokens.iter().filter(|token| action.is_none_or(|action| token["action"] == action));
        wanted.map(|token| &token["token_id"]).collect()
    };
    assert_eq!(seen["ids"], json!(ids(None)));
    assert_eq!(seen["found"], json!(ids(Some("trust_change"))));
    assert_eq!(ids(Some("trust_change")).len(), 10);
}

#[test]
fn python_and_we_find_the_same_changed_token() {
    let home = eventful();
    let log = fs::read_to_string(home.path("log.jsonl")).expect("read");
    let altered = home.write("altered.jsonl", log.replacen("Overlay rotate", "Overlay rotated", 1));
    let Some(out) = python("verify_log.py", &[altered.as_str(), "rotate"], "") else { return };
    let seen = parse(&out);
    assert_eq!((&seen["report"]["integrity"], &seen["report"]["invalid"]), (&json!(false), &json!(1)));
    let ours = home.json("audit verify altered.jsonl", 1);
    assert_eq!(ours["findings"][0]["token_id"], seen["report"]["corrupted_ids"][0]);
}

#[test]
fn we_read_what_python_writes_and_continue_it() {
    let home = Home::new();
    let path = home.path("log.jsonl");
    if python("write_log.py", &[text(&path)], "").is_none() {
        return;
    }
    let (store, recovered) = FileStore::open(&path, Fsync::Never).expect("opened");
    assert_eq!(recovered, None);
    let report = verify_store(&store, &LogCheck::default()).expect("read");
    assert!(report.ok() && report.tokens == 4, "{:?}", report.findings);
    let mut provider = Provider::new(Minter::new("jis:rust"), store).expect("provider");
    let mut draft = Draft::new("continued");
    draft.erachter = "One of ours after theirs".to_owned();
    let now = Micros::from_micros(1_800_000_000_000_000).expect("a time");
    let token = provider.create(draft, now, [1, 2, 3, 4]).expect("appended");
    drop(provider);
    // And Python once more after us.
    python("write_log.py", &[text(&path)], "").expect("as before");
    let seen = parse(&python("verify_log.py", &[text(&path), "continued"], "").expect("as before"));
    assert_eq!(seen["report"], json!({ "valid": 9, "invalid": 0, "corrupted_ids": [], "integrity": true }));
    assert_eq!(seen["found"], json!([token.token_id]));
    let (store, _) = FileStore::open(&path, Fsync::Never).expect("opened");
    assert!(verify_store(&store, &LogCheck::default()).expect("read").ok());
}

/// The 32 bytes of a key file's seed, as OpenSSL sees them.
fn seed(key: &Path) -> Option<String> {
    let printed = openssl(&["pkey", "-in", text(key), "-text", "-noout"], "")?;
    Some(block(&printed, "priv:"))
}

/// Hex digits of an indented block that `openssl pkey -text` prints.
fn block(printed: &str, heading: &str) -> String {
    let lines = printed.lines().skip_while(|line| *line != heading).skip(1);
    lines
        .take_while(|line| line.starts_with(' '))
        .flat_map(|line| line.chars().filter(char::is_ascii_hexdigit))
        .collect()
}

#[test]
fn jis_core_and_we_sign_and_verify_alike() {
    let home = Home::with_hub();
    let Some(secret) = seed(&identity_key(&home)) else { return };
    let key: SecretKey = secret.parse().expect("a key");
    let public = key.public_key();
    assert_eq!(home.json("id show", 0)["public_key"], public.to_multibase());
    let long = "l".repeat(100_000);
    let messages = ["", "hello", "käse ✓ \u{1f9c0} \u{0}", "{\"a\": 1}", "line\nfeed\r\n", &long];
    let signatures: Vec<String> =
        messages.iter().map(|message| key.sign(message.as_bytes()).to_string()).collect();
    let public_hex = jis::hex::encode(public.as_bytes());
    let given =
        json!({ "secret": secret, "public": public_hex, "messages": messages, "signatures": signatures });
    let Some(out) = python::<&str>("sign.py", &[], &given.to_string()) else { return };
    let theirs = parse(&out);
    assert_eq!(theirs["public"].as_str().expect("hex").parse(), Ok(public));
    assert_eq!(theirs["verified"], json!(vec![true; messages.len()]), "they verify ours");
    assert_eq!(theirs["mistaken"], json!(vec![false; messages.len()]));
    for (message, signature) in messages.iter().zip(theirs["signatures"].as_array().expect("signatures")) {
        let signature: Signature = signature.as_str().expect("hex").parse().expect("a signature");
        assert!(public.verify(message.as_bytes(), &signature).is_ok(), "we verify theirs: {message:.20}");
        assert!(public.verify(format!("{message}!").as_bytes(), &signature).is_err());
    }
}

/// The public key `id show` tells, as hex.
fn shown_key(home: &Home) -> String {
    let key: PublicKey =
        home.json("id show", 0)["public_key"].as_str().expect("text").parse().expect("a key");
    jis::hex::encode(key.as_bytes())
}

#[test]
fn openssl_reads_our_key_files() {
    let home = Home::with_hub();
    let Some(printed) = openssl(&["pkey", "-in", text(&identity_key(&home)), "-text", "-noout"], "") else {
        return;
    };
    assert!(printed.starts_with("ED25519 Private-Key:"), "{printed}");
    assert_eq!(block(&printed, "pub:"), shown_key(&home));
    let next = identity_key(&home).with_file_name("next-identity.pem");
    let printed = openssl(&["pkey", "-in", text(&next), "-text", "-noout"], "").expect("as before");
    home.ok("id rotate");
    assert_eq!(block(&printed, "pub:"), shown_key(&home), "the next key became the key");
    let transport = identity_key(&home).with_file_name("transport.pem");
    let printed = openssl(&["pkey", "-in", text(&transport), "-text", "-noout"], "").expect("as before");
    assert!(printed.starts_with("X25519 Private-Key:"), "{printed}");
}

#[test]
fn openssl_reads_our_public_key_and_verifies_with_it() {
    let home = Home::with_hub();
    let pem = home.write("public.pem", home.ok("id export --format pem"));
    let Some(printed) = openssl(&["pkey", "-pubin", "-in", &pem, "-text", "-noout"], "") else { return };
    assert!(printed.starts_with("ED25519 Public-Key:"), "{printed}");
    assert_eq!(block(&printed, "pub:"), shown_key(&home));
    let message = home.write("message", "hello");
    let signature = home.path("signature");
    let key = identity_key(&home);
    openssl(
        &["pkeyutl", "-sign", "-rawin", "-inkey", text(&key), "-in", &message, "-out", text(&signature)],
        "",
    )
    .expect("as before");
    let bytes: [u8; 64] = fs::read(&signature).expect("read").try_into().expect("64 bytes");
    let public: PublicKey =
        home.json("id show", 0)["public_key"].as_str().expect("text").parse().expect("a key");
    assert!(public.verify(b"hello", &Signature::from_bytes(bytes)).is_ok());
}

#[test]
fn openssl_and_we_share_encrypted_keys() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let secret = home.write("passphrase", "correct horse ✓\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("chmod");
    home.ok(&format!("id new jis:home:hub --passphrase-file {secret}"));
    let key = identity_key(&home);
    let from = format!("file:{secret}");
    let Some(printed) = openssl(&["pkey", "-in", text(&key), "-passin", &from, "-text", "-noout"], "") else {
        return;
    };
    let shown = home.json(&format!("id show --passphrase-file {secret}"), 0);
    let public: PublicKey = shown["public_key"].as_str().expect("text").parse().expect("a key");
    assert_eq!(block(&printed, "pub:"), jis::hex::encode(public.as_bytes()));

    // Opened and encrypted again by OpenSSL, with its own choice of scrypt.
    let open = home.path("open.pem");
    openssl(&["pkey", "-in", text(&key), "-passin", &from, "-out", text(&open)], "").expect("as before");
    let again = home.path("again.pem");
    openssl(&["pkcs8", "-topk8", "-scrypt", "-in", text(&open), "-passout", &from, "-out", text(&again)], "")
        .expect("as before");
    for file in [&open, &again] {
        fs::copy(file, &key).expect("copied");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("chmod");
        let read = home.json(&format!("id show --passphrase-file {secret}"), 0);
        assert_eq!(read["public_key"], shown["public_key"], "{}", file.display());
    }
}
