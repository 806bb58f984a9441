//! `tibet-iot listen`: what it prints, what it obeys, how it ends.

mod common;

use std::net::UdpSocket;

use common::{Home, iot, members, text};
use iot::Listener;
use jis::Name;
use rustix::process::Signal;
use serde_json::{Value, json};
use tibet_ping::{Encoding, Fresh, Packet};

fn send(home: &Home, listener: &Listener, own: &str, more: &str) -> common::Ran {
    iot::run(home, &format!("send jis:home:sensor {} door.open --my-did {own} {more}", listener.at))
}

fn shape(value: &Value, expected: &str) {
    let mut expected: std::collections::BTreeSet<String> =
        expected.split_whitespace().map(str::to_owned).collect();
    expected.extend(["schema", "version", "event"].map(str::to_owned));
    assert_eq!(members(value), expected, "{value}");
    assert_eq!((&value["schema"], &value["version"]), (&"tibet.iot.listen".into(), &1.into()));
}

#[test]
fn each_event_is_an_object_on_a_line() {
    let home = Home::new();
    let trust = "--trust jis:home:hub=0.95 --trust jis:visitor=0.5";
    let mut listener =
        Listener::start(&home, &format!("--did jis:home:sensor {trust} --audit log.jsonl --json"));
    assert_eq!(send(&home, &listener, "jis:home:hub", r#"--payload {"a":1.0} --purpose Why"#).code, Some(0));
    shape(&listener.event("pinned"), "name key generation");
    let ping = listener.event("ping");
    shape(
        &ping,
        "time source_did from intent purpose payload payload.a ping_type packet_id routing_mode hop_count decision
         airlock_zone trust_score applied_rule verified proof",
    );
    assert_eq!((&ping["source_did"], &ping["decision"]), (&"jis:home:hub".into(), &"accept".into()));
    assert_eq!((&ping["proof"], &ping["verified"]), (&"first_contact".into(), &true.into()));
    assert_eq!((&ping["payload"], &ping["purpose"]), (&json!({ "a": 1.0 }), &"Why".into()));
    shape(&listener.event("peer"), "name status address");

    let pending = send(&home, &listener, "jis:visitor", "");
    assert_eq!(pending.code, Some(1));
    assert!(
        pending.out.starts_with("GEEL — trust: 0.5 — RTT: ") && pending.out.ends_with("ms — pending\n"),
        "{pending:?}"
    );
    assert!(pending.err.contains("--wait 600"), "{pending:?}");
    let id = listener.event("ping")["packet_id"].as_str().expect("an id").to_owned();
    listener.say("pending");
    let waiting = listener.event("pending");
    shape(&waiting, "pings pings[].source_did pings[].packet_id pings[].intent pings[].reason");
    assert_eq!(waiting["pings"][0]["packet_id"], id);
    listener.say(&format!("deny {id}"));
    let settled = listener.event("settled");
    shape(&settled, "time source_did intent packet_id decision trust_score");
    assert_eq!(settled["decision"], "reject");
    listener.say("pending");
    assert_eq!(listener.event("pending")["pings"], json!([]));

    listener.signal(Signal::TERM);
    let ended = listener.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let summary: Value = serde_json::from_str(ended.out.lines().last().expect("a line")).expect("JSON");
    assert_eq!(summary["event"], "summary");
    for member in
        ["received", "pings", "answered", "relayed", "dropped", "pending", "events_missed", "lines_lost"]
    {
        assert!(!summary[member].is_null(), "{member}: {summary}");
    }
    assert_eq!((&summary["pings"], &summary["answered"]), (&2.into(), &2.into()));
    for line in ended.err.lines() {
        let note: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&note["schema"], &note["version"]), (&"tibet.note".into(), &1.into()), "{note}");
    }
}

#[test]
fn what_waits_is_approved_from_standard_input_and_the_asker_hears_of_it() {
    let home = Home::new();
    let mut listener = Listener::start(&home, "--did jis:home:sensor --trust jis:visitor=0.5");
    let mut asking = iot::command(&home);
    let args = format!("send jis:home:sensor {} door.open --my-did jis:visitor --wait 20", listener.at);
    asking.args(args.split(' '));
    let asked = std::thread::spawn(move || common::finish(&mut asking));
    let line = listener.line("waits: approve ping_");
    assert!(line.contains("  jis:visitor  GEEL  door.open  verified  waits: "), "{line}");
    let order = line.split("waits: ").nth(1).expect("an order").to_owned();
    listener.say("nonsense");
    listener.note("pending, approve ID or deny ID");
    listener.say("approve ping_0000000000000000");
    listener.note("nothing waits with the id");
    listener.say(&order);
    listener.line("door.open  approved");
    let asked = asked.join().expect("ended");
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let lines: Vec<&str> = asked.out.lines().collect();
    assert!(
        lines.len() == 2 && lines[0].ends_with(" — pending") && lines[1].starts_with("GEEL"),
        "{asked:?}"
    );
    // The end of the input is not the end of listening.
    listener.close_stdin();
    assert_eq!(send(&home, &listener, "jis:visitor", "").code, Some(1));
    let ended = listener.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.err.contains(" 2 pings, 2 answered"), "{ended:?}");
}

#[test]
fn whoever_is_not_trusted_gets_silence_and_is_counted() {
    let home = Home::new();
    let mut listener = Listener::start(&home, "--did jis:home:sensor");
    let ran = iot::run(
        &home,
        &format!("send jis:home:sensor {} door.open --my-did jis:x --timeout 0.3", listener.at),
    );
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    let line = listener.line("silence: not trusted");
    assert!(line.contains("  jis:x  ROOD  door.open  unauthenticated"), "{line}");
    let ended = listener.stop();
    assert_eq!(ended.code, Some(0));
    assert!(ended.err.contains("1 pings, 0 answered") && ended.err.contains("rood"), "{ended:?}");
}

#[test]
fn a_payload_longer_than_the_question_comes_too() {
    let home = Home::new();
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(8000));
    let at = [
        "--did",
        "jis:home:sensor",
        "--trust",
        "jis:home:hub=0.9",
        "--payload",
        &long,
        "--capability",
        "read",
    ];
    let always = ["--port", "0", "--bind", "127.0.0.1", "--no-discovery", "--count", "2"];
    let listener = Listener::start_args(&home, &[&at[..], &always[..]].concat());
    for _ in 0..2 {
        let args = format!("send jis:home:sensor {} read --my-did jis:home:hub", listener.at);
        let [answer] = &iot::json(&home, &args, 0)[..] else { panic!("one object") };
        assert_eq!(answer["payload"]["text"].as_str().map(str::len), Some(8000));
        assert_eq!(answer["capabilities"], json!(["read"]));
    }
    let ended = listener.wait();
    assert_eq!(ended.code, Some(0), "--count ends it: {ended:?}");
}

#[test]
fn a_busy_sender_needs_a_higher_rate() {
    let home = Home::new();
    let listener = Listener::start(&home, "--did jis:home:sensor --trust jis:home:hub=0.9 --rate 3");
    let ran = send(&home, &listener, "jis:home:hub", "--count 4 --timeout 2");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("4 sent, 3 answered, 3 accepted — RTT min/avg/max: "), "{ran:?}");
    assert!(listener.stop().err.contains("sender_full"));
}

/// SECURITY R72.
#[test]
fn an_unsigned_name_is_heard_only_where_it_is_allowed() {
    let home = Home::new();
    let trust = "--trust jis:old=0.9 --trust jis:other=0.9 --allow-unsigned jis:old";
    let mut listener = Listener::start(&home, &format!("--did jis:home:sensor {trust}"));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.set_read_timeout(Some(common::running::DEADLINE)).expect("set");
    for (n, name) in [(1, "jis:other"), (2, "jis:old")] {
        let name: Name = name.parse().expect("name");
        let fresh = Fresh { id: [n; 8], nonce: [n; 16], now: tibet_overlay::system::now() };
        let packet = Packet::intent(&name, &"jis:home:sensor".parse().expect("name"), "read", "", fresh);
        socket.send_to(&packet.encode(Encoding::Json).expect("frame"), listener.at).expect("sent");
    }
    let line = listener.line("read");
    assert!(line.contains("  jis:old  GROEN  read  unauthenticated"), "{line}");
    let mut bytes = [0; 65_536];
    let length = socket.recv(&mut bytes).expect("an answer");
    assert!(String::from_utf8_lossy(&bytes[8..length]).contains("ping_0202020202020202"));
    assert!(listener.stop().err.contains("1 unsigned"));
}

#[test]
fn a_changed_key_is_warned_of_once_and_forgotten_on_demand() {
    let home = Home::new();
    let mut listener = Listener::start(&home, "--did jis:home:sensor --trust jis:home:hub=0.9");
    assert_eq!(send(&home, &listener, "jis:home:hub", "").code, Some(0));
    for _ in 0..2 {
        let ran = send(&home, &listener, "jis:home:hub", "--state-dir elsewhere --timeout 0.2");
        assert_eq!(ran.code, Some(1), "{ran:?}");
    }
    listener.note("WARNING: 127.0.0.1:");
    // While it runs its keys are its own.
    let busy = iot::run(&home, "keys forget jis:home:hub --did jis:home:sensor");
    assert_eq!(busy.code, Some(75), "{busy:?}");
    let listed = iot::json(&home, "keys list --did jis:home:sensor", 0);
    assert_eq!(listed[0]["keys"][0]["name"], "jis:home:hub");
    let ended = listener.stop();
    assert_eq!(ended.err.matches("WARNING").count(), 1, "{ended:?}");
    assert!(ended.err.contains("tibet-iot keys forget jis:home:hub --did jis:home:sensor"), "{ended:?}");
    let forgotten = iot::json(&home, "keys forget jis:home:hub --did jis:home:sensor", 0);
    assert_eq!(forgotten[0]["forgotten"], true);
    iot::json(&home, "keys forget jis:home:hub --did jis:home:sensor", 1);
    let empty = iot::run(&home, "keys list --did jis:home:sensor");
    assert_eq!(empty.out, "jis:home:sensor has not heard of anybody yet\n");
}

#[test]
fn one_identity_one_node_and_one_port_one_program() {
    let home = Home::new();
    let first = Listener::start(&home, "--did jis:home:sensor");
    let port = first.at.port();
    let same = iot::run(&home, "listen --did jis:home:sensor --no-discovery --port 0");
    assert_eq!(
        same.refusal(),
        (
            Some(75),
            "error: another node runs as jis:home:sensor on this machine\n  try: stop that one first, or --did with another name\n"
        )
    );
    home.ok("id new jis:home:hub");
    let taken =
        iot::run(&home, &format!("listen --did jis:home:hub --bind 127.0.0.1 --no-discovery --port {port}"));
    let expected = format!("error: another program has UDP port {port}\n  try: --port chooses another\n");
    assert_eq!(taken.refusal(), (Some(69), expected.as_str()));
    assert_eq!(first.stop().code, Some(0));
    // It ran until now; what it accepted shall not be accepted once more (SECURITY R22).
    let mut again = Listener::start(&home, "--did jis:home:sensor --trust jis:home:hub=1");
    again.note("this node ran a moment ago: pings are refused for");
    let ran = send(&home, &again, "jis:home:hub", "--timeout 0.2");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(again.stop().err.contains("before_restart"));
}

#[test]
fn the_audit_log_verifies_and_one_changed_byte_is_found() {
    let home = Home::new();
    let mut listener =
        Listener::start(&home, "--did jis:home:sensor --trust jis:home:hub=0.9 --audit pings.jsonl");
    assert!(listener.note("audit log pings.jsonl, signed by z6Mk").len() > 60);
    let key_file = listener.note("the key for others").split(": ").nth(1).expect("a path").to_owned();
    assert_eq!(send(&home, &listener, "jis:home:hub", "--count 3 --audit asked.jsonl").code, Some(0));
    assert_eq!(listener.stop().code, Some(0));
    for (file, name) in [("pings.jsonl", "home.sensor"), ("asked.jsonl", "home.hub")] {
        let report = home.json(&format!("audit verify {file}"), 0);
        assert_eq!((&report["intact"], &report["signatures_checked"]), (&true.into(), &true.into()));
        assert!(report["tokens"].as_u64() >= Some(3), "{report}");
        let public =
            std::fs::read_to_string(home.state().join("nodes").join(name).join("log.pub")).expect("read");
        assert_eq!(report["key"], public.trim());
        let log = std::fs::read_to_string(home.path(file)).expect("read");
        home.write("altered.jsonl", log.replacen("door.open", "door.opem", 1));
        let report = home.json("audit verify altered.jsonl", 1);
        assert_eq!(report["intact"], false);
    }
    // Elsewhere the key is given, as text or as the file it stands in.
    let log = home.path("pings.jsonl");
    let elsewhere = Home::new();
    assert_eq!(elsewhere.run(&format!("audit verify {}", text(&log))).code, Some(2), "nobody's key");
    let key_file = home.path(&key_file);
    elsewhere.ok(&format!("audit verify {} --key {}", text(&log), text(&key_file)));
    // Another node does not write into it.
    let other = iot::run(&home, "listen --did jis:home:hub --port 0 --no-discovery --audit pings.jsonl");
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.err.contains("--audit with a file of its own for each node"), "{other:?}");
}

#[test]
fn an_audit_log_is_continued_by_the_next_run_and_verifies_as_one() {
    let home = Home::new();
    let tokens = |file: &str| {
        let report = home.json(&format!("audit verify {file}"), 0);
        assert_eq!((&report["intact"], &report["signatures_checked"]), (&true.into(), &true.into()));
        report["tokens"].as_u64().expect("a number")
    };
    let listen = "--did jis:home:sensor --trust jis:home:hub=0.9 --audit pings.jsonl";
    let listener = Listener::start(&home, listen);
    let mut asked = 0;
    for _ in 0..2 {
        let ran = send(&home, &listener, "jis:home:hub", "--audit asked.jsonl");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(tokens("asked.jsonl") > asked);
        asked = tokens("asked.jsonl");
    }
    assert_eq!(listener.stop().code, Some(0));
    // Whoever has pinged is the actor of the token, not the node whose log it is.
    let log = std::fs::read_to_string(home.path("pings.jsonl")).expect("read");
    let last = log.lines().last().expect("a token");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last["actor"], "jis:home:hub");
    let before = tokens("pings.jsonl");
    assert_eq!(Listener::start(&home, listen).stop().code, Some(0));
    assert!(tokens("pings.jsonl") > before, "the trust it was given is noted again");
}

#[test]
fn a_reader_that_leaves_ends_it_without_an_error() {
    let home = Home::new();
    let mut child = iot::command(&home)
        .args(
            "listen --did jis:home:sensor --trust jis:home:hub=1 --port 0 --bind 127.0.0.1 --no-discovery"
                .split(' '),
        )
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut reader, &mut line).expect("read");
    drop(reader);
    let at = line.split(' ').nth(2).expect("an address").to_owned();
    let ran = iot::run(&home, &format!("send jis:home:sensor {at} read --my-did jis:home:hub"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
}

/// A pipe holds 64 KiB, which some hundred lines fill.
#[test]
fn a_reader_that_never_reads_stops_neither_the_node_nor_its_end() {
    use std::io::Read as _;
    use std::time::{Duration, Instant};

    let home = Home::new();
    let mut child = iot::command(&home)
        .args(
            "listen --did jis:home:sensor --port 0 --bind 127.0.0.1 --no-discovery --rate 5000 --json"
                .split(' '),
        )
        .args("--trust jis:a=1 --trust jis:b=1 --trust jis:c=1".split(' '))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let mut unread = child.stdout.take().expect("a pipe");
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        unread.read_exact(&mut byte).expect("the first line");
        line.extend(byte);
    }
    let first: Value = serde_json::from_slice(&line).expect("JSON");
    let at = first["address"].as_str().expect("an address");
    let asked = |own: &str| {
        let ask = format!("send jis:home:sensor {at} read --my-did {own} --count 1000 --json --timeout 2");
        let ran = iot::run(&home, &ask);
        let summary: Value = serde_json::from_str(ran.out.lines().last().expect("a line")).expect("JSON");
        summary["answered"].as_u64().expect("a number")
    };
    let answered: u64 = std::thread::scope(|scope| {
        let askers = ["jis:a", "jis:b", "jis:c"].map(|own| {
            let asked = &asked;
            scope.spawn(move || asked(own))
        });
        askers.map(|asker| asker.join().expect("ended")).iter().sum()
    });
    let signalled = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).expect("signalled");
    let ended = loop {
        match child.try_wait().expect("looked") {
            Some(status) => break Some(status.code()),
            None if signalled.elapsed() > common::running::DEADLINE / 3 => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if ended.is_none() {
        child.kill().expect("killed");
        child.wait().expect("ended");
    }
    assert_eq!((answered, ended), (3000, Some(Some(0))));
}
