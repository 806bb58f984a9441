//! Overlay nodes over PostgreSQL: one that is started anew, and two on one database.
//!
//! Without PostgreSQL's programs and without `TIBET_POSTGRES_URL` these say `SKIPPED`, and fail if `TIBET_REQUIRE_ALL` is set.

mod common;
#[path = "../../tibet-registry/tests/common/postgres.rs"]
#[allow(dead_code, unreachable_pub)]
mod database;

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use common::device::{Device, copy, new_key};
use common::raw::{Asker, Raw, ask_all};
use common::world::{World, one_worker, open};
use database::Database;
use jis::{AnswerOutcome, IdentityStatus, SecretKey};
use tibet_overlay::intents::{Failure, FailureCode, PresenceState};
use tibet_overlay::server::{AnyRegistry, NodeKeys, OverlayNode, OverlayNodeConfig, ServeError};
use tibet_overlay::system;
use tibet_ping::Compact;
use tibet_registry::{Opening, PostgresStore, Registry};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

/// How soon one node knows what another has written.
const SOON: Duration = Duration::from_secs(1);

/// For the helpers of the registry's own tests.
fn opening() -> Opening {
    opening_with(&new_key())
}

fn opening_with(log_key: &SecretKey) -> Opening {
    let secret = system::random().expect("random");
    Opening { log_key: Arc::new(copy(log_key)), origin: None, policy: open(), secret }
}

/// A node of its own over the database, whose registries all have one log key.
fn node(database: &Database, log_key: &SecretKey) -> World {
    node_of(database, log_key, new_key(), one_worker())
}

fn node_of(
    database: &Database,
    log_key: &SecretKey,
    identity: SecretKey,
    config: OverlayNodeConfig,
) -> World {
    let store = PostgresStore::connect(&database.url).expect("connected");
    let registry: AnyRegistry = Registry::open(store, opening_with(log_key)).expect("opened").boxed();
    let keys = NodeKeys { identity, keepalive: Zeroizing::new([7; 32]) };
    World::run(registry, keys, new_key(), config)
}

/// Opens the database's registry, and starts a node over it as a program does.
fn start(
    runtime: &Runtime,
    database: &Database,
    log_key: &SecretKey,
    config: OverlayNodeConfig,
    spoil: impl FnOnce(),
) -> Result<OverlayNode, ServeError> {
    let store = PostgresStore::connect(&database.url).expect("connected");
    let registry: AnyRegistry = Registry::open(store, opening_with(log_key)).expect("opened").boxed();
    spoil();
    let keys = NodeKeys { identity: new_key(), keepalive: Zeroizing::new([7; 32]) };
    runtime.block_on(OverlayNode::start(registry, keys, config))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime")
}

fn stop(mut world: World) {
    let registry = world.stop();
    let audit = registry.audit(None).expect("audited");
    assert!(audit.is_clean(), "{audit:?}");
    // A database's client waits when it is dropped; that is for outside of a runtime.
    drop(registry);
}

/// Waits until something is so, within [`SOON`] and what a busy machine needs besides.
fn soon(what: &str, so: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < SOON, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

#[test]
fn a_node_over_postgresql_registers_and_knows_it_after_a_restart() {
    let Some(database) = Database::new() else { return };
    let log_key = new_key();
    let first = node(&database, &log_key);
    let raw = first.raw();
    let mut device = Device::new("jis:a");
    raw.registered(&device.asker(), &device.registration(None));
    device.move_on(|_| ());
    raw.registered(&device.asker(), &device.update());
    let rotate = device.rotate();
    raw.registered(&device.asker(), &rotate);
    stop(first);
    let second = node(&database, &log_key);
    let raw = second.raw();
    let resolved = raw.resolved(&Asker::certified(), device.name());
    assert_eq!(resolved.record.encode(), device.signed_record().encode());
    device.move_on(|_| ());
    assert!(raw.registered(&device.asker(), &device.update()).changed);
    stop(second);
}

/// Row 47, over two nodes: the database decides who came first.
#[test]
fn row_47_fifty_names_claimed_at_two_nodes_at_once_have_one_winner_each() {
    const NAMES: usize = 50;
    let Some(database) = Database::new() else { return };
    let log_key = new_key();
    let worlds = [node(&database, &log_key), node(&database, &log_key)];
    let start = Barrier::new(2);
    let answers = std::thread::scope(|scope| {
        let claims = [0, 1].map(|which| {
            let (world, start) = (&worlds[which], &start);
            scope.spawn(move || {
                let raw = world.raw();
                let devices: Vec<_> = (0..NAMES).map(|i| Device::new(&format!("jis:n{i}"))).collect();
                let queries: Vec<_> = devices
                    .iter()
                    .map(|device| raw.query(&device.asker(), &device.registration(None)))
                    .collect();
                start.wait();
                let mut answers = ask_all(&raw, &queries);
                // Two at the same moment: the database takes one, and the other asks again.
                for (answer, device) in answers.iter_mut().zip(&devices) {
                    while answer.0 != AnswerOutcome::Yes
                        && Failure::read(&answer.1).code != FailureCode::Refused
                    {
                        *answer = raw.ask(&device.asker(), &device.registration(None));
                    }
                }
                answers.into_iter().zip(devices).collect::<Vec<_>>()
            })
        });
        claims.map(|claim| claim.join().expect("no panic"))
    });
    let [one, other] = &answers;
    for ((one, first), (other, second)) in one.iter().zip(other) {
        let won = [one.0, other.0].map(|outcome| outcome == AnswerOutcome::Yes);
        assert_ne!(won[0], won[1], "{}: one winner", first.name());
        let loser = Failure::read(if won[0] { &other.1 } else { &one.1 });
        assert!(loser.detail.contains("taken by another key"), "{loser:?}");
        let winner = if won[0] { first } else { second };
        for world in &worlds {
            soon("both know the winner", || {
                let key = world.route(winner.text()).map(|route| *route.key_bytes());
                key == Some(*winner.identity.key.as_bytes())
            });
        }
    }
    for world in worlds {
        stop(world);
    }
}

#[test]
fn what_one_node_writes_the_other_knows_within_a_second() {
    let Some(database) = Database::new() else { return };
    let log_key = new_key();
    let (here, there) = (node(&database, &log_key), node(&database, &log_key));
    let (raw, other) = (here.raw(), there.raw());
    let who = Asker::certified();
    let device = Device::new("jis:a");
    raw.registered(&device.asker(), &device.registration(None));
    soon("registered", || there.route("jis:a").is_some());
    assert_eq!(other.resolved(&who, device.name()).record.encode(), device.signed_record().encode());

    // Presence is written once a second, and then read.
    let begun = Instant::now();
    while other.resolved(&who, device.name()).presence != PresenceState::Online {
        assert!(begun.elapsed() < 3 * SOON, "its presence is not seen elsewhere");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(other.resolved(&who, device.name()).observed, None, "where it is only its own node knows");

    raw.taken(&device.asker(), &device.revoke_own_key());
    soon("revoked", || there.route("jis:a").is_some_and(|route| route.status == IdentityStatus::KeyRevoked));
    let resolve =
        tibet_overlay::intents::OverlayRequest::Resolve { name: device.name().clone(), events_from: None };
    assert_eq!(other.refused(&who, &resolve).code, FailureCode::Unknown);
    other.assert_silent(&device.asker(), &device.registration(None), "a revoked key has ended at all nodes");
    stop(here);
    stop(there);
}

/// A database's client panics when it is dropped where a runtime runs.
#[test]
fn a_node_that_does_not_start_lets_its_database_go() {
    let Some(database) = Database::new() else { return };
    let (runtime, log_key) = (runtime(), new_key());
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
    let bind = taken.local_addr().expect("address");
    // More than once: whichever of its threads is first.
    for _ in 0..10 {
        let config = OverlayNodeConfig { bind, ..one_worker() };
        let started = start(&runtime, &database, &log_key, config, || ());
        assert!(matches!(started, Err(ServeError::Start(_))), "{started:?}");
    }
    let rename = |from: &str, to: &str| {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        database.client().batch_execute(&sql).expect("renamed");
    };
    for _ in 0..10 {
        let spoil = || rename("registry_presence", "elsewhere");
        let started = start(&runtime, &database, &log_key, one_worker(), spoil);
        assert!(matches!(started, Err(ServeError::Store(_))), "{started:?}");
        rename("elsewhere", "registry_presence");
    }
}

/// SECURITY R70: where nothing can be written until somebody has repaired it, the node ends and says why; a database that is away for a while is no such
/// thing, and has a test of its own where the program is tested.
#[test]
fn a_node_ends_when_nothing_can_be_written_any_more() {
    let Some(database) = Database::new() else { return };
    let (runtime, log_key) = (runtime(), new_key());
    let mut node = start(&runtime, &database, &log_key, one_worker(), || ()).expect("started");
    database.client().batch_execute("DROP TABLE tibet_tokens").expect("dropped");
    let change = node.handle().registry().submit(|_, _| ((), Vec::new()), |_| {});
    change.expect("taken");
    let failed = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), node.failed()).await.expect("in time")
    });
    assert!(failed.is_err(), "{failed:?}");
    assert!(runtime.block_on(node.stop()).expect("stopped").is_none());
}

/// Where a device is, another node's word ends its session as well: its key counts no more.
#[test]
fn a_key_that_ends_at_one_node_has_no_session_at_another() {
    let Some(database) = Database::new() else { return };
    let log_key = new_key();
    let (here, there) = (node(&database, &log_key), node(&database, &log_key));
    let (raw, other) = (here.raw(), there.raw());
    let mut device = Device::new("jis:a");
    raw.registered(&device.asker(), &device.registration(None));
    soon("registered", || there.route("jis:a").is_some());
    assert_eq!(here.handle().online(), 1);
    let rotate = device.rotate();
    other.registered(&device.asker(), &rotate);
    soon("its session has ended", || here.handle().online() == 0);
    assert_eq!(there.handle().online(), 1);
    stop(here);
    stop(there);
}

/// A node that dies says nothing: the others see that it leaves no more signs. What it noted stays as it was, and holds again when it is back.
#[test]
fn devices_of_a_node_that_died_are_gone_and_there_again_with_it_or_at_another() {
    let Some(database) = Database::new() else { return };
    let (log_key, identity) = (new_key(), new_key());
    let config = || OverlayNodeConfig { gone_after: Duration::from_secs(4), ..one_worker() };
    let start = |identity| node_of(&database, &log_key, identity, config());
    let (first, there) = (start(copy(&identity)), start(new_key()));
    let (other, who, device) = (there.raw(), Asker::certified(), Device::new("jis:a"));
    let raw = first.raw();
    let keepalive = raw.registered(&device.asker(), &device.registration(None)).keepalive;
    let presence = || other.resolved(&who, device.name()).presence;
    // Whatever is waited for: as long as the first node lives, it hears the device.
    let until = |what: &str, heard_by: Option<&Raw>, so: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !so() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what}: never");
            if let Some(raw) = heard_by {
                raw.send(&Compact::Keepalive(keepalive).write());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("registered", Some(&raw), &|| there.route("jis:a").is_some());
    until("seen elsewhere", Some(&raw), &|| presence() == PresenceState::Online);
    // Longer than a node may be silent: both leave signs, and nothing but those.
    let head = || there.with_registry("jis:none", |registry, _| registry.head().expect("read"));
    let (before, alive) = (head(), Instant::now());
    until("a while", Some(&raw), &|| {
        assert_eq!(presence(), PresenceState::Online, "its node is alive");
        alive.elapsed() > Duration::from_secs(6)
    });
    assert_eq!(head(), before, "no sign is an event");

    // Without a goodbye. A connection that breaks meanwhile is made anew: the registry is the same, whoever has left signs since.
    drop(first);
    let broken = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.client().batch_execute(broken).expect("ended");
    until("gone with its node", None, &|| presence() == PresenceState::Gone);
    let whom = device.name().clone();
    let noted = there.with_registry("jis:none", move |registry, _| registry.presence(&whom).expect("read"));
    assert!(noted.is_some_and(|noted| noted.online), "its node said nothing");

    let again = start(identity);
    until("its node is back", None, &|| presence() == PresenceState::Online);
    drop(again);
    until("gone once more", None, &|| presence() == PresenceState::Gone);
    other.registered(&device.asker(), &device.registration(None));
    assert_eq!(presence(), PresenceState::Online);
    stop(there);
}
