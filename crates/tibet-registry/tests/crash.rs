//! `kill -9` at random moments: row 96 of the bad-input table. What was acknowledged is there with its token, and nothing is half-done.
//!
//! `TIBET_KILLS` says how often, 10 by default; `TIBET_KILLS_POSTGRES` likewise for a process that writes to PostgreSQL, 4 by default.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Device, START, after, assert_clean, key, on_disk};
use tibet_core::json::Value;
use tibet_registry::{Registry, Source, Store};

const DIRECTORY: &str = "TIBET_CRASH_FILE";
#[cfg(feature = "postgres")]
const URL: &str = "TIBET_CRASH_URL";
const SEED: &str = "TIBET_CRASH_SEED";
/// Kills per file: an audit reads all of it.
const ROUNDS_PER_FILE: u64 = 10;

/// xorshift64*: the runs are the same for the same seed, but for the moment of the kill.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// The child's life: groups of changes until somebody kills it, each acknowledged after its group returned.
#[test]
fn child() {
    if let Some(path) = std::env::var_os(DIRECTORY) {
        live(&mut on_disk(path.as_ref()));
    }
    #[cfg(feature = "postgres")]
    if let Ok(url) = std::env::var(URL) {
        live(&mut in_postgres(&url));
    }
}

#[cfg(feature = "postgres")]
fn in_postgres(url: &str) -> Registry<tibet_registry::PostgresStore> {
    let store = tibet_registry::PostgresStore::connect(url).expect("connected");
    Registry::open(store, common::opening()).expect("opens")
}

fn live<S: Store>(registry: &mut Registry<S>) -> ! {
    let seed: u64 = std::env::var(SEED).expect("seed").parse().expect("number");
    let mut random = Random(seed);
    let mut devices: Vec<Device> = Vec::new();
    let mut now = 0;
    let mut next_key = seed << 24;
    loop {
        let size = 1 + random.below(20);
        let acknowledgements = registry
            .group(|registry| {
                (0..size)
                    .map(|_| {
                        now += 1;
                        next_key += 10;
                        change(registry, &mut devices, &mut random, next_key, seed, now)
                    })
                    .collect::<Vec<_>>()
            })
            .expect("durable");
        let mut out = std::io::stdout().lock();
        for line in acknowledgements {
            writeln!(out, "{line}").expect("the parent reads");
        }
        out.flush().expect("the parent reads");
    }
}

/// One change, and the line that acknowledges it: name, generation, seq, hash of the record.
fn change<S: Store>(
    registry: &mut Registry<S>,
    devices: &mut Vec<Device>,
    random: &mut Random,
    next_key: u64,
    seed: u64,
    now: u64,
) -> String {
    let which = random.below(devices.len().max(1) as u64 * 2) as usize;
    let device = if let Some(device) = devices.get_mut(which) {
        if device.events.len() < 20 && random.below(3) == 0 {
            let (rotation, record) = device.rotate(key(next_key), after(now));
            registry.rotate(rotation, record, after(now)).expect("rotated");
        } else {
            let moved = device.move_on(after(now), |record| record.behind_nat = !record.behind_nat);
            registry.update(moved, after(now)).expect("updated");
        }
        &*device
    } else {
        let mut device = Device::new(&format!("jis:s{seed}:d{now}"), next_key);
        device.record.issued_at = after(now);
        registry.register(device.registration(), Source::Local, after(now)).expect("registered");
        devices.push(device);
        devices.last().expect("just pushed")
    };
    let hash = jis::hex::encode(&jis::message_hash(device.signed_record().message()));
    let version = device.record.version;
    format!("ack {} {} {} {hash}", device.name(), version.generation, version.seq)
}

/// Hashes of all records the log tells of.
fn told<S: Store>(registry: &Registry<S>) -> BTreeSet<String> {
    let mut hashes = BTreeSet::new();
    registry
        .store()
        .for_each_token(0, &mut |_, token| {
            let Value::Object(erin) = &token.erin else { return };
            let Some(Value::Object(details)) = erin.get("details") else { return };
            let record = match details.get("record") {
                Some(Value::Object(record)) => record,
                _ => details,
            };
            hashes.extend(record.get("hash").and_then(Value::as_str).map(str::to_owned));
        })
        .expect("read");
    hashes
}

/// What a killed process had acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// Hashes of the records of this round.
    hashes: Vec<String>,
    /// The last version of each name, of all rounds.
    held: BTreeMap<String, (u64, u64)>,
}

impl Acknowledged {
    fn take(&mut self, line: &str) -> bool {
        // The harness's own words may stand before the first acknowledgement, in one line with it.
        let Some(at) = line.find("ack jis:") else { return false };
        let mut words = line[at..].split_whitespace().skip(1);
        let (Some(name), Some(generation), Some(seq), Some(hash)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return false;
        };
        if hash.len() != 64 {
            return false; // Cut by the kill.
        }
        let number = |text: &str| text.parse().expect("number");
        self.held.insert(name.to_owned(), (number(generation), number(seq)));
        self.hashes.push(hash.to_owned());
        true
    }

    /// Lets a child live for a while and kills it.
    fn round(&mut self, round: u64, random: &mut Random, place: (&str, &std::ffi::OsStr)) {
        self.hashes.clear();
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(place.0, place.1)
            .env(SEED, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut wanted = 1 + random.below(150);
        let mut line = String::new();
        while wanted > 0 {
            line.clear();
            let read = output.read_line(&mut line).expect("read");
            assert_ne!(read, 0, "round {round}: the child died by itself");
            wanted -= u64::from(self.take(&line));
        }
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        child.kill().expect("killed");
        child.wait().expect("gone");
        // What it had said before it died was acknowledged too.
        line.clear();
        while output.read_line(&mut line).expect("read") > 0 {
            self.take(&line);
            line.clear();
        }
    }

    fn check<S: Store>(&self, round: u64, registry: &Registry<S>) {
        assert_clean(registry);
        let told = told(registry);
        for hash in &self.hashes {
            assert!(told.contains(hash), "round {round}: an acknowledged change has no token");
        }
        for (name, version) in &self.held {
            let found = registry.peek(&common::name(name), START).expect("read");
            let found = found.unwrap_or_else(|| panic!("round {round}: {name} was acknowledged and is gone"));
            let now = found.route.version;
            assert!((now.generation, now.seq) >= *version, "round {round}: {name} went back to {now:?}");
            found.route.record().expect("its record verifies under its key");
        }
    }
}

fn kills(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |kills| kills.parse().expect("a number"))
}

#[test]
fn row_96_what_was_acknowledged_survives_a_kill() {
    let kills = kills("TIBET_KILLS", 10);
    let mut random = Random(0x5eed_0fad_00d5_eed5);
    let (mut acknowledged, mut present) = (0u64, 0u64);
    let mut file = None;
    let mut said = Acknowledged::default();
    for round in 1..=kills {
        if round % ROUNDS_PER_FILE == 1 {
            said = Acknowledged::default();
            file = None;
        }
        let dir: &tempfile::TempDir = file.get_or_insert_with(|| tempfile::tempdir().expect("dir"));
        let path = dir.path().join("registry.db");
        said.round(round, &mut random, (DIRECTORY, path.as_os_str()));
        let registry = on_disk(&path);
        said.check(round, &registry);
        acknowledged += said.hashes.len() as u64;
        present = registry.store().count().expect("count");
    }
    println!(
        "{kills} kills, {acknowledged} acknowledged changes, none lost, {present} names in the last file"
    );
    assert!(acknowledged >= kills);
}

/// The same with a database, which every other time crashes too.
#[cfg(feature = "postgres")]
#[test]
fn row_96_what_was_acknowledged_survives_a_kill_in_postgres() {
    let Some(server) = common::postgres::own_server() else { return };
    let kills = kills("TIBET_KILLS_POSTGRES", 4);
    let mut random = Random(0x5eed_0fad_00d5_eed6);
    let mut acknowledged = 0u64;
    let mut url = String::new();
    let mut said = Acknowledged::default();
    for round in 1..=kills {
        if round % ROUNDS_PER_FILE == 1 {
            said = Acknowledged::default();
            url = server.database();
        }
        said.round(round, &mut random, (URL, url.as_ref()));
        if round % 2 == 0 {
            server.stop("QUIT");
            server.run();
        }
        said.check(round, &in_postgres(&url));
        acknowledged += said.hashes.len() as u64;
    }
    println!("{kills} kills with PostgreSQL, {acknowledged} acknowledged changes, none lost");
    assert!(acknowledged >= kills);
}
