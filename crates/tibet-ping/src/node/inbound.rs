//! What becomes of a packet.

use std::net::SocketAddr;

use jis::{Name, PublicKey};
use tibet_core::Zone;

use super::PingNode;
use super::answering::{Asked, Back};
use super::drops::Dropped;
use super::event::{Event, PingSeen, Proof, Via};
use crate::airlock::{PendingPing, Standing, Verdict};
use crate::frame::Encoding;
use crate::keys::{Expected, KeyRefusal};
use crate::now::Now;
use crate::packet::{Packet, Target};
use crate::peers::Heard;
use crate::rate::Rate;
use crate::relay::RelayDecision;
use crate::replay::Sender;
use crate::signing::{VerifiedPing, VerifyError, request_hash, verify_ping};
use crate::trust::{Trust, TrustSource};
use crate::words::{Decision, PingType, Priority, RoutingMode};

/// Signature checks of names that nobody has spoken under yet: 50 µs each, so 5 % of a core (SECURITY R18).
pub(super) const STRANGERS: Rate = Rate { burst: 100, per_second: 1000 };
/// Signature checks of known names that speak from elsewhere than they are known to be: 10 % of a core. A peer that is where it was is never
/// kept waiting by these.
pub(super) const ELSEWHERE: Rate = Rate { burst: 500, per_second: 2000 };

/// Bad signatures at a peer's own address, after which what comes from there waits in line like what comes from elsewhere: for as long as somebody
/// who knows the address forges it.
pub(super) const FORGED: Rate = Rate { burst: 50, per_second: 20 };

/// A packet on its way through the node.
pub(super) struct Inbound {
    pub packet: Packet,
    pub from: SocketAddr,
    pub encoding: Encoding,
    /// Bytes of the datagram.
    pub length: usize,
    pub now: Now,
}

/// Whom a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    Us,
    Everybody,
    Other,
}

/// What the airlock said, for keeping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruling {
    pub trust: Trust,
    pub zone: Zone,
    pub decision: Decision,
    pub rule: Option<String>,
    /// Why it waits, if it does.
    pub reason: String,
}

impl Ruling {
    pub(super) fn of(verdict: &Verdict<'_>, trust: Trust) -> Self {
        let waits = verdict.decision == Decision::Pending;
        Self {
            trust,
            zone: verdict.zone,
            decision: verdict.decision,
            rule: verdict.rule.map(|rule| rule.name.clone()),
            reason: if waits { verdict.reason(trust.score) } else { String::new() },
        }
    }
}

impl PingNode {
    /// The table in the crate's documentation is the order of this.
    pub(super) fn handle_packet(&mut self, inbound: Inbound) -> Result<(), Dropped> {
        let Inbound { packet, from, now, .. } = &inbound;
        if packet.source_did == self.identity.name.as_str() {
            return Err(Dropped::Own);
        }
        let audience = self.audience(packet)?;
        let name = packet.source().map_err(|_| KeyRefusal::BadName)?;
        let expected = match self.keys.expected(packet) {
            Ok(expected) => expected,
            Err(refusal) => {
                if refusal == KeyRefusal::ChangedKey && self.may_tell(*now) {
                    self.tell(Event::ChangedKey { name, from: Via::Address(*from) });
                }
                return Err(refusal.into());
            }
        };
        self.check_fresh(packet, &expected, *now)?;
        let ruling = self.rule(packet, &name, &expected, *now);
        // Whoever has a key has a self-certifying name: until the operator names it, it is a stranger like others.
        let stranger = self.keys.binding(&name).is_none();
        if stranger && ruling.decision == Decision::Reject {
            // What it says would change nothing if it were true, so nobody looks whether it is.
            return self.tell_of_rood(inbound, audience, ruling);
        }
        let (key, proof) = match expected {
            Expected::Unsigned => return self.handle_unsigned(&inbound, audience, ruling),
            Expected::FirstContact(key) => (key, Proof::FirstContact),
            Expected::Bound(key) => (key, Proof::Verified),
        };
        let at_home = self.check_budget(&name, stranger, *from, *now)?;
        let verified = verify_ping(packet, &key);
        if at_home && verified.is_err() {
            self.forged.take(name, now.mono);
        }
        self.handle_verified(&inbound, &verified?, audience, ruling, proof)
    }

    fn audience(&self, packet: &Packet) -> Result<Audience, Dropped> {
        match packet.target().map_err(|_| Dropped::BadTarget)? {
            Target::Name(name) if name == self.identity.name => Ok(Audience::Us),
            Target::Name(_) if packet.routing_mode == RoutingMode::Mesh => Ok(Audience::Other),
            Target::Name(_) => Err(VerifyError::NotForUs.into()),
            // What is to be done is for one device to do (SECURITY 3.2 row 35).
            Target::Broadcast if matches!(packet.ping_type, PingType::Intent | PingType::Relay) => {
                Err(Dropped::Broadcast)
            }
            Target::Broadcast => Ok(Audience::Everybody),
        }
    }

    pub(super) fn check_fresh(
        &mut self,
        packet: &Packet,
        expected: &Expected,
        now: Now,
    ) -> Result<(), Dropped> {
        self.replay.handle_timeout(now);
        let expires_at = packet.claim.map(|claim| claim.expires_at);
        let sender = sender(packet, expected);
        let time = self.replay.check(sender, &packet.nonce, &packet.timestamp, expires_at, now)?;
        if let Some(restart) = &self.restart {
            restart.check(time)?;
        }
        Ok(())
    }

    fn rule(&self, packet: &Packet, name: &Name, expected: &Expected, now: Now) -> Ruling {
        let trust = self.trust.lookup(name, &self.vouches, now.wall);
        let standing = match (expected, trust.source) {
            (Expected::Bound(_) | Expected::FirstContact(_), _) => Standing::Verified,
            (Expected::Unsigned, TrustSource::Explicit) => Standing::UnsignedExplicit,
            (Expected::Unsigned, _) => Standing::Unsigned,
        };
        Ruling::of(&self.airlock.evaluate(packet, trust.score, standing), trust)
    }

    /// Peers that are where they were come first; whoever claims to be one from elsewhere waits in line (SECURITY R18). So does one that is forged
    /// where it is. Whether it came first.
    fn check_budget(
        &mut self,
        name: &Name,
        stranger: bool,
        from: SocketAddr,
        now: Now,
    ) -> Result<bool, Dropped> {
        let at_home = self.peers.get(name, now).is_some_and(|peer| peer.endpoint == from);
        if at_home && self.forged.has_room(name, now.mono) {
            return Ok(true);
        }
        let allowed = match stranger && !at_home {
            true => self.strangers.take(STRANGERS, now.mono),
            false => self.elsewhere.take(ELSEWHERE, now.mono),
        };
        allowed.then_some(false).ok_or(Dropped::Budget)
    }

    fn handle_verified(
        &mut self,
        inbound: &Inbound,
        ping: &VerifiedPing<'_>,
        audience: Audience,
        ruling: Ruling,
        proof: Proof,
    ) -> Result<(), Dropped> {
        if audience == Audience::Other {
            return self.handle_others(inbound, ping, &ruling, proof);
        }
        ping.check_audience(&self.identity.name, &self.public_key)?;
        self.remember(&inbound.packet, Sender::Key(&ping.claim().public_key), inbound.now)?;
        self.pin(ping, proof, inbound.now)?;
        let silent = ruling.decision == Decision::Reject;
        if !silent {
            self.paths.earn(inbound.from, inbound.length, inbound.now.mono);
        }
        // The answer comes first: what may be sent to an unproven address is for that.
        let decided = self.decide(inbound, audience, ruling, proof, ping.hash());
        if !silent {
            self.hear(ping, inbound)?;
        }
        decided
    }

    fn handle_unsigned(
        &mut self,
        inbound: &Inbound,
        audience: Audience,
        ruling: Ruling,
    ) -> Result<(), Dropped> {
        if audience == Audience::Other {
            // SECURITY R72, 3.2 row 77.
            return Err(VerifyError::Unsigned.into());
        }
        let packet = &inbound.packet;
        self.remember(packet, Sender::Unsigned(&packet.source_did), inbound.now)?;
        self.paths.earn(inbound.from, inbound.length, inbound.now.mono);
        self.decide(inbound, audience, ruling, Proof::Unsigned, request_hash(packet))
    }

    /// From here on the same packet is a replay.
    pub(super) fn remember(&mut self, packet: &Packet, sender: Sender<'_>, now: Now) -> Result<(), Dropped> {
        let expires_at = packet.claim.map(|claim| claim.expires_at);
        self.replay.insert(sender, &packet.nonce, &packet.timestamp, expires_at, now)?;
        Ok(())
    }

    fn pin(&mut self, ping: &VerifiedPing<'_>, proof: Proof, now: Now) -> Result<(), Dropped> {
        if proof == Proof::FirstContact
            && let Some(binding) = self.keys.handle_first_contact(ping)
        {
            let stamp = self.stamp(now)?;
            self.tell(Event::Pinned { binding, stamp });
        }
        Ok(())
    }

    /// Takes note of where a sender is.
    fn hear(&mut self, ping: &VerifiedPing<'_>, inbound: &Inbound) -> Result<(), Dropped> {
        let (from, now) = (inbound.from, inbound.now);
        let heard = self.peers.handle_ping(ping, from, now);
        if let Heard::New(_) = heard {
            let (name, stamp) = (ping.source().clone(), self.stamp(now)?);
            self.tell(Event::PeerFound { name, address: from, stamp });
        }
        let unproven = match heard {
            Heard::Elsewhere(_) => true,
            // The operator's word is enough to send it heartbeats, but not to send it more than it asked for.
            Heard::New(peer) | Heard::Same(peer) => !peer.reachable || !self.paths.is_proven(from, now.mono),
            Heard::Nothing => false,
        };
        self.release_held(from, now);
        // What may be sent there is for answers first: to this packet, and to one that waits for a human or the application.
        let soon = self.paths.owed(from, now.mono).is_some_and(|owed| owed <= inbound.length);
        let waits = self.pending.waits_for(ping.source().as_str()) || self.questions.wait_for(from);
        let owed = soon || waits || !is_sign_of_life(ping.packet());
        if unproven && !owed {
            self.probe(ping.source(), from, now);
        }
        if let Heard::Elsewhere(peer) = heard
            && peer.reachable
        {
            // Somebody may only have been faster with its packet: it is asked where it was, too, so that it is not taken for gone.
            self.probe(ping.source(), peer.endpoint, now);
        }
        Ok(())
    }

    /// A packet for somebody else.
    fn handle_others(
        &mut self,
        inbound: &Inbound,
        ping: &VerifiedPing<'_>,
        ruling: &Ruling,
        proof: Proof,
    ) -> Result<(), Dropped> {
        let Inbound { from, encoding, length, now, .. } = inbound;
        if ruling.zone == Zone::Rood || ruling.decision == Decision::Reject {
            return Err(Dropped::Rood);
        }
        self.pin(ping, proof, *now)?;
        self.peers.handle_ping(ping, *from, *now);
        match self.relay.handle_ping(ping, *from, &self.peers, *now) {
            RelayDecision::Drop(reason) => Err(Dropped::Relay(reason)),
            RelayDecision::Forward { packet, to } => {
                // The answer goes back there.
                self.paths.earn(*from, *length, now.mono);
                let bytes = packet.encode(*encoding).map_err(|_| Dropped::Unwritable)?;
                for address in &to {
                    self.transmit(*address, bytes.clone());
                }
                let stamp = self.stamp(*now)?;
                self.tell(Event::Relayed { packet, to, stamp });
                Ok(())
            }
        }
    }

    /// Does what the airlock said.
    fn decide(
        &mut self,
        inbound: &Inbound,
        audience: Audience,
        ruling: Ruling,
        proof: Proof,
        hash: [u8; 32],
    ) -> Result<(), Dropped> {
        let Inbound { packet, from, encoding, length, now } = inbound;
        if is_sign_of_life(packet) {
            return Ok(());
        }
        let asked = Asked { packet, back: Back::Datagram { to: *from, hash, encoding: *encoding } };
        if packet.ping_type == PingType::Heartbeat {
            // It asks whether we are here. That waits for no human and is not worth a line.
            let wanted = audience == Audience::Us && ruling.decision != Decision::Reject;
            let (fresh, _) = self.draw(*now)?;
            return if wanted { self.answer_at_once(&asked, &ruling, fresh, None, *now) } else { Ok(()) };
        }
        if audience == Audience::Everybody {
            // Searches come in on the discovery port.
            return Err(Dropped::NotDiscovery);
        }
        self.act_on(&asked, ruling, proof, *length, *now)
    }

    /// Accept, wait or silence: what the airlock said of a ping of `length` bytes, and tells of it.
    pub(super) fn act_on(
        &mut self,
        asked: &Asked<'_>,
        ruling: Ruling,
        proof: Proof,
        length: usize,
        now: Now,
    ) -> Result<(), Dropped> {
        let (fresh, stamp) = self.draw(now)?;
        let packet = asked.packet;
        let seen = PingSeen {
            packet: packet.clone(),
            from: asked.back.via(),
            proof,
            trust: ruling.trust,
            zone: ruling.zone,
            decision: ruling.decision,
            rule: ruling.rule.clone(),
            stamp,
        };
        match ruling.decision {
            Decision::Reject => {
                self.tell(Event::Ping(Box::new(seen)));
                Err(Dropped::Rood)
            }
            Decision::Accept if self.is_claimed(packet) => {
                self.ask_application(asked, ruling, seen, fresh, now)
            }
            Decision::Accept => {
                self.tell(Event::Ping(Box::new(seen)));
                self.answer_at_once(asked, &ruling, fresh, Some(stamp), now)
            }
            Decision::Pending => {
                let (encoding, wanted) = match asked.back {
                    Back::Datagram { encoding, .. } => (encoding, true),
                    Back::Sealed { wanted, waits, .. } => (Encoding::Msgpack, wanted && waits),
                };
                let ping = PendingPing {
                    packet: packet.clone(),
                    frame_len: length,
                    reply_to: asked.back.via(),
                    encoding,
                    wanted,
                    trust: ruling.trust.score,
                    reason: ruling.reason.clone(),
                    rule: ruling.rule.clone(),
                    since: now,
                };
                let waits = self.pending.handle_pending(ping);
                // Who signs nothing can be anybody, as often as he likes; and nothing else limits how often a tunnel's other end asks.
                let told = match proof {
                    Proof::Verified | Proof::FirstContact => true,
                    Proof::Sealed => waits.is_ok() || self.may_tell(now),
                    Proof::Unsigned | Proof::Unproven => waits.is_ok(),
                };
                if told {
                    self.tell(Event::Ping(Box::new(seen)));
                }
                waits.map_err(|_| Dropped::Waiting)?;
                self.answer_at_once(asked, &ruling, fresh, Some(stamp), now)
            }
        }
    }

    fn tell_of_rood(&mut self, inbound: Inbound, audience: Audience, ruling: Ruling) -> Result<(), Dropped> {
        let for_us = audience == Audience::Us && inbound.packet.ping_type != PingType::Heartbeat;
        if for_us && self.may_tell(inbound.now) {
            let stamp = self.stamp(inbound.now)?;
            let Ruling { trust, zone, decision, rule, .. } = ruling;
            let (packet, from, proof) = (inbound.packet, Via::Address(inbound.from), Proof::Unproven);
            let seen = PingSeen { packet, from, proof, trust, zone, decision, rule, stamp };
            self.tell(Event::Ping(Box::new(seen)));
        }
        Err(Dropped::Rood)
    }
}

/// A lazy heartbeat asks for nothing.
fn is_sign_of_life(packet: &Packet) -> bool {
    packet.ping_type == PingType::Heartbeat && packet.priority == Priority::Lazy
}

/// Whose nonce it is: the key's, not the name's, as far as there is one.
fn sender<'a>(packet: &'a Packet, expected: &'a Expected) -> Sender<'a> {
    let key: &PublicKey = match expected {
        Expected::Bound(key) | Expected::FirstContact(key) => key,
        Expected::Unsigned => return Sender::Unsigned(&packet.source_did),
    };
    Sender::Key(key)
}
