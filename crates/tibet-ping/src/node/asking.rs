//! Requests of ours, and what answers them.

use std::net::SocketAddr;
use std::time::Duration;

use jis::{Name, PublicKey};
use tibet_core::json::Object;

use super::PingNode;
use super::config::NodeIdentity;
use super::drops::Dropped;
use super::event::{Answered, Event, Proof, RequestId, TokenStamp, Via};
use super::inbound::{ELSEWHERE, STRANGERS};
use super::requests::{Purpose, Request};
use crate::codec::EncodeError;
use crate::frame::Encoding;
use crate::keys::{FirstContact, KeySource};
use crate::now::Now;
use crate::packet::Packet;
use crate::peers::can_be_answered;
use crate::relay::MAX_FAN_OUT;
use crate::response::Response;
use crate::signing::{MAX_LIFETIME, SignError, VerifyError, sign_ping, verify_pong};
use crate::vouching::Binding;
use crate::words::{Decision, Priority, RoutingMode};

/// How long an answer is waited for, unless set otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often whoever waits for a decision shows that it is still there. Mappings in NATs live for 30 s and more.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What is to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Who is asked.
    pub target: Name,
    /// Where it is, or for a mesh packet the first relay. `None` for where the peer table knows it; a mesh packet to an unknown place goes to
    /// three peers at most.
    pub to: Option<SocketAddr>,
    /// What is wanted.
    pub intent: String,
    /// Why.
    pub purpose: String,
    /// What comes with it.
    pub payload: Object,
    /// How urgent it is.
    pub priority: Priority,
    /// Straight or over the mesh; not broadcast.
    pub routing: RoutingMode,
    /// How long the answer is waited for: [`REQUEST_TIMEOUT`] unless set otherwise.
    pub timeout: Duration,
    /// How long the decision is waited for when the answer is `pending`. Zero not to wait.
    pub decision_timeout: Duration,
    /// Our pod.
    pub pod_id: Option<String>,
    /// Our station.
    pub station_id: Option<String>,
}

impl Ask {
    /// Asks `target` for `intent`, straight, with nothing else.
    #[must_use]
    pub fn new(target: Name, to: Option<SocketAddr>, intent: impl Into<String>) -> Self {
        Self {
            target,
            to,
            intent: intent.into(),
            purpose: String::new(),
            payload: Object::new(),
            priority: Priority::Normal,
            routing: RoutingMode::Direct,
            timeout: REQUEST_TIMEOUT,
            decision_timeout: Duration::ZERO,
            pod_id: None,
            station_id: None,
        }
    }
}

/// Why nothing was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No address was given and none is known.
    #[error("it is not known where {0} is")]
    Nowhere(Name),
    /// Nothing can be sent there.
    #[error("{0} is no address of a device")]
    Address(SocketAddr),
    /// It is for us.
    #[error("a node does not ask itself")]
    Own,
    /// A broadcast.
    #[error("a question goes to one device, straight or over the mesh")]
    Broadcast,
    /// There is no tunnel to it: for whoever owns the node to say.
    #[error("there is no tunnel to {0}")]
    NoTunnel(Name),
    /// [`MAX_REQUESTS`](crate::MAX_REQUESTS) wait for an answer.
    #[error("too many requests wait for an answer")]
    Full,
    /// The packet cannot be written.
    #[error("this is no packet: {0}")]
    Encode(#[from] EncodeError),
    /// The packet cannot be signed.
    #[error("this cannot be signed: {0}")]
    Sign(#[from] SignError),
    /// The system gives no random bytes.
    #[error("no randomness")]
    NoRandomness,
    /// The node is not on the network: for whoever owns the node to say.
    #[error("the node is not on the network")]
    Stopped,
}

impl PingNode {
    /// Asks a device. What comes of it is told as [`Event::Answered`] or [`Event::Unanswered`].
    ///
    /// # Errors
    /// [`AskError`]; then nothing is sent.
    pub fn ping(&mut self, ask: Ask, now: Now) -> Result<RequestId, AskError> {
        if ask.target == self.identity.name {
            return Err(AskError::Own);
        }
        let to = self.first_hops(&ask, now)?;
        let (fresh, stamp) = self.draw(now).map_err(|_| AskError::NoRandomness)?;
        let packet = Packet {
            payload: ask.payload,
            priority: ask.priority,
            routing_mode: ask.routing,
            pod_id: ask.pod_id,
            station_id: ask.station_id,
            tibet_token_id: self.config.tokens.then(|| stamp.token_id()),
            ..Packet::intent(&self.identity.name, &ask.target, &ask.intent, &ask.purpose, fresh)
        };
        let purpose = Purpose::Ask { decision_timeout: ask.decision_timeout };
        let target_key = self.keys.key(&ask.target);
        let request = Request::new(purpose, Some(ask.target), packet, self.config.encoding, stamp);
        let (id, bytes) = self.begin(request, &to, target_key, ask.timeout, now)?;
        for address in to {
            self.transmit(address, bytes.clone());
        }
        Ok(id)
    }

    /// Does not wait for an answer any more. Whether one was waited for.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        self.requests.remove(id).is_some()
    }

    /// Signs a request, notes it down and gives its frame.
    pub(super) fn begin(
        &mut self,
        mut request: Request,
        to: &[SocketAddr],
        target_key: Option<PublicKey>,
        timeout: Duration,
        now: Now,
    ) -> Result<(RequestId, Vec<u8>), AskError> {
        let free = |id: &RequestId| !self.requests.is_full() && !self.requests.contains(*id);
        let id = RequestId::parse(&request.packet.packet_id).filter(free).ok_or(AskError::Full)?;
        let expires_at = now.wall.saturating_add(MAX_LIFETIME);
        let NodeIdentity { key, generation, .. } = &self.identity;
        request.hash = sign_ping(&mut request.packet, key, *generation, target_key, expires_at)?;
        let bytes = request.packet.encode(request.encoding)?;
        to.iter().for_each(|address| self.paths.expect(*address, now.mono));
        request.to = to.to_vec();
        request.sent_at = now.mono;
        request.deadline = now.mono.saturating_add(timeout);
        self.requests.insert(id, request);
        Ok((id, bytes))
    }

    fn first_hops(&self, ask: &Ask, now: Now) -> Result<Vec<SocketAddr>, AskError> {
        if ask.routing == RoutingMode::Broadcast {
            return Err(AskError::Broadcast);
        }
        if let Some(to) = ask.to {
            return can_be_answered(to).then(|| vec![to]).ok_or(AskError::Address(to));
        }
        if let Some(peer) = self.peers.get(&ask.target, now) {
            return Ok(vec![peer.endpoint]);
        }
        let near = self.peers.alive(now).filter(|(_, peer)| peer.reachable).map(|(_, peer)| peer.endpoint);
        let hops: Vec<SocketAddr> = near.take(MAX_FAN_OUT).collect();
        let mesh = ask.routing == RoutingMode::Mesh && !hops.is_empty();
        mesh.then_some(hops).ok_or_else(|| AskError::Nowhere(ask.target.clone()))
    }

    /// Asks a peer whether it is at `address`, where a packet of its came from. The question is no larger than what may be sent there.
    pub(super) fn probe(&mut self, name: &Name, address: SocketAddr, now: Now) {
        if !self.requests.may_probe(name, address) {
            return;
        }
        let Ok((fresh, stamp)) = self.draw(now) else { return };
        let packet = Packet {
            target_did: name.as_str().to_owned(),
            priority: Priority::Normal,
            routing_mode: RoutingMode::Direct,
            purpose: String::new(),
            payload: Object::new(),
            ..Packet::heartbeat(&self.identity.name, fresh)
        };
        // Only our own kind is probed, and it reads the shorter encoding.
        let target = Some(name.clone());
        let request = Request::new(Purpose::Probe, target, packet, Encoding::Msgpack, stamp);
        let begun = self.begin(request, &[address], None, REQUEST_TIMEOUT, now);
        let Ok((id, bytes)) = begun else { return };
        if self.paths.spend(address, bytes.len(), now.mono) {
            self.transmit(address, bytes);
        } else {
            self.requests.remove(id);
        }
    }

    pub(super) fn handle_response(
        &mut self,
        response: Response,
        from: SocketAddr,
        encoding: Encoding,
        now: Now,
    ) -> Result<(), Dropped> {
        match RequestId::parse(&response.in_response_to).filter(|id| self.requests.contains(*id)) {
            Some(id) => self.handle_answer(id, response, from, now),
            None => self.pass_back(&response, from, encoding, now),
        }
    }

    /// An answer to a packet that was relayed here goes back the way that packet came.
    fn pass_back(
        &mut self,
        response: &Response,
        from: SocketAddr,
        encoding: Encoding,
        now: Now,
    ) -> Result<(), Dropped> {
        let to = self.relay.handle_response(response, from, now).ok_or(Dropped::Unasked)?;
        let bytes = response.encode(encoding).map_err(|_| Dropped::Unwritable)?;
        if !self.paths.spend(to, bytes.len(), now.mono) {
            return Err(Dropped::Amplification);
        }
        self.transmit(to, bytes);
        Ok(())
    }

    /// Until an answer is believed it changes nothing but a counter (SECURITY R11).
    fn handle_answer(
        &mut self,
        id: RequestId,
        response: Response,
        from: SocketAddr,
        now: Now,
    ) -> Result<(), Dropped> {
        let (proof, name) = self.believe(id, &response, from, now)?;
        if proof.is_verified() {
            self.learn_from_answer(id, &response, &name, proof, from, now)?;
        }
        let Some(request) = self.requests.get_mut(id) else { return Err(Dropped::Unasked) };
        match request.purpose {
            Purpose::Probe => {
                self.requests.remove(id);
                Ok(())
            }
            Purpose::Search => {
                // Who is known is told of once; of strangers, who can be as many as they like, some are.
                let first = proof != Proof::Verified || request.finds(&name);
                let may = first && (proof == Proof::Verified || self.may_tell(now));
                if may { self.handle_found(&response, name, proof, from, now) } else { Ok(()) }
            }
            Purpose::Ask { .. } | Purpose::Decision => {
                self.conclude(id, response, Via::Address(from), proof, false, now)
            }
        }
    }

    /// Tells whoever asked of a believed answer. `last` when the answer says that none follows; one that is no `pending` is the last anyway.
    pub(super) fn conclude(
        &mut self,
        id: RequestId,
        response: Response,
        from: Via,
        proof: Proof,
        mut last: bool,
        now: Now,
    ) -> Result<(), Dropped> {
        let Some(request) = self.requests.get_mut(id) else { return Err(Dropped::Unasked) };
        let round_trip = now.mono.saturating_sub(request.sent_at);
        match request.purpose {
            Purpose::Ask { decision_timeout } if response.decision == Decision::Pending => {
                last |= decision_timeout.is_zero();
                if !last {
                    self.requests.wait_for_decision(id, now.mono.saturating_add(decision_timeout), now.mono);
                }
            }
            Purpose::Decision if response.decision == Decision::Pending => return Ok(()),
            _ => last = true,
        }
        let request = if last {
            self.requests.remove(id).map(|request| (request.packet, request.stamp))
        } else {
            self.requests.get_mut(id).map(|request| (request.packet.clone(), request.stamp))
        };
        let Some((packet, asked)) = request else { return Err(Dropped::Unasked) };
        let stamp = if last { asked } else { self.stamp(now)? };
        let answered = Answered { request: id, packet, response, from, proof, round_trip, last, stamp };
        self.tell(Event::Answered(Box::new(answered)));
        Ok(())
    }

    /// Whether an answer to one of our requests is true, and who gave it.
    fn believe(
        &mut self,
        id: RequestId,
        response: &Response,
        from: SocketAddr,
        now: Now,
    ) -> Result<(Proof, Name), Dropped> {
        let request = self.requests.get_mut(id).ok_or(Dropped::Unasked)?;
        // What was asked in a tunnel is not answered outside it.
        let responder = response.responder().ok().filter(|_| !request.sealed);
        let expected = responder.filter(|name| request.target.as_ref().is_none_or(|target| target == name));
        let Some(name) = expected.filter(|name| *name != self.identity.name) else {
            request.ignored.false_answers = request.ignored.false_answers.saturating_add(1);
            return Err(Dropped::FalseAnswer);
        };
        let bound = self.keys.key(&name);
        let Some(claim) = &response.claim else {
            let allowed = self.keys.may_be_unsigned(&name) && request.to.contains(&from);
            if !allowed {
                request.ignored.unsigned = request.ignored.unsigned.saturating_add(1);
                return Err(VerifyError::Unsigned.into());
            }
            return Ok((Proof::Unsigned, name));
        };
        // A search shows strangers too, and says that they are.
        let stranger = self.config.first_contact == FirstContact::Refuse && request.target.is_some();
        if bound.map_or(stranger, |key| key != claim.public_key) {
            request.ignored.wrong_key = request.ignored.wrong_key.saturating_add(1);
            return Err(VerifyError::WrongKey.into());
        }
        if !request.has_free_check() {
            let in_line = match bound {
                Some(_) => self.elsewhere.take(ELSEWHERE, now.mono),
                None => self.strangers.take(STRANGERS, now.mono),
            };
            in_line.then_some(()).ok_or(Dropped::Budget)?;
        }
        if verify_pong(response, &request.hash, &name, &claim.public_key).is_err() {
            request.ignored.false_answers = request.ignored.false_answers.saturating_add(1);
            return Err(Dropped::FalseAnswer);
        }
        Ok((if bound.is_some() { Proof::Verified } else { Proof::FirstContact }, name))
    }

    /// Whoever answers a question of ours has received it: that is where it is. And if it is a first contact, that is its key.
    fn learn_from_answer(
        &mut self,
        id: RequestId,
        response: &Response,
        name: &Name,
        proof: Proof,
        from: SocketAddr,
        now: Now,
    ) -> Result<(), Dropped> {
        let Some(request) = self.requests.get_mut(id) else { return Err(Dropped::Unasked) };
        // Sent to several, it may have reached whoever answers by way of another.
        let asked_there = request.to == [from];
        let straight = request.packet.routing_mode == RoutingMode::Direct && request.target.is_some();
        if asked_there {
            self.paths.prove(from, now.mono);
            self.release_held(from, now);
        }
        if proof == Proof::FirstContact && straight {
            self.pin_responder(response, name, now)?;
        }
        if asked_there
            && straight
            && let Some(before) = self.peers.confirm(name, from, now)
        {
            let stamp = self.stamp(now)?;
            self.tell(Event::PeerMoved { name: name.clone(), from: before, to: from, stamp });
        }
        Ok(())
    }

    fn pin_responder(&mut self, response: &Response, name: &Name, now: Now) -> Result<(), Dropped> {
        let Some(claim) = response.claim else { return Ok(()) };
        let binding = Binding { name: name.clone(), key: claim.public_key, generation: claim.generation };
        if self.keys.bind(binding.clone(), KeySource::Pin).is_ok() {
            let stamp: TokenStamp = self.stamp(now)?;
            self.tell(Event::Pinned { binding, stamp });
        }
        Ok(())
    }

    pub(super) fn give_up(&mut self, id: RequestId, request: Request) {
        let Request { purpose, packet, ignored, stamp, .. } = request;
        if matches!(purpose, Purpose::Ask { .. } | Purpose::Decision) {
            self.tell(Event::Unanswered { request: id, packet: Box::new(packet), ignored, stamp });
        }
    }

    /// Shows those whose decision we wait for that we still do.
    pub(super) fn send_signs_of_life(&mut self, now: Now) {
        while let Some((name, to)) = self.requests.sign_due(now.mono, SIGN_OF_LIFE) {
            let Ok((fresh, _)) = self.draw(now) else { return };
            let packet = Packet {
                target_did: name.as_str().to_owned(),
                routing_mode: RoutingMode::Direct,
                ..Packet::heartbeat(&self.identity.name, fresh)
            };
            if let Some(bytes) = self.sealed(packet, now) {
                self.transmit(to, bytes);
            }
        }
    }

    /// Signs and writes a packet that waits for no answer.
    pub(super) fn sealed(&mut self, mut packet: Packet, now: Now) -> Option<Vec<u8>> {
        let expires_at = now.wall.saturating_add(MAX_LIFETIME);
        let key = &self.identity.key;
        let signed = sign_ping(&mut packet, key, self.identity.generation, None, expires_at);
        let bytes = signed.ok().and_then(|_| packet.encode(self.config.encoding).ok());
        if bytes.is_none() {
            self.drops.count(Dropped::Unwritable);
        }
        bytes
    }
}
