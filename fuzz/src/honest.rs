//! The keys of these checks, and everything that was ever honestly signed with them. Whatever else verifies is a forgery.

use jis::{
    Challenge, ChallengePurpose, Identity, Inception, Name, NextKeyCommitment, Proof, SecretKey, Signed,
    UnixTime,
};
use tibet_core::object;
use tibet_ping::{Decision, Fresh, Packet, Response, sign_ping, sign_pong};

/// 2026-01-02T03:04:05Z, when all of it plays.
pub const NOON: UnixTime = UnixTime::from_secs(1_767_323_045);

/// `NOON` and some seconds.
#[must_use]
pub fn at(seconds: u64) -> UnixTime {
    UnixTime::from_secs(NOON.as_secs() + seconds)
}

/// Key number `n`: the sensor's 0, the hub's 1, the gate's 2, the hub's next one 3.
#[must_use]
pub fn key(n: u8) -> SecretKey {
    let mut seed = [0x5a; 32];
    seed[0] = n;
    SecretKey::from_seed(seed.into()).expect("a seed of two different bytes")
}

/// A name that is known to be one.
#[must_use]
pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// All packets ever signed with the sensor's key.
#[must_use]
pub fn packets() -> Vec<Packet> {
    let (sensor, hub) = (name("jis:home:sensor"), name("jis:home:hub"));
    let fresh = |n: u8| Fresh { id: [n; 8], nonce: [n; 16], now: NOON };
    let mut asking = Packet::intent(&sensor, &hub, "temperature.report", "Café window", fresh(1));
    asking.payload = object! { "celsius" => 21.5, "unit" => "°C", "samples" => vec![1_i64, -3] };
    asking.pod_id = Some("kitchen".into());
    let alive = Packet::heartbeat(&sensor, fresh(2));
    let searching =
        Packet::discover(&sensor, object! { "capabilities" => vec!["mqtt".to_owned()] }, fresh(3));
    let known = key(1).public_key();
    [(asking, Some(known)), (alive, None), (searching, None)]
        .map(|(mut packet, target)| {
            sign_ping(&mut packet, &key(0), 0, target, at(30)).expect("can be signed");
            packet
        })
        .into()
}

/// What a response of the hub is bound to, here.
pub const REQUEST: [u8; 32] = [7; 32];

/// The only response ever signed with the hub's key.
#[must_use]
pub fn response() -> Response {
    let hub = name("jis:home:hub");
    let fresh = Fresh { id: [9; 8], nonce: [9; 16], now: at(1) };
    let packet = &packets()[0];
    let mut response = Response::to(packet, &hub, Decision::Accept, tibet_core::Zone::Groen, 0.9, fresh);
    response.capabilities = vec!["mqtt".into(), "coap".into()];
    response.rtt_ms = Some(0.125);
    sign_pong(&mut response, &REQUEST, &key(1), 1).expect("can be signed");
    response
}

/// The hub, and what the gate asks it.
#[must_use]
pub fn challenge() -> (Identity, Challenge) {
    let inception = Inception {
        name: name("jis:home:hub"),
        key: key(1).public_key(),
        next: NextKeyCommitment::to(&key(3).public_key()),
        created_at: NOON,
    };
    let signed = Signed::seal(inception, &key(1)).expect("readable");
    let hub = Identity::incept(&signed).expect("a first event");
    let challenge = Challenge {
        purpose: ChallengePurpose::Verify,
        prover: hub.name.clone(),
        verifier: name("jis:gate"),
        verifier_key: key(2).public_key(),
        verifier_nonce: [0xa1; 32],
        issued_at: NOON,
        expires_at: at(30),
        channel_binding: [0; 32],
    };
    (hub, challenge)
}

/// The only proof ever made for [`challenge`].
#[must_use]
pub fn proof() -> Signed<Proof> {
    let (hub, challenge) = challenge();
    challenge.answer(&hub, &key(1), [0xb2; 32], at(1)).expect("in time and for the hub")
}
