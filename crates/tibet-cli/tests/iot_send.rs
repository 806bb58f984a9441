//! `tibet-iot send`: what it prints, and what it says when no answer comes.

mod common;

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::thread::JoinHandle;

use common::{Home, iot, members};
use iot::Listener;
use jis::{Name, SecretKey};
use serde_json::Value;
use tibet_core::{Zone, object};
use tibet_ping::{
    Decision, Encoding, Frame, Fresh, Packet, PingType, Response, request_hash, sign_pong, verify_ping,
};

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

fn check(value: &Value, event: &str, expected: &str) {
    let mut expected: BTreeSet<String> = expected.split_whitespace().map(str::to_owned).collect();
    expected.extend(["schema", "version", "event"].map(str::to_owned));
    assert_eq!((&value["schema"], &value["version"]), (&"tibet.iot.send".into(), &1.into()));
    assert_eq!((value["event"].as_str(), members(value)), (Some(event), expected), "{value}");
}

/// A device that answers `times` questions with "accept", signed by a key of this seed or not at all.
struct Imitation {
    port: u16,
    thread: JoinHandle<()>,
}

impl Imitation {
    fn of_the_sensor(seed: Option<u8>, times: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.set_read_timeout(Some(common::running::DEADLINE)).expect("set");
        let port = socket.local_addr().expect("address").port();
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 65_536];
            let mut left = times;
            while left > 0 {
                let (length, from) = socket.recv_from(&mut bytes).expect("a ping");
                let Ok(Frame::Version1 { encoding, body, .. }) = Frame::read(&bytes[..length]) else {
                    panic!("a frame")
                };
                let packet = Packet::decode(encoding, body).expect("a packet");
                if packet.ping_type != PingType::Intent {
                    continue;
                }
                left -= 1;
                let fresh = Fresh { id: [7; 8], nonce: [7; 16], now: tibet_overlay::system::now() };
                let sensor = name("jis:home:sensor");
                let mut response = Response {
                    payload: object! { "celsius" => 21.5 },
                    ..Response::to(&packet, &sensor, Decision::Accept, Zone::Groen, 0.95, fresh)
                };
                let key = packet.claim.expect("signed").public_key;
                let hash =
                    verify_ping(&packet, &key).map_or_else(|_| request_hash(&packet), |ping| ping.hash());
                if let Some(seed) = seed {
                    sign_pong(&mut response, &hash, &secret(seed), 0).expect("signed");
                }
                socket.send_to(&response.encode(Encoding::Json).expect("a frame"), from).expect("sent");
            }
        });
        Self { port, thread }
    }

    fn end(self) {
        self.thread.join().expect("all were asked");
    }
}

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(zeroize::Zeroizing::new(std::array::from_fn(|at| seed.wrapping_add(at as u8))))
        .expect("key")
}

fn ask(port: u16, more: &str) -> String {
    format!("send jis:home:sensor 127.0.0.1:{port} temperature.read --my-did jis:home:hub {more}")
}

#[test]
fn answers_and_summaries_have_their_members() {
    let home = Home::new();
    let listener = Listener::start(&home, "--did jis:home:sensor --trust jis:home:hub=0.95");
    let answer =
        "decision airlock_zone trust_score rtt_ms verified proof responder_did responder_key from payload
                  capabilities intent packet_id applied_rule last";
    for encoding in ["", "--msgpack", "--bind 127.0.0.1 --purpose Why --port 0"] {
        let printed = iot::json(&home, &ask(listener.at.port(), &format!("{encoding} --count 2")), 0);
        let [first, second, summary] = &printed[..] else { panic!("{printed:?}") };
        check(first, "answer", answer);
        check(second, "answer", answer);
        check(summary, "summary", "sent answered accepted rtt_ms rtt_ms.min rtt_ms.avg rtt_ms.max");
        assert_eq!((&first["decision"], &first["airlock_zone"]), (&"accept".into(), &"GROEN".into()));
        assert_eq!((&first["trust_score"], &first["verified"]), (&0.95.into(), &true.into()));
        assert_eq!(first["responder_did"], "jis:home:sensor");
        assert!(first["rtt_ms"].as_f64().is_some_and(|rtt| rtt > 0.0), "{first}");
        assert_eq!((&summary["sent"], &summary["accepted"]), (&2.into(), &2.into()));
    }
}

#[test]
fn silence_is_a_no_with_three_reasons() {
    let home = Home::new();
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let port = deaf.local_addr().expect("address").port();
    let ran = iot::run(&home, &ask(port, "--timeout 0.2"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    for text in [
        format!("no answer from jis:home:sensor at 127.0.0.1:{port} within 0.2 s. What may be the reason:\n"),
        format!("  - nobody listens at 127.0.0.1:{port}, or a firewall or NAT is between\n"),
        "  - it does not trust us; on that side: tibet-iot listen --trust jis:home:hub=0.9\n".to_owned(),
        "  - another device is there, not jis:home:sensor; or it knows jis:home:hub by another key than z6Mk"
            .to_owned(),
    ] {
        assert!(ran.err.contains(&text), "{text}: {}", ran.err);
    }
    let printed = iot::json(&home, &ask(port, "--timeout 0"), 1);
    check(
        &printed[0],
        "no_answer",
        "target to waited_ms reasons ignored ignored.unsigned ignored.wrong_key ignored.false_answers",
    );
}

/// SECURITY R11, R72.
#[test]
fn answers_that_are_not_believed_are_told_of_for_what_they_are() {
    let home = Home::new();
    let unsigned = Imitation::of_the_sensor(None, 2);
    let ran = iot::run(&home, &ask(unsigned.port, "--timeout 1.5"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(
        ran.err.contains("an unsigned answer came: --allow-unsigned jis:home:sensor believes it"),
        "{ran:?}"
    );
    let believed = iot::run(&home, &ask(unsigned.port, "--allow-unsigned jis:home:sensor"));
    assert_eq!(believed.code, Some(0), "{believed:?}");
    assert!(
        believed.out.ends_with("ms\n{\"celsius\": 21.5}\n") && believed.err.contains("unauthenticated"),
        "{believed:?}"
    );
    unsigned.end();

    // The first key is remembered, another is not believed.
    let first = Imitation::of_the_sensor(Some(1), 1);
    let ran = iot::run(&home, &ask(first.port, ""));
    assert!(ran.code == Some(0) && ran.err.contains("first contact: key z6Mk"), "{ran:?}");
    first.end();
    let other = Imitation::of_the_sensor(Some(2), 3);
    let ran = iot::run(&home, &ask(other.port, "--timeout 1.5"));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    let forget = "tibet-iot keys forget jis:home:sensor --did jis:home:hub";
    assert!(ran.err.starts_with("WARNING: ") && ran.err.matches(forget).count() >= 2, "{ran:?}");
    assert!(ran.err.contains("signed by another key than the one known"), "{ran:?}");
    // The operator's word goes before what was remembered, and forgetting makes room for the next.
    let key = format!("--key jis:home:sensor={}", secret(2).public_key());
    let ran = iot::run(&home, &ask(other.port, &key));
    assert!(ran.code == Some(0) && ran.err.contains("verified: signed by z6Mk"), "{ran:?}");
    iot::json(&home, &forget["tibet-iot ".len()..], 0);
    let ran = iot::run(&home, &ask(other.port, ""));
    assert!(ran.code == Some(0) && ran.err.contains("first contact"), "{ran:?}");
    other.end();
}

#[test]
fn a_key_in_hex_is_a_key() {
    let home = Home::new();
    let device = Imitation::of_the_sensor(Some(3), 1);
    let key = jis::hex::encode(secret(3).public_key().as_bytes());
    let ran = iot::run(&home, &ask(device.port, &format!("--key jis:home:sensor={key}")));
    assert!(ran.code == Some(0) && ran.err.contains("verified"), "{ran:?}");
    device.end();
}

#[test]
fn a_busy_identity_can_still_ask_but_does_not_remember() {
    let home = Home::new();
    let busy = Listener::start(&home, "--did jis:home:hub");
    let sensor = Listener::start(&home, "--did jis:home:sensor --trust jis:home:hub=0.9");
    let ran = iot::run(&home, &ask(sensor.at.port(), ""));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("is not remembered: another node runs in this name"), "{ran:?}");
    assert!(ran.err.contains(", not remembered"), "{ran:?}");
    drop(busy);
    let ran = iot::run(&home, &ask(sensor.at.port(), ""));
    assert!(ran.err.contains("first contact: key z6Mk") && ran.err.ends_with(" remembered\n"), "{ran:?}");
    let ran = iot::run(&home, &ask(sensor.at.port(), ""));
    assert!(ran.err.starts_with("verified: signed by z6Mk"), "{ran:?}");
}

#[test]
fn a_listener_starts_while_its_own_name_is_asking() {
    let home = Home::new();
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("bound");
    deaf.set_read_timeout(Some(common::running::DEADLINE)).expect("set");
    let port = deaf.local_addr().expect("address").port();
    let mut asking = iot::command(&home)
        .args(ask(port, "--timeout 60").split_whitespace())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    deaf.recv(&mut [0; 65_536]).expect("it asks");
    let listener = Listener::start(&home, "--did jis:home:hub");
    assert!(asking.try_wait().expect("looked").is_none(), "it still asks");
    asking.kill().expect("ended");
    asking.wait().expect("ended");
    assert_eq!(listener.stop().code, Some(0));
}

#[test]
fn no_decision_within_the_time_is_a_no() {
    let home = Home::new();
    let listener = Listener::start(&home, "--did jis:home:sensor --trust jis:home:hub=0.5");
    let ran = iot::run(&home, &ask(listener.at.port(), "--wait 0.3"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.starts_with("GEEL") && ran.err.contains("no decision came within 0.3 s"), "{ran:?}");
    let printed = iot::json(&home, &ask(listener.at.port(), "--wait 0.3"), 1);
    assert_eq!((&printed[0]["decision"], &printed[0]["last"]), (&"pending".into(), &false.into()));
    check(&printed[1], "undecided", "target to");
}

#[test]
fn a_ping_crosses_the_mesh_through_two_listeners() {
    let home = Home::new();
    let mut sensor = Listener::start(&home, "--did jis:home:sensor --trust jis:home:hub=0.9");
    let args = format!("--trust jis:home:hub=0.5 --peer jis:home:sensor={}", sensor.at);
    let mut near = Listener::start(&home, &format!("--did jis:home:near {args} --json"));
    let args = format!("--trust jis:home:hub=0.5 --peer jis:home:near={}", near.at);
    let far = Listener::start(&home, &format!("--did jis:home:far {args}"));
    let [answer] = &iot::json(&home, &ask(far.at.port(), "--mesh"), 0)[..] else { panic!("one object") };
    assert_eq!(
        (&answer["responder_did"], &answer["from"]),
        (&"jis:home:sensor".into(), &far.at.to_string().into())
    );
    let relayed = near.event("relayed");
    assert_eq!((&relayed["source_did"], &relayed["hop_count"]), (&"jis:home:hub".into(), &2.into()));
    assert!(sensor.line("temperature.read").contains("  jis:home:hub  GROEN  "));
}

#[test]
fn a_revoked_identity_asks_nobody() {
    let home = Home::new();
    home.ok("id new jis:home:hub");
    home.ok("id revoke");
    for args in [ask(9, ""), "listen --port 0 --no-discovery".to_owned(), "discover".to_owned()] {
        let ran = iot::run(&home, &args);
        assert_eq!(
            ran.refusal(),
            (Some(1), "error: jis:home:hub is revoked; rotate it to its next key\n"),
            "{args}"
        );
    }
}
