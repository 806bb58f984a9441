//! Keys, one object of every kind, and strategies, for the tests beside.
#![allow(dead_code, unreachable_pub, reason = "shared by the test files beside; each uses its own part")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::LazyLock;
use std::time::Duration;

use jis::{
    Answer, AnswerOutcome, Challenge, ChallengePurpose, Endpoint, EnrolmentToken, Fingerprint, Identity,
    Inception, KeyEvent, Name, NameGrant, NamePattern, NextKeyCommitment, Proof, PublicKey, Punch, Query,
    Record, RecordStatus, RecordVersion, RelayOpen, Revocation, RevocationAuthority, RevocationScope,
    Rotation, SecretKey, Signed, SignedObject, SignedRotation, Tag, TransportCertificate, TransportKey,
    UnixTime, Vouch,
};
use proptest::prelude::*;

/// Seeds of RFC 8032 §7.1, TEST 1, 2, 3 and SHA(abc). Published, so of no worth.
pub const SEEDS: [&str; 4] = [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
];

/// 2026-01-02T03:04:05Z.
pub const NOW: UnixTime = UnixTime::from_secs(1_767_323_045);

/// Key number `n` of [`SEEDS`]; for further numbers a seed made of the number.
pub fn key(n: usize) -> SecretKey {
    match SEEDS.get(n) {
        Some(seed) => seed.parse().expect("seed"),
        None => {
            let mut seed = [n as u8; 32];
            seed[31] ^= 0x55;
            SecretKey::from_seed(seed.into()).expect("seed")
        }
    }
}

pub fn name(text: &str) -> Name {
    text.parse().expect(text)
}

pub fn commit(key: &SecretKey) -> NextKeyCommitment {
    NextKeyCommitment::to(&key.public_key())
}

/// `NOW` and some seconds.
pub fn at(seconds: i64) -> UnixTime {
    UnixTime::from_secs(NOW.as_secs().checked_add_signed(seconds).expect("a time after 1970"))
}

/// An X25519 public key: of the secret 00 01 … 1f.
pub fn transport_key() -> TransportKey {
    let key = jis::hex::decode_array("8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
    TransportKey::from_bytes(&key.expect("hex")).expect("transport key")
}

/// Inception of `text` with key `current` and commitment to key `next`.
pub fn inception(text: &str, current: usize, next: usize) -> Signed<Inception> {
    let object = Inception {
        name: name(text),
        key: key(current).public_key(),
        next: commit(&key(next)),
        created_at: NOW,
    };
    Signed::seal(object, &key(current)).expect("inception")
}

/// Identity that begins with [`inception`].
pub fn identity(text: &str, current: usize, next: usize) -> Identity {
    Identity::incept(&inception(text, current, next)).expect("identity")
}

/// The rotation that may follow `identity`: reveals key `revealed`, commits to key `next`.
pub fn rotation(identity: &Identity, revealed: usize, next: usize) -> Rotation {
    Rotation {
        name: identity.name.clone(),
        fingerprint: identity.fingerprint,
        generation: identity.generation + 1,
        key: key(revealed).public_key(),
        next: commit(&key(next)),
        previous: identity.last_event,
        rotated_at: at(60),
    }
}

/// [`rotation`], signed by the revealed key.
pub fn rotate(identity: &Identity, revealed: usize, next: usize) -> KeyEvent {
    let rotation = rotation(identity, revealed, next);
    KeyEvent::Rotation(SignedRotation::seal(rotation, &key(revealed), None).expect("rotation"))
}

/// A revocation of `identity`, signed by key `signer`.
pub fn revoke(
    identity: &Identity,
    scope: RevocationScope,
    authority: RevocationAuthority,
    signer: usize,
) -> KeyEvent {
    let object = Revocation {
        name: identity.name.clone(),
        fingerprint: identity.fingerprint,
        generation: identity.generation,
        key: identity.key,
        scope,
        authority,
        signer: key(signer).public_key(),
        reason: "lost in the post".parse().expect("remark"),
        revoked_at: at(120),
    };
    KeyEvent::Revocation(Signed::seal(object, &key(signer)).expect("revocation"))
}

/// A record of `identity` that holds at [`NOW`].
pub fn record(identity: &Identity) -> Record {
    Record {
        name: identity.name.clone(),
        fingerprint: identity.fingerprint,
        version: RecordVersion { generation: identity.generation, seq: 7 },
        key: identity.key,
        transport_key: Some(transport_key()),
        issued_at: NOW,
        ttl: Duration::from_secs(3600),
        endpoints: vec!["203.0.113.1:44321".parse().expect("v4"), "[2001:db8::1]:7150".parse().expect("v6")],
        relays: vec![name("jis:relay:one"), name("jis:relay:two")],
        capabilities: ["mqtt", "temperature.read"].iter().map(|c| c.parse().expect("capability")).collect(),
        status: RecordStatus::Active,
        previous: [0; 32],
        next: identity.next,
        behind_nat: true,
    }
}

/// What a verifier named `jis:gate` asks `identity`.
pub fn challenge(identity: &Identity) -> Challenge {
    Challenge {
        purpose: ChallengePurpose::Verify,
        prover: identity.name.clone(),
        verifier: name("jis:gate"),
        verifier_key: key(3).public_key(),
        verifier_nonce: [0xa1; 32],
        issued_at: NOW,
        expires_at: at(30),
        channel_binding: [0; 32],
    }
}

/// A kind of signed object, as the tests that compare all kinds see it.
pub struct Kind {
    pub tag: Tag,
    /// One valid object, `M ‖ signature`, signed by key 0.
    pub sample: Vec<u8>,
    /// Whether bytes are an object of this kind with a valid signature of the key.
    pub opens: fn(&[u8], &PublicKey) -> bool,
    /// The bytes written anew from the decoded fields, if they decode.
    pub again: fn(&[u8]) -> Option<Vec<u8>>,
}

fn opens<T: SignedObject>(bytes: &[u8], key: &PublicKey) -> bool {
    Signed::<T>::decode(bytes).is_ok_and(|signed| signed.verify(key).is_ok())
}

fn again<T: SignedObject>(bytes: &[u8]) -> Option<Vec<u8>> {
    let signed = Signed::<T>::decode(bytes).ok()?;
    Some([&signed.claims().message()[..], signed.signature().as_bytes()].concat())
}

fn kind<T: SignedObject>(object: T) -> Kind {
    Kind {
        tag: T::TAG,
        sample: Signed::seal(object, &key(0)).expect("sample").encode(),
        opens: opens::<T>,
        again: again::<T>,
    }
}

pub fn transport_certificate() -> TransportCertificate {
    TransportCertificate {
        name: name("jis:home:hub"),
        generation: 0,
        key: key(0).public_key(),
        transport_key: transport_key(),
        not_before: NOW,
        not_after: at(30 * 86_400),
    }
}

pub fn name_grant() -> NameGrant {
    NameGrant {
        id: [0x11; 16],
        parent: name("jis:home"),
        parent_generation: 0,
        parent_key: key(0).public_key(),
        pattern: "jis:home:*".parse().expect("pattern"),
        subject: Some(key(1).public_key()),
        origin: name("jis:registry"),
        overrides: false,
        issued_at: NOW,
        expires_at: at(86_400),
    }
}

pub fn enrolment_token() -> EnrolmentToken {
    EnrolmentToken {
        id: [0x22; 16],
        issuer: key(0).public_key(),
        pattern: "jis:home:lamp".parse().expect("pattern"),
        subject: None,
        origin: name("jis:registry"),
        issued_at: NOW,
        expires_at: at(86_400),
    }
}

pub fn vouch() -> Vouch {
    Vouch {
        id: [0x33; 16],
        voucher: name("jis:home:hub"),
        voucher_generation: 0,
        voucher_key: key(0).public_key(),
        subject: name("jis:home:lamp"),
        subject_fingerprint: Fingerprint::from_bytes([0x44; 32]),
        factor_permille: 700,
        reason: "built it".parse().expect("remark"),
        issued_at: NOW,
        expires_at: at(30 * 86_400),
    }
}

pub fn query() -> Query {
    Query {
        id: [0x55; 8],
        cookie: [0x66; 16],
        source: name("jis:gate"),
        key: key(0).public_key(),
        generation: 0,
        responder: key(3).public_key(),
        method: "overlay.find".parse().expect("method"),
        arguments: vec![b"mqtt".to_vec(), Vec::new()],
    }
}

pub fn answer() -> Answer {
    Answer {
        request: [0x77; 32],
        key: key(0).public_key(),
        outcome: AnswerOutcome::Yes,
        values: vec![Vec::new(), b"jis:home:hub".to_vec()],
    }
}

pub fn punch() -> Punch {
    Punch {
        from: name("jis:home:hub"),
        key: key(0).public_key(),
        generation: 0,
        to: name("jis:gate"),
        to_key: key(3).public_key(),
        nonce: [0x88; 16],
        answers: Punch::FIRST,
        issued_at: NOW,
        expires_at: at(30),
        candidates: vec!["203.0.113.1:44321".parse().expect("v4"), "[2001:db8::1]:7150".parse().expect("v6")],
    }
}

pub fn relay_open() -> RelayOpen {
    RelayOpen {
        name: name("jis:home:hub"),
        key: key(0).public_key(),
        generation: 0,
        relay: key(1).public_key(),
        exchange: transport_key(),
        issued_at: NOW,
        expires_at: at(24 * 3600),
    }
}

/// Every kind of object the crate reads.
pub fn kinds() -> &'static [Kind] {
    static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(make_kinds);
    &KINDS
}

fn make_kinds() -> Vec<Kind> {
    let hub = identity("jis:home:hub", 0, 1);
    let KeyEvent::Revocation(revocation) =
        revoke(&hub, RevocationScope::Key, RevocationAuthority::CurrentKey, 0)
    else {
        unreachable!("made as a revocation")
    };
    vec![
        kind(inception("jis:home:hub", 0, 1).claims().clone()),
        kind(rotation(&hub, 1, 2)),
        kind(revocation.claims().clone()),
        kind(record(&hub)),
        kind(transport_certificate()),
        kind(name_grant()),
        kind(enrolment_token()),
        kind(vouch()),
        kind(Proof {
            challenge: challenge(&hub),
            key: hub.key,
            generation: hub.generation,
            prover_nonce: [0xb2; 32],
        }),
        kind(query()),
        kind(answer()),
        kind(punch()),
        kind(relay_open()),
    ]
}

// Strategies.

pub fn any_key() -> impl Strategy<Value = PublicKey> {
    any_secret().prop_map(|seed| secret(seed).public_key())
}

/// Seeds that make a key.
pub fn any_secret() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>().prop_filter("degenerate seed", |seed| seed.iter().any(|b| *b != seed[0]))
}

pub fn secret(seed: [u8; 32]) -> SecretKey {
    SecretKey::from_seed(seed.into()).expect("seed")
}

/// Names of the plain grammar, and sometimes a self-certifying one.
pub fn any_name() -> impl Strategy<Value = Name> {
    let plain = prop::collection::vec("[a-z0-9]([a-z0-9_-]{0,14}[a-z0-9])?", 1..=8)
        .prop_filter("reserved label", |labels| labels[0] != "ed25519")
        .prop_map(|labels| name(&format!("jis:{}", labels.join(":"))));
    prop_oneof![9 => plain, 1 => any_key().prop_map(|key| Name::of_key(&key))]
}

pub fn any_pattern() -> impl Strategy<Value = NamePattern> {
    (any_name(), 0..3).prop_map(|(name, form)| match form {
        0 => NamePattern::Exact(name),
        1 => NamePattern::Children(name),
        _ => NamePattern::Below(name),
    })
}

pub fn any_time() -> impl Strategy<Value = UnixTime> {
    let max = UnixTime::MAX.as_millis();
    prop_oneof![1 => Just(max), 1 => Just(0), 8 => 0..=max]
        .prop_map(|ms| UnixTime::from_millis(ms).expect("within bounds"))
}

fn any_remark() -> impl Strategy<Value = jis::Remark> {
    "[ -~äλ中]{0,50}".prop_map(|text| text.parse().expect("remark"))
}

fn any_fingerprint() -> impl Strategy<Value = Fingerprint> {
    any::<[u8; 32]>().prop_map(Fingerprint::from_bytes)
}

fn any_next() -> impl Strategy<Value = NextKeyCommitment> {
    any::<[u8; 32]>().prop_map(NextKeyCommitment::from_bytes)
}

fn any_transport_key() -> impl Strategy<Value = TransportKey> {
    any::<[u8; 32]>().prop_filter_map("not a key", |bytes| TransportKey::from_bytes(&bytes).ok())
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![any::<[u8; 6]>().prop_map(|b| b.to_vec()), any::<[u8; 18]>().prop_map(|b| b.to_vec())]
        .prop_filter_map("may not stand in a record", |bytes| Endpoint::from_bytes(&bytes))
}

/// Two times, the second at least 1 ms and at most `max` later.
fn any_span(max: Duration) -> impl Strategy<Value = (UnixTime, UnixTime)> {
    let max = max.as_millis() as u64;
    (0..(1_u64 << 52), 1..=max).prop_map(|(start, length)| {
        let time = |ms| UnixTime::from_millis(ms).expect("within bounds");
        (time(start), time(start + length))
    })
}

fn distinct<T: PartialEq>(mut items: Vec<T>) -> Vec<T> {
    let mut i = 0;
    while i < items.len() {
        if items[..i].contains(&items[i]) {
            items.remove(i);
        } else {
            i += 1;
        }
    }
    items
}

pub fn any_inception() -> impl Strategy<Value = Inception> {
    (any_name(), any_key(), any_next(), any_time()).prop_map(|(name, key, next, created_at)| Inception {
        name,
        key,
        next,
        created_at,
    })
}

pub fn any_rotation() -> impl Strategy<Value = Rotation> {
    (any_name(), any_fingerprint(), 1..=u64::MAX, any_key(), any_next(), any::<[u8; 32]>(), any_time())
        .prop_map(|(name, fingerprint, generation, key, next, previous, rotated_at)| Rotation {
            name,
            fingerprint,
            generation,
            key,
            next,
            previous,
            rotated_at,
        })
}

pub fn any_revocation() -> impl Strategy<Value = Revocation> {
    let role = prop_oneof![
        Just((RevocationScope::Key, RevocationAuthority::CurrentKey)),
        Just((RevocationScope::Name, RevocationAuthority::NextKey)),
        Just((RevocationScope::Name, RevocationAuthority::Ancestor)),
    ];
    (any_name(), any_fingerprint(), any::<u64>(), any_key(), role, any_key(), any_remark(), any_time())
        .prop_map(|(name, fingerprint, generation, key, (scope, authority), signer, reason, revoked_at)| {
            Revocation { name, fingerprint, generation, key, scope, authority, signer, reason, revoked_at }
        })
}

pub fn any_record() -> impl Strategy<Value = Record> {
    let who = (any_name(), any_fingerprint(), any::<u64>(), 0..=Record::MAX_SEQ, any_key());
    let when = (any_time(), 1..=Record::MAX_TTL.as_secs());
    let lists = (
        prop::collection::vec(any_endpoint(), 0..=8).prop_map(distinct),
        prop::collection::vec(any_name(), 0..=4).prop_map(distinct),
        prop::collection::vec("[a-z0-9][a-z0-9._/-]{0,63}", 0..=32),
    );
    let rest =
        (prop::option::of(any_transport_key()), any::<bool>(), any::<[u8; 32]>(), any_next(), any::<bool>());
    (who, when, lists, rest).prop_map(
        |(
            (name, fingerprint, generation, seq, key),
            (issued_at, ttl),
            (endpoints, relays, capabilities),
            (transport_key, away, previous, next, behind_nat),
        )| {
            let capabilities: BTreeSet<_> =
                capabilities.iter().map(|c| c.parse().expect("capability")).collect();
            Record {
                relays: relays.into_iter().filter(|relay| *relay != name).collect(),
                name,
                fingerprint,
                version: RecordVersion { generation, seq },
                key,
                transport_key,
                issued_at,
                ttl: Duration::from_secs(ttl),
                endpoints,
                capabilities,
                status: if away { RecordStatus::Away } else { RecordStatus::Active },
                previous,
                next,
                behind_nat,
            }
        },
    )
}

pub fn any_transport_certificate() -> impl Strategy<Value = TransportCertificate> {
    let span = any_span(TransportCertificate::MAX_LIFETIME);
    (any_name(), any::<u64>(), any_key(), any_transport_key(), span).prop_map(
        |(name, generation, key, transport_key, (not_before, not_after))| TransportCertificate {
            name,
            generation,
            key,
            transport_key,
            not_before,
            not_after,
        },
    )
}

pub fn any_name_grant() -> impl Strategy<Value = NameGrant> {
    let parent = any_name().prop_filter("no room below", |name| name.as_str().len() < 190);
    let who = (any::<[u8; 16]>(), parent, any::<u64>(), any_key());
    let rest =
        (0..3, prop::option::of(any_key()), any_name(), any::<bool>(), any_span(NameGrant::MAX_LIFETIME));
    (who, rest).prop_map(
        |(
            (id, parent, parent_generation, parent_key),
            (form, subject, origin, overrides, (issued_at, expires_at)),
        )| {
            let below = format!("{parent}:x").parse();
            let pattern = match (form, below) {
                (0, Ok(name)) => NamePattern::Exact(name),
                (1, Ok(name)) => NamePattern::Children(name),
                _ => NamePattern::Below(parent.clone()),
            };
            NameGrant {
                id,
                parent,
                parent_generation,
                parent_key,
                pattern,
                subject,
                origin,
                overrides,
                issued_at,
                expires_at,
            }
        },
    )
}

pub fn any_enrolment_token() -> impl Strategy<Value = EnrolmentToken> {
    let span = any_span(EnrolmentToken::MAX_LIFETIME);
    (any::<[u8; 16]>(), any_key(), any_pattern(), prop::option::of(any_key()), any_name(), span).prop_map(
        |(id, issuer, pattern, subject, origin, (issued_at, expires_at))| EnrolmentToken {
            id,
            issuer,
            pattern,
            subject,
            origin,
            issued_at,
            expires_at,
        },
    )
}

pub fn any_vouch() -> impl Strategy<Value = Vouch> {
    let voucher = (any::<[u8; 16]>(), any_name(), any::<u64>(), any_key());
    let subject = (any_name(), any_fingerprint(), 0..=1000_u64, any_remark(), any_span(Vouch::MAX_LIFETIME));
    (voucher, subject)
        .prop_filter("vouches for itself", |(voucher, subject)| voucher.1 != subject.0)
        .prop_map(
            |(
                (id, voucher, voucher_generation, voucher_key),
                (subject, subject_fingerprint, factor_permille, reason, (issued_at, expires_at)),
            )| Vouch {
                id,
                voucher,
                voucher_generation,
                voucher_key,
                subject,
                subject_fingerprint,
                factor_permille,
                reason,
                issued_at,
                expires_at,
            },
        )
}

pub fn any_challenge() -> impl Strategy<Value = Challenge> {
    let nonces = (any::<[u8; 32]>(), any::<[u8; 32]>());
    (any_name(), any_name(), any_key(), nonces, any_span(Challenge::MAX_LIFETIME)).prop_map(
        |(prover, verifier, verifier_key, (verifier_nonce, channel_binding), (issued_at, expires_at))| {
            Challenge {
                purpose: ChallengePurpose::Verify,
                prover,
                verifier,
                verifier_key,
                verifier_nonce,
                issued_at,
                expires_at,
                channel_binding,
            }
        },
    )
}

pub fn any_proof() -> impl Strategy<Value = Proof> {
    (any_challenge(), any_key(), any::<u64>(), any::<[u8; 32]>()).prop_map(
        |(challenge, key, generation, prover_nonce)| Proof { challenge, key, generation, prover_nonce },
    )
}

pub fn any_query() -> impl Strategy<Value = Query> {
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let asked = ("[a-z0-9][a-z0-9._/-]{0,63}", prop::collection::vec(bytes, 0..=Query::MAX_ARGUMENTS));
    let head = (any::<[u8; 8]>(), any::<[u8; 16]>());
    (head, any_name(), any_key(), any::<u64>(), any_key(), asked).prop_map(
        |((id, cookie), source, key, generation, responder, (method, arguments))| Query {
            id,
            cookie,
            source,
            key,
            generation,
            responder,
            method: method.parse().expect("method"),
            arguments,
        },
    )
}

pub fn any_answer() -> impl Strategy<Value = Answer> {
    let outcome =
        prop_oneof![Just(AnswerOutcome::Yes), Just(AnswerOutcome::No), Just(AnswerOutcome::Pending)];
    let values = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..60);
    (any::<[u8; 32]>(), any_key(), outcome, values).prop_map(|(request, key, outcome, values)| Answer {
        request,
        key,
        outcome,
        values,
    })
}

pub fn any_punch() -> impl Strategy<Value = Punch> {
    let nonce = any::<[u8; 16]>().prop_filter("stands for none", |nonce| *nonce != Punch::FIRST);
    let candidates = prop::collection::vec(any_endpoint(), 0..=Punch::MAX_CANDIDATES).prop_map(distinct);
    let who = (any_name(), any_key(), any::<u64>(), any_name(), any_key());
    (who, nonce, any::<[u8; 16]>(), any_span(Punch::MAX_LIFETIME), candidates).prop_map(
        |((from, key, generation, to, to_key), nonce, answers, (issued_at, expires_at), candidates)| Punch {
            from,
            key,
            generation,
            to,
            to_key,
            nonce,
            answers,
            issued_at,
            expires_at,
            candidates,
        },
    )
}

pub fn any_relay_open() -> impl Strategy<Value = RelayOpen> {
    let who = (any_name(), any_key(), any::<u64>());
    (who, any_key(), any_transport_key(), any_span(RelayOpen::MAX_LIFETIME)).prop_map(
        |((name, key, generation), relay, exchange, (issued_at, expires_at))| RelayOpen {
            name,
            key,
            generation,
            relay,
            exchange,
            issued_at,
            expires_at,
        },
    )
}

/// A signed object of any kind: its tag, its bytes, and the key that signed it.
pub fn any_signed() -> impl Strategy<Value = (Tag, Vec<u8>, PublicKey)> {
    fn signed<T: SignedObject + Debug + 'static>(
        object: impl Strategy<Value = T> + 'static,
    ) -> BoxedStrategy<(Tag, Vec<u8>, PublicKey)> {
        (object, any_secret())
            .prop_map(|(object, seed)| {
                let key = secret(seed);
                let signed = Signed::seal(object, &key).expect("generated objects are valid");
                (T::TAG, signed.encode(), key.public_key())
            })
            .boxed()
    }
    prop_oneof![
        signed(any_inception()),
        signed(any_rotation()),
        signed(any_revocation()),
        signed(any_record()),
        signed(any_transport_certificate()),
        signed(any_name_grant()),
        signed(any_enrolment_token()),
        signed(any_vouch()),
        signed(any_proof()),
        signed(any_query()),
        signed(any_answer()),
        signed(any_punch()),
        signed(any_relay_open()),
    ]
}
