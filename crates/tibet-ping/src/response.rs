//! The response to a packet.
//!
//! Wire format: `docs/spec/frame.md`; signature: `docs/spec/ping.md`.

use jis::{Name, NameError, PublicKey, Signature, hex};
use tibet_core::Zone;
use tibet_core::json::{Object, Value};
use tibet_core::object;

use crate::codec::{self, EncodeError, Members, is_short_text, text_or_null};
use crate::frame::{Encoding, Kind};
use crate::packet::{Fresh, Packet, take_key};
use crate::reject::Reject;
use crate::timestamp;
use crate::words::Decision;

/// The value of `sig_scheme` in a response signed as `docs/spec/ping.md` says.
pub const PONG_SCHEME: &str = "jis-pong:v1";
/// Most capabilities in a response, a beacon or a pod (SECURITY R18).
pub const MAX_CAPABILITIES: usize = 32;

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
        let mut members = Members::of(codec::read_body(encoding, body)?);
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
                Some(Value::Float(score)) => score,
                Some(_) => return Err(Reject::BadMember("trust_score")),
            },
            fira_breakdown: members.map("fira_breakdown")?,
            tibet_token_id: members.optional_text("tibet_token_id")?,
            timestamp: members.text("timestamp")?,
            rtt_ms: members.float("rtt_ms")?,
            airlock_zone: match members.take("airlock_zone") {
                None => Zone::Rood.as_str().to_owned(),
                Some(Value::Text(zone)) if is_short_text(&zone) => zone,
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
        let mut body = object! {
            "response_id" => self.response_id.as_str(),
            "in_response_to" => self.in_response_to.as_str(),
            "responder_did" => self.responder_did.as_str(),
            "decision" => self.decision.as_str(),
            "payload" => self.payload.clone(),
            "capabilities" => self.capabilities.clone(),
            "trust_score" => self.trust_score,
            "fira_breakdown" => self.fira_breakdown.clone(),
            "tibet_token_id" => text_or_null(self.tibet_token_id.as_ref()),
            "timestamp" => self.timestamp.as_str(),
            "rtt_ms" => self.rtt_ms,
            "airlock_zone" => self.airlock_zone.as_str(),
            "applied_rule" => text_or_null(self.applied_rule.as_ref()),
        };
        if let Some(claim) = &self.claim {
            body.insert("sig_scheme", PONG_SCHEME);
            body.insert("public_key", claim.public_key.to_multibase());
            body.insert("generation", claim.generation);
            body.insert("signature", claim.signature.to_string());
        }
        codec::write_frame(Kind::Response, encoding, &body)
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

fn read_claim(members: &mut Members) -> Result<Option<PongClaim>, Reject> {
    let Some(scheme) = members.take("sig_scheme") else { return Ok(None) };
    if scheme.as_str() != Some(PONG_SCHEME) {
        return Err(Reject::BadEnum("sig_scheme"));
    }
    let public_key = take_key(members, "public_key")?.ok_or(Reject::MissingField("public_key"))?;
    let generation = members.number("generation")?;
    let signature = members.text("signature")?.parse().map_err(|_| Reject::BadMember("signature"))?;
    Ok(Some(PongClaim { public_key, generation, signature }))
}
