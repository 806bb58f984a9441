//! Searching devices, and being found.
//!
//! A node announces itself with a discover packet to the discovery groups, which is a search at the same time. Whoever hears it notes the
//! beacon in it, and answers if it trusts the sender: straight to it, after a random while, so that a hundred devices do not all speak at
//! once (SECURITY R17). Being near proves nothing (R57).

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use jis::{Name, Signed};
use tibet_core::Zone;
use tibet_core::json::Value;
use tibet_core::object;

use super::PingNode;
use super::asking::AskError;
use super::drops::Dropped;
use super::event::{Destination, Discovered, Event, Proof, RequestId};
use super::requests::{Purpose, Request};
use crate::beacon::{Beacon, BeaconVerdict, beacon_in, discover_payload};
use crate::frame::{Encoding, Frame, Kind};
use crate::keys::KeyRefusal;
use crate::now::Now;
use crate::packet::{Packet, Target};
use crate::rate::Rate;
use crate::response::{MAX_CAPABILITIES, Response};
use crate::signing::{sign_pong, verify_ping};
use crate::words::{Decision, PingType};

/// What a node is that does not say.
const GENERIC: &str = "generic";
/// How long answers to a search are waited for.
pub(super) const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers are delayed by up to this, at random.
const MOST_DELAY_MS: u64 = 500;
/// How often one source is answered.
const ANSWER_EVERY: Duration = Duration::from_secs(10);
/// Answers that wait for their time, and sources remembered as answered.
const MAX_LATE: usize = 256;
/// Beacons of legacy devices told of: they are hearsay, and cost nothing to make up.
const HEARSAY: Rate = Rate { burst: 10, per_second: 2 };

/// Answers to searches that are sent a little later.
#[derive(Debug, Default)]
pub(super) struct LateAnswers {
    waiting: BTreeMap<(Duration, SocketAddr), Vec<u8>>,
    /// Who was answered, the oldest first.
    answered: VecDeque<(Duration, SocketAddr)>,
}

impl LateAnswers {
    /// Notes that `source` is answered now; `false` if it was of late, or too many were.
    fn may_answer(&mut self, source: SocketAddr, now: Duration) -> bool {
        let old = |(at, _): &(Duration, SocketAddr)| now.saturating_sub(*at) >= ANSWER_EVERY;
        while self.answered.front().is_some_and(old) {
            self.answered.pop_front();
        }
        let known = self.answered.iter().any(|(_, other)| *other == source);
        if known || self.answered.len() >= MAX_LATE || self.waiting.len() >= MAX_LATE {
            return false;
        }
        self.answered.push_back((now, source));
        true
    }

    fn expired(&mut self, now: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, to), bytes) = entry.remove_entry();
        Some((to, bytes))
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }
}

impl PingNode {
    /// Takes a datagram from the discovery port. `on_link` is whether its source lies in a network of the interface it came in on; others
    /// are heard but not answered.
    pub fn handle_multicast(&mut self, from: SocketAddr, on_link: bool, datagram: &[u8], now: Now) {
        self.received = self.received.saturating_add(1);
        if let Err(dropped) = self.receive_multicast(from, on_link, datagram, now) {
            self.drops.count(dropped);
        }
    }

    fn receive_multicast(
        &mut self,
        from: SocketAddr,
        on_link: bool,
        datagram: &[u8],
        now: Now,
    ) -> Result<(), Dropped> {
        let Frame::Version1 { kind: Kind::Packet, encoding, body } = Frame::read(datagram)? else {
            return Err(Dropped::NotDiscovery);
        };
        let packet = Packet::decode(encoding, body)?;
        if packet.source_did == self.identity.name.as_str() {
            return Err(Dropped::Own);
        }
        if packet.ping_type != PingType::Discover || packet.target() != Ok(Target::Broadcast) {
            return Err(Dropped::NotDiscovery);
        }
        self.check_source(from)?;
        let name = packet.source().map_err(|_| KeyRefusal::BadName)?;
        let Some(beacon) = beacon_in(&packet.payload) else {
            return self.handle_legacy_search(&packet, name, from, now);
        };
        if beacon.claims().name != name {
            return Err(Dropped::Beacon);
        }
        // Its own words say where it answers; the address it speaks from may be good for nothing.
        let address = SocketAddr::new(from.ip(), beacon.claims().port);
        let verified = self.handle_beacon(&beacon, address, now)?;
        let known = verified && on_link && self.zone_of(&name, now) != Zone::Rood;
        if known {
            self.paths.earn(address, datagram.len(), now.mono);
            self.answer_search(&packet, &name, address, encoding, now)?;
            self.greet(&name, address, now);
        }
        Ok(())
    }

    /// Whether the key bound to its name has signed the beacon.
    fn handle_beacon(
        &mut self,
        beacon: &Signed<Beacon>,
        address: SocketAddr,
        now: Now,
    ) -> Result<bool, Dropped> {
        let claims = beacon.claims();
        let bound = self.keys.key(&claims.name);
        let verdict = self.beacons.handle_beacon(beacon, bound.as_ref(), now);
        let verified = match verdict {
            BeaconVerdict::Stale | BeaconVerdict::Limited | BeaconVerdict::Forged => {
                return Err(Dropped::Beacon);
            }
            // It was told of; but whoever searches again may be answered again.
            BeaconVerdict::Repeated => return Ok(false),
            BeaconVerdict::Pending | BeaconVerdict::AutoVouch { .. } => bound.is_some(),
        };
        if verified && matches!(verdict, BeaconVerdict::AutoVouch { .. }) {
            let reason = verdict.to_string();
            // Refused where there are too many already; then the device is shown like any other.
            let _ = self.vouch_for(&claims.name, &claims.fingerprint, &reason, now);
        }
        let stamp = self.stamp(now)?;
        self.tell(Event::Discovered(Box::new(Discovered {
            name: claims.name.clone(),
            address,
            capabilities: claims.capabilities.iter().map(ToString::to_string).collect(),
            device_type: claims.device_type.to_string(),
            verified,
            answered: false,
            verdict: Some(verdict),
            stamp,
        })));
        Ok(verified)
    }

    /// A search of the Python packages: nobody signed it, and where it came from nobody listens.
    fn handle_legacy_search(
        &mut self,
        packet: &Packet,
        name: Name,
        from: SocketAddr,
        now: Now,
    ) -> Result<(), Dropped> {
        if !self.hearsay.take(HEARSAY, now.mono) {
            return Err(Dropped::Beacon);
        }
        let member = |key| packet.payload.get(key);
        let capabilities = member("capabilities").and_then(Value::as_array).unwrap_or_default();
        let capabilities = capabilities.iter().filter_map(Value::as_str).take(MAX_CAPABILITIES);
        let stamp = self.stamp(now)?;
        self.tell(Event::Discovered(Box::new(Discovered {
            name,
            address: from,
            capabilities: capabilities.map(str::to_owned).collect(),
            device_type: member("device_type").and_then(Value::as_str).unwrap_or(GENERIC).to_owned(),
            verified: false,
            answered: false,
            verdict: None,
            stamp,
        })));
        Ok(())
    }

    /// Answers a search of somebody we trust, a little later.
    fn answer_search(
        &mut self,
        packet: &Packet,
        name: &Name,
        to: SocketAddr,
        encoding: Encoding,
        now: Now,
    ) -> Result<(), Dropped> {
        // The beacon was signed; but the answer is bound to the packet.
        let key = self.keys.key(name).ok_or(KeyRefusal::UnknownName)?;
        let ping = verify_ping(packet, &key)?;
        if !self.late.may_answer(to, now.mono) {
            return Ok(());
        }
        let (fresh, _) = self.draw(now)?;
        let zone = self.zone_of(name, now);
        let trust = self.trust.lookup(name, &self.vouches, now.wall);
        let own = &self.identity;
        let mut response = Response {
            payload: object! { "device_type" => self.device_type() },
            capabilities: self.capabilities.clone(),
            ..Response::to(packet, &own.name, Decision::Accept, zone, trust.score, fresh)
        };
        sign_pong(&mut response, &ping.hash(), &own.key, own.generation).map_err(|_| Dropped::Unwritable)?;
        let bytes = response.encode(encoding).map_err(|_| Dropped::Unwritable)?;
        let [.., a, b] = fresh.nonce;
        let delay = Duration::from_millis(u64::from(u16::from_be_bytes([a, b])) % MOST_DELAY_MS);
        self.late.waiting.insert((now.mono.saturating_add(delay), to), bytes);
        Ok(())
    }

    /// Shows ourselves to a neighbour we trust that is no peer yet: it will ask whether we are where we say, and we will.
    fn greet(&mut self, name: &Name, address: SocketAddr, now: Now) {
        if self.peers.get(name, now).is_some_and(|peer| peer.reachable && peer.endpoint == address) {
            return;
        }
        let Ok((fresh, _)) = self.draw(now) else { return };
        let packet = Packet::heartbeat(&self.identity.name, fresh);
        if let Some(bytes) = self.sealed(packet, now)
            && self.paths.spend(address, bytes.len(), now.mono)
        {
            self.transmit(address, bytes);
        }
    }

    pub(super) fn send_late_answers(&mut self, now: Now) {
        while let Some((to, bytes)) = self.late.expired(now.mono) {
            if self.paths.spend(to, bytes.len(), now.mono) {
                self.transmit(to, bytes);
            } else {
                self.drops.count(Dropped::Amplification);
            }
        }
    }

    /// Announces the node on its networks and asks who else is there. Who answers within ten seconds is told as [`Event::Discovered`], and so
    /// is who announces itself meanwhile.
    ///
    /// # Errors
    /// [`AskError`]; then nothing is sent.
    pub fn search(&mut self, now: Now) -> Result<RequestId, AskError> {
        let (fresh, stamp) = self.draw(now).map_err(|_| AskError::NoRandomness)?;
        let payload = match self.beacon(now) {
            Some(beacon) => discover_payload(&beacon),
            None => object! { "requested_capabilities" => Value::Array(Vec::new()) },
        };
        let packet = Packet::discover(&self.identity.name, payload, fresh);
        // In JSON, which every legacy device reads.
        let request = Request::new(Purpose::Search, None, packet, Encoding::Json, stamp);
        let (id, bytes) = self.begin(request, &[], None, SEARCH_TIMEOUT, now)?;
        self.transmit_to(Destination::Multicast, bytes);
        Ok(id)
    }

    /// What is signed and sent around, if the node has a port to be found at.
    fn beacon(&mut self, now: Now) -> Option<Signed<Beacon>> {
        let port = self.config.port.filter(|port| *port != 0)?;
        let (fresh, _) = self.draw(now).ok()?;
        let beacon = Beacon {
            id: fresh.nonce,
            name: self.identity.name.clone(),
            fingerprint: self.identity.fingerprint,
            key_hash: Beacon::hash_of(&self.public_key),
            port,
            capabilities: self.config.capabilities.iter().take(MAX_CAPABILITIES).cloned().collect(),
            device_type: self.device_type().parse().ok()?,
            requested_pod: None,
            issued_at: now.wall,
        };
        Signed::seal(beacon, &self.identity.key).ok()
    }

    fn device_type(&self) -> &str {
        self.config.device_type.as_ref().map_or(GENERIC, |device_type| device_type.as_str())
    }

    /// An answer to a search of ours.
    pub(super) fn handle_found(
        &mut self,
        response: &Response,
        name: Name,
        proof: Proof,
        from: SocketAddr,
        now: Now,
    ) -> Result<(), Dropped> {
        let stamp = self.stamp(now)?;
        let device_type = response.payload.get("device_type").and_then(Value::as_str);
        self.tell(Event::Discovered(Box::new(Discovered {
            name,
            address: from,
            capabilities: response.capabilities.clone(),
            device_type: device_type.unwrap_or(GENERIC).to_owned(),
            // The key of a first contact is whoever's it is.
            verified: proof == Proof::Verified,
            answered: true,
            verdict: None,
            stamp,
        })));
        Ok(())
    }
}
