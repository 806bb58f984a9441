//! `trust_lookup.json`, `vouch.json`, `airlock.json`, `beacon.json`: who is trusted, and what follows.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Case, NOON, key, name, now, packet, table, vectors};
use jis::{Fingerprint, SecretKey, Signed, UnixTime, Vouch};
use tibet_core::Zone;
use tibet_ping::{
    Airlock, Beacon, BeaconBook, BeaconRule, BeaconVerdict, Binding, Decision, PingType, Rule, RulePattern,
    Standing, Thresholds, Timestamp, TrustTable, VouchBook, VouchId,
};

const SUBJECT: Fingerprint = Fingerprint::from_bytes([7; 32]);

/// Every vouch of the vectors is given by a voucher of its own, whose trust is the one the vector gives.
struct Vouching {
    book: VouchBook,
    table: TrustTable,
    given: usize,
}

impl Vouching {
    fn new() -> Self {
        Self { book: VouchBook::new(), table: TrustTable::new(), given: 0 }
    }

    fn add(&mut self, id: VouchId, subject: &str, trust: f64, factor: f64, end: UnixTime, now: UnixTime) {
        self.given += 1;
        let key = key(100 + self.given);
        let voucher = Binding {
            name: name(&format!("jis:voucher:{}", self.given)),
            key: key.public_key(),
            generation: 0,
        };
        self.table.set(voucher.name.clone(), trust).expect("score");
        let vouch = Vouch {
            id,
            voucher: voucher.name.clone(),
            voucher_generation: 0,
            voucher_key: voucher.key,
            subject: name(subject),
            subject_fingerprint: SUBJECT,
            factor_permille: (factor * 1000.0).round() as u64,
            reason: "test".parse().expect("remark"),
            issued_at: now,
            expires_at: end,
        };
        let vouch = Signed::seal(vouch, &key).expect("vouch");
        assert_eq!(self.book.handle_vouch(&vouch, &voucher, &SUBJECT, now), Ok(id));
    }

    fn trust(&self, subject: &str, now: UnixTime) -> Option<f64> {
        self.book.trust(&name(subject), now, |voucher| self.table.explicit(voucher)).map(|(score, _)| score)
    }
}

fn time(text: &str) -> UnixTime {
    let micros = Timestamp::parse(text).expect(text).as_micros();
    UnixTime::from_millis(u64::try_from(micros).expect("after 1970") / 1000).expect("time")
}

/// The id of the n-th vouch that stands for one vouch of the vectors.
fn vouch_id(text: &str, n: usize) -> VouchId {
    let mut id = [0; 16];
    id[..text.len()].copy_from_slice(text.as_bytes());
    id[15] = n as u8;
    id
}

#[test]
fn trust_lookup_vectors() {
    let cases = vectors("trust_lookup.json").cases("cases");
    assert_eq!(cases.len(), 6);
    for case in cases {
        let mut vouching = Vouching::new();
        for (n, vouch) in case.cases("vouches").iter().enumerate() {
            for subject in vouch.texts("dids") {
                let end = NOON.saturating_add(Duration::from_secs(60));
                vouching.add(
                    vouch_id("v", n),
                    &subject,
                    vouch.number("voucher_trust"),
                    vouch.number("factor"),
                    end,
                    NOON,
                );
            }
        }
        for known in case.list("known") {
            let known = known.as_array().expect("pair");
            let score = common::number(&known[1]);
            vouching.table.set(name(known[0].as_str().expect("name")), score).expect("score");
        }
        let trust = vouching.table.lookup(&name(case.text("did")), &vouching.book, NOON);
        assert_eq!(trust.score.to_bits(), case.number("trust").to_bits(), "{}", case.text("name"));
        assert_eq!(&trust.breakdown(), &case.map("fira_breakdown").0, "{}", case.text("name"));
    }
}

#[test]
fn vouch_vectors() {
    let cases = vectors("vouch.json").cases("cases");
    assert_eq!(cases.len(), 6);
    let differing = table("ping.md", "### Trust and vouches");
    assert_eq!(differing.len(), 1);
    let mut differences = 0;
    for case in cases {
        let capped = differing.iter().any(|row| row[0] == case.text("name"));
        differences += usize::from(capped);
        let mut vouching = Vouching::new();
        // The names behind each id of the vectors.
        let mut ids: BTreeMap<String, Vec<(String, VouchId)>> = BTreeMap::new();
        for step in case.cases("steps") {
            let now = time(step.text("now"));
            let what = format!("{}: {:?}", case.text("name"), step.0);
            match step.text("op") {
                "add" => {
                    let id = step.text("vouch_id");
                    let factor = if step.has("vouch_factor") { step.number("vouch_factor") } else { 0.7 };
                    let end = step
                        .optional("expires_at")
                        .map_or(now.saturating_add(Vouch::MAX_LIFETIME), |t| time(&t));
                    for (n, subject) in step.texts("vouched_dids").iter().enumerate() {
                        vouching.add(
                            vouch_id(id, n),
                            subject,
                            step.number("voucher_trust"),
                            factor,
                            end,
                            now,
                        );
                        ids.entry(id.to_owned()).or_default().push((subject.clone(), vouch_id(id, n)));
                        // This one alone gives what Python computes, up to the cap.
                        let own = name(&format!("jis:voucher:{}", vouching.given));
                        let trust = step.number("voucher_trust");
                        let alone = vouching
                            .book
                            .trust(&name(subject), now, |voucher| (*voucher == own).then_some(trust));
                        let given = step.map("result").number("computed_trust");
                        let given = if capped { 0.69 } else { given };
                        assert_eq!(alone.map(|(score, _)| score), Some(given), "{what}");
                    }
                }
                "trust" => {
                    let expected = (!step.is_null("result")).then(|| step.number("result"));
                    let expected = if capped { Some(0.69) } else { expected };
                    assert_eq!(vouching.trust(step.text("did"), now), expected, "{what}");
                }
                "vouches" => {
                    let active: Vec<_> =
                        vouching.book.active(&name(step.text("did")), now).map(|v| v.id).collect();
                    let given = step.texts("result");
                    let given = given.iter().flat_map(|id| &ids[id]);
                    let for_it = given.filter(|(subject, _)| subject == step.text("did"));
                    let expected: Vec<_> = for_it.map(|(_, id)| *id).collect();
                    assert_eq!(active, expected, "{what}");
                }
                "revoke" => {
                    let known = ids.get(step.text("vouch_id")).cloned().unwrap_or_default();
                    let revoked = known.iter().filter(|(_, id)| vouching.book.revoke(id)).count();
                    assert_eq!(revoked > 0, step.truth("result"), "{what}");
                }
                "stats" => {
                    let (stats, expected) = (vouching.book.stats(now), step.map("result"));
                    // One vouch of the vectors is for several names, one of ours for one.
                    let one_each = |total: i64| if stats.subjects == 2 { 2 * total } else { total };
                    assert_eq!(stats.total as i64, one_each(expected.integer("total_vouches")), "{what}");
                    assert_eq!(stats.active as i64, one_each(expected.integer("active_vouches")), "{what}");
                    assert_eq!(stats.subjects as i64, expected.integer("vouched_devices"), "{what}");
                }
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(differences, 1);
}

fn zone(word: &str) -> Zone {
    [Zone::Groen, Zone::Geel, Zone::Rood].into_iter().find(|zone| zone.as_str() == word).expect(word)
}

#[test]
fn airlock_vectors() {
    let cases = vectors("airlock.json").cases("cases");
    assert_eq!(cases.len(), 25);
    let differing = table("ping.md", "### Airlock");
    let mut differences = 0;
    for case in cases {
        let title = case.text("name");
        let thresholds = case.map("thresholds");
        let thresholds =
            Thresholds::new(thresholds.number("groen"), thresholds.number("rood")).expect("thresholds");
        let mut airlock = Airlock::new(thresholds);
        for rule in case.cases("rules") {
            let pattern = rule.map("pattern");
            let members = pattern.0.iter().map(|(name, text)| (name.as_str(), text.as_str().expect("text")));
            airlock
                .add_rule(Rule {
                    id: rule.text("rule_id").into(),
                    name: rule.text("name").into(),
                    pattern: RulePattern::from_members(members).expect("pattern"),
                    zone: zone(rule.text("zone")),
                    decision: Decision::from_word(rule.text("decision")).expect("decision"),
                    priority: rule.integer("priority").try_into().expect("priority"),
                })
                .expect("room");
        }
        let (asked, expect) = (case.map("packet"), case.map("expect"));
        let packet = tibet_ping::Packet {
            packet_id: asked.text("packet_id").into(),
            source_did: asked.text("source_did").into(),
            intent: asked.text("intent").into(),
            ping_type: PingType::from_word(asked.text("ping_type")).expect("type"),
            pod_id: asked.optional("pod_id"),
            ..packet(1)
        };
        let trust = case.number("trust");
        let verdict = airlock.evaluate(&packet, trust, Standing::Verified);
        let decision = match differing.iter().find(|row| row[0] == title) {
            Some(row) => {
                differences += 1;
                assert_eq!(row[1], expect.text("decision"), "{title}");
                row[2].split(':').next().expect("word").to_owned()
            }
            None => expect.text("decision").to_owned(),
        };
        assert_eq!(verdict.decision.as_str(), decision, "{title}");
        assert_eq!(verdict.zone.as_str(), expect.text("zone"), "{title}");
        assert_eq!(verdict.rule.map(|rule| rule.id.clone()), expect.optional("rule_id"), "{title}");
        assert_eq!(verdict.decision == Decision::Pending, !expect.list("pending").is_empty(), "{title}");
        if let Some(reason) = expect.optional("pending_reason") {
            assert_eq!(verdict.reason(trust), reason, "{title}");
        }
        if expect.has("rule_order") {
            let order: Vec<_> = airlock.rules().iter().map(|rule| rule.id.clone()).collect();
            assert_eq!(order, expect.texts("rule_order"), "{title}");
        }
    }
    assert_eq!((differences, differing.len()), (2, 2));
}

/// A beacon as a vector describes it, or `None` if it cannot be one of ours.
fn beacon(case: &Case, key: &SecretKey) -> Option<Signed<Beacon>> {
    let beacon = Beacon {
        id: [1; 16],
        name: name(case.text("source_did")),
        fingerprint: Fingerprint::from_bytes([7; 32]),
        key_hash: Beacon::hash_of(&key.public_key()),
        port: 7150,
        capabilities: case.texts("capabilities").iter().map(|c| c.parse().expect("capability")).collect(),
        device_type: case.text("device_type").parse().expect("type"),
        requested_pod: case.optional("requested_pod"),
        issued_at: Timestamp::parse(case.text("timestamp"))
            .and_then(|t| u64::try_from(t.as_micros() / 1000).ok())
            .and_then(UnixTime::from_millis)?,
    };
    Some(Signed::seal(beacon, key).expect("sealed"))
}

#[test]
fn beacon_vectors() {
    let cases = vectors("beacon.json").cases("cases");
    assert_eq!(cases.len(), 10);
    let differing = table("ping.md", "### Beacons");
    let mut differences = 0;
    for case in cases {
        let title = case.text("name");
        let given = case.cases("rules");
        let rules = given.iter().map(|rule| BeaconRule {
            name: rule.optional("name"),
            device_type: rule.optional("device_type"),
            required_capabilities: if rule.has("required_capabilities") {
                rule.texts("required_capabilities")
            } else {
                Vec::new()
            },
            // The page says how a prefix is written.
            source_pattern: rule.optional("source_pattern").map(|p| format!("{p}*").parse().expect("glob")),
            pod_id: rule.optional("pod_id"),
        });
        let mut book = BeaconBook::new(rules.collect());
        let expect = case.map("expect");
        assert_eq!(time(case.text("now")), NOON);
        let key = key(0);
        let Some(beacon) = beacon(&case.map("beacon"), &key) else {
            assert!(differing.iter().any(|row| row[0] == title), "{title}");
            differences += 1;
            continue;
        };
        let verdict = book.handle_beacon(&beacon, Some(&key.public_key()), now(0.0));
        assert_eq!(verdict.to_string(), expect.text("message"), "{title}");
        let (decision, pod) = match verdict {
            BeaconVerdict::Stale => ("rejected", None),
            BeaconVerdict::Pending => ("hitl_pending", None),
            BeaconVerdict::AutoVouch { pod_id, .. } => ("auto_vouched", pod_id),
            other => panic!("{title}: {other:?}"),
        };
        assert_eq!((decision, pod), (expect.text("decision"), expect.optional("assigned_pod")), "{title}");
        assert_eq!(book.iter().count() as i64, expect.integer("remembered"), "{title}");
    }
    assert_eq!((differences, differing.len()), (1, 1));
}
