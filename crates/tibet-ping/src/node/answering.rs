//! Answers: by the node itself, by the application, by a human.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tibet_core::Zone;
use tibet_core::json::Object;

use super::PingNode;
use super::config::NodeIdentity;
use super::drops::Dropped;
use super::event::{
    Destination, Event, PendingSettled, PingSeen, Proof, QuestionId, RequestId, TokenStamp, Via,
};
use super::inbound::Ruling;
use crate::airlock::{PendingPing, PendingQueue, Settled};
use crate::codec::EncodeError;
use crate::compact::ExchangeId;
use crate::frame::Encoding;
use crate::glob::Glob;
use crate::now::Now;
use crate::packet::{Fresh, Packet};
use crate::response::{MAX_CAPABILITIES, Response};
use crate::sealed::{SealedAnswer, write_payload};
use crate::signing::{request_hash, sign_pong};
use crate::trust::{Trust, TrustSource};
use crate::words::{Decision, RoutingMode};

/// Questions that wait for the application at a time: some 1 KiB each, more with large payloads.
pub const MAX_QUESTIONS: usize = 1024;
/// Of these, questions of one identity that came through its tunnel: nothing else limits how fast they come.
const MAX_SEALED_QUESTIONS: usize = 128;
/// How long the application has. Whoever asked has given up by then.
pub const QUESTION_LIFETIME: Duration = Duration::from_secs(10);

/// A question, as far as its answer needs it.
pub(super) struct Asked<'a> {
    pub packet: &'a Packet,
    pub back: Back,
}

/// How an answer goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// As a signed response, bound to the question by its hash and written as the question was.
    Datagram { to: SocketAddr, hash: [u8; 32], encoding: Encoding },
    /// Through the tunnel the question came by. Not at all if the asker does not want one; and if it does not wait for a decision, `pending` is all
    /// it hears.
    Sealed { id: ExchangeId, wanted: bool, waits: bool },
}

impl Back {
    /// How the decision on a ping that waited goes back.
    fn of_pending(ping: &PendingPing) -> Self {
        match ping.reply_to {
            Via::Address(to) => {
                Self::Datagram { to, hash: request_hash(&ping.packet), encoding: ping.encoding }
            }
            Via::Tunnel => {
                let id = RequestId::parse(&ping.packet.packet_id).map(RequestId::bytes).unwrap_or_default();
                Self::Sealed { id, wanted: ping.wanted, waits: ping.wanted }
            }
        }
    }

    pub(super) const fn via(&self) -> Via {
        match self {
            Self::Datagram { to, .. } => Via::Address(*to),
            Self::Sealed { .. } => Via::Tunnel,
        }
    }
}

/// A question that waits for the application.
#[derive(Debug)]
struct Question {
    packet: Packet,
    back: Back,
    ruling: Ruling,
    stamp: TokenStamp,
    fresh: Fresh,
    until: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Questions {
    /// In the order they came, which is the order they expire in.
    waiting: BTreeMap<QuestionId, Question>,
    next: u64,
}

impl Questions {
    fn insert(&mut self, question: Question) -> Option<QuestionId> {
        if self.waiting.len() >= MAX_QUESTIONS || self.is_full_for(&question) {
            return None;
        }
        let id = QuestionId(self.next);
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(id, question);
        Some(id)
    }

    fn is_full_for(&self, question: &Question) -> bool {
        let sealed = |other: &&Question| {
            other.back.via() == Via::Tunnel && other.packet.source_did == question.packet.source_did
        };
        question.back.via() == Via::Tunnel
            && self.waiting.values().filter(sealed).take(MAX_SEALED_QUESTIONS).count() == MAX_SEALED_QUESTIONS
    }

    /// One whose time is up.
    pub(super) fn expired(&mut self, now: Duration) -> bool {
        let due = self.waiting.first_entry().filter(|question| question.get().until <= now);
        due.map(std::collections::btree_map::OccupiedEntry::remove).is_some()
    }

    /// Whether an answer will go to this address.
    pub(super) fn wait_for(&self, to: SocketAddr) -> bool {
        self.waiting.values().any(|question| question.back.via() == Via::Address(to))
    }

    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|(_, question)| question.until)
    }
}

/// Why the application's answer was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It was answered, or [`QUESTION_LIFETIME`] has passed.
    #[error("this question does not wait any more")]
    Gone,
    /// It cannot be written; the question still waits.
    #[error("this is no answer: {0}")]
    Encode(#[from] EncodeError),
}

impl PingNode {
    /// Answers a question that [`Event::Question`] handed out, with a payload and, if given, other capabilities than the node's own. An answer through a
    /// tunnel carries no capabilities: they stand in the node's record.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn answer(
        &mut self,
        id: QuestionId,
        payload: Object,
        capabilities: Option<Vec<String>>,
        now: Now,
    ) -> Result<(), AnswerError> {
        let question = self.questions.waiting.remove(&id).ok_or(AnswerError::Gone)?;
        let Question { packet, back, ruling, stamp, fresh, .. } = &question;
        let asked = Asked { packet, back: *back };
        let fresh = Fresh { now: now.wall, ..*fresh };
        let mut response = self.response(&asked, ruling, fresh, Some(*stamp));
        response.payload = payload;
        if let Some(capabilities) = capabilities {
            response.capabilities = capabilities.into_iter().take(MAX_CAPABILITIES).collect();
        }
        match self.send_response(&asked, response, now) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.questions.waiting.insert(id, question);
                Err(error.into())
            }
        }
    }

    /// Lets a ping that waits in, by its source and packet id. Whether there was one.
    pub fn approve(&mut self, source: &str, packet_id: &str, now: Now) -> bool {
        self.settle(|pending| pending.approve(source, packet_id), now)
    }

    /// Refuses a ping that waits. Its sender is told, since it knows already that we are here. Whether there was one.
    pub fn deny(&mut self, source: &str, packet_id: &str, now: Now) -> bool {
        self.settle(|pending| pending.deny(source, packet_id), now)
    }

    fn settle(&mut self, take: impl FnOnce(&mut PendingQueue) -> Option<Settled>, now: Now) -> bool {
        // Without randomness there is no answer, and the ping waits on.
        let Ok((fresh, stamp)) = self.draw(now) else {
            self.drops.count(Dropped::NoRandomness);
            return false;
        };
        let Some(Settled { ping, decision }) = take(&mut self.pending) else { return false };
        let asked = Asked { packet: &ping.packet, back: Back::of_pending(&ping) };
        let (score, source) = (ping.trust, TrustSource::Unknown);
        let trust = ping.packet.source().map(|name| self.trust.lookup(&name, &self.vouches, now.wall));
        let ruling = Ruling {
            trust: trust.unwrap_or(Trust { score, source }),
            zone: Zone::Geel,
            decision,
            rule: ping.rule.clone(),
            reason: String::new(),
        };
        let answered = if decision == Decision::Accept && self.is_claimed(&ping.packet) {
            // What is let in reaches the application, whoever lets it in.
            self.ask_of_settled(&asked, ruling, fresh, now)
        } else {
            self.answer_at_once(&asked, &ruling, fresh, Some(stamp), now)
        };
        if let Err(dropped) = answered {
            self.drops.count(dropped);
        }
        self.tell_settled(ping, Some(decision), stamp);
        true
    }

    fn ask_of_settled(
        &mut self,
        asked: &Asked<'_>,
        ruling: Ruling,
        fresh: Fresh,
        now: Now,
    ) -> Result<(), Dropped> {
        // Of its own: the other one is for the token that says who decided.
        let stamp = self.stamp(now)?;
        let seen = PingSeen {
            packet: asked.packet.clone(),
            from: asked.back.via(),
            proof: match asked.back {
                Back::Sealed { .. } => Proof::Sealed,
                Back::Datagram { .. } if asked.packet.claim.is_some() => Proof::Verified,
                Back::Datagram { .. } => Proof::Unsigned,
            },
            trust: ruling.trust,
            zone: ruling.zone,
            decision: ruling.decision,
            rule: ruling.rule.clone(),
            stamp,
        };
        self.ask_application(asked, ruling, seen, fresh, now)
    }

    pub(super) fn tell_settled(&mut self, ping: PendingPing, decision: Option<Decision>, stamp: TokenStamp) {
        let settled = PendingSettled { packet: ping.packet, trust: ping.trust, decision, stamp };
        self.tell(Event::Settled(Box::new(settled)));
    }

    /// Has the application answer intents that match. Whether there is room for another pattern.
    pub fn claim_intents(&mut self, pattern: Glob) -> bool {
        let room = self.claims.len() < super::MAX_CLAIMS;
        if room {
            self.claims.push(pattern);
        }
        room
    }

    pub(super) fn is_claimed(&self, packet: &Packet) -> bool {
        self.claims.iter().any(|pattern| pattern.matches(&packet.intent))
    }

    pub(super) fn ask_application(
        &mut self,
        asked: &Asked<'_>,
        ruling: Ruling,
        seen: PingSeen,
        fresh: Fresh,
        now: Now,
    ) -> Result<(), Dropped> {
        let question = Question {
            packet: asked.packet.clone(),
            back: asked.back,
            ruling,
            stamp: seen.stamp,
            fresh,
            until: now.mono.saturating_add(QUESTION_LIFETIME),
        };
        let id = self.questions.insert(question).ok_or(Dropped::Waiting)?;
        self.tell(Event::Question { id, ping: Box::new(seen) });
        Ok(())
    }

    /// Answers with the decision and nothing else. `token` is the one the question is recorded with.
    pub(super) fn answer_at_once(
        &mut self,
        asked: &Asked<'_>,
        ruling: &Ruling,
        fresh: Fresh,
        token: Option<TokenStamp>,
        now: Now,
    ) -> Result<(), Dropped> {
        let response = self.response(asked, ruling, fresh, token);
        self.send_response(asked, response, now).map_err(|_| Dropped::Unwritable)
    }

    fn response(
        &self,
        asked: &Asked<'_>,
        ruling: &Ruling,
        fresh: Fresh,
        token: Option<TokenStamp>,
    ) -> Response {
        let Ruling { trust, zone, decision, rule, .. } = ruling;
        // What nobody signed may be summed up instead of recorded.
        let token = token.filter(|_| self.config.tokens && asked.packet.claim.is_some());
        Response {
            fira_breakdown: trust.breakdown(),
            capabilities: self.capabilities.clone(),
            applied_rule: rule.clone(),
            tibet_token_id: token.map(|stamp| stamp.token_id()),
            ..Response::to(asked.packet, &self.identity.name, *decision, *zone, trust.score, fresh)
        }
    }

    /// Sends an answer back the way the question came.
    pub(super) fn send_response(
        &mut self,
        asked: &Asked<'_>,
        response: Response,
        now: Now,
    ) -> Result<(), EncodeError> {
        match asked.back {
            Back::Datagram { to, hash, encoding } => {
                self.send_datagram(asked.packet, (to, hash, encoding), response, now)
            }
            Back::Sealed { wanted: false, .. } => Ok(()),
            Back::Sealed { id, waits, .. } => self.send_sealed(asked.packet, (id, waits), &response),
        }
    }

    /// Puts an answer into the tunnel, which proves us and takes it nowhere else.
    fn send_sealed(
        &mut self,
        packet: &Packet,
        (id, waits): (ExchangeId, bool),
        response: &Response,
    ) -> Result<(), EncodeError> {
        let payload = write_payload(&response.payload)?;
        let answer = SealedAnswer {
            id,
            decision: response.decision,
            zone: zone_of(&response.airlock_zone),
            trust: SealedAnswer::trust_of(response.trust_score),
            last: response.decision != Decision::Pending || !waits,
            payload_bytes: &payload,
        };
        let bytes = answer.write()?;
        if let Ok(peer) = packet.source() {
            self.transmit_to(Destination::Sealed(peer), bytes);
        }
        Ok(())
    }

    /// Signs an answer and sends it, as far as its address may be sent that much.
    fn send_datagram(
        &mut self,
        packet: &Packet,
        (to, hash, encoding): (SocketAddr, [u8; 32], Encoding),
        mut response: Response,
        now: Now,
    ) -> Result<(), EncodeError> {
        let written = |node: &Self, response: &mut Response| {
            node.signed_response(packet, &hash, response)?;
            response.encode(encoding)
        };
        let mut bytes = written(self, &mut response)?;
        if self.send_if_paid(to, &bytes, now) {
            return Ok(());
        }
        if response.payload.is_empty() {
            // A decision alone is shorter than the question: what else there is to say can wait for another time.
            response.capabilities.clear();
            (response.fira_breakdown, response.applied_rule) = (Object::new(), None);
            bytes = written(self, &mut response)?;
            if self.send_if_paid(to, &bytes, now) {
                return Ok(());
            }
        }
        // A legacy peer neither proves its address nor sends signs of life.
        if packet.claim.is_none() || !self.hold(packet, to, bytes, now) {
            self.drops.count(Dropped::Amplification);
        }
        Ok(())
    }

    fn send_if_paid(&mut self, to: SocketAddr, bytes: &[u8], now: Now) -> bool {
        let paid = self.paths.spend(to, bytes.len(), now.mono);
        if paid {
            self.transmit(to, bytes.to_vec());
        }
        paid
    }

    /// Keeps an answer until its address is proven, or has sent enough.
    fn hold(&mut self, packet: &Packet, to: SocketAddr, bytes: Vec<u8>, now: Now) -> bool {
        let held = self.paths.hold(to, &packet.source_did, bytes, now.mono);
        let straight = packet.routing_mode == RoutingMode::Direct;
        if held
            && straight
            && let Ok(name) = packet.source()
        {
            // The question has paid for this much.
            self.probe(&name, to, now);
        }
        held
    }

    fn signed_response(
        &self,
        packet: &Packet,
        hash: &[u8; 32],
        response: &mut Response,
    ) -> Result<(), EncodeError> {
        // A legacy peer looks at no signature, and with one the answer would be longer than the question.
        if packet.claim.is_some() {
            let NodeIdentity { key, generation, .. } = &self.identity;
            sign_pong(response, hash, key, *generation).map_err(|_| EncodeError::Member("responder_did"))?;
        }
        Ok(())
    }

    /// Sends what waited for this address to be proven or to send more.
    pub(super) fn release_held(&mut self, to: SocketAddr, now: Now) {
        while let Some(bytes) = self.paths.release(to, now.mono) {
            self.transmit(to, bytes);
        }
    }
}

/// The zone that [`PingNode::response`] wrote.
fn zone_of(text: &str) -> Zone {
    let zone = [Zone::Groen, Zone::Geel].into_iter().find(|zone| zone.as_str() == text);
    zone.unwrap_or(Zone::Rood)
}
