//! What a listener prints.

use std::collections::BTreeSet;
use std::fmt::Display;

use jis::Name;
use serde_json::{Value, json};
use tibet_core::{Micros, Zone};
use tibet_ping::{Decision, Event, NodeStats, PendingSettled, PingSeen, Proof};

use super::super::stream::{Closed, Stream, note, payload_json};
use crate::output::{plain, zone_word};

/// Prints events and counts them.
pub(super) struct Report {
    stream: Stream,
    own: Name,
    pings: u64,
    answered: u64,
    /// Names whose changed key was told of: each once.
    warned: BTreeSet<Name>,
    /// Names that were found on the network, each told of once; as many as the node itself remembers.
    found: BTreeSet<Name>,
}

/// Names told of as found. Anybody can make them up.
const MAX_FOUND: usize = 1024;

impl Report {
    pub(super) fn new(stream: Stream, own: Name) -> Self {
        Self { stream, own, pings: 0, answered: 0, warned: BTreeSet::new(), found: BTreeSet::new() }
    }

    /// Pings that were told of.
    pub(super) fn pings(&self) -> u64 {
        self.pings
    }

    /// Waits until another line fits.
    pub(super) async fn room(&self) {
        self.stream.room().await;
    }

    pub(super) fn note(&self, text: impl Display) {
        note(self.stream.is_json(), text);
    }

    pub(super) fn tell(&mut self, event: &Event) -> Result<(), Closed> {
        match event {
            Event::Ping(seen) | Event::Question { ping: seen, .. } => self.tell_ping(seen),
            Event::Settled(settled) => self.tell_settled(settled),
            Event::Pinned { binding, .. } => {
                let (name, key) = (&binding.name, binding.key.to_multibase());
                self.either(
                    "pinned",
                    json!({ "name": name.as_str(), "key": key, "generation": binding.generation }),
                    format_args!("first contact with {name}: key {key} is remembered"),
                )
            }
            Event::ChangedKey { name, from } => self.warn_of_key(name, &from.to_string()),
            Event::Relayed { packet, to, .. } => {
                let (source, target) = (&packet.source_did, &packet.target_did);
                let to: Vec<String> = to.iter().map(ToString::to_string).collect();
                let text = format!(
                    "passed on {} from {source} for {target}, to {}",
                    packet.intent,
                    to.join(" and ")
                );
                let data = json!({
                    "source_did": source,
                    "target_did": target,
                    "intent": packet.intent,
                    "packet_id": packet.packet_id,
                    "hop_count": packet.hop_count,
                    "to": to,
                });
                self.either("relayed", data, text)
            }
            Event::Discovered(device) => {
                let new = self.found.len() < MAX_FOUND && self.found.insert(device.name.clone());
                let data = json!({
                    "name": device.name.as_str(),
                    "address": device.address.to_string(),
                    "capabilities": device.capabilities,
                    "device_type": device.device_type,
                    "verified": device.verified,
                    "answered": device.answered,
                });
                let verified = if device.verified { "verified" } else { "unauthenticated" };
                let text = format!("{} is at {}, {verified}", device.name, device.address);
                if new || self.stream.is_json() { self.either("discovered", data, text) } else { Ok(()) }
            }
            Event::PeerFound { name, address, .. } => {
                self.tell_peer(name, "found", Some(address.to_string()))
            }
            Event::PeerMoved { name, to, .. } => self.tell_peer(name, "moved", Some(to.to_string())),
            Event::PeerGone { name, .. } => self.tell_peer(name, "gone", None),
            _ => Ok(()),
        }
    }

    fn tell_ping(&mut self, seen: &PingSeen) -> Result<(), Closed> {
        self.pings += 1;
        self.answered += u64::from(seen.decision != Decision::Reject);
        let packet = &seen.packet;
        let data = json!({
            "time": time(seen.stamp.at),
            "source_did": packet.source_did,
            "from": seen.from.to_string(),
            "intent": packet.intent,
            "purpose": packet.purpose,
            "payload": payload_json(&packet.payload),
            "ping_type": packet.ping_type.as_str(),
            "packet_id": packet.packet_id,
            "routing_mode": packet.routing_mode.as_str(),
            "hop_count": packet.hop_count,
            "decision": seen.decision.as_str(),
            "airlock_zone": seen.zone.as_str(),
            "trust_score": seen.trust.score,
            "applied_rule": seen.rule,
            "verified": seen.proof.is_verified(),
            "proof": proof_word(seen.proof),
        });
        let verified = if seen.proof.is_verified() { "verified" } else { "unauthenticated" };
        let rest = match seen.decision {
            Decision::Accept => String::new(),
            Decision::Pending => format!("  waits: approve {}", packet.packet_id),
            Decision::Reject => "  silence: not trusted".to_owned(),
        };
        let text = self.line(
            seen.stamp.at,
            &packet.source_did,
            seen.zone,
            &packet.intent,
            &format!("{verified}{rest}"),
        );
        self.stream.print("ping", data, Some(text))
    }

    fn tell_settled(&self, settled: &PendingSettled) -> Result<(), Closed> {
        let packet = &settled.packet;
        let word = match settled.decision {
            Some(Decision::Accept) => "approved",
            Some(_) => "denied",
            None => "waited too long",
        };
        let data = json!({
            "time": time(settled.stamp.at),
            "source_did": packet.source_did,
            "intent": packet.intent,
            "packet_id": packet.packet_id,
            "decision": settled.decision.map(Decision::as_str),
            "trust_score": settled.trust,
        });
        let text = self.line(settled.stamp.at, &packet.source_did, Zone::Geel, &packet.intent, word);
        self.stream.print("settled", data, Some(text))
    }

    /// Texts of peers hold no control characters, and are shown as if they did.
    fn line(&self, at: Micros, name: &str, zone: Zone, intent: &str, rest: &str) -> String {
        let zone = zone_word(zone.as_str());
        format!("{}  {}  {zone}  {}  {}", time(at), plain(name), plain(intent), plain(rest))
    }

    fn warn_of_key(&mut self, name: &Name, from: &str) -> Result<(), Closed> {
        if !self.warned.insert(name.clone()) {
            return Ok(());
        }
        let forget = format!("stop this node, then tibet-iot keys forget {name} --did {}", self.own);
        let text = changed_key(name, from, &forget);
        self.either("changed_key", json!({ "name": name.as_str(), "from": from }), text)
    }

    fn tell_peer(&self, name: &Name, what: &str, address: Option<String>) -> Result<(), Closed> {
        let data = json!({ "name": name.as_str(), "status": what, "address": address });
        // Nobody but programs wants to hear of each.
        self.stream.print("peer", data, None)
    }

    /// An event for programs, and a note for people.
    fn either(&self, event: &str, data: Value, text: impl Display) -> Result<(), Closed> {
        if !self.stream.is_json() {
            self.note(text);
        }
        self.stream.print(event, data, None)
    }

    /// Lists what waits for a human.
    pub(super) fn list(&self, waiting: &[(String, String, String, String)]) -> Result<(), Closed> {
        let ping = |(source, id, intent, reason): &(String, String, String, String)| json!({ "source_did": source, "packet_id": id, "intent": intent, "reason": reason });
        let lines = waiting.iter().map(|(source, id, intent, reason)| {
            format!("{}  {}  {}  {}", plain(id), plain(source), plain(intent), plain(reason))
        });
        let lines: Vec<String> = lines.collect();
        let text = if lines.is_empty() { "nothing waits".to_owned() } else { lines.join("\n") };
        let pings = waiting.iter().map(ping).collect::<Vec<_>>();
        self.stream.print("pending", json!({ "pings": pings }), Some(text))
    }

    /// The last line.
    pub(super) fn sum_up(&self, stats: &NodeStats, missed: u64) -> Result<(), Closed> {
        let dropped: u64 = stats.dropped.values().sum();
        let reasons: Vec<String> =
            stats.dropped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let lost = self.stream.lost();
        let unread =
            if lost > 0 { format!(", {lost} lines lost because nobody read") } else { String::new() };
        let text = format!(
            "{} datagrams received, {} pings, {} answered, {dropped} dropped{reasons}{unread}",
            stats.received, self.pings, self.answered
        );
        let data = json!({
            "received": stats.received,
            "pings": self.pings,
            "answered": self.answered,
            "relayed": stats.relayed,
            "dropped": stats.dropped,
            "pending": stats.pending,
            "events_missed": missed,
            "lines_lost": lost,
        });
        self.either("summary", data, text)
    }
}

/// What the operator is told of a key that is not the one known.
pub(in crate::iot) fn changed_key(name: &Name, from: &str, forget: &str) -> String {
    format!(
        "WARNING: {from} speaks as {name} with another key than the one known. It was not believed.\n\
         \x20 Somebody may pretend to be {name}, or the device was set up anew.\n\
         \x20 If you know that it was: {forget}"
    )
}

pub(in crate::iot) fn proof_word(proof: Proof) -> &'static str {
    match proof {
        Proof::Verified => "verified",
        Proof::FirstContact => "first_contact",
        Proof::Sealed => "sealed",
        Proof::Unsigned => "unsigned",
        Proof::Unproven => "unproven",
    }
}

/// RFC 3339, in UTC, to the millisecond.
fn time(at: Micros) -> String {
    let millis = at.as_micros() / 1000;
    jis::UnixTime::from_millis(millis).unwrap_or(jis::UnixTime::MAX).to_string()
}
