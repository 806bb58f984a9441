//! A node with devices behind a real HTTP server, and a client that is made of a socket, so that it can also say what no client would.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jis::{Capability, Name, Remark, RevocationScope, SecretKey};
use serde_json::Value;
use tibet_overlay::http::{self, HttpConfig, HttpServer, OperatorToken};
use tibet_overlay::server::{AnyRegistry, NodeKeys, OverlayNode, OverlayNodeConfig};
use tibet_overlay::{LocalDevice, Presence, system};
use tibet_registry::{MemoryStore, Opening, Policy, Refusal, Registry, Source, Store};
use zeroize::Zeroizing;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef-operator";

pub struct Served {
    pub runtime: tokio::runtime::Runtime,
    pub node: Option<OverlayNode>,
    pub server: Option<HttpServer>,
    pub operator: Option<HttpServer>,
    pub address: SocketAddr,
    pub directory: tempfile::TempDir,
}

fn key() -> SecretKey {
    SecretKey::from_seed(system::random().expect("random").into()).expect("key")
}

pub fn device(text: &str, capabilities: &[&str]) -> LocalDevice {
    let mut device = LocalDevice::create(name(text), system::now()).expect("keys");
    let capabilities = capabilities.iter().map(|word| word.parse::<Capability>().expect("word")).collect();
    let presence = Presence {
        endpoints: vec!["203.0.113.1:44321".parse().expect("address")],
        capabilities,
        ..Presence::default()
    };
    device.publish(presence, system::now()).expect("signed");
    device
}

pub fn name(text: &str) -> Name {
    text.parse().expect("name")
}

pub fn config() -> HttpConfig {
    HttpConfig {
        operator_token: Some(OperatorToken::parse(TOKEN).expect("a token")),
        ..HttpConfig::default()
    }
}

/// One that keeps claims for a human to decide on.
pub fn registry(store: Box<dyn Store + Send>) -> AnyRegistry {
    let policy = Policy { approval: true, ..Policy::default() };
    let secret = system::random().expect("random");
    Registry::open(store, Opening { log_key: Arc::new(key()), origin: None, policy, secret }).expect("opened")
}

impl Served {
    /// A node without devices, and its two servers.
    pub fn start(config: HttpConfig) -> Self {
        Self::with_store(config, Box::new(MemoryStore::new()))
    }

    pub fn with_store(config: HttpConfig, store: Box<dyn Store + Send>) -> Self {
        Self::over(config, registry(store))
    }

    /// Over a registry in which something stands already.
    pub fn over(config: HttpConfig, registry: AnyRegistry) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        let directory = tempfile::tempdir().expect("directory");
        let socket = directory.path().join("operator.sock");
        let (node, server, operator) = runtime.block_on(async {
            let keys = NodeKeys { identity: key(), keepalive: Zeroizing::new([7; 32]) };
            let bind = "127.0.0.1:0".parse().expect("address");
            let node = OverlayNode::start(registry, keys, OverlayNodeConfig { bind, ..Default::default() });
            let node = node.await.expect("started");
            let config = HttpConfig { overlay: Some(node.local_addr()), ..config };
            let listener = http::bind_tcp(bind, &config).await.expect("bound");
            let server = http::serve(listener, node.handle(), config).expect("served");
            let unix = http::bind_unix(&socket).expect("bound");
            let operator = http::serve(unix, node.handle(), HttpConfig::default()).expect("served");
            (node, server, operator)
        });
        let address = server.local_addr().expect("an address");
        Self { runtime, node: Some(node), server: Some(server), operator: Some(operator), address, directory }
    }

    /// With devices of every kind, three log entries a device or so, and a name that waits.
    pub fn with_devices(config: HttpConfig) -> Self {
        let served = Self::start(config);
        for (text, capabilities) in [
            ("jis:home:hub", &["mqtt", "temperature.read"][..]),
            ("jis:home:lamp", &["light/switch"]),
            ("jis:office:door", &["lock"]),
            ("jis:ghost", &["mqtt"]),
        ] {
            served.register(&mut device(text, capabilities));
        }
        let mut revoked = device("jis:stolen", &["camera"]);
        served.register(&mut revoked);
        let reason: Remark = "stolen".parse().expect("remark");
        let revocation = revoked.revoke(RevocationScope::Key, None, reason, system::now()).expect("signed");
        served.registry(move |registry, now| {
            registry.revoke(revocation, now).expect("revoked");
            registry.set_trust(&name("jis:ghost"), Some(0.1), "noise", now).expect("set");
            registry.set_trust(&name("jis:home:hub"), Some(0.9), "ours", now).expect("set");
            vec![name("jis:stolen"), name("jis:ghost"), name("jis:home:hub")]
        });
        served.ask("jis:home");
        served
    }

    /// A claim that a human has to decide on.
    pub fn ask(&self, text: &str) {
        let mut claimant = device(text, &[]);
        let registration = claimant.registration(None, system::now()).expect("signed");
        self.registry(move |registry, now| {
            let source = Source::Network(IpAddr::from([203, 0, 113, 7]));
            let refused = registry.register(registration, source, now);
            assert!(matches!(refused, Err(Refusal::WaitsForApproval(_))), "{refused:?}");
            Vec::new()
        });
    }

    pub fn register(&self, device: &mut LocalDevice) {
        let registration = device.registration(None, system::now()).expect("signed");
        let registered = device.identity().name.clone();
        self.registry(move |registry, now| {
            registry.register(registration, Source::Local, now).expect("registered");
            vec![registered]
        });
    }

    pub fn registry(
        &self,
        change: impl FnOnce(&mut AnyRegistry, jis::UnixTime) -> Vec<Name> + Send + 'static,
    ) {
        let handle = self.node.as_ref().expect("a node").handle();
        let call = handle.registry().call(move |registry, now| ((), change(registry, now)));
        self.runtime.block_on(call).expect("written");
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("operator.sock")
    }

    pub fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    /// Sends these bytes and reads the one answer to them.
    pub fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = self.tcp();
        stream.write_all(request).expect("sent");
        Reply::read(&mut stream).expect("an answer")
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.raw(
            request(method, path, &format!("localhost:{}", self.address.port()), headers, body).as_bytes(),
        )
    }

    /// As the operator, on the Unix socket.
    pub fn operate(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = UnixStream::connect(self.socket()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(request(method, path, "localhost", headers, body).as_bytes()).expect("sent");
        Reply::read(&mut stream).expect("an answer")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let (server, operator, node) = (self.server.take(), self.operator.take(), self.node.take());
        self.runtime.block_on(async {
            for server in [server, operator].into_iter().flatten() {
                server.stop().await;
            }
            if let Some(node) = node {
                let _ = node.stop().await;
            }
        });
    }
}

pub fn request(method: &str, path: &str, host: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            text += "Content-Type: application/json\r\n";
        }
    }
    text + "\r\n" + body
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Reply {
    /// Reads one answer; none when the connection is closed without one.
    pub fn read(stream: &mut impl Read) -> Option<Self> {
        let mut held = Vec::new();
        let head_end = loop {
            if let Some(at) = held.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !more(stream, &mut held) {
                return None;
            }
        };
        let head = String::from_utf8(held[..head_end].to_vec()).expect("a head of text");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut rest = held.split_off(head_end + 4);
        let body = if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            chunks(stream, rest)
        } else {
            let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
            while rest.len() < length && more(stream, &mut rest) {}
            rest
        };
        Some(Self { status, headers, body: String::from_utf8(body).expect("text") })
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that this is a problem (RFC 9457) with this status, and gives the last part of its type.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(json[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {json}");
        }
        let kind = json["type"].as_str().expect("a type");
        kind.rsplit([':', '#']).next().expect("a part").to_owned()
    }

    /// An answer with 200.
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }
}

fn more(stream: &mut impl Read, held: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16_384];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(count) => {
            held.extend(&buffer[..count]);
            true
        }
    }
}

fn chunks(stream: &mut impl Read, mut held: Vec<u8>) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let Some(end) = held.windows(2).position(|window| window == b"\r\n") else {
            assert!(more(stream, &mut held), "cut off in the middle");
            continue;
        };
        let size =
            usize::from_str_radix(std::str::from_utf8(&held[..end]).expect("text"), 16).expect("a size");
        while held.len() < end + 2 + size + 2 {
            assert!(more(stream, &mut held), "cut off in the middle");
        }
        body.extend(&held[end + 2..end + 2 + size]);
        held.drain(..end + 2 + size + 2);
        if size == 0 {
            return body;
        }
    }
}
