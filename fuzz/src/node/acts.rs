//! What the story of a node is made of: what others send, and what the operator does.

use std::collections::BTreeSet;
use std::time::Duration;

use jis::{Fingerprint, Signed};
use tibet_core::{Zone, object};
use tibet_ping::{
    Ask, AskError, BROADCAST, Beacon, Decision, Fresh, Packet, PingNode, PingType, Priority, Response,
    RoutingMode, discover_payload, request_hash, sign_ping, sign_pong,
};

use super::super::honest::name;
use super::{ADDRESSES, HUB, IMPOSTOR, SPEAKERS, World, address, encoding, keys};

impl World {
    /// A packet of somebody's, signed by him, by another, or not at all.
    pub(super) fn packet(&mut self, [who, from, kinds, style, size, ahead]: [u8; 6]) {
        let (source, _, own) = SPEAKERS[usize::from(who) % SPEAKERS.len()];
        let target = [HUB, HUB, BROADCAST, SPEAKERS[0].0][usize::from(style & 3)];
        let fresh = self.fresh(ahead);
        let mut packet = Packet::intent(&name(source), &name(HUB), "ask.a", "", fresh);
        packet.target_did = target.into();
        packet.intent = ["ask.a", "i"][usize::from(size & 1)].into();
        packet.payload = object! { "x" => "x".repeat(usize::from(size >> 1) * 8) };
        let kinds = usize::from(kinds);
        packet.ping_type = PingType::ALL[kinds % PingType::ALL.len()];
        packet.routing_mode = RoutingMode::ALL[kinds / 8 % RoutingMode::ALL.len()];
        packet.priority = [Priority::Lazy, Priority::Normal, Priority::Urgent][kinds / 32 % 3];
        let signer = match who >> 6 {
            3 => None,
            2 => own.map(|_| IMPOSTOR),
            _ => own,
        };
        if let Some(signer) = signer {
            self.sign(&mut packet, signer, fresh.now);
        }
        match style >> 5 {
            5 => packet.hop_count = size,
            6 => packet.purpose = "altered".into(),
            7 => packet.payload = object! {},
            _ => {}
        }
        if let Ok(bytes) = packet.encode(encoding(style & 4)) {
            self.throw(from, style >> 3, bytes);
        }
    }

    /// A search with a beacon, on the discovery port.
    pub(super) fn search(&mut self, [who, from, style, ahead]: [u8; 4]) {
        let (source, _, own) = SPEAKERS[usize::from(who) % SPEAKERS.len()];
        let signer = own.filter(|_| who < 0xc0).unwrap_or(IMPOSTOR);
        let fresh = self.fresh(ahead);
        let beacon = Beacon {
            id: fresh.nonce,
            name: name(source),
            fingerprint: Fingerprint::from_bytes([who; 32]),
            key_hash: Beacon::hash_of(&keys()[signer].public_key()),
            port: [7150, 9, 1][usize::from(style) % 3],
            capabilities: BTreeSet::new(),
            device_type: "x".parse().expect("a word"),
            requested_pod: None,
            issued_at: fresh.now,
        };
        let Ok(beacon) = Signed::seal(beacon, &keys()[signer]) else { return };
        let mut packet = Packet::discover(&name(source), discover_payload(&beacon), fresh);
        self.sign(&mut packet, signer, fresh.now);
        if let Ok(bytes) = packet.encode(encoding(style & 4)) {
            self.throw(from, 2 | (style >> 7), bytes);
        }
    }

    /// An answer to a packet the node has sent or passed on, or nearly one.
    pub(super) fn response(&mut self, [which, from, style, size]: [u8; 4]) {
        let Some((to, packet)) = pick(&self.asked, which).cloned() else { return };
        let known = SPEAKERS.iter().position(|(name, _, _)| *name == packet.target_did);
        let (responder, _, own) = SPEAKERS[known.unwrap_or(usize::from(style) % SPEAKERS.len())];
        let decision = Decision::ALL[usize::from(style >> 2) % Decision::ALL.len()];
        let mut response = Response::to(&packet, &name(responder), decision, Zone::Groen, 1.0, self.fresh(0));
        response.payload = object! { "x" => "x".repeat(usize::from(size) * 8) };
        let signer = if style >> 5 == 6 { Some(IMPOSTOR) } else { own };
        if let Some(signer) = signer {
            let _ = sign_pong(&mut response, &request_hash(&packet), &keys()[signer], 0);
        }
        if style >> 5 == 7 {
            response.trust_score = 0.5;
        }
        let Ok(bytes) = response.encode(encoding(style & 16)) else { return };
        // From where it was asked, or from elsewhere.
        let there = ADDRESSES.iter().position(|text| text.parse() == Ok(to));
        let from = there.filter(|n| *n > 0 && from < 0xc0).map_or(from, |n| n as u8);
        self.throw(from, 0, bytes);
    }

    /// The operator does something.
    pub(super) fn operate(&mut self, [what, who, n]: [u8; 3]) {
        let (text, now) = (SPEAKERS[usize::from(who) % SPEAKERS.len()].0, self.now);
        match what % 12 {
            0 | 1 => {
                let to = (what % 12 == 0).then(|| address(n));
                let routing = if n & 64 == 0 { RoutingMode::Direct } else { RoutingMode::Mesh };
                let decision_timeout = Duration::from_secs(u64::from(who >> 4) * 10);
                let ask = Ask { routing, decision_timeout, ..Ask::new(name(text), to, "a") };
                let _ = self.node.ping(ask, now);
                self.drain(true);
            }
            2 => {
                let score = [0.9, 0.5, 0.1, f64::NAN][usize::from(n & 3)];
                assert_eq!(self.node.set_trust(name(text), score, "", now).is_ok(), !score.is_nan());
            }
            3 | 4 => {
                let decide = if what % 12 == 3 { PingNode::approve } else { PingNode::deny };
                let waiting = self.node.pending().iter().map(|ping| &ping.packet);
                let waiting: Vec<_> = waiting.map(|p| (p.source_did.clone(), p.packet_id.clone())).collect();
                for (source, id) in waiting {
                    assert!(decide(&mut self.node, &source, &id, now));
                }
            }
            5 => {
                if self.node.add_peer(name(text), address(n), now).is_ok() {
                    self.fixed.insert(text.to_owned());
                    self.drain(true);
                }
            }
            6 => {
                // What expires after the year 9999 has no date that could be signed.
                let last = jis::UnixTime::from_secs(253_402_300_799 - 30);
                match self.node.search(now) {
                    Err(AskError::Sign(_) | AskError::Encode(_)) => assert!(now.wall > last),
                    found => assert!(found.is_ok(), "{found:?}"),
                }
            }
            7 => assert!(self.node.send_heartbeat(now) <= SPEAKERS.len()),
            8 => {
                self.node.forget_key(&name(text));
            }
            _ => {
                for id in std::mem::take(&mut self.questions) {
                    // Its time may be up.
                    let payload = object! { "x" => "x".repeat(usize::from(n) * 8) };
                    let _ = self.node.answer(id, payload, None, now);
                }
            }
        }
    }

    /// Dated `ahead` seconds from what the node takes for the time, if that is small; otherwise now.
    fn fresh(&mut self, ahead: u8) -> Fresh {
        self.made += 1;
        let offset = i64::from(ahead.cast_signed()) * i64::from(ahead.cast_signed().unsigned_abs() < 48);
        let millis = self.clock.as_millis().saturating_add_signed(offset * 1000);
        let now = jis::UnixTime::from_millis(millis).unwrap_or(self.clock);
        let mut nonce = [0xee; 16];
        nonce[..8].copy_from_slice(&self.made.to_be_bytes());
        Fresh { id: self.made.to_be_bytes(), nonce, now }
    }

    fn sign(&self, packet: &mut Packet, signer: usize, made: jis::UnixTime) {
        let target = (packet.target_did == HUB).then(|| *self.node.public_key());
        let expires_at = made.saturating_add(Duration::from_secs(30));
        // A packet for the end of time cannot be signed, and goes out as it is.
        let _ = sign_ping(packet, &keys()[signer], 0, target, expires_at);
    }
}

pub(super) fn pick<T>(list: &[T], which: u8) -> Option<&T> {
    // The last ones are the most telling.
    let back = usize::from(which) % list.len().max(1);
    list.get(list.len().checked_sub(1 + back)?)
}
