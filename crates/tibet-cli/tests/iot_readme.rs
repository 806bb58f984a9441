//! The README's block for listen, send and discover, typed on one machine: one state directory, two terminals.

mod common;

use common::{Home, iot};

/// Two free ports, for a listener and for announcements of this test alone.
fn discovery_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("address").port()
}

fn is_answer(line: &str) -> bool {
    let Some(rtt) = line.strip_prefix("GROEN — trust: 0.95 — RTT: ").and_then(|rest| rest.strip_suffix("ms"))
    else {
        return false;
    };
    let (whole, fraction) = rtt.split_once('.').unwrap_or_default();
    whole.parse::<u32>().is_ok() && fraction.len() == 3 && rtt.parse().is_ok_and(|rtt: f64| rtt > 0.0)
}

#[test]
fn listen_send_and_discover_in_two_terminals() {
    let home = Home::new();
    let lo = format!("--interface lo --discovery-port {}", discovery_port());
    let args = format!(
        "--did jis:home:sensor --trust jis:home:hub=0.95 --trust jis:home:laptop=0.7 --port 0 --capability temperature.read {lo}"
    );
    let mut listener = iot::Listener::start_with(&home, &args);
    let at = listener.at;
    assert!(listener.note("made the identity jis:home:sensor").contains("z6Mk"));
    listener.note("next-identity.pem to a safe place offline");

    let send = format!("send jis:home:sensor {at} temperature.read --my-did jis:home:hub");
    let first = iot::run(&home, &send);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(is_answer(first.out.trim_end()), "{first:?}");
    assert!(first.err.contains("made the identity jis:home:hub"), "{first:?}");
    assert!(first.err.contains("first contact: key z6Mk") && first.err.contains(" remembered"), "{first:?}");
    let line = listener.line("temperature.read");
    assert!(
        line.ends_with("Z  jis:home:hub  GROEN  temperature.read  verified") || line.ends_with("verified"),
        "{line}"
    );

    // Without a name it is the hub: the sensor is busy.
    let again = iot::run(&home, &format!("send jis:home:sensor {at} temperature.read"));
    assert!(again.code == Some(0) && is_answer(again.out.trim_end()), "{again:?}");
    assert!(
        again.err.starts_with("as jis:home:hub (--my-did chooses another)\nverified: signed by z6Mk"),
        "{again:?}"
    );

    let found = iot::run(&home, &format!("discover --timeout 3 {lo}"));
    assert_eq!(found.code, Some(0), "{found:?}");
    let row = found.out.lines().find(|line| line.contains("jis:home:sensor")).expect("found");
    for text in [at.to_string().as_str(), "temperature.read", "yes", "answered"] {
        assert!(row.contains(text), "{text}: {row}");
    }
    // A node answers one search of each name in ten seconds.
    let laptop =
        iot::run(&home, &format!("send jis:home:sensor {at} temperature.read --my-did jis:home:laptop"));
    assert_eq!(laptop.code, Some(0), "{laptop:?}");
    let found = iot::json(&home, &format!("discover --timeout 3 --did jis:home:laptop {lo}"), 0);
    let [found] = &found[..] else { panic!("one object: {found:?}") };
    assert_eq!((&found["schema"], &found["total"]), (&"tibet.iot.discover".into(), &1.into()));
    let device = &found["devices"][0];
    assert_eq!(device["name"], "jis:home:sensor");
    assert_eq!(device["address"], at.to_string());
    assert_eq!(device["capabilities"][0], "temperature.read");
    assert_eq!((&device["verified"], &device["how"]), (&true.into(), &"answered".into()));

    let ended = listener.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.lines().last().is_some_and(|line| line.contains(" 3 pings, 3 answered")), "{ended:?}");
}

#[test]
fn whoever_announces_itself_to_strangers_is_found_and_is_hearsay() {
    let home = Home::new();
    let lo = format!("--interface lo --discovery-port {}", discovery_port());
    let mut witness = iot::Listener::start_with(&home, &format!("--did jis:home:witness --port 0 {lo}"));
    let stranger = Home::new();
    let mut search = iot::command(&stranger);
    search.args(format!("discover --json --timeout 5 {lo}").split(' '));
    let search = std::thread::spawn(move || common::finish(&mut search));
    // Somebody comes who announces itself while the other searches.
    witness.note("is at 127.0.0.1");
    let lamp =
        iot::Listener::start_with(&home, &format!("--did jis:home:lamp --device-type lamp --port 0 {lo}"));
    let found = search.join().expect("ended");
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.err.contains("only nodes that tell of themselves are found"), "{found:?}");
    let found: serde_json::Value = serde_json::from_str(&found.out).expect("JSON");
    assert!(found["own_name"].as_str().is_some_and(|name| name.starts_with("jis:ed25519:z6Mk")), "{found}");
    let seen = found["devices"].as_array().expect("a list").iter().find(|one| one["name"] == "jis:home:lamp");
    let seen = seen.unwrap_or_else(|| panic!("{found}"));
    assert_eq!(
        (&seen["verified"], &seen["how"], &seen["device_type"]),
        (&false.into(), &"announced".into(), &"lamp".into())
    );
    assert_eq!(seen["address"], lamp.at.to_string());
}

#[test]
fn nobody_found_is_a_no_with_reasons() {
    let home = Home::new();
    let lo = format!("--interface lo --discovery-port {}", discovery_port());
    let ran = iot::run(&home, &format!("discover --my-did jis:home:hub --timeout 0.2 {lo}"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for text in ["nobody was found", "--trust jis:home:hub=0.9", "--timeout 65", "firewall"] {
        assert!(ran.out.contains(text), "{text}: {ran:?}");
    }
    assert_eq!(iot::json(&home, &format!("discover --timeout 0 {lo}"), 1)[0]["total"], 0);
}

#[test]
fn where_the_only_identity_runs_a_search_has_a_name_of_its_own_and_a_ping_wants_one() {
    let home = Home::new();
    let lo = format!("--interface lo --discovery-port {}", discovery_port());
    let mut listener = iot::Listener::start_with(&home, &format!("--did jis:home:sensor --port 0 {lo}"));
    let search = iot::run(&home, &format!("discover --timeout 0.2 {lo}"));
    assert!(
        search.err.starts_with("a node runs with each identity here: only nodes that tell"),
        "{search:?}"
    );
    assert_eq!(search.code, Some(1), "{search:?}");
    assert!(search.out.contains("--my-did NAME") && !search.out.contains("listen --trust"), "{search:?}");
    assert!(listener.note(" is at 127.0.0.1").starts_with("jis:ed25519:z6Mk"), "it was heard");

    let send = iot::run(&home, "send jis:home:lamp 127.0.0.1:9 light.set");
    assert_eq!((send.code, send.out.as_str()), (Some(75), ""), "{send:?}");
    let (error, hint) = send.err.split_once('\n').expect("two lines");
    assert!(error.starts_with("error: a node runs with each identity in "), "{send:?}");
    assert_eq!(hint, "  try: --my-did NAME makes one\n");
}
