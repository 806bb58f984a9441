//! The request packet.
//!
//! Wire format: `docs/spec/frame.md`; signature: `docs/spec/ping.md`.

use jis::{Name, NameError, PublicKey, UnixTime, hex};
use tibet_core::json::Object;
use tibet_core::object;

use crate::codec::{self, EncodeError, FrameWriter, KeyText, Members, integer, is_short_text, is_signature};
use crate::frame::{Encoding, Kind};
use crate::reject::Reject;
use crate::timestamp;
use crate::words::{PingType, Priority, RoutingMode};

/// What `target_did` says when a packet is for everybody.
pub const BROADCAST: &str = "broadcast";
/// The value of `sig_scheme` in a packet signed as `docs/spec/ping.md` says.
pub const PING_SCHEME: &str = "jis-ping:v1";
/// Hops a packet made here may take.
pub const DEFAULT_MAX_HOPS: u8 = 10;
/// What a missing `max_hops` means, as in the Python packages.
const MISSING_MAX_HOPS: u8 = 5;

/// Members that every packet is written with, and those a signed one has besides.
const MEMBERS: usize = 19;
const CLAIM_MEMBERS: usize = 5;
const REQUIRED: [&str; 8] =
    ["packet_id", "source_did", "target_did", "ping_type", "priority", "routing_mode", "intent", "purpose"];

/// A request: the 19 members of the Python packages in their order, and the claim behind the signature.
///
/// Texts have at most [`MAX_TEXT`](codec::MAX_TEXT) bytes and no control characters. Nothing in a packet is true before
/// [`verify_ping`](crate::signing::verify_ping) says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// Names this packet; the response repeats it. `ping_` and 16 hex digits when made here.
    pub packet_id: String,
    /// Who sends it, as it claims.
    pub source_did: String,
    /// Whom it is for: a name, or [`BROADCAST`].
    pub target_did: String,
    /// What it is for.
    pub ping_type: PingType,
    /// How urgent it is.
    pub priority: Priority,
    /// How it travels.
    pub routing_mode: RoutingMode,
    /// What is wanted, for example `temperature.read`.
    pub intent: String,
    /// Why, in words.
    pub purpose: String,
    /// What comes with it.
    pub payload: Object,
    /// The sender's pod.
    pub pod_id: Option<String>,
    /// The sender's station.
    pub station_id: Option<String>,
    /// How often it was relayed. Not signed.
    pub hop_count: u8,
    /// How often it may be relayed.
    pub max_hops: u8,
    /// 16 random bytes in lower-case hex when made here; any text from legacy peers.
    pub nonce: String,
    /// When it was made, as ISO 8601 text. See [`Timestamp`](crate::timestamp::Timestamp).
    pub timestamp: String,
    /// The sender's provenance token for this ping.
    pub tibet_token_id: Option<String>,
    /// Not used; kept for the Python packages. Not signed.
    pub vouched_by: Option<String>,
    /// Not used; kept for the Python packages. Not signed.
    pub vouch_signature: Option<String>,
    /// The signature, 128 hex digits if there is a [`claim`](Self::claim). Any text from legacy peers, and then without meaning.
    pub signature: String,
    /// Who says they signed it. `None` is a legacy packet, which is not signed.
    pub claim: Option<PingClaim>,
}

/// What a signed packet says about its signature, in members that the Python packages ignore: `sig_scheme`, `public_key`,
/// `generation`, `target_key`, `expires_at`. All of it is signed, and none of it proves anything by itself (SECURITY R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingClaim {
    /// The sender's identity key.
    pub public_key: PublicKey,
    /// The sender's generation, below 2⁵³.
    pub generation: u64,
    /// The target's key, if the sender knows it and the packet is not for everybody.
    pub target_key: Option<PublicKey>,
    /// Until when the packet counts: at most [`MAX_LIFETIME`](crate::signing::MAX_LIFETIME) after its timestamp.
    pub expires_at: UnixTime,
}

/// Whom a packet is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One identity.
    Name(Name),
    /// Everybody who hears it.
    Broadcast,
}

/// What makes a packet or response unique: random bytes drawn by the caller, and the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// For the id.
    pub id: [u8; 8],
    /// For the nonce. Must never repeat.
    pub nonce: [u8; 16],
    /// Now.
    pub now: UnixTime,
}

impl Packet {
    /// A packet for one target, as yet unsigned: normal priority, straight to the target, empty payload.
    #[must_use]
    pub fn intent(source: &Name, target: &Name, intent: &str, purpose: &str, fresh: Fresh) -> Self {
        Self::new(source.as_str(), target.as_str(), PingType::Intent, intent, purpose, fresh)
    }

    /// A sign of life for everybody, in the shape the Python packages send.
    #[must_use]
    pub fn heartbeat(source: &Name, fresh: Fresh) -> Self {
        let purpose = "Periodic keep-alive";
        Self {
            priority: Priority::Lazy,
            routing_mode: RoutingMode::Broadcast,
            payload: object! { "status" => object! { "alive" => true } },
            ..Self::new(source.as_str(), BROADCAST, PingType::Heartbeat, "heartbeat", purpose, fresh)
        }
    }

    /// A search for devices, in the shape the Python packages send.
    #[must_use]
    pub fn discover(source: &Name, payload: Object, fresh: Fresh) -> Self {
        let purpose = "Looking for devices with matching capabilities";
        Self {
            routing_mode: RoutingMode::Broadcast,
            payload,
            ..Self::new(source.as_str(), BROADCAST, PingType::Discover, "discover", purpose, fresh)
        }
    }

    fn new(
        source: &str,
        target: &str,
        ping_type: PingType,
        intent: &str,
        purpose: &str,
        fresh: Fresh,
    ) -> Self {
        Self {
            packet_id: format!("ping_{}", hex::encode(&fresh.id)),
            source_did: source.to_owned(),
            target_did: target.to_owned(),
            ping_type,
            priority: Priority::Normal,
            routing_mode: RoutingMode::Direct,
            intent: intent.to_owned(),
            purpose: purpose.to_owned(),
            payload: Object::new(),
            pod_id: None,
            station_id: None,
            hop_count: 0,
            max_hops: DEFAULT_MAX_HOPS,
            nonce: hex::encode(&fresh.nonce),
            timestamp: timestamp::write(fresh.now),
            tibet_token_id: None,
            vouched_by: None,
            vouch_signature: None,
            signature: String::new(),
            claim: None,
        }
    }

    /// The name the packet says it comes from.
    ///
    /// # Errors
    /// [`NameError`] when it is no canonical name. Such a packet can be legacy, never signed.
    pub fn source(&self) -> Result<Name, NameError> {
        self.source_did.parse()
    }

    /// Whom the packet is for.
    ///
    /// # Errors
    /// [`NameError`] when that is neither a canonical name nor [`BROADCAST`].
    pub fn target(&self) -> Result<Target, NameError> {
        if self.target_did == BROADCAST {
            return Ok(Target::Broadcast);
        }
        self.target_did.parse().map(Target::Name)
    }

    /// Reads the body of a packet frame. Members the packet does not have are ignored and lost.
    ///
    /// # Errors
    /// [`Reject`]; the page lists what is refused that Python reads.
    pub fn decode(encoding: Encoding, body: &[u8]) -> Result<Self, Reject> {
        let mut members = codec::read_body(encoding, body)?;
        members.require(&REQUIRED)?;
        let claim = read_claim(&mut members)?;
        let packet = Self {
            packet_id: members.text("packet_id")?,
            source_did: members.text("source_did")?,
            target_did: members.text("target_did")?,
            ping_type: members.word("ping_type", PingType::from_word)?,
            priority: members
                .take("priority")
                .and_then(|value| integer(&value))
                .and_then(Priority::from_number)
                .ok_or(Reject::BadEnum("priority"))?,
            routing_mode: members.word("routing_mode", RoutingMode::from_word)?,
            intent: members.text("intent")?,
            purpose: members.text("purpose")?,
            payload: members.map("payload")?,
            pod_id: members.optional_text("pod_id")?,
            station_id: members.optional_text("station_id")?,
            hop_count: members.byte("hop_count", 0)?,
            max_hops: members.byte("max_hops", MISSING_MAX_HOPS)?,
            nonce: members.text("nonce")?,
            timestamp: members.text("timestamp")?,
            tibet_token_id: members.optional_text("tibet_token_id")?,
            vouched_by: members.optional_text("vouched_by")?,
            vouch_signature: members.optional_text("vouch_signature")?,
            signature: members.text("signature")?,
            claim,
        };
        if packet.claim.is_some() && !is_signature(&packet.signature) {
            return Err(Reject::BadMember("signature"));
        }
        Ok(packet)
    }

    /// Writes the packet as a frame, byte for byte as Python does; the members of the claim come last.
    ///
    /// # Errors
    /// [`EncodeError`] for a packet that [`Packet::decode`] would refuse.
    pub fn encode(&self, encoding: Encoding) -> Result<Vec<u8>, EncodeError> {
        self.check()?;
        let members = if self.claim.is_some() { MEMBERS + CLAIM_MEMBERS } else { MEMBERS };
        let mut out = FrameWriter::new(Kind::Packet, encoding, members)?;
        out.text("packet_id", &self.packet_id);
        out.text("source_did", &self.source_did);
        out.text("target_did", &self.target_did);
        out.text("ping_type", self.ping_type.as_str());
        out.number("priority", self.priority.as_number().into());
        out.text("routing_mode", self.routing_mode.as_str());
        out.text("intent", &self.intent);
        out.text("purpose", &self.purpose);
        out.map("payload", &self.payload)?;
        out.optional_text("pod_id", self.pod_id.as_deref());
        out.optional_text("station_id", self.station_id.as_deref());
        out.number("hop_count", self.hop_count.into());
        out.number("max_hops", self.max_hops.into());
        out.text("nonce", &self.nonce);
        out.text("timestamp", &self.timestamp);
        out.optional_text("tibet_token_id", self.tibet_token_id.as_deref());
        out.optional_text("vouched_by", self.vouched_by.as_deref());
        out.optional_text("vouch_signature", self.vouch_signature.as_deref());
        out.text("signature", &self.signature);
        if let Some(claim) = &self.claim {
            write_claim(&mut out, claim);
        }
        out.finish()
    }

    /// What a reader checks member by member.
    fn check(&self) -> Result<(), EncodeError> {
        let texts = [
            ("packet_id", Some(&self.packet_id)),
            ("source_did", Some(&self.source_did)),
            ("target_did", Some(&self.target_did)),
            ("intent", Some(&self.intent)),
            ("purpose", Some(&self.purpose)),
            ("pod_id", self.pod_id.as_ref()),
            ("station_id", self.station_id.as_ref()),
            ("nonce", Some(&self.nonce)),
            ("timestamp", Some(&self.timestamp)),
            ("tibet_token_id", self.tibet_token_id.as_ref()),
            ("vouched_by", self.vouched_by.as_ref()),
            ("vouch_signature", self.vouch_signature.as_ref()),
            ("signature", Some(&self.signature)),
        ];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.is_some_and(|t| !is_short_text(t))) {
            return Err(EncodeError::Member(name));
        }
        let Some(claim) = &self.claim else { return Ok(()) };
        if !is_signature(&self.signature) {
            return Err(EncodeError::Member("signature"));
        }
        if claim.generation >= 1 << 53 {
            return Err(EncodeError::Member("generation"));
        }
        Ok(())
    }
}

/// A packet with a scheme is signed and its claim must be whole; one without is legacy, whatever else it carries. A scheme that
/// is not known here is refused rather than taken for legacy: otherwise renaming it would strip a signature.
fn read_claim(members: &mut Members<'_>) -> Result<Option<PingClaim>, Reject> {
    if !members.scheme(PING_SCHEME)? {
        return Ok(None);
    }
    let public_key = members.key("public_key")?.ok_or(Reject::MissingField("public_key"))?;
    let target_key = members.key("target_key")?;
    let generation = members.number("generation")?;
    let expires_at = UnixTime::from_millis(members.number("expires_at")?);
    let expires_at = expires_at.ok_or(Reject::BadMember("expires_at"))?;
    Ok(Some(PingClaim { public_key, generation, target_key, expires_at }))
}

fn write_claim(out: &mut FrameWriter, claim: &PingClaim) {
    out.text("sig_scheme", PING_SCHEME);
    out.text("public_key", KeyText::of(&claim.public_key).as_str());
    out.number("generation", claim.generation);
    out.optional_text("target_key", claim.target_key.as_ref().map(KeyText::of).as_ref().map(KeyText::as_str));
    out.number("expires_at", claim.expires_at.as_millis());
}
