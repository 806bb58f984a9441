//! `tibet-overlay serve` as the program it is: started, stopped, killed under load, stopped for a while, without disk, without database, with a wrong
//! clock.
//!
//! `TIBET_KILLS` says how often it is killed, 5 by default. Tests that need root, PostgreSQL or `faketime` say `SKIPPED` where those are missing, and
//! fail if `TIBET_REQUIRE_ALL` is set.

#![allow(clippy::print_stdout, reason = "figures to publish")]

mod common;
mod serve_support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::running::Running;
use common::{Home, finish};
use jis::AnswerOutcome;
use rustix::process::Signal;
use serve_support::database::own_server;
use serve_support::device::Device;
use serve_support::raw::{Raw, read};
use serve_support::{ARGUMENTS, DEADLINE, Serve, assert_intact, has_program, is_root, skip, text, version};
use tibet_overlay::intents::{Failure, FailureCode, OverlayRequest};
use tibet_ping::Compact;

/// Asks until the answer is yes, or a no that this test does not wait out.
fn eventually(raw: &Raw, device: &Device, request: &OverlayRequest, passing: FailureCode) {
    let until = Instant::now() + DEADLINE;
    loop {
        let (outcome, values) = raw.ask(&device.asker(), request);
        if outcome == AnswerOutcome::Yes {
            return;
        }
        let failure = Failure::read(&values);
        assert_eq!(failure.code, passing, "{failure:?}");
        assert!(Instant::now() < until, "{failure:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn registered(raw: &Raw, name: &str) -> Device {
    let device = Device::new(name);
    raw.registered(&device.asker(), &device.registration(None));
    device
}

#[test]
fn it_says_where_it_serves_and_stops_when_it_is_told() {
    let home = Home::new();
    let serve = Serve::start(&home, &[]);
    assert_eq!((&serve.first["event"], &serve.first["identities"]), (&"serving".into(), &0.into()));
    assert_eq!(serve.first["store"], "the state directory");
    let key = serve.first["key"].clone();
    let device = registered(&serve.raw(), "jis:a");
    let ran = serve.stop();
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.err);

    // The same node, and what it knew.
    let serve = Serve::start(&home, &[]);
    assert_eq!((&serve.first["key"], &serve.first["identities"]), (&key, &1.into()));
    assert_eq!(version(&serve.raw(), "jis:a"), Some(device.record.version));
    serve.signal(Signal::INT);
    assert_eq!(serve.stop().code, Some(0));
    assert_intact(&home, "");
}

#[test]
fn in_words_it_says_the_same() {
    let home = Home::new();
    let port = UdpSocket::bind("127.0.0.1:0").expect("bound").local_addr().expect("address").port();
    let address = format!("127.0.0.1:{port}");
    let serve = Running::start(home.command().args(["serve", "--http", "127.0.0.1:0", "--bind", &address]));
    serve.line("devices ");
    let socket = home.state().join("node/operator.sock");
    assert!(socket.exists(), "what it names is there");
    serve.signal(Signal::TERM);
    let ran = serve.wait();
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let said: Vec<&str> = ran.out.lines().collect();
    assert_eq!(said[0], format!("serving 0 identities on {address}"));
    let row = |name: &str| {
        let row = said.iter().find_map(|line| line.trim_start().strip_prefix(name));
        row.unwrap_or_else(|| panic!("no {name} in {said:#?}")).trim_start().to_owned()
    };
    assert!(row("node ").starts_with("jis:ed25519:z6Mk"), "{said:#?}");
    assert_eq!(row("UDP "), address);
    assert!(row("HTTP ").starts_with("http://127.0.0.1:"), "{said:#?}");
    assert_eq!(row("operator "), format!("http on the Unix socket {}", text(&socket)));
    assert_eq!((row("store "), row("policy ")), ("the state directory".to_owned(), "open".to_owned()));
    let devices = row("devices ");
    assert!(
        devices.starts_with("tibet-overlay up --node z6Mk") && devices.ends_with(&format!("@HOST:{port}")),
        "{devices}"
    );
}

/// SECURITY R25: whoever can read the operator's token is the operator.
#[test]
fn an_operator_token_that_others_can_read_is_not_used_also_not_from_the_configuration() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let token = home.write("token", "0123456789abcdef0123456789abcdef\n");
    let file = home.write("my.toml", format!("[serve]\noperator_token = {token:?}\n"));
    let mode = |mode| std::fs::set_permissions(&token, std::fs::Permissions::from_mode(mode)).expect("chmod");
    let arguments = "serve --bind 127.0.0.1:0 --http none";
    for more in [format!("--operator-token {token}"), format!("--config {file}")] {
        mode(0o640);
        let ran = home.run(&format!("{arguments} {more}"));
        assert_eq!(ran.code, Some(77), "{more}: {ran:?}");
        assert!(ran.err.contains(&format!("chmod 600 {token}")), "{more}: {}", ran.err);
        mode(0o600);
        let serve = Running::start(home.command().args(arguments.split(' ')).args(more.split(' ')));
        serve.line("devices ");
        serve.signal(Signal::TERM);
        assert_eq!(serve.wait().code, Some(0), "{more}");
    }
    let short = home.write("short", "abc");
    std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    assert_eq!(home.run(&format!("{arguments} --operator-token {short}")).code, Some(78));
}

#[test]
fn what_hinders_it_has_a_code_of_its_own_and_a_hint() {
    let home = Home::new();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("address").to_string();
    let ran = home.run(&format!("serve --http none --bind {address}"));
    assert_eq!(ran.code, Some(75), "{ran:?}");
    assert!(ran.err.contains(&format!("{address} is in use")) && ran.err.contains("--bind"), "{}", ran.err);

    for store in ["nonsense", "mysql://x", "sqlite:"] {
        let ran = home.run(&format!("serve --http none --bind 127.0.0.1:0 --store {store}"));
        assert_eq!(ran.code, Some(2), "{store}: {ran:?}");
        assert!(ran.err.contains("a store is sqlite:PATH or postgres://"), "{store}: {}", ran.err);
    }
    let no_database =
        home.write("text.db", "this is no database, but it is long enough to look at ".repeat(100));
    let ran = home.run(&format!("serve --http none --bind 127.0.0.1:0 --store sqlite:{no_database}"));
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.err.contains("text.db"), "{}", ran.err);
    let ran = home.run("serve --http none --bind 127.0.0.1:0 --store postgres://nobody@127.0.0.1:1/none");
    assert!(matches!(ran.code, Some(69 | 75)), "{ran:?}");
    assert!(ran.err.contains("127.0.0.1"), "{}", ran.err);
}

/// Row 91, at the program: a registry that is damaged is not served.
#[test]
fn row_91_a_damaged_registry_is_not_served() {
    let home = Home::new();
    let serve = Serve::start(&home, &[]);
    registered(&serve.raw(), "jis:a");
    serve.stop();
    let path = home.state().join("registry/registry.db");
    let good = std::fs::read(&path).expect("the registry");
    for (what, bytes) in [
        ("garbage", vec![0x5a; good.len()]),
        ("its head alone", good[..100].to_vec()),
        ("pages of garbage", [&good[..4096], &vec![0x5a; good.len() - 4096]].concat()),
    ] {
        std::fs::write(&path, bytes).expect("written");
        let ran = finish(home.command().args(ARGUMENTS));
        assert_eq!(ran.code, Some(78), "{what}: {ran:?}");
        assert!(ran.out.is_empty() && ran.err.contains("registry.db"), "{what}: {ran:?}");
    }
    std::fs::write(&path, good).expect("written");
    assert_eq!(Serve::start(&home, &[]).first["identities"], 1);
}

/// What devices were told that it is on the disk, and what was on its way.
#[derive(Default)]
struct Acknowledged {
    /// For each name, the highest number that was acknowledged.
    records: BTreeMap<String, u64>,
    /// Records sent, whether they were answered or not.
    sent: BTreeMap<String, u64>,
}

/// Registers devices and moves them, until it is told to stop or nobody answers any more.
fn load(raw: &Raw, thread: usize, round: usize, stop: &AtomicBool, noted: &Mutex<Acknowledged>) {
    raw.socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
    let mut devices: Vec<Device> = Vec::new();
    for count in 0_usize.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let request = if count % 3 == 2 {
            let device = &mut devices[count / 3];
            device.move_on(|_| ());
            (device.update(), count / 3)
        } else {
            devices.push(Device::new(&format!("jis:load:r{round}:t{thread}:n{count}")));
            (devices[devices.len() - 1].registration(None), devices.len() - 1)
        };
        let device = &devices[request.1];
        let (name, seq) = (device.text().to_owned(), device.record.version.seq);
        noted.lock().expect("lock").sent.insert(name.clone(), seq);
        raw.send_query(&raw.query(&device.asker(), &request.0));
        let Some(datagram) = raw.try_recv() else { return };
        let Compact::Answer { answer, .. } = read(&datagram) else { return };
        let answer = jis::Signed::<jis::Answer>::decode(answer).expect("an answer");
        assert_eq!(
            answer.claims().outcome,
            AnswerOutcome::Yes,
            "{:?}",
            Failure::read(&answer.claims().values)
        );
        noted.lock().expect("lock").records.insert(name, seq);
    }
}

/// Row 96: killed under load again and again, it has what it has acknowledged.
#[test]
fn row_96_killed_at_any_moment_it_has_what_it_acknowledged() {
    const THREADS: usize = 4;
    let kills: usize = std::env::var("TIBET_KILLS").map_or(5, |kills| kills.parse().expect("a number"));
    let home = Home::new();
    let noted = Arc::new(Mutex::new(Acknowledged::default()));
    let mut recoveries = Vec::new();
    let mut ahead = 0;
    let mut serve = Serve::start(&home, &[]);
    let check = |serve: &Serve| {
        let raw = serve.raw();
        let noted = noted.lock().expect("lock");
        let mut ahead = 0;
        for (name, seq) in &noted.records {
            let held =
                version(&raw, name).unwrap_or_else(|| panic!("{name} was acknowledged and is lost")).seq;
            assert!((*seq..=noted.sent[name]).contains(&held), "{name}: acknowledged {seq}, held {held}");
            ahead += u64::from(held > *seq);
        }
        ahead
    };
    for round in 0..kills {
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (raw, stop, noted) = (serve.raw(), Arc::clone(&stop), Arc::clone(&noted));
                std::thread::spawn(move || load(&raw, thread, round, &stop, &noted))
            })
            .collect();
        // The moment differs from round to round: 31 is prime to 200.
        std::thread::sleep(Duration::from_millis(30 + (round as u64 * 31) % 200));
        serve.kill();
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        serve = Serve::start(&home, &[]);
        recoveries.push(serve.started_in);
        ahead += check(&serve);
    }
    assert_eq!(serve.stop().code, Some(0));
    assert_intact(&home, "");
    recoveries.sort();
    let noted = noted.lock().expect("lock");
    println!(
        "{kills} kills: {} names sent, {} acknowledged, all of them there ({ahead} newer than acknowledged); ready again after {:?} (p50), {:?} (max)",
        noted.sent.len(),
        noted.records.len(),
        recoveries.get(recoveries.len() / 2).copied().unwrap_or_default(),
        recoveries.last().copied().unwrap_or_default(),
    );
    assert!(kills == 0 || noted.records.len() >= kills, "there was a load");
}

/// Row 96: a program that was stopped for a while goes on where it was.
#[test]
fn row_96_stopped_for_a_while_it_goes_on() {
    let home = Home::new();
    let serve = Serve::start(&home, &[]);
    let raw = serve.raw();
    let device = Device::new("jis:a");
    let token = raw.registered(&device.asker(), &device.registration(None)).keepalive;
    serve.signal(Signal::STOP);
    let late = Device::new("jis:late");
    let query = raw.query(&late.asker(), &late.registration(None));
    raw.send_query(&query);
    std::thread::sleep(Duration::from_secs(2));
    serve.signal(Signal::CONT);
    // What came meanwhile is answered, once.
    assert_eq!(raw.answer_to(&query).0, AnswerOutcome::Yes);
    raw.send(&Compact::Keepalive(token).write());
    assert_eq!(read(&raw.recv()), Compact::Alive(token));
    assert_eq!(version(&raw, "jis:a"), Some(device.record.version));
    assert_eq!(serve.stop().code, Some(0));
    assert_intact(&home, "");
}

/// Row 96, with its tokens: what was given before a kill holds after it.
#[test]
fn row_96_keepalive_tokens_outlive_a_kill() {
    let home = Home::new();
    let port = UdpSocket::bind("127.0.0.1:0").expect("bound").local_addr().expect("address").port();
    let bind = format!("--bind=127.0.0.1:{port}");
    let arguments: Vec<&str> =
        ARGUMENTS.iter().copied().filter(|a| !a.contains("bind") && !a.contains(":0")).collect();
    let start = || Serve::spawn(home.command().args(&arguments).arg(&bind)).expect("it serves");
    let serve = start();
    let raw = serve.raw();
    let device = Device::new("jis:a");
    let token = raw.registered(&device.asker(), &device.registration(None)).keepalive;
    serve.kill();
    let serve = start();
    raw.send(&Compact::Keepalive(token).write());
    assert_eq!(read(&raw.recv()), Compact::Alive(token));
    assert_eq!(serve.stop().code, Some(0));
}

/// Mounts of its own for the program: 8 MiB of disk over its state directory.
#[test]
fn a_full_disk_is_said_and_survived() {
    if !is_root() || !has_program("unshare") {
        return skip("a full disk needs root and unshare");
    }
    let home = Home::new();
    let state = home.state();
    std::fs::create_dir_all(&state).expect("dir");
    let mount = format!("mount -t tmpfs -o size=8m,mode=700 tmpfs {} && exec \"$@\"", text(&state));
    let wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", &mount, "sh"];
    let serve = Serve::start_by(&home, &wrapper, &[]).expect("it serves");
    let raw = serve.raw();
    let device = registered(&raw, "jis:a");

    // From here on there is no room, as the program sees it.
    let filler = format!("/proc/{}/root{}/filler", serve.pid(), text(&state));
    let mut file = std::fs::File::create(&filler).expect("created");
    for block in [&[0x5a; 4096][..], &[0x5a; 1]] {
        while file.write_all(block).is_ok() {}
    }
    // The room that the database's log has already may do for some.
    let failure = (0..5000).find_map(|i| {
        let device = Device::new(&format!("jis:n{i}"));
        let (outcome, values) = raw.ask(&device.asker(), &device.registration(None));
        (outcome != AnswerOutcome::Yes).then(|| (device, Failure::read(&values)))
    });
    let (late, failure) = failure.expect("the disk is full");
    assert_eq!(failure.code, FailureCode::Storage, "{failure:?}");
    assert!(failure.retry_after.is_some(), "{failure:?}");
    // Look-ups go on, nothing half-done is seen, and it stays that way.
    for _ in 0..20 {
        assert_eq!(raw.refused(&late.asker(), &late.registration(None)).code, FailureCode::Storage);
        assert_eq!(version(&raw, "jis:a"), Some(device.record.version));
        assert_eq!(version(&raw, late.text()), None);
    }
    // There is room again, and nobody starts it anew.
    file.set_len(0).expect("emptied");
    eventually(&raw, &late, &late.registration(None), FailureCode::Storage);
    assert_eq!(version(&raw, late.text()), Some(late.record.version));

    // What it left, read while its disk is still there.
    let copy = home.path("copy");
    std::fs::create_dir_all(&copy).expect("dir");
    let from = format!("/proc/{}/root{}", serve.pid(), text(&state));
    let copied = std::process::Command::new("cp").args(["-a", &format!("{from}/."), text(&copy)]).status();
    assert!(copied.expect("cp runs").success());
    assert_eq!(serve.stop().code, Some(0));
    assert_intact(&home, &format!("--state-dir {}", text(&copy)));
}

/// A state directory that cannot be written to is said at the start.
#[test]
fn a_read_only_disk_is_said_at_the_start() {
    if !is_root() || !has_program("unshare") {
        return skip("a read-only mount needs root and unshare");
    }
    let home = Home::new();
    let serve = Serve::start(&home, &[]);
    registered(&serve.raw(), "jis:a");
    assert_eq!(serve.stop().code, Some(0));
    let state = home.state();
    let mount = format!("mount --bind {0} {0} && mount -o remount,ro,bind {0} && exec \"$@\"", text(&state));
    let wrapper = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", &mount, "sh"];
    let ran = Serve::start_by(&home, &wrapper, &[]).err().expect("it does not serve what it cannot write");
    assert!(matches!(ran.code, Some(69 | 73..=78)), "{ran:?}");
    assert!(ran.err.contains("registry.db: storage failed"), "{ran:?}");
    assert_intact(&home, "");
}

/// The database goes and comes back: look-ups go on, changes wait, nobody starts anything anew.
#[test]
fn a_database_that_goes_away_is_found_again() {
    let Some(server) = own_server() else { return };
    let home = Home::new();
    let store = server.database();
    let serve = Serve::start(&home, &["--store", &store]);
    let raw = serve.raw();
    let mut device = registered(&raw, "jis:a");
    server.stop("INT");
    let late = Device::new("jis:late");
    for _ in 0..5 {
        assert_eq!(raw.refused(&late.asker(), &late.registration(None)).code, FailureCode::Storage);
        assert_eq!(version(&raw, "jis:a"), Some(device.record.version));
    }
    server.run();
    let begun = Instant::now();
    eventually(&raw, &late, &late.registration(None), FailureCode::Storage);
    println!("written again {:?} after the database was back", begun.elapsed());
    device.move_on(|_| ());
    raw.registered(&device.asker(), &device.update());
    server.stop("QUIT");
    raw.refused(&device.asker(), &{
        device.move_on(|_| ());
        device.update()
    });
    server.run();
    eventually(&raw, &device, &device.update(), FailureCode::Storage);
    assert_eq!(version(&raw, "jis:a"), Some(device.record.version));
    assert_eq!(serve.stop().code, Some(0));
    let serve = Serve::start(&home, &["--store", &store]);
    assert_eq!(serve.first["identities"], 2);
    assert_eq!(version(&serve.raw(), "jis:a"), Some(device.record.version));
}

/// The library that gives a program another time.
fn faketime() -> Option<std::path::PathBuf> {
    let inside = |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let dirs = inside("/usr/lib").chain(inside("/usr/lib64")).chain(["/usr/lib".into()]);
    dirs.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}

/// Row 93: a clock years off, before and after.
#[test]
fn row_93_a_wrong_clock_locks_nobody_out() {
    // Not through the program faketime, which is a parent of what it runs and hands no signals on.
    let Some(library) = faketime() else { return skip("a wrong clock needs libfaketime") };
    let home = Home::new();
    let serve = Serve::start(&home, &[]);
    let mut device = registered(&serve.raw(), "jis:a");
    assert_eq!(serve.stop().code, Some(0));
    for (step, offset, refusal) in [(1, "-10y", "set the clock"), (2, "+80y", "expired")] {
        let mut command = home.command();
        command.env("LD_PRELOAD", &library).env("FAKETIME", offset).env("DONT_FAKE_MONOTONIC", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").args(ARGUMENTS);
        let serve = Serve::spawn(&mut command).expect("it serves");
        let raw = serve.raw();
        // What is held is held; nothing new is taken by such a clock.
        assert_eq!(version(&raw, "jis:a"), Some(device.record.version), "{offset}");
        let new = Device::new(&format!("jis:new{step}"));
        let failure = raw.refused(&new.asker(), &new.registration(None));
        assert_eq!(failure.code, FailureCode::Refused, "{offset}: {failure:?}");
        assert!(failure.detail.contains(refusal), "{offset}: {failure:?}");
        let mut newer = device.stolen();
        newer.move_on(|_| ());
        let failure = raw.refused(&newer.asker(), &newer.update());
        assert!(failure.detail.contains(refusal), "{offset}: {failure:?}");
        assert_eq!(serve.stop().code, Some(0), "{offset}");

        // The clock is right again: the same keys work, and new ones.
        let serve = Serve::start(&home, &[]);
        let raw = serve.raw();
        device.move_on(|_| ());
        let answer = raw.registered(&device.asker(), &device.update());
        assert_eq!(answer.version, device.record.version, "{offset}");
        let token = answer.keepalive;
        raw.send(&Compact::Keepalive(token).write());
        assert_eq!(read(&raw.recv()), Compact::Alive(token), "{offset}");
        raw.registered(&new.asker(), &new.registration(None));
        assert_eq!(serve.stop().code, Some(0));
        assert_intact(&home, "");
    }
}
