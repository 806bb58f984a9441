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
use crate::keys::{Expected, KeyRefusal};
use crate::now::Now;
use crate::packet::{Packet, Target};
use crate::rate::Rate;
use crate::replay::Sender;
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

#[derive(Debug)]
struct LateAnswer {
    /// Whose search it answers.
    name: Name,
    bytes: Vec<u8>,
}

/// Answers to searches that are sent a little later.
#[derive(Debug, Default)]
pub(super) struct LateAnswers {
    waiting: BTreeMap<(Duration, SocketAddr), LateAnswer>,
    /// Who was answered, the oldest first.
    answered: VecDeque<(Duration, Name)>,
}

impl LateAnswers {
    /// Notes that `source` is answered now; `false` if it was of late, or too many were.
    fn may_answer(&mut self, source: &Name, now: Duration) -> bool {
        let old = |(at, _): &(Duration, Name)| now.saturating_sub(*at) >= ANSWER_EVERY;
        while self.answered.front().is_some_and(old) {
            self.answered.pop_front();
        }
        let known = self.answered.iter().any(|(_, other)| other == source);
        if known || self.answered.len() >= MAX_LATE || self.waiting.len() >= MAX_LATE {
            return false;
        }
        self.answered.push_back((now, source.clone()));
        true
    }

    fn expired(&mut self, now: Duration) -> Option<(SocketAddr, LateAnswer)> {
        let entry = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, to), answer) = entry.remove_entry();
        Some((to, answer))
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }
}

/// A search that is to be answered.
#[derive(Clone, Copy)]
struct Search<'a> {
    packet: &'a Packet,
    name: &'a Name,
    /// Where its sender answers, by its beacon.
    address: SocketAddr,
    encoding: Encoding,
    /// Bytes of the datagram.
    length: usize,
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
            // Once a name has a key, nobody speaks under it without (SECURITY R72).
            return match self.keys.key(&name) {
                Some(_) if packet.claim.is_none() => Err(KeyRefusal::Downgrade.into()),
                _ => self.handle_legacy_search(&packet, name, from, now),
            };
        };
        if beacon.claims().name != name {
            return Err(Dropped::Beacon);
        }
        // Its own words say where it answers; the address it speaks from may be good for nothing.
        // A link-local one counts on its link only, so the scope stays with it.
        let mut address = from;
        address.set_port(beacon.claims().port);
        let verified = self.handle_beacon(&beacon, address, now)?;
        let known = verified && on_link && self.zone_of(&name, now) != Zone::Rood;
        if known {
            let search = Search { packet: &packet, name: &name, address, encoding, length: datagram.len() };
            self.answer_search(&search, now)?;
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
            // It was told of, and answered if it was to be.
            BeaconVerdict::Repeated => return Ok(false),
            BeaconVerdict::Pending | BeaconVerdict::AutoVouch { .. } => bound.is_some(),
        };
        if verified && matches!(verdict, BeaconVerdict::AutoVouch { .. }) {
            let reason = verdict.to_string();
            // Refused where there are too many already; then the device is shown like any other.
            let _ = self.vouch_for(&claims.name, &claims.fingerprint, &reason, now);
        }
        if !verified && !self.may_tell(now) {
            return Ok(false);
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
    fn answer_search(&mut self, search: &Search<'_>, now: Now) -> Result<(), Dropped> {
        let Search { packet, name, address, encoding, length } = *search;
        // The beacon was signed; but the answer is bound to the packet, which must be as new as any other.
        let key = self.keys.key(name).ok_or(KeyRefusal::UnknownName)?;
        self.check_fresh(packet, &Expected::Bound(key), now)?;
        let ping = verify_ping(packet, &key)?;
        self.remember(packet, Sender::Key(&key), now)?;
        self.paths.earn(address, length, now.mono);
        if !self.late.may_answer(name, now.mono) {
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
        // Paid for at once: nothing else that goes there meanwhile takes its place.
        if !self.paths.spend(address, bytes.len(), now.mono) {
            return Err(Dropped::Amplification);
        }
        let [.., a, b] = fresh.nonce;
        let delay = Duration::from_millis(u64::from(u16::from_be_bytes([a, b])) % MOST_DELAY_MS);
        let answer = LateAnswer { name: name.clone(), bytes };
        self.late.waiting.insert((now.mono.saturating_add(delay), address), answer);
        Ok(())
    }

    pub(super) fn send_late_answers(&mut self, now: Now) {
        while let Some((to, LateAnswer { name, bytes })) = self.late.expired(now.mono) {
            self.transmit(to, bytes);
            let peer = self.peers.get(&name, now);
            if !peer.is_some_and(|peer| peer.reachable && peer.endpoint == to) {
                // A neighbour we trust that is no peer yet: if it is where it says and trusts us, it becomes one.
                self.probe(&name, to, now);
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
