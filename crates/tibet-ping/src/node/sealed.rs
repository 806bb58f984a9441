//! Pings through tunnels: answered and asked.
//!
//! What becomes of such a ping is decided by the same trust, rules and claims as of a signed one. Two things are left out where nobody misses them,
//! because they would cost more than all the rest: randomness and the event of a ping that is answered at once.

use jis::{Name, PublicKey};

use super::PingNode;
use super::answering::{Asked, Back};
use super::asking::{Ask, AskError};
use super::drops::Dropped;
use super::event::{Destination, Event, Proof, RequestId, Via};
use super::inbound::Ruling;
use super::requests::{Purpose, Request};
use super::tunnels::NotNew;
use crate::airlock::Standing;
use crate::codec::EncodeError;
use crate::compact::ExchangeId;
use crate::frame::Encoding;
use crate::keys::KeyRefusal;
use crate::now::Now;
use crate::packet::{Fresh, Packet};
use crate::replay::ReplayRefusal;
use crate::response::Response;
use crate::sealed::{Expects, Sealed, SealedAnswer, SealedPing, write_payload};
use crate::words::{Decision, RoutingMode};

impl PingNode {
    /// Takes what came through the tunnel to `peer`, whose other end has proved that it holds `key`. Unless that is the key the name is bound to, it is
    /// dropped (SECURITY R5): so whoever opens tunnels binds the names first, by [`bind_key`](Self::bind_key).
    pub fn handle_sealed(&mut self, peer: &Name, key: &PublicKey, datagram: &[u8], now: Now) {
        self.received = self.received.saturating_add(1);
        let taken = Sealed::read(datagram).map_err(Dropped::from).and_then(|sealed| {
            self.check_tunnel(peer, key, now)?;
            match sealed {
                Sealed::Ping(ping) => self.handle_sealed_ping((peer, key), &ping, datagram.len(), now),
                Sealed::Answer(answer) => self.handle_sealed_answer(peer, &answer, now),
            }
        });
        if let Err(dropped) = taken {
            self.drops.count(dropped);
        }
    }

    /// Says whether anybody wants to hear of pings through tunnels that are answered at once; as long as nothing is said, somebody does. Where tokens
    /// are kept they are told of at any rate.
    pub fn set_watched(&mut self, watched: bool) {
        self.watched = watched;
    }

    fn check_tunnel(&mut self, peer: &Name, key: &PublicKey, now: Now) -> Result<(), Dropped> {
        if *peer == self.identity.name {
            return Err(Dropped::Own);
        }
        match self.keys.key(peer) {
            Some(bound) if bound == *key => Ok(()),
            Some(_) => {
                if self.may_tell(now) {
                    self.tell(Event::ChangedKey { name: peer.clone(), from: Via::Tunnel });
                }
                Err(KeyRefusal::ChangedKey.into())
            }
            None => Err(KeyRefusal::UnknownName.into()),
        }
    }

    fn handle_sealed_ping(
        &mut self,
        (peer, key): (&Name, &PublicKey),
        ping: &SealedPing<'_>,
        length: usize,
        now: Now,
    ) -> Result<(), Dropped> {
        self.tunnels.hear(key, ping.id, now.mono).map_err(|why| match why {
            NotNew::Seen => Dropped::Replay(ReplayRefusal::Seen),
            NotNew::Full => Dropped::Replay(ReplayRefusal::Full),
        })?;
        let trust = self.trust.lookup(peer, &self.vouches, now.wall);
        // Filled again and again, so that rules cost no allocation.
        self.fill_scratch(peer, ping.intent);
        let claimed = self.is_claimed(&self.scratch);
        let verdict = self.airlock.evaluate(&self.scratch, trust.score, Standing::Verified);
        let (zone, decision) = (verdict.zone, verdict.decision);
        let at_once = decision == Decision::Accept && !claimed && !self.watched && !self.config.tokens;
        let ruling = (!at_once).then(|| Ruling::of(&verdict, trust));
        if decision == Decision::Reject && !self.may_tell(now) {
            // Nothing else limits how often a tunnel's other end asks (SECURITY R64).
            return Err(Dropped::Rood);
        }
        if let Some(ruling) = ruling {
            let payload = ping.payload()?;
            let packet = Packet { payload, ..packet_of(peer, &self.identity.name, ping, now) };
            let (wanted, waits) = (ping.expects.an_answer(), ping.expects == Expects::Decision);
            let asked = Asked { packet: &packet, back: Back::Sealed { id: ping.id, wanted, waits } };
            return self.act_on(&asked, ruling, Proof::Sealed, length, now);
        }
        // Nobody will read it, and yet what is malformed gets no answer.
        ping.payload()?;
        if ping.expects.an_answer() {
            let trust = SealedAnswer::trust_of(trust.score);
            let answer = SealedAnswer { id: ping.id, decision, zone, trust, last: true, payload_bytes: &[] };
            let bytes = answer.write().map_err(|_| Dropped::Unwritable)?;
            self.transmit_to(Destination::Sealed(peer.clone()), bytes);
        }
        Ok(())
    }

    fn handle_sealed_answer(
        &mut self,
        peer: &Name,
        answer: &SealedAnswer<'_>,
        now: Now,
    ) -> Result<(), Dropped> {
        let id = RequestId::of_bytes(answer.id);
        let request = self.requests.get_mut(id).ok_or(Dropped::Unasked)?;
        if !request.sealed || request.target.as_ref() != Some(peer) {
            request.ignored.false_answers = request.ignored.false_answers.saturating_add(1);
            return Err(Dropped::FalseAnswer);
        }
        let payload = answer.payload()?;
        let fresh = Fresh { id: answer.id, nonce: [0; 16], now: now.wall };
        let response = Response {
            payload,
            ..Response::to(&request.packet, peer, answer.decision, answer.zone, answer.score(), fresh)
        };
        self.conclude(id, response, Via::Tunnel, Proof::Sealed, answer.last, now)
    }

    /// Asks the other end of a tunnel. What comes of it is told as of a [signed ping](Self::ping); [`Answered::proof`](crate::Answered::proof) is
    /// [`Proof::Sealed`]. The question goes out as [`Destination::Sealed`], once.
    ///
    /// [`Ask::to`] and [`Ask::routing`] say nothing here, since the tunnel knows its way. With a [`timeout`](Ask::timeout) of zero no answer is sent; with a
    /// [`decision_timeout`](Ask::decision_timeout) of zero none after `pending`.
    ///
    /// # Errors
    /// [`AskError`]; then nothing is sent. [`AskError::Encode`] for what a sealed ping cannot carry and a signed one can: an intent that is no
    /// capability, a pod or station, more payload than fits [`MAX_SEALED`](crate::MAX_SEALED) bytes.
    pub fn sealed_ping(&mut self, ask: Ask, now: Now) -> Result<RequestId, AskError> {
        if ask.target == self.identity.name {
            return Err(AskError::Own);
        }
        if ask.routing == RoutingMode::Broadcast {
            return Err(AskError::Broadcast);
        }
        if ask.pod_id.is_some() || ask.station_id.is_some() {
            return Err(EncodeError::Member("pod_id").into());
        }
        let (fresh, stamp) = self.draw(now).map_err(|_| AskError::NoRandomness)?;
        let id = RequestId::of_bytes(fresh.id);
        if self.requests.is_full() || self.requests.contains(id) {
            return Err(AskError::Full);
        }
        let expects = match (ask.timeout.is_zero(), ask.decision_timeout.is_zero()) {
            (true, _) => Expects::Nothing,
            (false, true) => Expects::Answer,
            (false, false) => Expects::Decision,
        };
        let payload_bytes = write_payload(&ask.payload)?;
        let ping = SealedPing {
            id: fresh.id,
            priority: ask.priority,
            expects,
            intent: &ask.intent,
            purpose: &ask.purpose,
            payload_bytes: &payload_bytes,
        };
        let bytes = ping.write()?;
        let packet = Packet {
            payload: ask.payload.clone(),
            tibet_token_id: self.config.tokens.then(|| stamp.token_id()),
            ..packet_of(&self.identity.name, &ask.target, &ping, now)
        };
        let purpose = Purpose::Ask { decision_timeout: ask.decision_timeout };
        let target = Some(ask.target.clone());
        let mut request = Request::new(purpose, target, packet, Encoding::Msgpack, stamp);
        (request.sealed, request.sent_at) = (true, now.mono);
        request.deadline = now.mono.saturating_add(ask.timeout);
        self.requests.insert(id, request);
        self.transmit_to(Destination::Sealed(ask.target), bytes);
        Ok(id)
    }

    /// What rules and claims look at, in a packet that is kept for this.
    fn fill_scratch(&mut self, peer: &Name, intent: &str) {
        let Packet { source_did, intent: kept, .. } = &mut self.scratch;
        source_did.clear();
        source_did.push_str(peer.as_str());
        kept.clear();
        kept.push_str(intent);
    }
}

/// The ping as events, rules and handlers know pings: straight from one to the other, made now, without a nonce.
fn packet_of(source: &Name, target: &Name, ping: &SealedPing<'_>, now: Now) -> Packet {
    let fresh = Fresh { id: ping.id, nonce: [0; 16], now: now.wall };
    Packet {
        priority: ping.priority,
        nonce: String::new(),
        ..Packet::intent(source, target, ping.intent, ping.purpose, fresh)
    }
}

/// A packet to be filled by [`PingNode::fill_scratch`].
pub(super) fn scratch(own: &Name, now: Now) -> Packet {
    let id: ExchangeId = [0; 8];
    Packet::intent(own, own, "", "", Fresh { id, nonce: [0; 16], now: now.wall })
}
