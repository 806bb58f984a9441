//! Beacons: a device says that it is there.
//!
//! Wire format: `docs/spec/ping.md`. A beacon is a hint to begin a conversation, never more: being near proves nothing (SECURITY R57).

mod book;
pub use book::{
    BEACON_RATE, BeaconBook, BeaconVerdict, FRESH_FOR, MAX_BEACONS, MAX_UNBOUND_BEACONS, SeenBeacon,
};
mod rule;
pub use rule::{BeaconRule, MAX_BEACON_RULES};

use std::collections::BTreeSet;

use jis::{
    Capability, DecodeError, Fingerprint, MAX_NAME, MessageReader, MessageWriter, Name, PublicKey, Signed,
    SignedObject, Tag, UnixTime, hex, message_hash,
};
use tibet_core::json::{Object, Value};
use tibet_core::object;

use crate::codec::is_short_text;
use crate::response::MAX_CAPABILITIES;

/// Longest name of a pod, in bytes.
const MAX_POD: usize = 64;

/// What a device says of itself. Signed by its identity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beacon {
    /// Random, names this beacon.
    pub id: [u8; 16],
    /// The device's name.
    pub name: Name,
    /// The identity's fingerprint: whom a vouch is for.
    pub fingerprint: Fingerprint,
    /// SHA-256 of its identity key: enough to see whether it is the key one knows, no help in making one up.
    pub key_hash: [u8; 32],
    /// The UDP port it answers on; not 0.
    pub port: u16,
    /// What it offers, at most 32.
    pub capabilities: BTreeSet<Capability>,
    /// What it says it is, for example `sensor`. No authorisation follows from it.
    pub device_type: Capability,
    /// The pod it would like to join: at most 64 bytes, no control characters.
    pub requested_pod: Option<String>,
    /// When it was made.
    pub issued_at: UnixTime,
}

impl Beacon {
    /// What stands in [`Beacon::key_hash`].
    #[must_use]
    pub fn hash_of(key: &PublicKey) -> [u8; 32] {
        message_hash(key.as_bytes())
    }
}

impl SignedObject for Beacon {
    const TAG: Tag = Tag::Beacon;
    const FIELDS: u16 = 9;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .bytes(&self.id)
            .text(self.name.as_str())
            .bytes(self.fingerprint.as_bytes())
            .bytes(&self.key_hash)
            .integer(self.port.into())
            .list(self.capabilities.iter().map(Capability::as_str))
            .text(self.device_type.as_str())
            .list(&self.requested_pod)
            .integer(self.issued_at.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let wrong = DecodeError::Field;
        let id = message.array("id")?;
        let name = message.text("name", MAX_NAME)?.parse().map_err(|_| wrong("name"))?;
        let fingerprint = Fingerprint::from_bytes(message.array("fingerprint")?);
        let key_hash = message.array("key_hash")?;
        let port = u16::try_from(message.integer("port")?).ok().filter(|port| *port != 0);
        let port = port.ok_or(wrong("port"))?;
        let capabilities = read_capabilities(message.list("capabilities", MAX_CAPABILITIES)?)?;
        let device_type = message.text("device_type", Capability::MAX)?.parse();
        let device_type = device_type.map_err(|_| wrong("device_type"))?;
        let requested_pod = match *message.list("requested_pod", 1)? {
            [] => None,
            [pod, ..] => Some(read_pod(pod).ok_or(wrong("requested_pod"))?),
        };
        let issued_at = UnixTime::from_millis(message.integer("issued_at")?).ok_or(wrong("issued_at"))?;
        Ok(Self {
            id,
            name,
            fingerprint,
            key_hash,
            port,
            capabilities,
            device_type,
            requested_pod,
            issued_at,
        })
    }
}

/// In ascending order, each once: a set has one encoding.
fn read_capabilities(items: Vec<&[u8]>) -> Result<BTreeSet<Capability>, DecodeError> {
    let wrong = DecodeError::Field("capabilities");
    if !items.is_sorted_by(|a, b| a < b) {
        return Err(wrong);
    }
    let parse = |item: &[u8]| str::from_utf8(item).ok()?.parse().ok();
    items.into_iter().map(|item| parse(item).ok_or(wrong)).collect()
}

fn read_pod(bytes: &[u8]) -> Option<String> {
    let pod = str::from_utf8(bytes).ok()?;
    (pod.len() <= MAX_POD && is_short_text(pod)).then(|| pod.to_owned())
}

/// The payload of the discover packet that carries a beacon: the members that the Python packages read, and the signed beacon in hex.
#[must_use]
pub fn discover_payload(beacon: &Signed<Beacon>) -> Object {
    let claims = beacon.claims();
    let capabilities: Vec<&str> = claims.capabilities.iter().map(Capability::as_str).collect();
    object! {
        "requested_capabilities" => Value::Array(Vec::new()),
        "capabilities" => capabilities,
        "device_type" => claims.device_type.as_str(),
        "beacon" => hex::encode(&beacon.encode()),
    }
}

/// The beacon in the payload of a discover packet; `None` when there is none that can be read.
#[must_use]
pub fn beacon_in(payload: &Object) -> Option<Signed<Beacon>> {
    let bytes = hex::decode(payload.get("beacon")?.as_str()?)?;
    Signed::decode(&bytes).ok()
}
