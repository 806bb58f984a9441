//! The frames: made, and taken apart.

use std::net::Ipv6Addr;

use subtle::ConstantTimeEq as _;

use crate::probe::Session;
use crate::wire::{HEADER, header};

const MAC: usize = 16;
/// What stands before the mac of a send or a delivery: session, counter, overlay address.
const CARRIED: usize = 32;
/// What stands before the mac of a call or its answer: session, counter, challenge.
const CALLED: usize = 24;
/// Bytes of a call or its answer, all in all: alike, so nobody is sent more than he sent (SECURITY R15).
const CALL_LENGTH: usize = HEADER + CALLED + MAC;
/// Bytes that a relayed message has before it: a delivery is as long as what it delivers was.
pub const RELAY_OVERHEAD: usize = HEADER + CARRIED + MAC;
/// Longest message that is relayed: what a UDP datagram has room for.
pub const MAX_RELAYED: usize = 65_507 - RELAY_OVERHEAD;

/// Shows that whoever sends it received what was sent to its address.
pub(super) type Challenge = [u8; 8];

/// A send or a delivery, taken apart and not yet believed.
pub(super) struct Carried<'a> {
    pub(super) session: Session,
    pub(super) counter: u64,
    /// Whom it is for, or from.
    pub(super) address: Ipv6Addr,
    claimed: &'a [u8; CARRIED],
    mac: &'a [u8; MAC],
    pub(super) message: &'a [u8],
}

impl<'a> Carried<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let (claimed, rest) = body.split_first_chunk::<CARRIED>()?;
        let (mac, message) = rest.split_first_chunk::<MAC>()?;
        if message.len() > MAX_RELAYED {
            return None;
        }
        let (session, rest) = claimed.split_first_chunk()?;
        let (counter, address) = rest.split_first_chunk()?;
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?);
        let counter = u64::from_be_bytes(*counter);
        Some(Self { session: *session, counter, address, claimed, mac, message })
    }

    /// Whether it was made with this key, and its message is as long as it was.
    pub(super) fn is_made_with(&self, key: &[u8; 32], kind: u8) -> bool {
        mac(key, kind, self.claimed, self.message.len()).ct_eq(self.mac).into()
    }

    /// The whole datagram: one allocation, and one copy of the message.
    pub(super) fn write(
        kind: u8,
        key: &[u8; 32],
        session: &Session,
        counter: u64,
        address: Ipv6Addr,
        message: &[u8],
    ) -> Vec<u8> {
        let claimed: [u8; CARRIED] = claim(session, counter, &address.octets());
        let length = u32::try_from(CARRIED + MAC + message.len()).unwrap_or_default();
        let mut datagram = Vec::with_capacity(RELAY_OVERHEAD + message.len());
        datagram.extend_from_slice(&header(kind, length));
        datagram.extend_from_slice(&claimed);
        datagram.extend_from_slice(&mac(key, kind, &claimed, message.len()));
        datagram.extend_from_slice(message);
        datagram
    }
}

/// A call or its answer, taken apart and not yet believed.
pub(super) struct Called<'a> {
    pub(super) session: Session,
    pub(super) counter: u64,
    pub(super) challenge: Challenge,
    claimed: &'a [u8; CALLED],
    mac: &'a [u8; MAC],
}

impl<'a> Called<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let (claimed, rest) = body.split_first_chunk::<CALLED>()?;
        let mac = rest.try_into().ok()?;
        let (session, rest) = claimed.split_first_chunk()?;
        let (counter, challenge) = rest.split_first_chunk()?;
        let counter = u64::from_be_bytes(*counter);
        Some(Self { session: *session, counter, challenge: challenge.try_into().ok()?, claimed, mac })
    }

    pub(super) fn is_made_with(&self, key: &[u8; 32], kind: u8) -> bool {
        mac(key, kind, self.claimed, 0).ct_eq(self.mac).into()
    }

    pub(super) fn write(
        kind: u8,
        key: &[u8; 32],
        session: &Session,
        counter: u64,
        challenge: &Challenge,
    ) -> Vec<u8> {
        let claimed: [u8; CALLED] = claim(session, counter, challenge);
        let mut datagram = Vec::with_capacity(CALL_LENGTH);
        datagram.extend_from_slice(&header(kind, (CALLED + MAC) as u32));
        datagram.extend_from_slice(&claimed);
        datagram.extend_from_slice(&mac(key, kind, &claimed, 0));
        datagram
    }
}

/// What stands before the mac; `last` is as long as there is room.
fn claim<const N: usize>(session: &Session, counter: u64, last: &[u8]) -> [u8; N] {
    let mut claimed = [0; N];
    claimed[..8].copy_from_slice(session);
    claimed[8..16].copy_from_slice(&counter.to_be_bytes());
    claimed[16..].copy_from_slice(last);
    claimed
}

/// Says what only the two ends of a session can say. All it hashes fits one block of BLAKE3.
fn mac<const N: usize>(key: &[u8; 32], kind: u8, claimed: &[u8; N], message: usize) -> [u8; MAC] {
    let mut input = [0; 1 + CARRIED + 2];
    input[0] = kind;
    input[1..=N].copy_from_slice(claimed);
    // Nothing longer is read or written: a UDP datagram has no room for it.
    let length = u16::try_from(message).unwrap_or(u16::MAX).to_be_bytes();
    input[1 + N..N + 3].copy_from_slice(&length);
    let hash = blake3::keyed_hash(key, &input[..N + 3]);
    let mut mac = [0; MAC];
    mac.copy_from_slice(&hash.as_bytes()[..MAC]);
    mac
}
