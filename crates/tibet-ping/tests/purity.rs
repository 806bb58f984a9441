//! The crate reads no clock, no random generator, no file, no socket and no environment, and every table that a peer can fill has a bound.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `getrandom` comes with SQLite's wrapper in tibet-core; nothing here names it.
const FORBIDDEN_CRATES: [&str; 5] = ["tokio", "mio", "socket2", "quinn-udp", "axum"];

const FORBIDDEN_WORDS: [&str; 11] = [
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "std::fs",
    "UdpSocket",
    "TcpStream",
    "std::env",
    "std::thread",
    "OsRng",
    "getrandom",
    // Its order and its keys come from the operating system's generator.
    "HashMap",
];

#[test]
fn nothing_we_depend_on_opens_a_socket() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "tibet-ping", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}", "--manifest-path", manifest])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("UTF-8");
    let closure: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for known in ["tibet-ping", "tibet-core", "jis"] {
        assert!(closure.contains(&known), "{known} is missing in {closure:?}");
    }
    for forbidden in FORBIDDEN_CRATES {
        assert!(!closure.contains(&forbidden), "tibet-ping depends on {forbidden}");
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("src") {
        let path = entry.expect("entry").path();
        if path.is_dir() { sources(&path, found) } else { found.push(path) }
    }
}

/// The source without comments and without the tests in it.
fn code(path: &Path) -> String {
    let source = std::fs::read_to_string(path).expect("source");
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_source_file_reads_the_world() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 25, "only {} files", files.len());
    for path in files {
        let code = code(&path);
        for word in FORBIDDEN_WORDS {
            assert!(!code.contains(word), "{} names {word}", path.display());
        }
    }
}

/// Fields that grow, each with the constant that bounds it (SECURITY R19). A new one fails this test until it is listed here with its bound.
#[test]
fn everything_that_grows_has_a_bound() {
    let bounds = [
        ("airlock.rs", "rules: Vec<", "MAX_RULES"),
        ("airlock/pending.rs", "waiting: BTreeMap<", "MAX_PENDING"),
        ("airlock/pending.rs", "order: VecDeque<", "MAX_PENDING"),
        ("beacon/book.rs", "rules: Vec<", "MAX_BEACON_RULES"),
        ("beacon/book.rs", "seen: BTreeMap<", "MAX_BEACONS"),
        ("keys.rs", "keys: BTreeMap<", "MAX_KEYS"),
        ("keys.rs", "unsigned: BTreeSet<", "MAX_UNSIGNED"),
        ("node.rs", "capabilities: Vec<", "MAX_CAPABILITIES"),
        ("node.rs", "own_addresses: BTreeSet<", "MAX_OWN_ADDRESSES"),
        ("node.rs", "claims: Vec<", "MAX_CLAIMS"),
        ("node.rs", "dropped: BTreeMap<", "&'static str"),
        ("node.rs", "transmits: VecDeque<", "MAX_QUEUED"),
        ("node.rs", "events: VecDeque<", "MAX_QUEUED"),
        ("node/answering.rs", "waiting: BTreeMap<", "MAX_QUESTIONS"),
        // The owner's own, cut to MAX_CAPABILITIES and MAX_BEACON_RULES where they are used.
        ("node/config.rs", "capabilities: BTreeSet<", "NodeConfig"),
        ("node/config.rs", "beacon_rules: Vec<", "NodeConfig"),
        ("node/discovery.rs", "waiting: BTreeMap<", "MAX_LATE"),
        ("node/discovery.rs", "answered: VecDeque<", "MAX_LATE"),
        ("node/discovery.rs", "bytes: Vec<", "MAX_LATE"),
        ("node/drops.rs", "counts: BTreeMap<", "as_str"),
        ("node/drops.rs", "told: BTreeMap<", "as_str"),
        ("node/paths.rs", "paths: BTreeMap<", "MAX_PATHS"),
        ("node/paths.rs", "held: VecDeque<", "MAX_HELD"),
        ("node/paths.rs", "bytes: Vec<", "MAX_HELD"),
        // The first hops: at most MAX_FAN_OUT.
        ("node/requests.rs", "to: Vec<", "MAX_REQUESTS"),
        ("node/requests.rs", "waiting: BTreeMap<", "MAX_REQUESTS"),
        ("node/requests.rs", "deadlines: BTreeSet<", "MAX_REQUESTS"),
        ("node/requests.rs", "signs: BTreeSet<", "MAX_REQUESTS"),
        ("node/requests.rs", "probes: BTreeSet<", "MAX_PROBES"),
        ("node/requests.rs", "found: BTreeSet<", "MAX_FOUND"),
        ("node/tunnels.rs", "peers: BTreeMap<", "MAX_TUNNELS"),
        ("peers.rs", "peers: BTreeMap<", "MAX_PEERS"),
        ("rate.rs", "buckets: BTreeMap<", "most"),
        ("relay.rs", "to: Vec<", "MAX_FAN_OUT"),
        ("relay.rs", "seen: BTreeSet<", "MAX_SEEN"),
        ("relay.rs", "seen_until: VecDeque<", "MAX_SEEN"),
        ("relay/way_back.rs", "sent_to: Vec<", "MAX_FAN_OUT"),
        ("relay/way_back.rs", "ways: BTreeMap<", "MAX_WAYS_BACK"),
        ("relay/way_back.rs", "order: VecDeque<", "MAX_WAYS_BACK"),
        ("replay.rs", "entries: BTreeSet<", "MAX_NONCES"),
        ("replay.rs", "buckets: BTreeMap<", "MAX_NONCES"),
        ("replay.rs", "senders: BTreeMap<", "MAX_NONCES"),
        ("topology.rs", "capabilities: BTreeSet<", "MAX_CAPABILITIES"),
        ("topology.rs", "hubbies: Vec<", "MAX_HUBBIES"),
        ("topology.rs", "pod_ids: Vec<", "MAX_PODS"),
        ("topology.rs", "pods: BTreeMap<", "MAX_PODS"),
        ("topology.rs", "stations: BTreeMap<", "MAX_STATIONS"),
        ("topology.rs", "pod_of: BTreeMap<", "MAX_HUBBIES"),
        ("trust.rs", "explicit: BTreeMap<", "MAX_EXPLICIT"),
        ("vouching.rs", "vouches: BTreeMap<", "MAX_VOUCHES"),
        ("vouching.rs", "of_subject: BTreeMap<", "MAX_PER_SUBJECT"),
        ("vouching.rs", "by_voucher: BTreeMap<", "MAX_PER_VOUCHER"),
        ("vouching.rs", "by_expiry: BTreeSet<", "MAX_VOUCHES"),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut found = std::collections::BTreeSet::new();
    for path in files {
        let name = path.strip_prefix(&root).expect("below").to_string_lossy().replace('\\', "/");
        // Values of the wire are bounded by the datagram they came in, and so are events of one.
        if ["packet.rs", "response.rs", "beacon.rs", "beacon/rule.rs", "node/event.rs"]
            .contains(&name.as_str())
        {
            continue;
        }
        let code = code(&path);
        let fields = code.lines().map(str::trim).filter(|line| line.ends_with(','));
        for line in fields {
            let field = line.trim_start_matches("pub ").trim_start_matches("(super) ");
            let grows = ["Vec<", "VecDeque<", "BTreeMap<", "BTreeSet<"];
            let declared =
                grows.iter().any(|kind| field.split_once(": ").is_some_and(|(_, ty)| ty.starts_with(kind)));
            if !declared {
                continue;
            }
            let bound = bounds.iter().find(|(file, start, _)| *file == name && field.starts_with(start));
            let listed = bound.unwrap_or_else(|| panic!("{name}: {field} has no bound listed"));
            let (_, _, bound) = listed;
            assert!(code.contains(bound), "{name}: {bound} is not used");
            found.insert(listed);
        }
    }
    assert_eq!(found.len(), bounds.len(), "the list names fields that are gone");
}
