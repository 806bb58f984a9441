//! What the provider and the bridge record, against the Python package.
#![allow(clippy::unwrap_used, reason = "helpers outside #[test] functions")]

mod common;

use common::{list, member, optional, text, time, vector_file};
use tibet_core::json::Value;
use tibet_core::{
    Draft, Linking, MemoryStore, Minter, NetworkBridge, PingFacts, Provider, ResponseFacts, Token,
};

type Bridge = NetworkBridge<MemoryStore>;

/// Steps of one case, with the ids and times the vectors were made with: the n-th token has time + n and random part n.
struct Run {
    bridge: Bridge,
    tokens: Vec<Token>,
}

#[test]
fn every_record_is_the_one_python_makes() {
    let file = vector_file("bridge.json");
    let cases = list(&file, "cases");
    assert_eq!(cases.len(), 10);
    let mut quirks = 0;
    for case in cases {
        let name = text(case, "name");
        assert_eq!(member(case, "auto_chain"), &Value::Bool(true), "{name}");
        let minter = Minter::new(text(case, "actor")).linking(Linking::IdOnly).naive_timestamps();
        let provider = Provider::new(minter, MemoryStore::new()).unwrap();
        let mut run = Run { bridge: Bridge::new(provider), tokens: Vec::new() };
        let quirk = optional(case, "quirk").is_some();
        quirks += usize::from(quirk);
        for step in list(case, "steps") {
            let made = run.step(text(step, "op"), list(step, "args"));
            check(name, made.as_ref(), optional(step, "token"), quirk);
            run.tokens.extend(made);
        }
        assert!(run.bridge.provider().verify_all().unwrap().iter().all(|(_, valid)| *valid), "{name}");
    }
    assert_eq!(quirks, 2);
}

fn check(name: &str, made: Option<&Token>, expected: Option<&Value>, quirk: bool) {
    let Some(expected) = expected else {
        assert_eq!(made, None, "{name}");
        return;
    };
    let expected = Token::from_json(&tibet_core::json::write(
        expected,
        tibet_core::json::Separators::Compact,
        tibet_core::json::Order::Inserted,
    ))
    .unwrap();
    let mut made = made.unwrap().clone();
    if quirk {
        // Python looks for `zone` in the response, which has `airlock_zone`. All else is the same.
        assert_eq!(made.eromheen.get("zone"), Some(&Value::from("GROEN")), "{name}");
        assert_eq!(expected.eromheen.get("zone"), Some(&Value::from("unknown")), "{name}");
        made.eromheen.insert("zone", "unknown");
        made.content_hash.clone_from(&expected.content_hash);
        assert!(made.verify_hash(None), "{name}");
    }
    assert_eq!(made, expected, "{name}");
    assert_eq!(made.to_json_line(), expected.to_json_line(), "{name}");
}

impl Run {
    fn step(&mut self, op: &str, args: &[Value]) -> Option<Token> {
        let n = u32::try_from(self.tokens.len() + 1).unwrap();
        let (now, random) = (time(n.into()), n.to_be_bytes());
        let did = args[0].as_str().unwrap_or_default();
        let optional_text = |at: usize| args.get(at).and_then(Value::as_str);
        let address = args.get(1).and_then(address);
        let token = match op {
            "ping" | "ping_object" => {
                let response = args.get(1).map(response);
                self.bridge.record_ping(&ping(&args[0]), response.as_ref(), now, random)
            }
            "heartbeat" => self.bridge.record_heartbeat(did, address, optional_text(2), now, random),
            "discovery" => {
                self.bridge.record_discovery(did, address.unwrap(), optional_text(2).unwrap(), now, random)
            }
            "relay" | "relay_object" => self.bridge.record_relay(&ping(&args[0]), address, now, random),
            "trust_change" => {
                let trust = |at: usize| args[at].as_float().unwrap();
                let reason = optional_text(3).unwrap_or_default();
                self.bridge.record_trust_change(did, trust(1), trust(2), reason, now, random)
            }
            "create" => self.bridge.provider_mut().create(draft(&args[0]), now, random),
            "update_state" => {
                let nth = usize::try_from(args[0].as_integer().unwrap()).unwrap();
                let id = self.tokens.get(nth).map_or("unknown", |token| &token.token_id).to_owned();
                let state = optional_text(1).unwrap().parse().unwrap();
                let reason = optional_text(2).unwrap_or_default();
                return self.bridge.provider_mut().update_state(&id, state, reason, now, random).unwrap();
            }
            other => panic!("unknown op {other}"),
        };
        Some(token.unwrap())
    }
}

fn ping(packet: &Value) -> PingFacts<'_> {
    let default = PingFacts::default();
    let text = |name, default| optional(packet, name).map_or(default, |value| value.as_str().unwrap());
    let hops = optional(packet, "hop_count").and_then(Value::as_integer).unwrap_or(0);
    PingFacts {
        ping_type: text("ping_type", default.ping_type),
        source_did: text("source_did", default.source_did),
        target_did: text("target_did", default.target_did),
        intent: text("intent", default.intent),
        purpose: text("purpose", default.purpose),
        payload: optional(packet, "payload"),
        routing_mode: text("routing_mode", default.routing_mode),
        hop_count: hops.try_into().unwrap(),
        pod_id: optional(packet, "pod_id").and_then(Value::as_str),
        proof: None,
    }
}

fn response(response: &Value) -> ResponseFacts<'_> {
    ResponseFacts {
        decision: text(response, "decision"),
        trust_score: member(response, "trust_score").as_float().unwrap(),
        airlock_zone: text(response, "airlock_zone"),
    }
}

fn address(value: &Value) -> Option<(&str, u16)> {
    let [host, port] = value.as_array()? else { return None };
    Some((host.as_str()?, u16::try_from(port.as_integer()?).ok()?))
}

fn draft(arguments: &Value) -> Draft {
    let mut draft = Draft::new(text(arguments, "action"));
    draft.actor = optional(arguments, "actor").and_then(Value::as_str).map(str::to_owned);
    draft.erin = optional(arguments, "erin").cloned().unwrap_or_default();
    if let Some(items) = optional(arguments, "eraan").and_then(Value::as_array) {
        draft.eraan = items.iter().map(|item| item.as_str().unwrap().to_owned()).collect();
    }
    draft.eromheen = optional(arguments, "eromheen").and_then(Value::as_object).cloned().unwrap_or_default();
    draft.erachter = optional(arguments, "erachter").and_then(Value::as_str).unwrap_or_default().to_owned();
    draft
}
