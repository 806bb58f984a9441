//! Answers: by the node itself, by the application, by a human.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tibet_core::Zone;
use tibet_core::json::Object;

use super::PingNode;
use super::config::NodeIdentity;
use super::drops::Dropped;
use super::event::{Event, PendingSettled, PingSeen, Proof, QuestionId, TokenStamp};
use super::inbound::Ruling;
use crate::airlock::{PendingPing, PendingQueue, Settled};
use crate::codec::EncodeError;
use crate::frame::Encoding;
use crate::glob::Glob;
use crate::now::Now;
use crate::packet::{Fresh, Packet};
use crate::response::{MAX_CAPABILITIES, Response};
use crate::signing::{request_hash, sign_pong};
use crate::trust::{Trust, TrustSource};
use crate::words::{Decision, RoutingMode};

/// Questions that wait for the application at a time: some 1 KiB each, more with large payloads.
pub const MAX_QUESTIONS: usize = 1024;
/// How long the application has. Whoever asked has given up by then.
pub const QUESTION_LIFETIME: Duration = Duration::from_secs(10);

/// A question, as far as its answer needs it.
pub(super) struct Asked<'a> {
    pub packet: &'a Packet,
    /// What the answer is bound to.
    pub hash: [u8; 32],
    pub to: SocketAddr,
    /// The answer is written as the question was.
    pub encoding: Encoding,
}

/// A question that waits for the application.
#[derive(Debug)]
struct Question {
    packet: Packet,
    hash: [u8; 32],
    to: SocketAddr,
    encoding: Encoding,
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
        if self.waiting.len() >= MAX_QUESTIONS {
            return None;
        }
        let id = QuestionId(self.next);
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(id, question);
        Some(id)
    }

    /// One whose time is up.
    pub(super) fn expired(&mut self, now: Duration) -> bool {
        let due = self.waiting.first_entry().filter(|question| question.get().until <= now);
        due.map(std::collections::btree_map::OccupiedEntry::remove).is_some()
    }

    /// Whether an answer will go to this address.
    pub(super) fn wait_for(&self, to: SocketAddr) -> bool {
        self.waiting.values().any(|question| question.to == to)
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
    /// Answers a question that [`Event::Question`] handed out, with a payload and, if given, other capabilities than the node's own.
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
        let Question { packet, hash, to, encoding, ruling, stamp, fresh, .. } = &question;
        let asked = Asked { packet, hash: *hash, to: *to, encoding: *encoding };
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
        let hash = request_hash(&ping.packet);
        let asked = Asked { packet: &ping.packet, hash, to: ping.reply_to, encoding: ping.encoding };
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
            from: asked.to,
            proof: if asked.packet.claim.is_some() { Proof::Verified } else { Proof::Unsigned },
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
            hash: asked.hash,
            to: asked.to,
            encoding: asked.encoding,
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

    /// Signs an answer and sends it, as far as its address may be sent that much.
    pub(super) fn send_response(
        &mut self,
        asked: &Asked<'_>,
        mut response: Response,
        now: Now,
    ) -> Result<(), EncodeError> {
        let mut bytes = self.sealed_response(asked, &mut response)?;
        if self.send_if_paid(asked.to, &bytes, now) {
            return Ok(());
        }
        if response.payload.is_empty() {
            // A decision alone is shorter than the question: what else there is to say can wait for another time.
            response.capabilities.clear();
            (response.fira_breakdown, response.applied_rule) = (Object::new(), None);
            bytes = self.sealed_response(asked, &mut response)?;
            if self.send_if_paid(asked.to, &bytes, now) {
                return Ok(());
            }
        }
        // A legacy peer neither proves its address nor sends signs of life.
        if asked.packet.claim.is_none() || !self.hold(asked, bytes, now) {
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
    fn hold(&mut self, asked: &Asked<'_>, bytes: Vec<u8>, now: Now) -> bool {
        let held = self.paths.hold(asked.to, &asked.packet.source_did, bytes, now.mono);
        let straight = asked.packet.routing_mode == RoutingMode::Direct;
        if held
            && straight
            && let Ok(name) = asked.packet.source()
        {
            // The question has paid for this much.
            self.probe(&name, asked.to, now);
        }
        held
    }

    fn sealed_response(&self, asked: &Asked<'_>, response: &mut Response) -> Result<Vec<u8>, EncodeError> {
        // A legacy peer looks at no signature, and with one the answer would be longer than the question.
        if asked.packet.claim.is_some() {
            let NodeIdentity { key, generation, .. } = &self.identity;
            sign_pong(response, &asked.hash, key, *generation)
                .map_err(|_| EncodeError::Member("responder_did"))?;
        }
        response.encode(asked.encoding)
    }

    /// Sends what waited for this address to be proven or to send more.
    pub(super) fn release_held(&mut self, to: SocketAddr, now: Now) {
        while let Some(bytes) = self.paths.release(to, now.mono) {
            self.transmit(to, bytes);
        }
    }
}
