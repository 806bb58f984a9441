//! The response to a packet.
//!
//! Wire format: `docs/spec/frame.md`; signature: `docs/spec/ping.md`.

use jis::{Name, NameError, PublicKey, Signature, hex};
use tibet_core::Zone;
use tibet_core::json::{MemberValue, Object, Value};

use crate::codec::{
    self, EncodeError, FrameWriter, KeyText, Members, SignatureText, is_short_text, read_signature,
};
use crate::frame::{Encoding, Kind};
use crate::packet::{Fresh, Packet};
use crate::reject::Reject;
use crate::timestamp;
use crate::words::Decision;

/// The value of `sig_scheme` in a response signed as `docs/spec/ping.md` says.
pub const PONG_SCHEME: &str = "jis-pong:v1";
/// Most capabilities in a response, a beacon or a pod (SECURITY R18).
pub const MAX_CAPABILITIES: usize = 32;

/// Members that every response is written with, and those a signed one has besides.
const MEMBERS: usize = 13;
const CLAIM_MEMBERS: usize = 4;
const REQUIRED: [&str; 4] = ["response_id", "in_response_to", "responder_did", "decision"];

/// A response: the 13 members of the Python packages in their order, and the claim with the signature.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Names this response. `resp_` and 16 hex digits when made here.
    pub response_id: String,
    /// The packet's `packet_id`.
    pub in_response_to: String,
    /// Who answers, as it claims.
    pub responder_did: String,
    /// What became of the packet.
    pub decision: Decision,
    /// What comes with it.
    pub payload: Object,
    /// What the responder offers, at most [`MAX_CAPABILITIES`].
    pub capabilities: Vec<String>,
    /// The responder's trust in the asker, 0 to 1 when made here; any finite number from others.
    pub trust_score: f64,
    /// Where that trust comes from.
    pub fira_breakdown: Object,
    /// The responder's provenance token for this ping.
    pub tibet_token_id: Option<String>,
    /// When it was made, as ISO 8601 text.
    pub timestamp: String,
    /// How long the responder took, in milliseconds. Not a round trip.
    pub rtt_ms: Option<f64>,
    /// The zone the asker is in, in capitals. Any text from others: Python does not look at it.
    pub airlock_zone: String,
    /// The airlock rule that decided.
    pub applied_rule: Option<String>,
    /// Who says they signed it, and the signature. `None` is a legacy response, which is not signed.
    pub claim: Option<PongClaim>,
}

/// What a signed response says about its signature, in members that the Python packages ignore: `sig_scheme`, `public_key`,
/// `generation`, `signature`. None of it proves anything by itself (SECURITY R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PongClaim {
    /// The responder's identity key.
    pub public_key: PublicKey,
    /// The responder's generation, below 2⁵³.
    pub generation: u64,
    /// The signature over the response and the request it answers.
    pub signature: Signature,
}

impl Response {
    /// The answer to `packet`, as yet unsigned: nothing in it but the decision, the zone and the trust they rest on.
    #[must_use]
    pub fn to(
        packet: &Packet,
        responder: &Name,
        decision: Decision,
        zone: Zone,
        trust: f64,
        fresh: Fresh,
    ) -> Self {
        Self {
            response_id: format!("resp_{}", hex::encode(&fresh.id)),
            in_response_to: packet.packet_id.clone(),
            responder_did: responder.as_str().to_owned(),
            decision,
            payload: Object::new(),
            capabilities: Vec::new(),
            trust_score: trust,
            fira_breakdown: Object::new(),
            tibet_token_id: None,
            timestamp: timestamp::write(fresh.now),
            rtt_ms: None,
            airlock_zone: zone.as_str().to_owned(),
            applied_rule: None,
            claim: None,
        }
    }

    /// The name the response says it comes from.
    ///
    /// # Errors
    /// [`NameError`] when it is no canonical name. Such a response can be legacy, never signed.
    pub fn responder(&self) -> Result<Name, NameError> {
        self.responder_did.parse()
    }

    /// Reads the body of a response frame. Members the response does not have are ignored and lost.
    ///
    /// # Errors
    /// [`Reject`]; the page lists what is refused that Python reads.
    pub fn decode(encoding: Encoding, body: &[u8]) -> Result<Self, Reject> {
        let mut members = codec::read_body(encoding, body)?;
        members.require(&REQUIRED)?;
        let claim = read_claim(&mut members)?;
        Ok(Self {
            response_id: members.text("response_id")?,
            in_response_to: members.text("in_response_to")?,
            responder_did: members.text("responder_did")?,
            decision: members.word("decision", Decision::from_word)?,
            payload: members.map("payload")?,
            capabilities: members.texts("capabilities", MAX_CAPABILITIES)?,
            trust_score: match members.take("trust_score") {
                None => 0.0,
                Some(MemberValue::Other(Value::Float(score))) => score,
                Some(_) => return Err(Reject::BadMember("trust_score")),
            },
            fira_breakdown: members.map("fira_breakdown")?,
            tibet_token_id: members.optional_text("tibet_token_id")?,
            timestamp: members.text("timestamp")?,
            rtt_ms: members.float("rtt_ms")?,
            airlock_zone: match members.take("airlock_zone") {
                None => Zone::Rood.as_str().to_owned(),
                Some(MemberValue::Text(zone)) if is_short_text(&zone) => zone.into_owned(),
                Some(_) => return Err(Reject::BadMember("airlock_zone")),
            },
            applied_rule: members.optional_text("applied_rule")?,
            claim,
        })
    }

    /// Writes the response as a frame, byte for byte as Python does; the members of the claim come last.
    ///
    /// # Errors
    /// [`EncodeError`] for a response that [`Response::decode`] would refuse.
    pub fn encode(&self, encoding: Encoding) -> Result<Vec<u8>, EncodeError> {
        self.check()?;
        let members = if self.claim.is_some() { MEMBERS + CLAIM_MEMBERS } else { MEMBERS };
        let mut out = FrameWriter::new(Kind::Response, encoding, members)?;
        out.text("response_id", &self.response_id);
        out.text("in_response_to", &self.in_response_to);
        out.text("responder_did", &self.responder_did);
        out.text("decision", self.decision.as_str());
        out.map("payload", &self.payload)?;
        out.texts("capabilities", &self.capabilities);
        out.float("trust_score", self.trust_score)?;
        out.map("fira_breakdown", &self.fira_breakdown)?;
        out.optional_text("tibet_token_id", self.tibet_token_id.as_deref());
        out.text("timestamp", &self.timestamp);
        match self.rtt_ms {
            Some(ms) => out.float("rtt_ms", ms)?,
            None => out.null("rtt_ms"),
        }
        out.text("airlock_zone", &self.airlock_zone);
        out.optional_text("applied_rule", self.applied_rule.as_deref());
        if let Some(claim) = &self.claim {
            out.text("sig_scheme", PONG_SCHEME);
            out.text("public_key", KeyText::of(&claim.public_key).as_str());
            out.number("generation", claim.generation);
            out.text("signature", SignatureText::of(&claim.signature).as_str());
        }
        out.finish()
    }

    /// What a reader checks member by member.
    fn check(&self) -> Result<(), EncodeError> {
        let texts = [
            ("response_id", Some(&self.response_id)),
            ("in_response_to", Some(&self.in_response_to)),
            ("responder_did", Some(&self.responder_did)),
            ("tibet_token_id", self.tibet_token_id.as_ref()),
            ("timestamp", Some(&self.timestamp)),
            ("airlock_zone", Some(&self.airlock_zone)),
            ("applied_rule", self.applied_rule.as_ref()),
        ];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.is_some_and(|t| !is_short_text(t))) {
            return Err(EncodeError::Member(name));
        }
        if self.capabilities.len() > MAX_CAPABILITIES || !self.capabilities.iter().all(|c| is_short_text(c)) {
            return Err(EncodeError::Member("capabilities"));
        }
        if self.claim.is_some_and(|claim| claim.generation >= 1 << 53) {
            return Err(EncodeError::Member("generation"));
        }
        Ok(())
    }
}

fn read_claim(members: &mut Members<'_>) -> Result<Option<PongClaim>, Reject> {
    if !members.scheme(PONG_SCHEME)? {
        return Ok(None);
    }
    let public_key = members.key("public_key")?.ok_or(Reject::MissingField("public_key"))?;
    let generation = members.number("generation")?;
    let signature = read_signature(&members.text("signature")?).ok_or(Reject::BadMember("signature"))?;
    Ok(Some(PongClaim { public_key, generation, signature }))
}
