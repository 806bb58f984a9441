//! Many devices, long answers, and clients that do not read them.

mod http_support;

use std::io::Write;
use std::time::{Duration, Instant};

use http_support::{PATIENCE, Reply, Served, config, device, name, request};
use tibet_overlay::http::HttpConfig;
use tibet_overlay::system;
use tibet_registry::Source;

/// `TIBET_HTTP_DEVICES` makes it more, to measure.
fn how_many() -> usize {
    std::env::var("TIBET_HTTP_DEVICES").ok().and_then(|count| count.parse().ok()).unwrap_or(2500)
}

/// So many devices that a page with a filter ends before it is full.
#[test]
fn what_is_rare_is_found_a_bounded_number_of_devices_at_a_time() {
    let count = how_many();
    let served = Served::start(config());
    for first in (0..count).step_by(500) {
        let some: Vec<_> = (first..count.min(first + 500))
            .map(|number| {
                device(&format!("jis:d{number}"), &["mqtt"])
                    .registration(None, system::now())
                    .expect("signed")
            })
            .collect();
        served.registry(move |registry, now| {
            some.into_iter()
                .map(|one| registry.register(one, Source::Local, now).expect("registered").name)
                .collect()
        });
    }
    let rare = format!("jis:d{}", count - 1);
    let subject = name(&rare);
    served.registry(move |registry, now| {
        registry.set_trust(&subject, Some(0.1), "rare", now).expect("set");
        vec![subject]
    });
    for query in ["zone=ROOD", "zone=ROOD&capability=mqtt"] {
        let (mut after, mut requests, mut found) = (0, 0, Vec::new());
        let mut longest = Duration::ZERO;
        loop {
            let begun = Instant::now();
            let page = served.get(&format!("/api/v1/identities?{query}&after={after}")).ok();
            longest = longest.max(begun.elapsed());
            requests += 1;
            found
                .extend(page["identities"].as_array().expect("a list").iter().map(|one| one["name"].clone()));
            let Some(next) = page["next"].as_u64() else { break };
            assert!(next > after, "it goes on");
            after = next;
        }
        assert_eq!(found, [rare.as_str()], "{query}");
        assert!(requests >= count / 1000, "{requests} requests for {count} devices");
        println!("{query}: {requests} requests, the longest {longest:?}");
    }
    for path in ["/api/v1/capabilities", "/api/v1/status", "/metrics", "/api/v1/identities?limit=500"] {
        let (mut first, mut again) = (Duration::ZERO, Duration::ZERO);
        for took in [&mut first, &mut again] {
            let begun = Instant::now();
            assert_eq!(served.get(path).status, 200);
            *took = begun.elapsed();
        }
        println!("{path}: {first:?}, again {again:?}");
    }
    assert_eq!(served.get("/api/v1/status").ok()["zones"]["ROOD"], 1);
}

#[test]
fn what_others_lend_is_in_the_list() {
    let served = Served::with_devices(config());
    let mut voucher = device("jis:voucher", &[]);
    served.register(&mut voucher);
    let lamp = served.get("/api/v1/records/jis:home:lamp").ok();
    let fingerprint =
        lamp["record"]["decoded"]["fingerprint"].as_str().expect("text").parse().expect("a fingerprint");
    let reason = "we bought it together".parse().expect("remark");
    let vouch = voucher.vouch(
        &name("jis:home:lamp"),
        fingerprint,
        700,
        Duration::from_secs(3600),
        reason,
        system::now(),
    );
    let vouch = vouch.expect("signed");
    served.registry(move |registry, now| {
        registry.set_trust(&name("jis:voucher"), Some(0.9), "ours", now).expect("set");
        registry.vouch(&vouch, now).expect("taken");
        vec![name("jis:voucher"), name("jis:home:lamp")]
    });
    let listed = served.get("/api/v1/identities?zone=GEEL").ok();
    let lamp = &listed["identities"][0];
    assert_eq!(
        (lamp["name"].as_str(), lamp["trust_source"].as_str()),
        (Some("jis:home:lamp"), Some("vouched"))
    );
    assert_eq!(served.get("/api/v1/identities/jis:home:lamp").ok()["trust"], lamp["trust"]);
    assert_eq!(served.get("/api/v1/trust/jis:home:lamp").ok()["score"], lamp["trust"]);
}

/// SECURITY R60, row 84: an answer that nobody reads gives its place back.
#[test]
fn row_84_who_does_not_read_is_left() {
    let patience = Duration::from_secs(2);
    let served =
        Served::start(HttpConfig { connections_per_address: 1, request_timeout: patience, ..config() });
    served.register(&mut device("jis:a", &[]));
    // More than both sockets' buffers hold.
    let long = "x".repeat(1000);
    for _ in 0..30 {
        let long = long.clone();
        served.registry(move |registry, now| {
            for count in 0..500 {
                registry.record_anomaly(&name("jis:a"), &format!("{long} {count}"), now).expect("noted");
            }
            vec![name("jis:a")]
        });
    }
    let mut unread = served.tcp();
    let stream = request("GET", "/api/v1/audit", "localhost", &[("Accept", "application/x-ndjson")], "");
    unread.write_all(stream.as_bytes()).expect("sent");
    let begun = Instant::now();
    let mut refused = 0;
    loop {
        let mut another = served.tcp();
        let _ = another.write_all(request("GET", "/healthz", "localhost", &[], "").as_bytes());
        if Reply::read(&mut another).is_some() {
            break;
        }
        refused += 1;
        assert!(begun.elapsed() < PATIENCE, "it is still held");
    }
    assert!(refused > 0 && begun.elapsed() >= patience, "it was not held, {:?}", begun.elapsed());
}
