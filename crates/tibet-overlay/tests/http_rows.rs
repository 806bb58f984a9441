//! Bad inputs over HTTP: SECURITY 3.2, rows 84 to 87, and who may do what (R60, T23).

mod http_support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use http_support::{PATIENCE, Reply, Served, TOKEN, config, device, request};
use tibet_overlay::http::{self, HttpConfig, HttpError};

const PATIENT: Duration = Duration::from_secs(2);

fn impatient() -> HttpConfig {
    HttpConfig { header_timeout: PATIENT, request_timeout: PATIENT, ..config() }
}

#[test]
fn row_84_only_requests_for_this_server_by_its_own_name_get_through() {
    let served = Served::start(HttpConfig { host_names: vec!["node.example".into()], ..config() });
    for host in ["localhost", "127.0.0.1:7180", "[::1]:7180", "node.example:443", "Node.Example"] {
        assert_eq!(served.raw(request("GET", "/healthz", host, &[], "").as_bytes()).status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:7180",
        "169.254.169.254",
        "localhost@evil.example",
        "",
    ] {
        let reply = served.raw(request("GET", "/healthz", host, &[], "").as_bytes());
        assert_eq!(reply.problem(403), "wrong-host", "{host}");
        assert!(!reply.body.contains("evil"));
    }
    for text in [
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        served.raw(text.as_bytes()).problem(400);
    }
    assert_eq!(
        served.raw(b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n").problem(403),
        "wrong-host"
    );
    // The Unix socket is no other in this.
    let reply = served.operate("GET", "/healthz", &[("Host", "evil.example")], "");
    reply.problem(400);
}

#[test]
fn row_84_a_page_of_another_site_gets_nothing_and_no_site_is_told_it_may() {
    let served = Served::with_devices(config());
    let host = format!("localhost:{}", served.address.port());
    let own = format!("http://{host}");
    for (method, path) in [
        ("GET", "/api/v1/status"),
        ("GET", "/healthz"),
        ("PUT", "/api/v1/trust/jis:home:hub"),
        ("OPTIONS", "/api/v1/status"),
    ] {
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:1",
            "http://127.0.0.1.evil.example",
            "ftp://localhost",
            "",
        ] {
            let bearer = format!("Bearer {TOKEN}");
            let reply = served.send(method, path, &[("Origin", origin), ("Authorization", &bearer)], "");
            assert_eq!(reply.problem(403), "foreign-origin", "{method} {path} {origin}");
        }
    }
    let reply = served.send("GET", "/api/v1/status", &[("Origin", &own)], "");
    assert_eq!(reply.status, 200);
    for reply in [reply, served.get("/"), served.get("/healthz")] {
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control-")), "{reply:?}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        assert!(reply.header("content-security-policy").starts_with("default-src 'none'"), "{reply:?}");
    }
}

#[test]
fn row_84_no_two_readers_see_different_requests() {
    let served = Served::start(config());
    for head in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ] {
        let reply = served.raw(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{head}").as_bytes());
        reply.problem(400);
        assert_eq!(reply.header("connection"), "close");
    }
    // Refused by the parser itself, before there is a request.
    for head in [
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Content-Length: +4\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        "a b: c\r\n\r\n",
        "x: a\0b\r\n\r\n",
    ] {
        let reply = served.raw(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{head}").as_bytes());
        assert_eq!(reply.status, 400, "{head:?}");
    }
    for line in ["GET /healthz HTTP/2.0", "GET  /healthz HTTP/1.1", "PRI * HTTP/2.0", "\u{16}\u{3}\u{1}"] {
        let mut stream = served.tcp();
        stream.write_all(format!("{line}\r\nHost: localhost\r\n\r\n").as_bytes()).expect("sent");
        let reply = Reply::read(&mut stream);
        assert!(reply.is_none_or(|reply| reply.status == 400), "{line}");
    }
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn row_84_bodies_and_heads_have_bounds() {
    let served = Served::start(config());
    let put = |length: u64, body: &str| {
        let head = format!(
            "PUT /api/v1/trust/jis:a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        served.raw(head.as_bytes())
    };
    assert_eq!(put(65_537, "").problem(413), "too-long");
    assert_eq!(put(1 << 40, "").problem(413), "too-long");
    // As long as is allowed, and still no JSON.
    assert_eq!(put(65_536, &" ".repeat(65_536)).problem(400), "bad-request");
    let packed = served.send("PUT", "/api/v1/trust/jis:a", &[("Content-Encoding", "gzip")], "\u{1f}\u{8b}");
    assert_eq!(packed.problem(415), "packed");
    // Heads are refused by the parser, without a body.
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    for headers in [many, long] {
        let mut stream = served.tcp();
        // It may close before all of it is sent.
        let _ =
            stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
        let reply = Reply::read(&mut stream);
        assert!(reply.is_none_or(|reply| reply.status == 431));
    }
    let hundred: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(
        served.raw(format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{hundred}\r\n").as_bytes()).status,
        431
    );
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn row_84_who_is_slow_is_left() {
    let served = Served::start(impatient());
    // A head that comes a byte at a time, one that never comes, and a body that never ends.
    let begun = Instant::now();
    let mut slow = served.tcp();
    let mut idle = served.tcp();
    let mut half = served.tcp();
    half.write_all(b"PUT /api/v1/trust/jis:a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        .expect("sent");
    let ended = slow_reader(&mut slow);
    assert!(ended < PATIENCE, "{ended:?}");
    let reply = Reply::read(&mut half).expect("an answer");
    assert_eq!(reply.problem(408), "too-slow");
    assert!(Reply::read(&mut idle).is_none_or(|reply| reply.status == 408));
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(served.get("/healthz").status, 200);
}

/// Sends one byte after another, each when the one before has waited a little for an end, until the server has had enough.
fn slow_reader(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: ".iter().chain(std::iter::repeat(&b'y')) {
        if stream.write_all(&[*byte]).is_err() || begun.elapsed() > PATIENCE {
            break;
        }
        match stream.read(&mut [0; 1024]) {
            Ok(_) => break,
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    begun.elapsed()
}

#[test]
fn row_84_one_address_has_its_share_of_connections() {
    let served = Served::start(HttpConfig { connections_per_address: 5, ..config() });
    let mut held: Vec<TcpStream> = (0..5).map(|_| served.tcp()).collect();
    for stream in &mut held {
        stream.write_all(request("GET", "/healthz", "localhost", &[], "").as_bytes()).expect("sent");
        assert_eq!(Reply::read(stream).expect("an answer").status, 200);
    }
    let mut sixth = served.tcp();
    let _ = sixth.write_all(request("GET", "/healthz", "localhost", &[], "").as_bytes());
    assert!(Reply::read(&mut sixth).is_none());
    // The operator's socket is another door.
    assert_eq!(served.operate("GET", "/healthz", &[], "").status, 200);
    drop(held);
    let begun = Instant::now();
    loop {
        let mut again = served.tcp();
        let _ = again.write_all(request("GET", "/healthz", "localhost", &[], "").as_bytes());
        if Reply::read(&mut again).is_some() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "places are not given back");
    }
    let metrics = served.get("/metrics").body;
    assert!(!metrics.contains("tibet_http_refusals_total{what=\"connection\"} 0\n"), "{metrics}");
}

/// Connections are kept: the next request on one is answered as the first, after an error as well.
#[test]
fn row_84_a_connection_goes_on_after_a_refusal() {
    let served = Served::start(config());
    let mut stream = served.tcp();
    for (path, status) in
        [("/healthz", 200), ("/nothing", 404), ("/api/v1/identities/%00", 400), ("/healthz", 200)]
    {
        stream.write_all(request("GET", path, "localhost", &[], "").as_bytes()).expect("sent");
        assert_eq!(Reply::read(&mut stream).expect("an answer").status, status, "{path}");
    }
}

#[test]
fn row_85_paths_are_types_and_never_files_or_sql() {
    let served = Served::with_devices(config());
    let long = "a".repeat(10_000);
    let before = served.get("/api/v1/audit?limit=500").body;
    for id in [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..",
        "%2e%2e",
        "%00",
        "jis:a%00",
        "jis:home:hub%00",
        "%ff%fe",
        "%",
        "%zz",
        &long,
        "'%20OR%20'1'='1",
        "jis:a';%20DROP%20TABLE%20identities;--",
        "jis:a%20UNION%20SELECT%201",
        "jis:%25",
        "*",
        "jis:*",
        "<script>",
        "jis:home:hub%0d%0aX-Evil:%201",
        "%E2%80%AEjis:a",
        "C:%5Cwindows",
        "file:%2f%2f%2fetc%2fpasswd",
        "jis:1:2:3:4:5:6:7:8:9",
    ] {
        for prefix in [
            "/api/v1/identities/",
            "/api/v1/records/",
            "/api/v1/trust/",
            "/api/v1/capabilities/",
            "/1.0/identifiers/",
            "/",
            "/api/v1/pending?after=",
            "/api/v1/identities?capability=",
        ] {
            let reply = served.get(&format!("{prefix}{id}"));
            // `..` could be a capability's middle, but is none's beginning.
            assert!(matches!(reply.status, 400 | 404), "{prefix}{id}: {reply:?}");
            // What is no URI the parser refuses, without a body.
            if !(reply.status == 400 && reply.body.is_empty() && reply.header("connection") == "close") {
                reply.problem(reply.status);
            }
            assert!(!reply.body.contains("root:") && !reply.headers.contains_key("x-evil"));
        }
        let reply =
            served.operate("PUT", &format!("/api/v1/trust/{id}"), &[], r#"{"score": 1, "reason": "x"}"#);
        assert!(matches!(reply.status, 400 | 404 | 405), "{id}: {reply:?}");
    }
    assert_eq!(served.get("/api/v1/audit?limit=500").body, before, "none of it left a trace");
}

/// Row 86 asks for signatures over HTTP requests; there are none, and what looks like one is no key to anything.
#[test]
fn row_86_nothing_but_the_operators_token_lets_anybody_change_anything() {
    let served = Served::with_devices(config());
    let body = r#"{"score": 1, "reason": "x"}"#;
    let put = |headers: &[(&str, &str)]| served.send("PUT", "/api/v1/trust/jis:ghost", headers, body);
    let mut bodies = BTreeSet::new();
    let almost = format!("{}x", &TOKEN[..TOKEN.len() - 1]);
    for value in [
        format!("Bearer {almost}"),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", &TOKEN[1..]),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Basic {TOKEN}"),
        TOKEN.into(),
        format!("Bearer {}", TOKEN.to_uppercase()),
        "Signature keyId=\"jis:home:hub\"".into(),
        "jis-http:v1 AAAA".into(),
        format!("Bearer {}", "a".repeat(5000)),
    ] {
        let reply = put(&[("Authorization", &value)]);
        assert_eq!(reply.problem(401), "wrong-token", "{value}");
        assert!(reply.header("www-authenticate").starts_with("Bearer"));
        bodies.insert(reply.body);
    }
    assert_eq!(bodies.len(), 1, "one answer to all");
    let good = format!("Bearer {TOKEN}");
    put(&[("Authorization", &good), ("Authorization", "Bearer x")]).problem(401);
    assert_eq!(put(&[]).problem(401), "token-needed");
    put(&[("Cookie", TOKEN)]).problem(401);
    served.send("PUT", &format!("/api/v1/trust/jis:ghost?token={TOKEN}"), &[], body).problem(401);
    assert_eq!(served.get("/api/v1/trust/jis:ghost").ok()["explicit"], 0.1, "nothing has changed");
    assert_eq!(put(&[("Authorization", &good)]).status, 200);
    assert_eq!(put(&[("Authorization", &format!("bearer  {TOKEN}"))]).status, 200);
}

#[test]
fn row_87_hostile_words_are_data_everywhere() {
    let served = Served::start(config());
    served.register(&mut device("jis:a", &["a{}/..%s".replace(['{', '}', '%'], "-").as_str()]));
    let words = ["\u{1b}[2J", "\r\nX-Evil: 1", "{}", "%s%n", "<img src=x onerror=alert(1)>", "\u{202e}"];
    for word in words {
        let body = serde_json::json!({ "score": 0.5, "reason": word }).to_string();
        let reply = served.operate("PUT", "/api/v1/trust/jis:a", &[], &body);
        let clean = !word.chars().any(|c| c.is_control() || c == '\u{202e}');
        assert_eq!(reply.status == 200, clean, "{word:?}");
    }
    for path in ["/api/v1/audit", "/api/v1/identities", "/api/v1/capabilities", "/metrics"] {
        let reply = served.get(path);
        assert_eq!(reply.status, 200);
        assert_ne!(reply.header("content-type"), "text/html");
        assert!(!reply.body.chars().any(|c| c.is_control() && c != '\n'), "{path}");
    }
    for word in words {
        let encoded: String = word.bytes().map(|b| format!("%{b:02x}")).collect();
        for path in [
            format!("/{encoded}"),
            format!("/api/v1/identities/{encoded}"),
            format!("/api/v1/audit?after={encoded}"),
            format!("/1.0/identifiers/{encoded}"),
        ] {
            let reply = served.get(&path);
            reply.problem(reply.status);
            assert!(!reply.body.contains(word) && !reply.body.contains("<img"), "{reply:?}");
        }
    }
}

/// SECURITY T23: role × route. What each route needs is in the description; here it is asked of every door.
#[test]
fn t23_every_role_gets_to_the_routes_that_are_its_and_to_no_others() {
    let api: serde_json::Value = Served::start(config()).get("/openapi.json").ok();
    let bearer = format!("Bearer {TOKEN}");
    for (remote, with_token) in [(false, false), (false, true), (true, false), (true, true)] {
        let config = if with_token { config() } else { HttpConfig::default() };
        let served = Served::start(config);
        // A second server, on all addresses, for what others may see.
        let config = HttpConfig {
            allow_remote: true,
            ..if with_token { http_support::config() } else { HttpConfig::default() }
        };
        let far = served.runtime.block_on(async {
            let listener =
                http::bind_tcp("0.0.0.0:0".parse().expect("address"), &config).await.expect("bound");
            http::serve(listener, served.node.as_ref().expect("a node").handle(), config).expect("served")
        });
        let far_port = far.local_addr().expect("an address").port();
        for (path, methods) in api["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                let need = match &operation["security"] {
                    serde_json::Value::Null => "open",
                    some if some[0] == serde_json::json!({}) => "look",
                    _ => "change",
                };
                let method = method.to_uppercase();
                let path = path
                    .replace("{name}", "jis:a")
                    .replace("{did}", "did:jis:a")
                    .replace("{capability}", "a");
                let ask = |headers: &[(&str, &str)]| {
                    if !remote {
                        return served.send(&method, &path, headers, "").status;
                    }
                    let mut stream = TcpStream::connect(("127.0.0.1", far_port)).expect("connected");
                    stream.set_read_timeout(Some(PATIENCE)).expect("set");
                    stream
                        .write_all(request(&method, &path, "localhost", headers, "").as_bytes())
                        .expect("sent");
                    Reply::read(&mut stream).expect("an answer").status
                };
                let refused = |status: u16| matches!(status, 401 | 403);
                let context = format!("{method} {path}, remote {remote}, token {with_token}");
                let anybody = ask(&[]);
                let may = need == "open" || (need == "look" && !remote);
                assert_eq!(refused(anybody), !may, "{context}: {anybody}");
                if !may {
                    assert_eq!(anybody, if with_token { 401 } else { 403 }, "{context}");
                }
                let operator = ask(&[("Authorization", &bearer)]);
                assert_eq!(refused(operator), !with_token && need != "open", "{context}: {operator}");
                let wrong = ask(&[("Authorization", "Bearer wrong")]);
                assert_eq!(wrong == 401, need != "open", "{context}: {wrong}");
                assert!(!refused(served.operate(&method, &path, &[], "").status), "{context}");
            }
        }
        served.runtime.block_on(far.stop());
    }
}

#[test]
fn r60_remote_addresses_are_refused_unless_allowed_and_the_unix_socket_is_the_operators_alone() {
    let served = Served::start(config());
    served.runtime.block_on(async {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let refused = http::bind_tcp(address.parse().expect("address"), &HttpConfig::default()).await;
            assert!(matches!(refused, Err(HttpError::Remote(_))), "{refused:?}");
        }
    });
    let mode = std::fs::symlink_metadata(served.socket()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // In use: not taken from the server that has it. Left behind: replaced. A file: not touched.
    assert!(matches!(bind(&served, "operator.sock"), Err(HttpError::Taken(_))));
    drop(std::os::unix::net::UnixListener::bind(served.directory.path().join("left.sock")).expect("bound"));
    assert!(bind(&served, "left.sock").is_ok());
    std::fs::write(served.directory.path().join("file"), "mine").expect("written");
    assert!(matches!(bind(&served, "file"), Err(HttpError::Taken(_))));
    assert_eq!(std::fs::read_to_string(served.directory.path().join("file")).expect("read"), "mine");
    assert!(matches!(bind(&served, "no/such/directory"), Err(HttpError::Bind { .. })));
    let left: Vec<_> = std::fs::read_dir(served.directory.path())
        .expect("read")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

fn bind(served: &Served, file: &str) -> Result<http::HttpListener, HttpError> {
    let _runtime = served.runtime.enter();
    http::bind_unix(&served.directory.path().join(file))
}

#[test]
fn a_stop_answers_what_was_asked_and_takes_nothing_more() {
    let mut served = Served::start(config());
    let mut idle = served.tcp();
    idle.write_all(request("GET", "/healthz", "localhost", &[], "").as_bytes()).expect("sent");
    assert_eq!(Reply::read(&mut idle).expect("an answer").status, 200);
    let mut half = served.tcp();
    half.write_all(
        b"POST /api/v1/pending/jis:a/approve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    )
    .expect("sent");
    // The server says so once it waits for the body.
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut said = [0; CONTINUE.len()];
    half.read_exact(&mut said).expect("it goes on");
    assert_eq!(said, CONTINUE);
    let server = served.server.take().expect("a server");
    let stopping = served.runtime.spawn(server.stop());
    assert!(Reply::read(&mut idle).is_none(), "closed");
    half.write_all(b"{}").expect("sent");
    assert_eq!(Reply::read(&mut half).expect("an answer").status, 401);
    served.runtime.block_on(stopping).expect("stopped");
    assert!(TcpStream::connect(served.address).is_err());
}
