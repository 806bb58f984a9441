//! The worked examples of `docs/spec/`, rebuilt from their fields: M and signature byte for byte. The examples were not made by this
//! crate but by an independent Python program, as the pages say.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use common::name;
use jis::challenge_v1::TextChallenge;
use jis::pem::{self, PemEncryption};
use jis::{
    Answer, AnswerOutcome, Challenge, ChallengePurpose, EnrolmentToken, Fingerprint, Identity,
    IdentityStatus, Inception, KeyEvent, MessageWriter, Name, NameGrant, NextKeyCommitment, Proof, PublicKey,
    Punch, Query, Record, RecordStatus, RecordVersion, RelayOpen, Revocation, RevocationAuthority,
    RevocationScope, Rotation, SecretKey, Signed, SignedObject, SignedRotation, Tag, TransportCertificate,
    TransportKey, TransportSecret, UnixTime, Vouch, hex,
};

fn page(file: &str) -> String {
    let path = format!("{}/../../docs/spec/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect(file)
}

/// The fenced blocks of a page in the given language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    page.split(&open).skip(1).map(|rest| rest.split("```").next().expect("fence").to_owned()).collect()
}

/// One `example` block: `field = value`, long values going on in indented lines.
struct Example(BTreeMap<String, String>);

impl Example {
    fn parse(block: &str) -> Self {
        let mut fields = BTreeMap::new();
        let mut last = String::new();
        for line in block.lines() {
            if let Some(more) = line.strip_prefix("    ") {
                fields.entry(last.clone()).and_modify(|value: &mut String| value.push_str(more));
                continue;
            }
            let (field, value) = line.split_once(" =").expect(line);
            last = field.to_owned();
            let before = fields.insert(last.clone(), value.trim_start().to_owned());
            assert_eq!(before, None, "{field} twice");
        }
        Self(fields)
    }

    /// Takes a field out, so that what is left at the end is what no test has looked at.
    fn take(&mut self, field: &str) -> String {
        self.0.remove(field).unwrap_or_else(|| panic!("no {field} in {:?}", self.0))
    }

    fn parsed<T: FromStr>(&mut self, field: &str) -> T {
        let text = self.take(field);
        text.parse().unwrap_or_else(|_| panic!("{field} = {text}"))
    }

    fn bytes<const N: usize>(&mut self, field: &str) -> [u8; N] {
        let text = self.take(field);
        hex::decode_array(&text).unwrap_or_else(|| panic!("{field} = {text}"))
    }

    fn integer(&mut self, field: &str) -> u64 {
        self.parsed(field)
    }

    fn time(&mut self, field: &str) -> UnixTime {
        UnixTime::from_millis(self.integer(field)).expect(field)
    }

    fn items<T: FromStr>(&mut self, field: &str) -> Vec<T> {
        let text = self.take(field);
        text.split(' ').map(|item| item.parse().unwrap_or_else(|_| panic!("{field}: {item}"))).collect()
    }

    fn fingerprint(&mut self, field: &str) -> Fingerprint {
        Fingerprint::from_bytes(self.bytes(field))
    }

    fn commitment(&mut self, field: &str) -> NextKeyCommitment {
        NextKeyCommitment::from_bytes(self.bytes(field))
    }

    fn optional_key(&mut self, field: &str) -> Option<PublicKey> {
        Some(self.take(field)).filter(|text| text != "none").map(|text| text.parse().expect("key"))
    }

    fn finish(self) {
        assert!(self.0.is_empty(), "unread: {:?}", self.0);
    }
}

/// Seals `object` and compares with the page; reads the page's bytes and verifies them.
fn check<T: SignedObject + PartialEq + std::fmt::Debug>(object: T, mut example: Example) -> Signed<T> {
    let signer: SecretKey = example.parsed("signer seed");
    let m = example.take("M");
    let signature = example.take("signature");
    example.finish();
    let sealed = Signed::seal(object, &signer).expect("sealed");
    assert_eq!(hex::encode(sealed.message()), m);
    assert_eq!(sealed.signature().to_string(), signature);
    let read = Signed::<T>::decode(&hex::decode(&format!("{m}{signature}")).expect("hex")).expect("decoded");
    assert_eq!(read.verify(&signer.public_key()), Ok(sealed.claims()));
    sealed
}

/// The examples of a page of the given kinds, in order.
fn examples(file: &str, kinds: &[&str]) -> Vec<Example> {
    let mut found: Vec<_> =
        blocks(&page(file), "example").iter().map(|block| Example::parse(block)).collect();
    let objects: Vec<_> = found.iter_mut().map(|example| example.take("object")).collect();
    assert_eq!(objects, kinds, "{file}");
    found
}

fn example(file: &str, kind: &str) -> Example {
    examples(file, &[kind]).remove(0)
}

fn inception() -> Signed<Inception> {
    let mut e = examples("key-events.md", &["inception", "rotation", "revocation"]).remove(0);
    let object = Inception {
        name: e.parsed("name"),
        key: e.parsed("key"),
        next: e.commitment("next"),
        created_at: e.time("created_at"),
    };
    check(object, e)
}

fn record() -> Signed<Record> {
    let mut e = example("record.md", "record");
    let object = Record {
        name: e.parsed("name"),
        fingerprint: e.fingerprint("fingerprint"),
        version: RecordVersion { generation: e.integer("generation"), seq: e.integer("seq") },
        key: e.parsed("key"),
        transport_key: Some(TransportKey::from_bytes(&e.bytes("transport_key")).expect("transport key")),
        issued_at: e.time("issued_at"),
        ttl: Duration::from_secs(e.integer("ttl")),
        endpoints: e.items("endpoints"),
        relays: e.items("relays"),
        capabilities: e.items("capabilities").into_iter().collect::<BTreeSet<_>>(),
        status: match e.integer("status") {
            1 => RecordStatus::Active,
            2 => RecordStatus::Away,
            other => panic!("status {other}"),
        },
        previous: e.bytes("previous"),
        next: e.commitment("next"),
        behind_nat: e.integer("flags") == 1,
    };
    check(object, e)
}

/// Pages of the objects of this crate, each with its test below.
#[test]
fn every_page_is_tested_here() {
    let dir = format!("{}/../../docs/spec", env!("CARGO_MANIFEST_DIR"));
    let files: BTreeSet<_> = std::fs::read_dir(dir)
        .expect("docs/spec")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .collect();
    let tested = [
        "challenge.md",
        "did-document.md",
        "enrolment-token.md",
        "key-events.md",
        "key-file.md",
        "name-grant.md",
        "name.md",
        "record.md",
        "signing.md",
        "transport-key.md",
        "vouch.md",
    ];
    for file in tested {
        assert!(files.contains(file), "{file} is missing");
        assert!(!blocks(&page(file), "example").is_empty() || file == "did-document.md", "{file}");
    }
}

#[test]
fn signing() {
    let mut examples = examples("signing.md", &["construction", "hashes"]);
    let mut hashes = examples.remove(1);
    let mut e = examples.remove(0);
    assert_eq!(e.take("tag"), Tag::Vouch.as_str());
    let text = e.take("text");
    let integer = e.integer("integer");
    let list = e.take("list");
    let m = MessageWriter::new(Tag::Vouch).text(&text).integer(integer).list(list.split(' ')).finish();
    assert_eq!(hex::encode(&m), e.take("M"));
    e.finish();

    let key: PublicKey = hashes.parsed("key");
    assert_eq!(NextKeyCommitment::to(&key), hashes.commitment("commitment"));
    assert_eq!(hex::encode(inception().message()), hashes.take("inception"));
    let fingerprint = Fingerprint::of_inception(inception().message());
    assert_eq!(fingerprint, hashes.fingerprint("fingerprint"));
    let network = hashes.take("network");
    assert_eq!(fingerprint.overlay_address(&network).to_string(), hashes.take("overlay address"));
    hashes.finish();
    // The list of tags on the page is the one in the code.
    let page = page("signing.md");
    for tag in Tag::ALL {
        assert!(page.contains(&format!("`{}`", tag.as_str())), "{}", tag.as_str());
    }
}

#[test]
fn name_page() {
    let mut e = example("name.md", "name");
    let name: Name = e.parsed("name");
    assert_eq!(name.to_did(), e.take("did"));
    assert_eq!(name.parent().expect("parent").as_str(), e.take("parent"));
    let key: PublicKey = e.parsed("key");
    let own: Name = e.parsed("self-certifying");
    assert_eq!(own, Name::of_key(&key));
    assert_eq!(own.certified_key(), Some(key));
    e.finish();
}

#[test]
fn key_events() {
    let mut examples = examples("key-events.md", &["inception", "rotation", "revocation"]);
    let mut e = examples.remove(1);
    let old: SecretKey = e.parsed("co-signer seed");
    let revealed: SecretKey = e.0["signer seed"].parse().expect("seed");
    let cosignature = e.take("co-signature");
    let rotation = Rotation {
        name: e.parsed("name"),
        fingerprint: e.fingerprint("fingerprint"),
        generation: e.integer("generation"),
        key: e.parsed("key"),
        next: e.commitment("next"),
        previous: e.bytes("previous"),
        rotated_at: e.time("rotated_at"),
    };
    let signed = check(rotation.clone(), e);
    let rotation = SignedRotation::seal(rotation, &revealed, Some(&old)).expect("sealed");
    assert_eq!(rotation.rotation, signed);
    assert_eq!(rotation.cosignature.expect("co-signature").to_string(), cosignature);

    let mut e = examples.remove(1);
    let revocation = Revocation {
        name: e.parsed("name"),
        fingerprint: e.fingerprint("fingerprint"),
        generation: e.integer("generation"),
        key: e.parsed("key"),
        scope: match e.integer("scope") {
            1 => RevocationScope::Key,
            2 => RevocationScope::Name,
            other => panic!("scope {other}"),
        },
        authority: match e.integer("authority") {
            1 => RevocationAuthority::CurrentKey,
            2 => RevocationAuthority::NextKey,
            3 => RevocationAuthority::Ancestor,
            other => panic!("authority {other}"),
        },
        signer: e.parsed("signer"),
        reason: e.parsed("reason"),
        revoked_at: e.time("revoked_at"),
    };
    let revocation = check(revocation, e);

    // Together they are a history.
    let events =
        [KeyEvent::Inception(inception()), KeyEvent::Rotation(rotation), KeyEvent::Revocation(revocation)];
    let identity = Identity::replay(&events, &[]).expect("history");
    assert_eq!((identity.generation, identity.status), (1, IdentityStatus::KeyRevoked));
}

#[test]
fn transport_key() {
    let mut e = example("transport-key.md", "transport-key");
    let transport_key = TransportKey::from_bytes(&e.bytes("transport_key")).expect("transport key");
    let secret = TransportSecret::from_bytes(zeroize::Zeroizing::new(std::array::from_fn(|i| i as u8)));
    assert_eq!(secret.expect("secret").public_key(), transport_key);
    let object = TransportCertificate {
        name: e.parsed("name"),
        generation: e.integer("generation"),
        key: e.parsed("key"),
        transport_key,
        not_before: e.time("not_before"),
        not_after: e.time("not_after"),
    };
    check(object, e);
}

#[test]
fn record_page() {
    let record = record();
    let hub = Identity::incept(&inception()).expect("identity");
    assert_eq!(record.claims().fingerprint, hub.fingerprint);
    assert!(record.verify(&hub.key).is_ok());
}

#[test]
fn challenge() {
    let mut examples = examples("challenge.md", &["proof", "text-challenge"]);
    let mut text = examples.remove(1);
    let mut e = examples.remove(0);
    assert_eq!(e.integer("purpose"), 1);
    let object = Proof {
        challenge: Challenge {
            purpose: ChallengePurpose::Verify,
            prover: e.parsed("prover"),
            verifier: e.parsed("verifier"),
            verifier_key: e.parsed("verifier_key"),
            verifier_nonce: e.bytes("verifier_nonce"),
            issued_at: e.time("issued_at"),
            expires_at: e.time("expires_at"),
            channel_binding: e.bytes("channel_binding"),
        },
        key: e.parsed("key"),
        generation: e.integer("generation"),
        prover_nonce: e.bytes("prover_nonce"),
    };
    let proof = check(object, e);
    let challenge = &proof.claims().challenge;
    let hub = Identity::incept(&inception()).expect("identity");
    assert_eq!(challenge.check(&proof, &hub, challenge.expires_at), Ok(()));

    let key: SecretKey = text.parsed("signer seed");
    let (agent, nonce, issued_at) = (text.take("agent_id"), text.take("nonce"), text.integer("issued_at"));
    let asked = TextChallenge::new(&agent, &nonce, issued_at).expect("challenge");
    assert_eq!(asked.text(), text.take("text"));
    assert_eq!(asked.answer(&key).to_string(), text.take("signature"));
    text.finish();
}

#[test]
fn name_grant() {
    let mut e = example("name-grant.md", "name-grant");
    let object = NameGrant {
        id: e.bytes("id"),
        parent: e.parsed("parent"),
        parent_generation: e.integer("parent_generation"),
        parent_key: e.parsed("parent_key"),
        pattern: e.parsed("pattern"),
        subject: e.optional_key("subject"),
        origin: e.parsed("origin"),
        overrides: e.integer("overrides") == 1,
        issued_at: e.time("issued_at"),
        expires_at: e.time("expires_at"),
    };
    let grant = check(object, e);
    assert!(grant.claims().pattern.matches(&name("jis:home:hub")));
}

#[test]
fn enrolment_token() {
    let mut e = example("enrolment-token.md", "enrolment-token");
    let object = EnrolmentToken {
        id: e.bytes("id"),
        issuer: e.parsed("issuer"),
        pattern: e.parsed("pattern"),
        subject: e.optional_key("subject"),
        origin: e.parsed("origin"),
        issued_at: e.time("issued_at"),
        expires_at: e.time("expires_at"),
    };
    check(object, e);
}

#[test]
fn vouch() {
    let mut e = example("vouch.md", "vouch");
    let object = Vouch {
        id: e.bytes("id"),
        voucher: e.parsed("voucher"),
        voucher_generation: e.integer("voucher_generation"),
        voucher_key: e.parsed("voucher_key"),
        subject: e.parsed("subject"),
        subject_fingerprint: e.fingerprint("subject_fingerprint"),
        factor_permille: e.integer("factor_permille"),
        reason: e.parsed("reason"),
        issued_at: e.time("issued_at"),
        expires_at: e.time("expires_at"),
    };
    check(object, e);
}

/// A list of byte strings in hex, `-` for an empty one.
fn byte_strings(text: &str) -> Vec<Vec<u8>> {
    let item = |item: &str| hex::decode(if item == "-" { "" } else { item }).expect("hex");
    text.split(' ').map(item).collect()
}

#[test]
fn query_and_answer() {
    let [mut asked, mut answered] =
        examples("overlay.md", &["query", "answer"]).try_into().ok().expect("two");
    let query = Query {
        id: asked.bytes("id"),
        cookie: asked.bytes("cookie"),
        source: asked.parsed("source"),
        key: asked.parsed("key"),
        generation: asked.integer("generation"),
        responder: asked.parsed("responder"),
        method: asked.parsed("method"),
        arguments: byte_strings(&asked.take("arguments")),
    };
    let answer = Answer {
        request: answered.bytes("request"),
        key: answered.parsed("key"),
        outcome: match answered.integer("outcome") {
            1 => AnswerOutcome::Yes,
            other => panic!("outcome {other}"),
        },
        values: byte_strings(&answered.take("values")),
    };
    let (query, answer) = (check(query, asked), check(answer, answered));
    assert_eq!(Answer::check(&answer, &query), Ok(()));
}

#[test]
fn punch() {
    let mut e = example("punch.md", "punch");
    let object = Punch {
        from: e.parsed("from"),
        key: e.parsed("key"),
        generation: e.integer("generation"),
        to: e.parsed("to"),
        to_key: e.parsed("to_key"),
        nonce: e.bytes("nonce"),
        answers: e.bytes("answers"),
        issued_at: e.time("issued_at"),
        expires_at: e.time("expires_at"),
        candidates: e.items("candidates"),
    };
    check(object, e);
}

#[test]
fn relay_open() {
    let mut e = example("relay.md", "relay-open");
    let object = RelayOpen {
        name: e.parsed("name"),
        key: e.parsed("key"),
        generation: e.integer("generation"),
        relay: e.parsed("relay"),
        exchange: TransportKey::from_bytes(&e.bytes("exchange")).expect("exchange"),
        issued_at: e.time("issued_at"),
        expires_at: e.time("expires_at"),
    };
    check(object, e);
}

#[test]
fn did_document() {
    let blocks = blocks(&page("did-document.md"), "json");
    assert_eq!(blocks.len(), 1);
    let expected: serde_json::Value = serde_json::from_str(&blocks[0]).expect("JSON");
    let hub = Identity::incept(&inception()).expect("identity");
    assert_eq!(jis::did::document(&hub, Some(record().claims())), expected);
}

#[test]
fn key_file() {
    let mut e = example("key-file.md", "key-file");
    let key: SecretKey = e.parsed("seed");
    let secret =
        TransportSecret::from_bytes(zeroize::Zeroizing::new(e.bytes("transport secret"))).expect("secret");
    let passphrase = e.take("passphrase");
    let encryption = PemEncryption { passphrase: &passphrase, salt: e.bytes("salt"), iv: e.bytes("iv") };
    e.finish();
    let files = blocks(&page("key-file.md"), "pem");
    let [plain, transport, encrypted] = &files[..] else { panic!("{} files", files.len()) };
    assert_eq!(*pem::encode_identity(&key, None), *plain);
    assert_eq!(*pem::encode_transport(&secret, None), *transport);
    assert_eq!(*pem::encode_identity(&key, Some(encryption)), *encrypted);
    let read = pem::decode_identity(encrypted, Some(&passphrase)).expect("key");
    assert_eq!(read.to_seed(), key.to_seed());
    assert_eq!(pem::decode_transport(transport, None).expect("key").to_bytes(), secret.to_bytes());
}
