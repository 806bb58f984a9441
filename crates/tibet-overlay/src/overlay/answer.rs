//! What an overlay answers.

use jis::{Endpoint, Fingerprint, Name, Proof, Record, Signed};
use tibet_registry::Standing;

/// Whether a device proved who it is.
#[derive(Debug, Clone)]
pub struct IdentityProof {
    /// The name that was asked for.
    pub did: Name,
    /// Whether the device proved that it holds the key bound to the name, just now.
    pub verified: bool,
    /// The device's standing when it answered, before this answer is counted: 0 to 1.
    pub trust_score: f64,
    /// The standing in full.
    pub standing: Standing,
    /// The identity's fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// The signed answer, which anybody who knows the device's key can check again.
    pub proof: Option<Signed<Proof>>,
    /// Since when the name is bound to this identity.
    pub registered_at: Option<jis::UnixTime>,
    /// Whether the device could be asked at all. Where not, nothing is known either way.
    pub asked: bool,
    /// Why not, where it is not verified.
    pub reason: Option<String>,
}

/// Where a device can be reached.
#[derive(Debug, Clone)]
pub struct OverlayRoute {
    /// The name that was asked for.
    pub did: Name,
    /// Whether the name is known and may speak.
    pub resolved: bool,
    /// Its best endpoint, `address:port`; empty when it told of none.
    pub endpoint: String,
    /// All its endpoints, best first.
    pub endpoints: Vec<Endpoint>,
    /// Its standing, 0 to 1.
    pub trust_score: f64,
    /// The standing in full.
    pub standing: Standing,
    /// Whether the record's time has run out: this is where the device was last known to be.
    pub stale: bool,
    /// The device's own signed record.
    pub record: Option<Signed<Record>>,
    /// Why not, where it is not resolved.
    pub reason: Option<String>,
}
