//! What the routes under `/api/v1`, health and metrics answer.

mod http_support;

use std::collections::BTreeSet;

use http_support::{PATIENCE, Reply, Served, TOKEN, config, device, name, registry};
use jis::{Identity, KeyEvent, Name, Record, Signed};
use serde_json::{Value, json};
use tibet_core::Token;
use tibet_overlay::system;
use tibet_registry::{MemoryStore, PresenceChange, Source};

fn names(page: &Value) -> Vec<&str> {
    page["identities"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn identities_are_listed_by_page_and_filter_without_gaps_or_repeats() {
    let served = Served::with_devices(config());
    let all = ["jis:home:hub", "jis:home:lamp", "jis:office:door", "jis:ghost", "jis:stolen"];
    let page = served.get("/api/v1/identities").ok();
    assert_eq!((names(&page), &page["next"], &page["total"]), (all.to_vec(), &Value::Null, &json!(5)));
    for limit in 1..=6 {
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let page = served.get(&format!("/api/v1/identities?limit={limit}&after={after}")).ok();
            assert!(names(&page).len() <= limit);
            seen.extend(names(&page).into_iter().map(str::to_owned));
            let Some(next) = page["next"].as_u64() else { break };
            after = next;
        }
        assert_eq!(seen, all, "pages of {limit}");
    }
    for (query, expected) in [
        ("zone=GROEN", &["jis:home:hub"][..]),
        ("zone=GEEL", &["jis:home:lamp", "jis:office:door"]),
        ("zone=ROOD", &["jis:ghost", "jis:stolen"]),
        ("presence=online", &[]),
        ("presence=unknown&zone=ROOD&limit=1", &["jis:ghost"]),
        ("capability=mqtt", &["jis:home:hub", "jis:ghost"]),
        ("capability=mqtt&zone=ROOD", &["jis:ghost"]),
        ("capability=nothing", &[]),
    ] {
        let page = served.get(&format!("/api/v1/identities?{query}")).ok();
        assert_eq!(names(&page), expected, "{query}");
    }
    for query in [
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=x",
        "after=-1",
        "zone=BLUE",
        "presence=here",
        "capability=Ä",
        "size=1",
        "limit=1&limit=2",
    ] {
        served.get(&format!("/api/v1/identities?{query}")).problem(400);
    }
}

#[test]
fn a_device_at_another_node_of_the_same_registry_is_online_and_that_node_is_named() {
    let mut registry = registry(Box::new(MemoryStore::new()));
    let now = system::now();
    for text in ["jis:home:hub", "jis:home:lamp", "jis:home:door"] {
        let registration = device(text, &[]).registration(None, now).expect("signed");
        registry.register(registration, Source::Local, now).expect("registered");
    }
    let other = Name::of_key(&device("jis:other", &[]).identity().key);
    let change =
        |text: &str, online| PresenceChange { name: name(text), node: other.clone(), online, at: now };
    let noted = [change("jis:home:hub", true), change("jis:home:lamp", true)];
    assert_eq!(registry.note_presence(&noted), Ok(2));
    let later = PresenceChange { at: now.saturating_add(PATIENCE), ..change("jis:home:lamp", false) };
    assert_eq!(registry.note_presence(&[later]), Ok(1));

    let served = Served::over(config(), registry);
    let one = served.get("/api/v1/identities/jis:home:hub").ok();
    assert_eq!((&one["presence"], &one["node"]), (&json!("online"), &json!(other.as_str())));
    assert_eq!(one["observed"], Value::Null, "it is not heard here");
    let page = served.get("/api/v1/identities?presence=online").ok();
    assert_eq!(names(&page), ["jis:home:hub"]);
    assert_eq!(page["identities"][0]["node"], other.as_str());
    for text in ["jis:home:lamp", "jis:home:door"] {
        let one = served.get(&format!("/api/v1/identities/{text}")).ok();
        assert_eq!((&one["presence"], &one["node"]), (&json!("unknown"), &Value::Null), "{text}");
    }
}

#[test]
fn an_identity_is_found_in_every_spelling_users_know_and_unknown_ones_look_alike() {
    let served = Served::with_devices(config());
    let one = served.get("/api/v1/identities/jis:home:hub").ok();
    for spelling in ["did:jis:home:hub", "home:hub", "jis%3Ahome%3Ahub"] {
        assert_eq!(served.get(&format!("/api/v1/identities/{spelling}")).ok(), one, "{spelling}");
    }
    assert_eq!(
        (&one["zone"], &one["status"], &one["capabilities"]),
        (&json!("GROEN"), &json!("active"), &json!(["mqtt", "temperature.read"]))
    );
    assert_eq!(served.get("/api/v1/identities/jis:stolen").ok()["status"], "key_revoked");
    // SECURITY R20b: one that never was, one that waits, one below a known name.
    let bodies: BTreeSet<String> = ["jis:nobody", "jis:home", "jis:home:cellar"]
        .iter()
        .flat_map(|name| {
            ["identities", "records", "trust"].map(|kind| served.get(&format!("/api/v1/{kind}/{name}")))
        })
        .inspect(|reply| assert_eq!(reply.problem(404), "unknown-name"))
        .map(|reply| reply.body)
        .collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

/// SECURITY R5: with the record and the key events anybody can check what the node says.
#[test]
fn a_record_verifies_from_what_is_handed_out() {
    let served = Served::with_devices(config());
    let bytes = |value: &Value| {
        base64ct::Base64::decode_vec(value["base64"].as_str().expect("text")).expect("base64")
    };
    use base64ct::Encoding as _;
    let answer = served.get("/api/v1/records/jis:home:hub").ok();
    let record = Signed::<Record>::decode(&bytes(&answer["record"])).expect("a record");
    let events = answer["key_events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| KeyEvent::decode(&bytes(event)).expect("an event"));
    let identity = Identity::replay(&events.collect::<Vec<_>>(), &[]).expect("a history");
    record.verify(&identity.key).expect("signed by the bound key");
    assert_eq!(
        (identity.name.as_str(), &identity.fingerprint),
        ("jis:home:hub", &record.claims().fingerprint)
    );
    assert_eq!(answer["record"]["decoded"]["key"], identity.key.to_multibase());
    assert_eq!(answer["record"]["decoded"]["endpoints"], json!(["203.0.113.1:44321"]));
}

#[test]
fn capabilities_are_counted_and_their_names_paged() {
    let served = Served::with_devices(config());
    let all = served.get("/api/v1/capabilities").ok();
    // A revoked device offers nothing.
    let expected = json!([
        { "capability": "mqtt", "identities": 2 }, { "capability": "light/switch", "identities": 1 },
        { "capability": "lock", "identities": 1 }, { "capability": "temperature.read", "identities": 1 },
    ]);
    assert_eq!(all["capabilities"], expected);
    let page = served.get("/api/v1/capabilities/mqtt?limit=1").ok();
    assert_eq!(page["names"], json!(["jis:home:hub"]));
    let page = served.get(&format!("/api/v1/capabilities/mqtt?limit=1&after={}", page["next"])).ok();
    assert_eq!(page["names"], json!(["jis:ghost"]));
    assert_eq!(served.get("/api/v1/capabilities/light/switch").ok()["names"], json!(["jis:home:lamp"]));
    assert_eq!(served.get("/api/v1/capabilities/light%2Fswitch").ok()["names"], json!(["jis:home:lamp"]));
    assert_eq!(served.get("/api/v1/capabilities/Camera").problem(400), "invalid-capability");
}

#[test]
fn trust_is_explained_and_set_by_the_operator_with_a_reason_that_is_kept() {
    let served = Served::with_devices(config());
    let before = served.get("/api/v1/trust/jis:home:lamp").ok();
    assert_eq!(
        (&before["score"], &before["source"], &before["explicit"]),
        (&json!(0.5), &json!("fira"), &Value::Null)
    );
    assert_eq!(before["fira"]["recency"], json!(0.3));
    let put = |body: &str| served.operate("PUT", "/api/v1/trust/jis:home:lamp", &[], body);
    let after = put(r#"{"score": 0.8, "reason": "bought it myself"}"#).ok();
    assert_eq!(
        (&after["zone"], &after["source"], &after["explicit"]),
        (&json!("GROEN"), &json!("explicit"), &json!(0.8))
    );
    assert_eq!(served.get("/api/v1/identities/jis:home:lamp").ok()["zone"], "GROEN");
    assert_eq!(put(r#"{"score": null, "reason": "as before"}"#).ok(), before);
    let log = served.get("/api/v1/audit?limit=500").body;
    assert!(log.contains("bought it myself") && log.contains("as before"), "{log}");
    for body in [
        r#"{"score": 1.5, "reason": "x"}"#,
        r#"{"score": -0.1, "reason": "x"}"#,
        r#"{"score": 1e999, "reason": "x"}"#,
        r#"{"score": "1", "reason": "x"}"#,
        r#"{"reason": "x"}"#,
        r#"{"score": 0.5}"#,
        r#"{"score": 0.5, "reason": ""}"#,
        r#"{"score": 0.5, "reason": "a\u001b[2J"}"#,
        r#"{"score": 0.5, "reason": "\u202ex"}"#,
        r#"{"score": 0.5, "reason": "x", "more": 1}"#,
        r#"{"score": 0.5, "score": 0.6, "reason": "x"}"#,
        "[]",
        "{",
        "\u{0}",
    ] {
        put(body).problem(400);
    }
    served.operate("PUT", "/api/v1/trust/jis:nobody", &[], r#"{"score": 0.5, "reason": "x"}"#).problem(404);
    served
        .operate(
            "PUT",
            "/api/v1/trust/jis:home:lamp",
            &[("Content-Type", "text/plain")],
            r#"{"score": 0.5, "reason": "x"}"#,
        )
        .problem(415);
    served
        .operate("PUT", "/api/v1/trust/jis:home:lamp", &[("Content-Encoding", "gzip")], "\u{1f}")
        .problem(415);
}

#[test]
fn names_that_wait_are_listed_and_decided() {
    let served = Served::with_devices(config());
    served.ask("jis:office");
    let page = served.get("/api/v1/pending?limit=1").ok();
    let first = &page["requests"][0];
    assert_eq!(
        (&first["name"], &first["state"], &first["source"]),
        (&json!("jis:home"), &json!("waiting"), &json!("203.0.113.7"))
    );
    let page = served.get(&format!("/api/v1/pending?after={}", page["next"].as_str().expect("a next"))).ok();
    assert_eq!(page["requests"][0]["name"], "jis:office");
    assert_eq!(served.get("/api/v1/status").ok()["pending"], 2);
    let approved = served.operate("POST", "/api/v1/pending/jis:home/approve", &[], "").ok();
    assert_eq!(approved["state"], "approved");
    let denied =
        served.operate("POST", "/api/v1/pending/jis:office/deny", &[], r#"{"reason": "who is that?"}"#).ok();
    assert_eq!(denied["state"], "denied");
    assert_eq!(
        served.operate("POST", "/api/v1/pending/jis:nobody/approve", &[], "").problem(404),
        "no-request"
    );
    served.operate("POST", "/api/v1/pending/jis:home/approve", &[], "{").problem(400);
    served.operate("POST", "/api/v1/pending/jis:home/approve", &[], r#"{"why": "x"}"#).problem(400);
    assert!(served.get("/api/v1/audit?limit=500").body.contains("who is that?"));
}

#[test]
fn the_audit_log_comes_by_page_or_as_a_stream_and_is_the_same_either_way() {
    let served = Served::with_devices(config());
    // More than the stream reads at a time.
    served.registry(|registry, now| {
        for count in 0..300 {
            registry.record_anomaly(&name("jis:ghost"), &format!("odd {count}"), now).expect("noted");
        }
        vec![name("jis:ghost")]
    });
    let stream = served.send("GET", "/api/v1/audit", &[("Accept", "application/x-ndjson")], "");
    assert_eq!((stream.status, stream.header("content-type")), (200, "application/x-ndjson"));
    let lines: Vec<&str> = stream.body.lines().collect();
    let size = served.get("/api/v1/status").ok()["log"]["size"].as_u64().expect("a size");
    assert_eq!(lines.len() as u64, size);
    let (mut paged, mut after): (Vec<String>, Option<u64>) = (Vec::new(), None);
    loop {
        let after_query = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let reply = served.get(&format!("/api/v1/audit?limit=97{after_query}"));
        let page = reply.json();
        assert_eq!(page["first"].as_u64(), Some(paged.len() as u64));
        // To the byte: a hash is taken over it.
        let (_, rest) = reply.body.split_once("\"tokens\":[").expect("tokens");
        let tokens = page["tokens"].as_array().expect("a list").len();
        let expected = &lines[paged.len()..paged.len() + tokens];
        assert_eq!(rest, format!("{}]}}", expected.join(",")));
        paged.extend(expected.iter().map(|line| (*line).to_owned()));
        after = page["next"].as_u64();
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, lines);
    let tokens: Vec<Token> = lines.iter().map(|line| Token::from_json_line(line).expect("a token")).collect();
    assert!(tokens.iter().all(|token| token.verify_hash(None)));
    let some = served.send(
        "GET",
        "/api/v1/audit?after=10&limit=5",
        &[("Accept", "application/x-ndjson, */*;q=0.1")],
        "",
    );
    assert_eq!(some.body.lines().collect::<Vec<_>>(), &lines[11..16]);
    let beyond = served.get("/api/v1/audit?after=9007199254740991").ok();
    assert_eq!((&beyond["tokens"], &beyond["next"]), (&json!([]), &Value::Null));
    served.get("/api/v1/audit?after=9007199254740992").problem(400);
    served.get("/api/v1/audit?after=18446744073709551616").problem(400);
    served.get("/api/v1/audit?limit=501").problem(400);
    served.send("GET", "/api/v1/audit", &[("Accept", "text/html")], "").problem(406);
}

#[test]
fn a_node_says_how_it_is_and_that_it_is_not_ready_when_it_is_not() {
    let mut served = Served::with_devices(config());
    assert_eq!(served.get("/healthz").ok()["status"], "alive");
    assert_eq!(served.get("/readyz").ok()["status"], "ready");
    let status = served.get("/api/v1/status").ok();
    assert_eq!(
        (&status["identities"], &status["ready"], &status["revoked"]),
        (&json!(5), &json!(true), &json!(1))
    );
    assert_eq!(status["zones"], json!({ "GROEN": 1, "GEEL": 2, "ROOD": 2 }));
    assert_eq!(status["node_key"], served.node.as_ref().expect("a node").handle().key().to_multibase());
    // Without the node the socket is silent and the registry gone; the server still says so.
    let node = served.node.take().expect("a node");
    served.runtime.block_on(node.stop()).expect("stopped");
    let asked = std::time::Instant::now();
    let reply = loop {
        let reply = served.get("/readyz");
        // A finding may be a second old.
        if reply.status != 200 || asked.elapsed() > PATIENCE {
            break reply;
        }
    };
    assert_eq!(reply.problem(503), "not-ready");
    let detail = reply.json()["detail"].to_string();
    assert!(detail.contains("the registry cannot write") && detail.contains("UDP"), "{detail}");
    assert_eq!(served.get("/api/v1/status").ok()["ready"], false);
    assert_eq!(served.get("/healthz").status, 200);
    served.operate("PUT", "/api/v1/trust/jis:home:hub", &[], r#"{"score": 1, "reason": "x"}"#).problem(503);
}

/// SECURITY R61 and row 87: whatever is registered and asked for, the same few series.
#[test]
fn row_87_metrics_are_openmetrics_with_a_fixed_number_of_series() {
    let served = Served::with_devices(config());
    let before = series(&served.get("/metrics"));
    for count in 0..50 {
        served.register(&mut device(&format!("jis:d{count}"), &[&format!("word{count}")]));
        served.get(&format!("/api/v1/identities/jis:x{count}")).problem(404);
        served.get(&format!("/<script>{count}")).status.to_string();
    }
    let reply = served.get("/metrics");
    assert_eq!(reply.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let after = series(&reply);
    assert_eq!(before, after);
    assert!(after.len() < 100, "{}", after.len());
    for line in [
        "tibet_identities 55",
        "tibet_ready 1",
        "tibet_devices_online 0",
        "tibet_names_waiting 1",
        concat!("tibet_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "tibet_overlay_events_total{event=\"queries_rood\"} 0",
    ] {
        assert!(reply.body.lines().any(|held| held == line), "{line}: {}", reply.body);
    }
    for start in [
        "tibet_zone_identities{zone=\"GEEL\"} ",
        "tibet_log_tree_size ",
        "process_start_time_seconds ",
        "tibet_uptime_seconds ",
    ] {
        assert!(reply.body.lines().any(|held| held.starts_with(start)), "{start}: {}", reply.body);
    }
}

/// The names of all series, after a check of the format.
fn series(reply: &Reply) -> BTreeSet<String> {
    assert_eq!(reply.status, 200);
    assert!(reply.body.ends_with("# EOF\n"));
    assert_eq!(reply.body.matches("# EOF").count(), 1);
    let mut all = BTreeSet::new();
    for line in reply.body.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        value.parse::<f64>().expect("a number");
        assert!(series.starts_with("tibet_") || series.starts_with("process_"), "{series}");
        assert!(all.insert(series.to_owned()), "{series} twice");
    }
    all
}

#[test]
fn the_description_lists_exactly_the_routes_there_are_and_what_each_needs() {
    let served = Served::with_devices(config());
    let api = served.get("/openapi.json").ok();
    assert_eq!(api["openapi"], "3.1.0");
    let paths = api["paths"].as_object().expect("paths");
    let beside = ["/", "/openapi.json"];
    assert!(paths.keys().all(|path| !beside.contains(&path.as_str())));
    for (path, methods) in paths {
        let methods = methods.as_object().expect("methods");
        let real = path
            .replace("{name}", "jis:nobody")
            .replace("{did}", "did:jis:nobody")
            .replace("{capability}", "nothing");
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"] {
            let described = methods.get(&method.to_lowercase());
            let reply = served.send(method, &real, &[], "");
            match described {
                None => {
                    assert_eq!(reply.problem(405), "method-not-allowed", "{method} {path}");
                    assert!(!reply.header("allow").is_empty(), "{method} {path}");
                }
                Some(operation) => {
                    let needs_token = operation["security"] == json!([{ "operator": [] }]);
                    assert_eq!(reply.status == 401, needs_token, "{method} {path}");
                    assert!(
                        operation["responses"].get(reply.status.to_string()).is_some(),
                        "{method} {path}: {}",
                        reply.status
                    );
                    let with =
                        served.send(method, &real, &[("Authorization", &format!("Bearer {TOKEN}"))], "");
                    assert!(
                        operation["responses"].get(with.status.to_string()).is_some(),
                        "{method} {path}: {}",
                        with.status
                    );
                }
            }
        }
    }
}

/// What a schema of the description allows: the members of an object, those that it must have, and what each is.
fn described<'a>(api: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| api.pointer(pointer));
        return described(api, target.expect("a schema"));
    }
    let parts = ["allOf", "oneOf"].iter().filter_map(|kind| schema[kind].as_array()).flatten();
    let mut all = vec![schema];
    all.extend(parts.flat_map(|part| described(api, part)));
    all
}

/// Compares what came with its schema, member by member, and gives the members that were there.
fn compare(api: &Value, schema: &Value, came: &Value, at: &str, seen: &mut BTreeSet<String>) {
    let schemas = described(api, schema);
    match came {
        Value::Object(members) => {
            if schemas.iter().all(|schema| schema["properties"].is_null()) {
                // A map, or somebody else's format.
                return;
            }
            for (name, value) in members {
                let known = schemas.iter().find_map(|schema| schema["properties"].get(name));
                let known = known.unwrap_or_else(|| panic!("{at}.{name} is not described"));
                compare(api, known, value, &format!("{at}.{name}"), seen);
                seen.insert(format!("{at}.{name}"));
            }
            for required in schemas.iter().filter_map(|schema| schema["required"].as_array()).flatten() {
                let name = required.as_str().expect("a name");
                assert!(members.contains_key(name), "{at}.{name} is described, and not there");
            }
        }
        Value::Array(items) => {
            let item = schemas.iter().find_map(|schema| schema.get("items")).expect("a list");
            items.iter().for_each(|value| compare(api, item, value, &format!("{at}[]"), seen));
        }
        _ => {}
    }
}

/// All members that a schema has, also those that need not be there.
fn all_members(api: &Value, schema: &Value, at: &str, all: &mut BTreeSet<String>) {
    for part in described(api, schema) {
        for (name, member) in part["properties"].as_object().into_iter().flatten() {
            all.insert(format!("{at}.{name}"));
            all_members(api, member, &format!("{at}.{name}"), all);
        }
        if let Some(item) = part.get("items") {
            all_members(api, item, &format!("{at}[]"), all);
        }
    }
}

#[test]
fn the_description_lists_exactly_the_members_that_answers_have() {
    let served = Served::with_devices(config());
    let api = served.get("/openapi.json").ok();
    for (path, real) in [
        ("/healthz", "/healthz"),
        ("/readyz", "/readyz"),
        ("/1.0/methods", "/1.0/methods"),
        ("/api/v1/status", "/api/v1/status"),
        ("/api/v1/identities", "/api/v1/identities"),
        ("/api/v1/identities/{name}", "/api/v1/identities/jis:home:hub"),
        ("/api/v1/records/{name}", "/api/v1/records/jis:home:hub"),
        ("/api/v1/capabilities", "/api/v1/capabilities"),
        ("/api/v1/capabilities/{capability}", "/api/v1/capabilities/mqtt"),
        ("/api/v1/trust/{name}", "/api/v1/trust/jis:home:hub"),
        ("/api/v1/pending", "/api/v1/pending"),
        ("/api/v1/audit", "/api/v1/audit"),
    ] {
        let schema = &api["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(schema.is_object(), "{path}");
        let (mut seen, mut all) = (BTreeSet::new(), BTreeSet::new());
        compare(&api, schema, &served.get(real).ok(), path, &mut seen);
        all_members(&api, schema, path, &mut all);
        assert_eq!(seen, all, "{path}");
    }
    let result = json!({ "$ref": "#/components/schemas/ResolutionResult" });
    let (mut seen, mut all) = (BTreeSet::new(), BTreeSet::new());
    for did in ["did:jis:home:hub", "did:jis:nobody"] {
        let path = format!("/1.0/identifiers/{did}");
        let came = served.send("GET", &path, &[("Accept", "application/did-resolution")], "").json();
        compare(&api, &result, &came, "did", &mut seen);
    }
    all_members(&api, &result, "did", &mut all);
    assert_eq!(seen, all);
}
