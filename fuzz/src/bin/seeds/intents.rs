//! F20: every intent and every answer as they are really made, with parts missing, too many and elsewhere.

use std::time::Duration;

use jis::{
    Capability, EnrolmentToken, Fingerprint, Identity, Inception, KeyEvent, NameGrant, NextKeyCommitment,
    Punch, Record, RecordStatus, RecordVersion, RelayOpen, Revocation, RevocationAuthority, RevocationScope,
    Rotation, Signed, SignedRotation, TransportCertificate, TransportKey,
};
use tibet_fuzz::honest::{NOON, at, challenge, key, name, proof};
use tibet_fuzz::intents::{ANSWERS, INTENTS};
use tibet_fuzz::question::honest_answer;

use crate::put;

const TARGET: &str = "f20_intents";

type Parts = Vec<Vec<u8>>;

pub(crate) fn write() {
    for (list, name, parts) in requests().into_iter().chain(answers()) {
        put(TARGET, &format!("{name}-accepted"), &input(list, &parts));
        if list == "failed" {
            continue;
        }
        put(TARGET, &format!("{name}_and_more"), &input(list, &[&parts[..], &[b"more".to_vec()]].concat()));
        put(TARGET, &format!("{name}_one_part_less"), &input(list, &parts[..parts.len().saturating_sub(1)]));
        let turned: Parts = parts.iter().rev().cloned().collect();
        put(TARGET, &format!("{name}_turned_round"), &input(list, &turned));
    }
    put(TARGET, "unknown_intent-refused", &input("overlay.format-disk", &[]));
    put(TARGET, "nothing-refused", &[]);
}

/// The input for a list of parts.
fn input(list: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let lists = INTENTS.into_iter().chain(ANSWERS.map(|(name, _)| name));
    let which = lists.enumerate().find(|(_, name)| *name == list).expect("a list").0;
    let written = parts.iter().flat_map(|part| {
        let length = u16::try_from(part.len()).expect("short").to_be_bytes();
        [&length[..], part].concat()
    });
    [which as u8].into_iter().chain(written).collect()
}

fn number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn noon() -> Vec<u8> {
    number(NOON.as_millis())
}

/// 203.0.113.1:44321 as answers have it.
fn address() -> Vec<u8> {
    tibet_ping::address_bytes("203.0.113.1:44321".parse().expect("an address")).to_vec()
}

fn inception() -> Signed<Inception> {
    let next = NextKeyCommitment::to(&key(3).public_key());
    let inception =
        Inception { name: name("jis:home:hub"), key: key(1).public_key(), next, created_at: NOON };
    Signed::seal(inception, &key(1)).expect("can be signed")
}

fn identity() -> Identity {
    Identity::incept(&inception()).expect("a first event")
}

fn record() -> Signed<Record> {
    let word = |text: &str| text.parse::<Capability>().expect("a word");
    let record = Record {
        name: name("jis:home:hub"),
        fingerprint: identity().fingerprint,
        version: RecordVersion { generation: 0, seq: 7 },
        key: key(1).public_key(),
        transport_key: None,
        issued_at: NOON,
        ttl: Record::MAX_TTL,
        endpoints: vec!["203.0.113.1:44321".parse().expect("an address")],
        relays: vec![name("jis:relay")],
        capabilities: ["mqtt", "temperature"].map(word).into(),
        status: RecordStatus::Active,
        previous: [0; 32],
        next: NextKeyCommitment::to(&key(3).public_key()),
        behind_nat: true,
    };
    Signed::seal(record, &key(1)).expect("can be signed")
}

fn rotation() -> SignedRotation {
    let rotation = Rotation {
        name: name("jis:home:hub"),
        fingerprint: identity().fingerprint,
        generation: 1,
        key: key(3).public_key(),
        next: NextKeyCommitment::to(&key(2).public_key()),
        previous: jis::message_hash(inception().message()),
        rotated_at: at(60),
    };
    SignedRotation::seal(rotation, &key(3), Some(&key(1))).expect("can be signed")
}

fn revocation() -> Signed<Revocation> {
    let revocation = Revocation {
        name: name("jis:home:hub"),
        fingerprint: identity().fingerprint,
        generation: 0,
        key: key(1).public_key(),
        scope: RevocationScope::Key,
        authority: RevocationAuthority::CurrentKey,
        signer: key(1).public_key(),
        reason: "stolen".parse().expect("a remark"),
        revoked_at: at(60),
    };
    Signed::seal(revocation, &key(1)).expect("can be signed")
}

fn certificate() -> Signed<TransportCertificate> {
    let certificate = TransportCertificate {
        name: name("jis:home:hub"),
        generation: 0,
        key: key(1).public_key(),
        transport_key: TransportKey::from_bytes(&[9; 32]).expect("a key"),
        not_before: NOON,
        not_after: at(3600),
    };
    Signed::seal(certificate, &key(1)).expect("can be signed")
}

/// The first consent of two, or the one that answers it.
fn consent(answers: [u8; 16]) -> Signed<Punch> {
    let punch = Punch {
        from: name("jis:home:hub"),
        key: key(1).public_key(),
        generation: 0,
        to: name("jis:gate"),
        to_key: key(2).public_key(),
        nonce: [6; 16],
        answers,
        issued_at: NOON,
        expires_at: at(30),
        candidates: ["203.0.113.1:44321", "[2001:db8::1]:7150"]
            .map(|text| text.parse().expect("an address"))
            .into(),
    };
    Signed::seal(punch, &key(1)).expect("can be signed")
}

fn relay_open() -> Signed<RelayOpen> {
    let open = RelayOpen {
        name: name("jis:home:hub"),
        key: key(1).public_key(),
        generation: 0,
        relay: key(2).public_key(),
        exchange: TransportKey::from_bytes(&[9; 32]).expect("a key"),
        issued_at: NOON,
        expires_at: at(3600),
    };
    Signed::seal(open, &key(1)).expect("can be signed")
}

/// A grant by `jis:home`, and an operator's token, each with the number it has in a registration.
fn permissions() -> [Vec<u8>; 2] {
    let grant = NameGrant {
        id: [4; 16],
        parent: name("jis:home"),
        parent_generation: 0,
        parent_key: key(2).public_key(),
        pattern: "jis:home:*".parse().expect("a pattern"),
        subject: Some(key(1).public_key()),
        origin: name("jis:registry"),
        overrides: false,
        issued_at: NOON,
        expires_at: at(3600),
    };
    let token = EnrolmentToken {
        id: [5; 16],
        issuer: key(2).public_key(),
        pattern: "jis:home:*".parse().expect("a pattern"),
        subject: None,
        origin: name("jis:registry"),
        issued_at: NOON,
        expires_at: at(3600),
    };
    let grant = Signed::seal(grant, &key(2)).expect("can be signed").encode();
    let token = Signed::seal(token, &key(2)).expect("can be signed").encode();
    [[&[1], &grant[..]].concat(), [&[2], &token[..]].concat()]
}

/// By intent, name of the seed, and parts.
fn requests() -> Vec<(&'static str, &'static str, Parts)> {
    let (record, inception) = (record().encode(), KeyEvent::Inception(inception()).encode());
    let rotated = KeyEvent::Rotation(rotation()).encode();
    let revoked = KeyEvent::Revocation(revocation()).encode();
    let [grant, token] = permissions();
    let certificate = certificate().encode();
    let (_, asked) = challenge();
    let none = Vec::new;
    let hub = b"jis:home:hub".to_vec();
    let register = "overlay.register";
    vec![
        (register, "register", vec![record.clone(), none(), none(), inception.clone()]),
        (register, "register_update", vec![record.clone(), none(), none()]),
        (
            register,
            "register_grant",
            vec![record.clone(), certificate, grant, inception.clone(), rotated.clone()],
        ),
        (register, "register_token", vec![record.clone(), none(), token, inception.clone(), revoked]),
        (
            register,
            "register_41_events",
            [vec![record.clone(), none(), none()], vec![inception; 41]].concat(),
        ),
        ("overlay.resolve", "resolve", vec![hub.clone(), vec![255]]),
        ("overlay.resolve", "resolve_with_events", vec![hub.clone(), vec![3]]),
        ("overlay.find", "find", vec![b"mqtt".to_vec(), number(1 << 40)]),
        (
            "overlay.challenge",
            "challenge",
            vec![
                hub.clone(),
                asked.verifier.as_str().into(),
                asked.verifier_key.as_bytes().to_vec(),
                asked.verifier_nonce.to_vec(),
                number(asked.issued_at.as_millis()),
                number(asked.expires_at.as_millis()),
            ],
        ),
        ("overlay.ping", "ping_passed_on", vec![hub, tibet_fuzz::question::honest_question().encode()]),
        ("overlay.connect", "connect", vec![b"jis:gate".to_vec(), consent(Punch::FIRST).encode()]),
        ("overlay.punch", "punch", vec![consent(Punch::FIRST).encode()]),
        ("overlay.relay", "relay", vec![relay_open().encode()]),
        ("overlay.rotate", "rotate", vec![rotated, record]),
        ("overlay.revoke", "revoke", vec![revocation().encode()]),
    ]
}

/// By list, name of the seed, and parts.
fn answers() -> Vec<(&'static str, &'static str, Parts)> {
    let fingerprint = Fingerprint::of_inception(inception().message()).as_bytes().to_vec();
    let registered = |seconds: u64| {
        let version = [vec![1], number(0), number(7), fingerprint.clone()];
        let rest = [noon(), noon(), address(), vec![9; 16], number(seconds)];
        version.into_iter().chain(rest).collect::<Parts>()
    };
    let event = KeyEvent::Inception(inception()).encode();
    let resolved = |trust: f64, events: &[Vec<u8>]| {
        let fixed =
            vec![record().encode(), vec![1], vec![1], noon(), address(), noon(), number(trust.to_bits())];
        [&fixed[..], events].concat()
    };
    let silent =
        [resolved(0.5, &[])[..3].to_vec(), vec![Vec::new(); 2], resolved(-0.0, &[])[5..].to_vec()].concat();
    let elapsed = number(Duration::from_millis(7).as_micros() as u64);
    vec![
        ("registered", "registered", registered(25)),
        ("registered", "registered_too_often", registered(0)),
        ("registered", "registered_never_again", registered(u64::MAX)),
        ("resolved", "resolved", resolved(0.5, &[])),
        ("resolved", "resolved_with_events", resolved(1.0, &[event.clone(), event])),
        ("resolved", "resolved_nowhere", silent),
        ("found", "found_none", vec![Vec::new()]),
        ("found", "found_two", vec![number(2), b"jis:a".to_vec(), b"jis:b".to_vec()]),
        ("proved", "proved", vec![proof().encode(), address(), elapsed.clone()]),
        ("proved", "proved_directly", vec![proof().encode(), Vec::new(), number(0)]),
        ("ponged", "ponged", vec![honest_answer().encode(), address(), elapsed.clone()]),
        ("punched", "punched", vec![consent([5; 16]).encode(), address(), elapsed]),
        ("relayed", "relayed", vec![vec![5; 8], vec![9; 32], number(3600), number(125_000)]),
        ("failed", "failed", vec![b"quota".to_vec(), b"too many new names".to_vec(), number(60)]),
        (
            "failed",
            "failed_for_reasons_unheard_of",
            vec![vec![0xff; 9], b"\x1b[31m\n".repeat(99), number(u64::MAX)],
        ),
        ("failed", "failed_without_a_word", Vec::new()),
        ("ping", "ping", vec![noon(), b"ping".to_vec(), "Café".into()]),
        ("pong", "pong_groen", vec![vec![0]]),
        ("pong", "pong_geel", vec![vec![2]]),
    ]
}
