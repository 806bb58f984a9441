//! The intents `overlay.*`: what is written is read again, what is something else is not, and a registration fits a datagram.

use std::time::Duration;

use jis::{
    Answer, AnswerOutcome, Capability, Challenge, ChallengePurpose, Name, Punch, Query, RelayOpen, SecretKey,
    Signed, TransportKey, UnixTime, message_hash,
};
use tibet_overlay::intents::{
    Failure, FailureCode, FoundNames, Malformed, OverlayRequest, PingRequest, PongAnswer, PongZone,
    PresenceState, ProofAnswer, PunchAnswer, RegisterAnswer, RegisterRequest, RelayAnswer, ResolveAnswer,
};
use tibet_overlay::{LocalDevice, Presence};
use tibet_ping::{Compact, MAX_UNFRAGMENTED};
use tibet_registry::Zone;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

fn device(text: &str) -> LocalDevice {
    let mut device = LocalDevice::create(name(text), NOW).expect("keys");
    let presence = Presence {
        endpoints: vec!["203.0.113.1:44321".parse().expect("address")],
        behind_nat: true,
        capabilities: ["mqtt", "temperature"].map(|word| word.parse().expect("word")).into(),
        ..Presence::default()
    };
    device.publish(presence, NOW).expect("signed");
    device
}

fn registration(device: &mut LocalDevice) -> RegisterRequest {
    let registration = device.registration(None, NOW).expect("signed");
    RegisterRequest {
        record: registration.record,
        events: registration.events,
        transport: registration.transport,
        permission: None,
    }
}

fn query(device: &LocalDevice, request: &OverlayRequest) -> Signed<Query> {
    let node = device.node_identity().expect("active");
    let query = Query {
        id: [1; 8],
        cookie: [2; 16],
        source: node.name.clone(),
        key: node.key.public_key(),
        generation: node.generation,
        responder: node.key.public_key(),
        method: request.intent().parse::<Capability>().expect("a method"),
        arguments: request.arguments(),
    };
    Signed::seal(query, &node.key).expect("signed")
}

/// Networks lose fragments: a whole first registration, transport key and all, travels in one packet over every IPv6 path.
#[test]
fn a_registration_fits_a_datagram() {
    let mut device = device("jis:building-7:floor-3:sensor-0042");
    let request = OverlayRequest::Register(Box::new(registration(&mut device)));
    let datagram = Compact::Query(&query(&device, &request).encode()).write();
    assert!(datagram.len() <= MAX_UNFRAGMENTED, "{}", datagram.len());
    // The cookie is where it is looked for before anything is read.
    let body = &datagram[8..];
    assert_eq!(body[Query::ID_AT..][..24], [[1; 8].as_slice(), &[2; 16]].concat());
}

#[test]
fn requests_are_read_as_they_were_written() {
    let mut device = device("jis:home:hub");
    let first = registration(&mut device);
    let (challenge, punch, relay_open) = (challenge(&device), punch(&device), relay_open(&device));
    let (rotation, record) = device.rotate(None, NOW).expect("rotated");
    for request in [
        OverlayRequest::Register(Box::new(first)),
        OverlayRequest::Resolve { name: name("jis:a"), events_from: None },
        OverlayRequest::Resolve { name: name("jis:a"), events_from: Some(3) },
        OverlayRequest::Find { capability: "mqtt".parse().expect("word"), after: 1 << 40 },
        OverlayRequest::Challenge(Box::new(challenge)),
        OverlayRequest::Connect { name: name("jis:a"), punch: Box::new(punch.clone()) },
        OverlayRequest::Punch(Box::new(punch)),
        OverlayRequest::Relay(Box::new(relay_open)),
        OverlayRequest::Rotate { rotation: Box::new(rotation), record: Box::new(record) },
    ] {
        let (intent, arguments) = (request.intent(), request.arguments());
        let read = OverlayRequest::read(intent, &arguments).expect(intent);
        assert_eq!((read.intent(), read.arguments()), (intent, arguments.clone()));
        assert_eq!(read.claimant(), request.claimant());
        // One part missing, too many, or something else in a part's place: refused, not guessed.
        assert!(
            OverlayRequest::read(intent, &arguments[..arguments.len() - 1]).is_err() || arguments.len() == 4
        );
        let more = [&arguments[..], &[b"more".to_vec()]].concat();
        assert!(OverlayRequest::read(intent, &more).is_err(), "{intent} with a part too many");
        for at in 0..arguments.len() {
            let mut other = arguments.clone();
            other[at] = b"\x1b[31m".to_vec();
            assert!(OverlayRequest::read(intent, &other).is_err(), "{intent} with another part {at}");
        }
    }
    assert_eq!(OverlayRequest::read("overlay.format-disk", &[]).err(), Some(Malformed("intent")));
    assert_eq!(OverlayRequest::read("overlay.register", &[]).err(), Some(Malformed("record")));
}

fn challenge(device: &LocalDevice) -> Challenge {
    Challenge {
        purpose: ChallengePurpose::Verify,
        prover: name("jis:home:hub"),
        verifier: name("jis:home:phone"),
        verifier_key: device.identity().key,
        verifier_nonce: [7; 32],
        issued_at: NOW,
        expires_at: NOW.saturating_add(Challenge::MAX_LIFETIME),
        channel_binding: [0; 32],
    }
}

fn punch(device: &LocalDevice) -> Signed<Punch> {
    let node = device.node_identity().expect("active");
    let punch = Punch {
        from: node.name.clone(),
        key: node.key.public_key(),
        generation: node.generation,
        to: name("jis:a"),
        to_key: node.key.public_key(),
        nonce: [5; 16],
        answers: Punch::FIRST,
        issued_at: NOW,
        expires_at: NOW.saturating_add(Punch::MAX_LIFETIME),
        candidates: vec!["203.0.113.1:44321".parse().expect("address")],
    };
    Signed::seal(punch, &node.key).expect("signed")
}

fn relay_open(device: &LocalDevice) -> Signed<RelayOpen> {
    let node = device.node_identity().expect("active");
    let open = RelayOpen {
        name: node.name.clone(),
        key: node.key.public_key(),
        generation: node.generation,
        relay: node.key.public_key(),
        exchange: TransportKey::from_bytes(&[9; 32]).expect("a key"),
        issued_at: NOW,
        expires_at: NOW.saturating_add(RelayOpen::MAX_LIFETIME),
    };
    Signed::seal(open, &node.key).expect("signed")
}

#[test]
fn answers_are_read_as_they_were_written() {
    let device = device("jis:home:hub");
    let record = device.record().expect("published").clone();
    let registered = RegisterAnswer {
        changed: true,
        version: record.claims().version,
        fingerprint: device.identity().fingerprint,
        registered_at: NOW,
        expires_at: NOW,
        observed: "[2001:db8::1]:40000".parse().expect("address"),
        keepalive: [9; 16],
        keepalive_every: Duration::from_secs(25),
    };
    assert_eq!(RegisterAnswer::read(&registered.values()), Ok(registered.clone()));
    // A node cannot make a device send all the time, nor never again.
    for (asked, done) in [(0_u64, 5), (u64::MAX, 120)] {
        let mut values = registered.values();
        values[8] = asked.to_be_bytes().to_vec();
        assert_eq!(RegisterAnswer::read(&values).map(|answer| answer.keepalive_every.as_secs()), Ok(done));
    }
    let resolved = ResolveAnswer {
        record,
        events: device.events().to_vec(),
        event_count: 1,
        presence: PresenceState::Online,
        last_seen: Some(NOW),
        observed: Some("192.0.2.1:9".parse().expect("address")),
        registered_at: NOW,
        trust: 0.5,
    };
    assert_eq!(ResolveAnswer::read(&resolved.values()), Ok(resolved.clone()));
    assert_eq!(resolved.zone(), Zone::Geel);
    for trust in [7.0_f64, -0.1, f64::NAN, f64::INFINITY] {
        let mut lying = resolved.values();
        lying[6] = trust.to_bits().to_be_bytes().to_vec();
        assert_eq!(ResolveAnswer::read(&lying).err(), Some(Malformed("trust")));
    }
    let page = FoundNames { names: vec![name("jis:a"), name("jis:b")], next: Some(7) };
    assert_eq!(FoundNames::read(&page.values()), Ok(page));

    let proof = device.answer(&challenge(&device), NOW).expect("signed");
    let proof = ProofAnswer { proof, asked: None, elapsed: Duration::from_millis(3) };
    assert_eq!(ProofAnswer::read(&proof.values()), Ok(proof));

    let consent = PunchAnswer { punch: punch(&device), asked: None, elapsed: Duration::from_millis(3) };
    assert_eq!(PunchAnswer::read(&consent.values()), Ok(consent));

    let relay = RelayAnswer {
        session: [5; 8],
        exchange: TransportKey::from_bytes(&[9; 32]).expect("a key"),
        lifetime: RelayOpen::MAX_LIFETIME,
        bytes_per_second: u64::MAX,
    };
    assert_eq!(RelayAnswer::read(&relay.values()), Ok(relay));
    // No session that is none, and none for ever.
    for (place, other) in
        [(2, vec![0; 8]), (2, u64::MAX.to_be_bytes().to_vec()), (1, vec![0; 32]), (0, vec![1; 7])]
    {
        let mut values = relay.values();
        values[place] = other;
        assert!(RelayAnswer::read(&values).is_err(), "{values:?}");
    }

    let failure =
        Failure { retry_after: Some(Duration::from_secs(9)), ..Failure::new(FailureCode::Quota, "wait") };
    assert_eq!(Failure::read(&failure.values()), failure);
    let hostile = Failure::read(&[b"new-in-2030".to_vec(), b"\x1b[31mred\xff".to_vec()]);
    assert_eq!((hostile.code, hostile.detail.as_str()), (FailureCode::Refused, "[31mred\u{fffd}"));
    assert_eq!(Failure::read(&[]).code, FailureCode::Refused);
}

/// SECURITY R11, 3.2 row 10: an answer counts for the question it was made for, by the key that was asked, and no other.
#[test]
fn an_answer_is_bound_to_its_question_and_its_key() {
    let device = device("jis:home:hub");
    let identity = device.node_identity().expect("active");
    let request = OverlayRequest::Resolve { name: name("jis:a"), events_from: None };
    let query = query(&device, &request);
    let answer = |request, key: &SecretKey| {
        let claims = Answer {
            request,
            key: identity.key.public_key(),
            outcome: AnswerOutcome::Yes,
            values: Vec::new(),
        };
        Signed::seal(claims, key).expect("signed")
    };
    let hash = message_hash(query.message());
    assert!(Answer::check(&answer(hash, &identity.key), &query).is_ok());
    assert!(Answer::check(&answer([9; 32], &identity.key), &query).is_err());
    let other = SecretKey::from_seed(std::array::from_fn::<u8, 32, _>(|i| i as u8).into()).expect("key");
    assert!(Answer::check(&answer(hash, &other), &query).is_err());
    let theirs =
        Answer { request: hash, key: other.public_key(), outcome: AnswerOutcome::Yes, values: Vec::new() };
    assert!(Answer::check(&Signed::seal(theirs, &other).expect("signed"), &query).is_err());
}

/// A ping that a node passes on is a question of its own; what no device asks or answers is not read as one.
#[test]
fn pings_through_a_node_are_read_as_they_were_written() {
    let device = device("jis:home:hub");
    let node = device.node_identity().expect("active");
    let own = node.key.public_key();
    let asked = PingRequest { issued_at: NOW, intent: "ping".parse().expect("word"), purpose: "Why?".into() };
    let query = asked.query([1; 8], node.name.clone(), own, 0, own);
    assert_eq!(PingRequest::read(&query), Ok(asked.clone()));
    let sealed = Signed::seal(query.clone(), &node.key).expect("signed");
    let request = OverlayRequest::Ping { name: node.name.clone(), ping: Box::new(sealed.clone()) };
    let read = OverlayRequest::read(request.intent(), &request.arguments()).expect("a request");
    assert_eq!(read.arguments(), request.arguments());
    for other in [
        Query { method: "overlay.resolve".parse().expect("word"), ..query.clone() },
        Query { cookie: [1; 16], ..query.clone() },
        Query { arguments: query.arguments[..2].to_vec(), ..query.clone() },
        Query { arguments: [&query.arguments[..2], &[vec![b'a'; 257]]].concat(), ..query.clone() },
        Query { arguments: [&query.arguments[..2], &[b"\x1b[31m".to_vec()]].concat(), ..query.clone() },
    ] {
        assert!(PingRequest::read(&other).is_err(), "{other:?}");
    }
    // A purpose that is too long is cut off where a character ends.
    let long =
        PingRequest { purpose: "ü".repeat(200), ..asked }.query([1; 8], node.name.clone(), own, 0, own);
    assert_eq!(PingRequest::read(&long).map(|ping| ping.purpose.len()), Ok(256));

    for (zone, outcome) in [(Zone::Groen, AnswerOutcome::Yes), (Zone::Geel, AnswerOutcome::Pending)] {
        let pong = PongZone::of(zone).expect("an answer").answer(message_hash(sealed.message()), own);
        assert_eq!((pong.outcome, PongZone::read(&pong).map(PongZone::zone)), (outcome, Ok(zone)));
        let pong = Signed::seal(pong, &node.key).expect("signed");
        assert_eq!(Answer::check(&pong, &sealed), Ok(()));
        let answer = PongAnswer { pong, asked: None, elapsed: Duration::from_micros(7) };
        assert_eq!(PongAnswer::read(&answer.values()), Ok(answer.clone()));
    }
    assert_eq!(PongZone::of(Zone::Rood), None, "silence");
}
