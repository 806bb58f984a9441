//! Datagrams that deserve nothing, of every kind that costs their receiver something else.

use std::time::Duration;

use jis::{PublicKey, SecretKey};
use tibet_iot::system;
use tibet_ping::{Encoding, Fresh, Packet, sign_ping};
use zeroize::Zeroizing;

use crate::Outcome;

/// Different datagrams that are sent in turn.
const KINDS: usize = 4096;
/// Sent at a time.
const BATCH: usize = 64;

pub(super) struct Garbage {
    datagrams: Vec<Vec<u8>>,
}

impl Garbage {
    /// Made beforehand, so that sending costs nothing but sending. `trusted` is the key of the node that is trusted.
    pub(super) fn new(trusted: &PublicKey) -> Outcome<Self> {
        let datagrams = (0..KINDS as u64).map(|n| one(n, trusted)).collect::<Outcome<_>>()?;
        Ok(Self { datagrams })
    }

    pub(super) fn batch(&self, round: usize) -> impl Iterator<Item = &[u8]> {
        let start = round * BATCH % KINDS;
        self.datagrams.iter().cycle().skip(start).take(BATCH).map(Vec::as_slice)
    }
}

fn one(n: u64, trusted: &PublicKey) -> Outcome<Vec<u8>> {
    let noise: Vec<u8> = std::iter::successors(Some(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), |x| {
        let x = x ^ x << 13;
        let x = x ^ x >> 7;
        Some(x ^ x << 17)
    })
    .take(64)
    .flat_map(u64::to_le_bytes)
    .collect();
    Ok(match n % 8 {
        0 => noise,
        1 => Vec::new(),
        2 => frame(1, 0, &noise),
        3 => frame(1, 2, &noise),
        4 => frame(2, 1, &noise),
        5 => packet("jis:home:stranger", n, None)?,
        6 => packet("jis:home:stranger", n, Some(None))?,
        // The costliest: it claims the trusted node's key, and only the signature is wrong.
        _ => packet("jis:home:sensor", n, Some(Some(trusted)))?,
    })
}

fn frame(version: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    [b"TP", [version, flags].as_slice(), &(body.len() as u32).to_be_bytes(), body].concat()
}

/// A packet, and if it is to be signed, under which key it says so.
fn packet(source: &str, n: u64, signed: Option<Option<&PublicKey>>) -> Outcome<Vec<u8>> {
    let mut nonce = [0x77; 16];
    nonce[..8].copy_from_slice(&n.to_be_bytes());
    // Ahead of the clock, so that some of it is fresh for as long as possible.
    let now = system::now().saturating_add(Duration::from_secs(4));
    let fresh = Fresh { id: n.to_be_bytes(), nonce, now };
    let mut packet = Packet::intent(&source.parse()?, &"jis:home:hub".parse()?, "door.unlock", "", fresh);
    if let Some(claimed) = signed {
        let key = SecretKey::from_seed(Zeroizing::new(std::array::from_fn(|at| 99 ^ at as u8)))?;
        sign_ping(&mut packet, &key, 0, None, now.saturating_add(Duration::from_secs(30)))?;
        if let (Some(claim), Some(claimed)) = (&mut packet.claim, claimed) {
            claim.public_key = *claimed;
        }
    }
    Ok(packet.encode(if n.is_multiple_of(2) { Encoding::Json } else { Encoding::Msgpack })?)
}
