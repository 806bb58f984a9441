//! A PostgreSQL server of our own: in a directory of its own, on a Unix socket there, gone at the end.
//!
//! `TIBET_POSTGRES_URL` names a server to use instead, whose user may make databases. Where there is neither, the tests say `SKIPPED` and pass,
//! unless `TIBET_REQUIRE_ALL` is set.

#![allow(clippy::print_stdout, reason = "that is how a test tells")]

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use tibet_registry::{PostgresStore, Registry};

use super::opening;

/// How long a server may take to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server's files, and the server when it runs.
pub struct Server {
    dir: tempfile::TempDir,
    user: Option<(u32, u32)>,
    settings: Vec<String>,
    running: Mutex<Option<Child>>,
}

fn program(name: &str) -> Option<PathBuf> {
    let fixed = (13..=20).rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    fixed.chain(std::env::split_paths(&path)).map(|dir| dir.join(name)).find(|path| path.exists())
}

/// PostgreSQL does not run as root: somebody else's number, if that is who we are.
fn somebody_else(dir: &Path) -> Option<(u32, u32)> {
    if std::fs::metadata(dir).expect("our directory").uid() != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").expect("users");
    ["postgres:", "nobody:"].iter().find_map(|name| {
        let mut fields = users.lines().find(|line| line.starts_with(name))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

impl Server {
    /// A server that keeps nothing safe, for speed.
    fn fast() -> Option<Self> {
        Self::start(&["fsync=off", "full_page_writes=off"], |_| ())
    }

    /// A server as it would be installed.
    pub fn safe() -> Option<Self> {
        Self::start(&[], |_| ())
    }

    /// A server that speaks TLS on a port of 127.0.0.1, as `localhost`, with a certificate by `root.pem` in its directory. `other.pem`
    /// there is another root.
    pub fn with_tls() -> Option<(Self, u16)> {
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let port = format!("port={free}");
        let settings = [
            "listen_addresses=127.0.0.1",
            &port,
            "ssl=on",
            "ssl_cert_file=../server.pem",
            "ssl_key_file=../server.key",
        ];
        Some((Self::start(&settings, make_certificates)?, free))
    }

    fn start(settings: &[&str], prepare: impl FnOnce(&Self)) -> Option<Self> {
        let initdb = program("initdb")?;
        program("postgres")?;
        let dir = tempfile::tempdir().expect("dir");
        let user = somebody_else(dir.path());
        if let Some((uid, gid)) = user {
            chown(dir.path(), Some(uid), Some(gid)).expect("given away");
        }
        let settings = settings.iter().map(ToString::to_string).collect();
        let server = Self { dir, user, settings, running: Mutex::new(None) };
        let mut command = server.command(&initdb);
        command.args(["--no-sync", "--auth=trust", "--username=tester", "--encoding=UTF8", "--locale=C"]);
        let made = command.arg("-D").arg(server.data()).output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        prepare(&server);
        server.run();
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts the server and waits until it answers.
    pub fn run(&self) {
        let mut command = self.command(&program("postgres").expect("as before"));
        command.arg("-D").arg(self.data()).arg("-c").arg("listen_addresses=");
        command.arg("-c").arg(format!("unix_socket_directories={}", self.dir.path().display()));
        command.args(["-c", "max_connections=200", "-c", "shared_buffers=16MB"]);
        for setting in &self.settings {
            command.args(["-c", setting.as_str()]);
        }
        let log = std::fs::File::create(self.dir.path().join("log")).expect("log");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("postgres runs");
        *self.running.lock().expect("lock") = Some(child);
        let begun = Instant::now();
        while let Err(error) = Client::connect(&self.url("postgres"), NoTls) {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "it does not answer: {error}\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server and waits until it is gone. `how` is its signal: `INT` ends sessions in order, `QUIT` is as a crash.
    pub fn stop(&self, how: &str) {
        let Some(mut child) = self.running.lock().expect("lock").take() else { return };
        let told = Command::new("kill").args([format!("-{how}"), child.id().to_string()]).status();
        assert!(told.expect("kill runs").success());
        let begun = Instant::now();
        while child.try_wait().expect("ours").is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not go");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn port(&self) -> &str {
        self.settings.iter().find_map(|setting| setting.strip_prefix("port=")).unwrap_or("5432")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir().join(format!(".s.PGSQL.{}", self.port()))
    }

    pub fn url(&self, database: &str) -> String {
        let dir = self.dir().display().to_string().replace('/', "%2F");
        format!("postgresql://tester@/{database}?host={dir}&port={}", self.port())
    }

    /// A new database, its address.
    pub fn database(&self) -> String {
        let name = create(&self.url("postgres"));
        self.url(&name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop("QUIT");
    }
}

/// Two roots, and a certificate for `localhost` by the first.
fn make_certificates(server: &Server) {
    let openssl = |arguments: &str| {
        let mut command = server.command(Path::new("openssl"));
        let made = command.args(arguments.split(' ')).output().expect("openssl runs");
        assert!(made.status.success(), "{arguments}: {}", String::from_utf8_lossy(&made.stderr));
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for root in ["root", "other"] {
        openssl(&format!("req -x509 {new} -keyout {root}.key -out {root}.pem -subj /CN={root} -days 2"));
    }
    openssl(&format!("req {new} -keyout server.key -out server.csr -subj /CN=localhost"));
    std::fs::write(server.dir().join("names"), "subjectAltName=DNS:localhost").expect("written");
    openssl(
        "x509 -req -in server.csr -CA root.pem -CAkey root.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
}

fn create(url: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("tibet_{}_{number}", std::process::id());
    let mut client = Client::connect(url, NoTls).expect("connected");
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0")).expect("made");
    name
}

/// Tells that there is no server. In CI there is.
pub fn skip() {
    println!("SKIPPED: PostgreSQL's programs are not installed, and TIBET_POSTGRES_URL is not set");
    assert!(std::env::var_os("TIBET_REQUIRE_ALL").is_none());
}

/// A server of our own, as it would be installed, for tests that stop it.
pub fn own_server() -> Option<Server> {
    let server = Server::safe();
    if server.is_none() {
        skip();
    }
    server
}

/// A database of our own, on a server that the tests of one file share.
pub struct Database {
    pub url: String,
    /// Somebody else's server, where the database has to be removed at the end.
    borrowed: Option<(String, String)>,
    _server: Option<Arc<Server>>,
}

impl Database {
    pub fn new() -> Option<Self> {
        static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        if let Ok(url) = std::env::var("TIBET_POSTGRES_URL") {
            let name = create(&url);
            let (address, options) = url.split_once('?').unwrap_or((&url, ""));
            let address = address.rsplit_once('/').expect("a URL with a database").0;
            let own = format!("{address}/{name}?{options}");
            return Some(Self { url: own, borrowed: Some((url, name)), _server: None });
        }
        let server = {
            let mut shared = SERVER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match shared.upgrade() {
                Some(server) => server,
                None => {
                    let Some(server) = Server::fast() else {
                        skip();
                        return None;
                    };
                    let server = Arc::new(server);
                    *shared = Arc::downgrade(&server);
                    server
                }
            }
        };
        Some(Self { url: server.database(), borrowed: None, _server: Some(server) })
    }

    pub fn store(&self) -> PostgresStore {
        PostgresStore::connect(&self.url).expect("connected")
    }

    pub fn registry(&self) -> Registry<PostgresStore> {
        Registry::open(self.store(), opening()).expect("opens")
    }

    /// Somebody else's connection to it.
    pub fn client(&self) -> Client {
        Client::connect(&self.url, NoTls).expect("connected")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some((url, name)) = &self.borrowed
            && let Ok(mut client) = Client::connect(url, NoTls)
        {
            drop(client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
        }
    }
}
