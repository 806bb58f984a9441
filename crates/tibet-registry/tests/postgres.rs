//! What is PostgreSQL's own: several writers on one database, a server that goes away, answers that are lost on the way.

#![cfg(feature = "postgres")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use common::postgres::{Database, Server, own_server, skip};
use common::{Device, START, after, assert_clean, contents, opening, register};
use tibet_registry::{PostgresStore, Refusal, Registry, Source, Store, StoreError};

fn open(url: &str) -> Registry<PostgresStore> {
    Registry::open(PostgresStore::connect(url).expect("connected"), opening()).expect("opens")
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreError {
    result.expect_err("refused")
}

/// Rows 47, 48: the same 200 names are claimed by two nodes at once, each with keys of its own. Every name has one winner and one loser, and the
/// log of both is one chain.
#[test]
fn row_47_two_nodes_claim_the_same_names() {
    const NAMES: u64 = 200;
    let Some(database) = Database::new() else { return };
    drop(database.registry());
    let start = Arc::new(Barrier::new(2));
    let nodes = [1_000, 900_000].map(|keys| {
        let (url, start) = (database.url.clone(), Arc::clone(&start));
        thread::spawn(move || {
            let devices: Vec<_> =
                (0..NAMES).map(|i| Device::new(&format!("jis:n{i}"), keys + 10 * i)).collect();
            let mut registry = open(&url);
            let claim = |device: &Device| {
                let registration = device.registration().check().expect("its own");
                start.wait();
                registry.register_checked(registration, Source::Local, START)
            };
            devices.iter().map(claim).collect::<Vec<_>>()
        })
    });
    let [one, other] = nodes.map(|node| node.join().expect("no panic"));
    let mut won = [0, 0];
    for (one, other) in one.iter().zip(&other) {
        let (winner, loser) = if one.is_ok() { (one, other) } else { (other, one) };
        let winner = winner.as_ref().expect("one has it");
        assert!(winner.changed);
        assert_eq!(loser, &Err(Refusal::NameTaken(winner.name.clone())));
        won[usize::from(other.is_ok())] += 1;
    }
    assert_eq!(won[0] + won[1], NAMES);
    assert!(won[0] > 0 && won[1] > 0, "they took turns: {won:?}");
    let registry = database.registry();
    assert_eq!(registry.store().count(), Ok(NAMES));
    assert_clean(&registry);
}

/// The server goes and comes back: changes are refused meanwhile, at once and with a reason, and work again without anybody's help.
#[test]
fn a_server_that_was_stopped_is_found_again() {
    let Some(server) = own_server() else { return };
    let mut registry = open(&server.database());
    let device = Device::new("jis:a", 10);
    register(&mut registry, &device);
    let before = contents(&registry);

    server.stop("INT");
    let late = Device::new("jis:late", 20);
    let mut last = None;
    let begun = Instant::now();
    for _ in 0..1000 {
        let refusal = registry.register(late.registration(), Source::Local, START).expect_err("no server");
        assert!(matches!(&refusal, Refusal::Store(StoreError::Unavailable(_))), "{refusal:?}");
        last = Some(refusal.to_string());
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "a thousand refusals wait for nothing");
    assert!(last.expect("refused").contains("the database cannot be reached"));
    assert!(matches!(registry.group(|_| ()), Err(StoreError::Unavailable(_))));
    assert!(matches!(registry.peek(device.name(), START), Err(StoreError::Unavailable(_))));

    server.run();
    // At most one attempt a second; none is made here but by asking.
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(refusal) = registry.register(late.registration(), Source::Local, START) {
        assert!(Instant::now() < deadline, "{refusal}");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(contents(&registry).0.len(), before.0.len() + 1);
    assert_clean(&registry);

    // Restarted between two calls, it is not noticed at all.
    server.stop("INT");
    server.run();
    register(&mut registry, &Device::new("jis:b", 30));
    server.stop("QUIT");
    server.run();
    assert!(registry.peek(device.name(), START).expect("read").is_some());
    assert_clean(&registry);
}

/// A group whose connection breaks in the middle keeps nothing, and nothing of it is sent over the new connection.
#[test]
fn a_group_whose_connection_breaks_keeps_nothing() {
    let Some(database) = Database::new() else { return };
    let mut registry = database.registry();
    register(&mut registry, &Device::new("jis:a", 10));
    let before = contents(&registry);
    let mut admin = database.client();
    let (first, second) = (Device::new("jis:b", 20), Device::new("jis:c", 30));
    let result = registry.group(|registry| {
        register(registry, &first);
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
        admin.query(ended, &[]).expect("ended");
        let refusal = registry.register(second.registration(), Source::Local, START).expect_err("ended");
        assert!(matches!(refusal, Refusal::Store(StoreError::Unavailable(_))), "{refusal}");
        let again = registry.register(second.registration(), Source::Local, START).expect_err("still");
        assert_eq!(again, refusal);
    });
    assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    assert_eq!(contents(&registry), before);
    register(&mut registry, &second);
    assert_clean(&registry);
}

/// A way to the server that can be cut where it hurts most. Of the first commit after it was armed, the server never hears (1), or the
/// client never hears the answer (2).
struct Proxy {
    cut: Arc<AtomicU32>,
    dir: tempfile::TempDir,
}

const NEVER_HEARD: u32 = 1;
const NEVER_ANSWERED: u32 = 2;
/// As before, and no new connections either.
const GONE: u32 = 3;

impl Proxy {
    fn new(server: &Path) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).expect("bound");
        let cut = Arc::new(AtomicU32::new(0));
        let (armed, server) = (Arc::clone(&cut), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, UnixStream::connect(&server)) else { return };
                if armed.load(Ordering::SeqCst) == GONE {
                    continue;
                }
                let armed = Arc::clone(&armed);
                let (mut from_server, mut to_client) =
                    (server.try_clone().expect("clone"), client.try_clone().expect("clone"));
                thread::spawn(move || {
                    drop(std::io::copy(&mut from_server, &mut to_client));
                    drop(to_client.shutdown(std::net::Shutdown::Both));
                });
                thread::spawn(move || forward(client, server, &armed));
            }
        });
        Self { cut, dir }
    }

    fn url(&self, direct: &str) -> String {
        let (address, _) = direct.split_once("?host=").expect("our own address");
        format!("{address}?port=5432&host={}", self.dir.path().display().to_string().replace('/', "%2F"))
    }
}

fn forward(mut client: UnixStream, mut server: UnixStream, armed: &AtomicU32) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..length];
        let commit = bytes.windows(7).any(|window| window == b"COMMIT\0");
        let cut = if commit { armed.load(Ordering::SeqCst) } else { 0 };
        if cut == NEVER_HEARD {
            armed.store(0, Ordering::SeqCst);
            drop(client.shutdown(std::net::Shutdown::Both));
            drop(server.shutdown(std::net::Shutdown::Both));
            return;
        }
        if cut == NEVER_ANSWERED || cut == GONE {
            // The answer has no way back before the question is asked.
            drop(client.shutdown(std::net::Shutdown::Both));
            drop(server.write_all(bytes));
            if cut == NEVER_ANSWERED {
                armed.store(0, Ordering::SeqCst);
            }
            return;
        }
        if server.write_all(bytes).is_err() {
            return;
        }
    }
    drop(server.shutdown(std::net::Shutdown::Both));
}

/// A commit whose answer is lost is neither repeated nor given up: the database's own log tells what became of it.
#[test]
fn the_outcome_of_a_commit_is_found_out() {
    let Some(server) = own_server() else { return };
    let direct = server.database();
    let proxy = Proxy::new(&server.socket());
    let mut registry = open(&proxy.url(&direct));
    register(&mut registry, &Device::new("jis:a", 10));

    proxy.cut.store(NEVER_ANSWERED, Ordering::SeqCst);
    let kept = Device::new("jis:kept", 20);
    let registered = registry.register(kept.registration(), Source::Local, START).expect("it was kept");
    assert!(registered.changed);

    proxy.cut.store(NEVER_HEARD, Ordering::SeqCst);
    let lost = Device::new("jis:lost", 30);
    let refusal = registry.register(lost.registration(), Source::Local, START).expect_err("it was not");
    assert!(matches!(refusal, Refusal::Store(StoreError::Unavailable(_))), "{refusal}");
    assert!(registry.peek(lost.name(), START).expect("read").is_none());

    // Nobody to ask: that is said, and doing it again is safe.
    proxy.cut.store(GONE, Ordering::SeqCst);
    let maybe = Device::new("jis:maybe", 40);
    let refusal = registry.register(maybe.registration(), Source::Local, START).expect_err("unknown");
    assert!(matches!(refusal, Refusal::Store(StoreError::Uncertain(_))), "{refusal}");
    proxy.cut.store(0, Ordering::SeqCst);
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match registry.register(maybe.registration(), Source::Local, after(1)) {
            Ok(_) => break,
            Err(refusal) => assert!(Instant::now() < deadline, "{refusal}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(registry.store().count(), Ok(3));
    assert_clean(&registry);
    assert_clean(&open(&direct));
}

/// A writer that holds the database for longer than we wait is no damage.
#[test]
fn a_database_held_by_another_says_busy() {
    let Some(database) = Database::new() else { return };
    let mut registry = database.registry();
    let mut holder = PostgresStore::connect(&database.url).expect("connected");
    holder.begin().expect("held");
    let device = Device::new("jis:a", 10);
    let refused = registry.register(device.registration(), Source::Local, START);
    assert_eq!(refused, Err(Refusal::Store(StoreError::Busy)));
    assert_eq!(registry.store().count(), Ok(0), "reading goes on");
    holder.rollback();
    register(&mut registry, &device);
    assert_clean(&registry);
}

/// Row 97: looking up goes on where nothing can be written.
#[test]
fn row_97_a_database_that_may_only_be_read_says_so() {
    let Some(database) = Database::new() else { return };
    let mut registry = database.registry();
    let device = Device::new("jis:a", 10);
    register(&mut registry, &device);
    let name: String = database.client().query_one("SELECT current_database()", &[]).expect("name").get(0);
    let set = |value: &str| {
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        let mut client = database.client();
        // Undoing it needs a transaction that may write.
        client.batch_execute("SET default_transaction_read_only = off").expect("set");
        client.batch_execute(&sql).expect("set");
    };
    set("on");
    let mut reader = database.registry();
    let read_only = Refusal::Store(StoreError::ReadOnly);
    reader.resolve(device.name(), START).expect("found");
    let other = Device::new("jis:b", 20);
    assert_eq!(reader.register(other.registration(), Source::Local, START), Err(read_only));
    assert_eq!(reader.group(|_| ()), Err(StoreError::ReadOnly));
    assert_clean(&reader);
    set("off");
    register(&mut registry, &other);
}

#[test]
fn tables_that_are_not_ours_are_refused_and_not_touched() {
    let Some(database) = Database::new() else { return };
    let mut client = database.client();
    client.batch_execute("CREATE TABLE registry_settings (key TEXT)").expect("made");
    assert!(matches!(refused(PostgresStore::connect(&database.url)), StoreError::Foreign(_)));
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name LIKE 'registry%'";
    assert_eq!(client.query_one(columns, &[]).expect("counted").get::<_, i64>(0), 1);
    client.batch_execute("DROP TABLE registry_settings").expect("dropped");
    register(&mut database.registry(), &Device::new("jis:a", 10));

    for (change, back) in [
        (
            "UPDATE registry_schema SET version = version + 1",
            "UPDATE registry_schema SET version = version - 1",
        ),
        (
            "DROP INDEX registry_vouches_subject",
            "CREATE INDEX registry_vouches_subject ON registry_vouches (subject)",
        ),
        (
            "CREATE RULE quiet AS ON DELETE TO registry_vouches DO INSTEAD NOTHING",
            "DROP RULE quiet ON registry_vouches",
        ),
        ("CREATE VIEW registry_more AS SELECT 1", "DROP VIEW registry_more"),
    ] {
        client.batch_execute(change).expect(change);
        let error = refused(PostgresStore::connect(&database.url));
        assert!(matches!(error, StoreError::Foreign(_)), "{change}: {error}");
        client.batch_execute(back).expect(back);
        assert_clean(&database.registry());
    }
}

/// Another registry's database, and one that another registry was put into while we were away.
#[test]
fn another_registrys_database_is_refused() {
    let Some(server) = own_server() else { return };
    let url = server.database();
    let mut registry = open(&url);
    register(&mut registry, &Device::new("jis:a", 10));
    let other = tibet_registry::Opening { log_key: Arc::new(common::key(5)), ..opening() };
    let store = PostgresStore::connect(&url).expect("connected");
    assert!(matches!(refused(Registry::open(store, other)), StoreError::Foreign(_)));

    server.stop("INT");
    server.run();
    let mut client = postgres::Client::connect(&url, postgres::NoTls).expect("connected");
    client.execute("UPDATE registry_settings SET value = 'x' WHERE key = 'log_key'", &[]).expect("edited");
    assert!(matches!(registry.group(|_| ()), Err(StoreError::Foreign(_))));
}

/// Row 90: an edited entry is noticed when it is read, and by the audit.
#[test]
fn row_90_an_edited_entry_is_noticed() {
    let Some(database) = Database::new() else { return };
    let mut registry = database.registry();
    let device = Device::new("jis:a", 10);
    register(&mut registry, &device);
    let edit = "UPDATE registry_identities SET entry = set_byte(entry, 150, 7)";
    database.client().execute(edit, &[]).expect("edited");
    assert!(matches!(registry.peek(device.name(), START), Err(StoreError::Damaged(_))));
    let edit = "UPDATE tibet_tokens SET line = 'x' WHERE idx = 0";
    database.client().execute(edit, &[]).expect("edited");
    let read = registry.store().for_each_token(0, &mut |_, _| ());
    assert!(matches!(read, Err(StoreError::Unreadable { index: 0, .. })), "{read:?}");
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_away() {
    for address in ["postgresql://u@127.0.0.1:1/db", "host=/nowhere user=u", "postgresql://u@localhost:1/db"]
    {
        let error = refused(PostgresStore::connect(address));
        assert!(matches!(error, StoreError::Unavailable(_)), "{address}: {error}");
    }
}

/// Rule R71: TLS means the certificate of this very host, by a root that was named.
#[test]
fn a_certificate_is_checked_as_verify_full_does() {
    let Some((server, port)) = Server::with_tls() else { return skip() };
    let address = |host: &str, root: &str, mode: &str| {
        let root = server.dir().join(root);
        format!(
            "host={host} hostaddr=127.0.0.1 port={port} user=tester dbname=postgres {mode} sslrootcert={}",
            root.display()
        )
    };
    for mode in ["sslmode=verify-full", "sslmode=require"] {
        let mut registry = open(&address("localhost", "root.pem", mode));
        registry.group(|_| ()).expect("it works");
        let sql = "SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                   WHERE a.application_name = 'tibet-registry'";
        let mut admin =
            postgres::Client::connect(&server.url("postgres"), postgres::NoTls).expect("connected");
        assert!(admin.query_one(sql, &[]).expect("one session").get::<_, bool>(0));
        for wrong in [address("localhost", "other.pem", mode), address("db.example", "root.pem", mode)] {
            let error = refused(PostgresStore::connect(&wrong));
            assert!(matches!(&error, StoreError::Unavailable(_)), "{wrong}: {error}");
            assert!(error.to_string().contains("certificate"), "{wrong}: {error}");
        }
    }
    // A server that cannot do it is not spoken to in the clear.
    server.stop("INT");
    let Some(plain) = own_server() else { return };
    let socket = plain.dir().display().to_string();
    let refused = refused(PostgresStore::connect(&format!("host={socket} user=tester sslmode=verify-full")));
    assert!(matches!(&refused, StoreError::Unavailable(_)), "{refused}");
}
