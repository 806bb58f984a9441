//! The keys of a session.

use jis::{TransportKey, TransportSecret};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

const CONTEXT: &str = "jis-relay:v1";

/// The keys of a session, as one of its two ends uses them. Wiped when dropped, never printed.
pub struct RelayKeys {
    /// Of what this end makes.
    pub(super) ours: [u8; 32],
    /// Of what the other end makes.
    pub(super) theirs: [u8; 32],
}

impl RelayKeys {
    /// The device's end. `secret` belongs to [`RelayOpen::exchange`](jis::RelayOpen::exchange), `relay` is the exchange key in the relay's signed answer, `request` the
    /// [hash](jis::message_hash) of the request's M. `None` if the two agree on zero, which everybody knows.
    #[must_use]
    pub fn for_device(secret: &TransportSecret, relay: &TransportKey, request: &[u8; 32]) -> Option<Self> {
        let (ours, theirs) = agree(secret, relay, request, relay)?;
        Some(Self { ours, theirs })
    }

    /// The relay's end. `secret` was made for this session, and its public key is what the relay's answer names; `device` is [`RelayOpen::exchange`](jis::RelayOpen::exchange), `request` the
    /// [hash](jis::message_hash) of the request's M. `None` if the two agree on zero, which everybody knows.
    #[must_use]
    pub fn for_relay(secret: &TransportSecret, device: &TransportKey, request: &[u8; 32]) -> Option<Self> {
        let (theirs, ours) = agree(secret, device, request, &secret.public_key())?;
        Some(Self { ours, theirs })
    }
}

/// The key of what the device makes, and of what the relay makes.
fn agree(
    secret: &TransportSecret,
    other: &TransportKey,
    request: &[u8; 32],
    relay: &TransportKey,
) -> Option<([u8; 32], [u8; 32])> {
    let shared = secret.agree(other);
    if bool::from(shared.ct_eq(&[0; 32])) {
        return None;
    }
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&*shared);
    hasher.update(request);
    hasher.update(relay.as_bytes());
    let mut reader = hasher.finalize_xof();
    let (mut device_to_relay, mut relay_to_device) = ([0; 32], [0; 32]);
    reader.fill(&mut device_to_relay);
    reader.fill(&mut relay_to_device);
    Some((device_to_relay, relay_to_device))
}

impl Drop for RelayKeys {
    fn drop(&mut self) {
        self.ours.zeroize();
        self.theirs.zeroize();
    }
}

impl std::fmt::Debug for RelayKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayKeys").finish_non_exhaustive()
    }
}
