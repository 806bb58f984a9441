//! WireGuard's handshake written down a second time, from its paper (§5.4), for messages that no honest program makes: with ephemeral keys of small order, and with
//! dates of anybody's choice. BLAKE2s is from RFC 7693.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use bytes::BytesMut;
use jis::{TransportKey, TransportSecret};

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
/// Where the MAC1 of an initiation stands, and of a response.
const INITIATION_MAC1: usize = 116;
const RESPONSE_MAC1: usize = 60;

/// Our part of the ephemeral agreement.
pub(crate) enum Ephemeral<'a> {
    Honest(&'a TransportSecret),
    /// A point of small order: whatever it is agreed with, the outcome is zero.
    Point([u8; 32]),
}

impl Ephemeral<'_> {
    fn public(&self) -> [u8; 32] {
        match self {
            Self::Honest(secret) => *secret.public_key().as_bytes(),
            Self::Point(point) => *point,
        }
    }

    fn agree(&self, other: &TransportKey) -> [u8; 32] {
        match self {
            Self::Honest(secret) => *secret.agree(other),
            Self::Point(_) => [0; 32],
        }
    }
}

/// The initiation of a handshake, from `us` to `them`, with this date (TAI64N).
pub(crate) fn initiation(
    us: &TransportSecret,
    them: &TransportKey,
    ephemeral: &Ephemeral<'_>,
    date: [u8; 12],
) -> BytesMut {
    let mut noise = Noise::begin(them);
    let mut message = vec![1, 0, 0, 0, 7, 7, 7, 7];
    noise.ephemeral(&ephemeral.public());
    message.extend(ephemeral.public());
    let key = noise.mix_key(&ephemeral.agree(them));
    message.extend(noise.seal(&key, us.public_key().as_bytes()));
    let key = noise.mix_key(&*us.agree(them));
    message.extend(noise.seal(&key, &date));
    finish(message, INITIATION_MAC1, them)
}

/// The response of `us` to an initiation of whoever is behind `them`.
pub(crate) fn response(
    us: &TransportSecret,
    them: &TransportKey,
    initiation: &[u8],
    ephemeral: &Ephemeral<'_>,
) -> BytesMut {
    let field = |from: usize, to: usize| &initiation[from..to];
    let their_ephemeral: [u8; 32] = field(8, 40).try_into().expect("32 bytes");
    let their_ephemeral = TransportKey::from_bytes(&their_ephemeral).expect("an honest key");
    let mut noise = Noise::begin(&us.public_key());
    noise.ephemeral(their_ephemeral.as_bytes());
    noise.mix_key(&*us.agree(&their_ephemeral));
    noise.mix_hash(field(40, 88));
    noise.mix_key(&*us.agree(them));
    noise.mix_hash(field(88, 116));
    let mut message = vec![2, 0, 0, 0, 9, 9, 9, 9];
    message.extend(field(4, 8));
    noise.ephemeral(&ephemeral.public());
    message.extend(ephemeral.public());
    noise.mix_key(&ephemeral.agree(&their_ephemeral));
    noise.mix_key(&ephemeral.agree(them));
    // No key shared beforehand.
    let [chain, tau, key] = kdf(&noise.chain, &[0; 32]);
    noise.chain = chain;
    noise.mix_hash(&tau);
    message.extend(noise.seal(&key, &[]));
    finish(message, RESPONSE_MAC1, them)
}

fn finish(mut message: Vec<u8>, mac1: usize, receiver: &TransportKey) -> BytesMut {
    assert_eq!(message.len(), mac1);
    let key = blake2s(&[], &[b"mac1----", receiver.as_bytes()], 32);
    message.extend(blake2s(&key, &[&message.clone()], 16));
    message.extend([0; 16]);
    message[..].into()
}

struct Noise {
    chain: [u8; 32],
    hash: [u8; 32],
}

impl Noise {
    fn begin(responder: &TransportKey) -> Self {
        let chain = hash(&[CONSTRUCTION]);
        let named = hash(&[&chain, IDENTIFIER]);
        Self { chain, hash: hash(&[&named, responder.as_bytes()]) }
    }

    fn mix_hash(&mut self, bytes: &[u8]) {
        self.hash = hash(&[&self.hash, bytes]);
    }

    fn mix_key(&mut self, secret: &[u8]) -> [u8; 32] {
        let [chain, key, _] = kdf(&self.chain, secret);
        self.chain = chain;
        key
    }

    fn ephemeral(&mut self, public: &[u8; 32]) {
        self.mix_hash(public);
        self.mix_key(public);
    }

    fn seal(&mut self, key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes"));
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(self.hash), &mut sealed).expect("sealed");
        self.mix_hash(&sealed);
        sealed
    }
}

fn kdf(key: &[u8; 32], input: &[u8]) -> [[u8; 32]; 3] {
    let first = hmac(key, &[input]);
    let one = hmac(&first, &[&[1]]);
    let two = hmac(&first, &[&one, &[2]]);
    [one, two, hmac(&first, &[&two, &[3]])]
}

/// RFC 2104 with BLAKE2s, whose blocks have 64 bytes.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |with: u8| std::array::from_fn::<u8, 64, _>(|at| key.get(at).copied().unwrap_or(0) ^ with);
    let inner = hash(&[&[&pad(0x36)[..]], parts].concat());
    hash(&[&pad(0x5c), &inner])
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    blake2s(&[], parts, 32).try_into().expect("32 bytes")
}

const IV: [u32; 8] =
    [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19];
const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

fn blake2s(key: &[u8], parts: &[&[u8]], length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !key.is_empty() {
        bytes.extend(key);
        bytes.resize(64, 0);
    }
    parts.iter().for_each(|part| bytes.extend(*part));
    let total = bytes.len();
    bytes.resize(total.next_multiple_of(64).max(64), 0);
    let mut state = IV;
    state[0] ^= 0x0101_0000 ^ (key.len() as u32) << 8 ^ length as u32;
    let blocks = bytes.len() / 64;
    for (number, block) in bytes.chunks(64).enumerate() {
        let last = number + 1 == blocks;
        let count = if last { total } else { (number + 1) * 64 };
        compress(&mut state, block, count as u64, last);
    }
    state.iter().flat_map(|word| word.to_le_bytes()).take(length).collect()
}

fn compress(state: &mut [u32; 8], block: &[u8], count: u64, last: bool) {
    let word = |at: usize| u32::from_le_bytes(block[at * 4..at * 4 + 4].try_into().expect("4 bytes"));
    let mut v: [u32; 16] = std::array::from_fn(|at| if at < 8 { state[at] } else { IV[at - 8] });
    v[12] ^= count as u32;
    v[13] ^= (count >> 32) as u32;
    if last {
        v[14] = !v[14];
    }
    for sigma in SIGMA {
        for (number, [a, b, c, d]) in [
            [0, 4, 8, 12],
            [1, 5, 9, 13],
            [2, 6, 10, 14],
            [3, 7, 11, 15],
            [0, 5, 10, 15],
            [1, 6, 11, 12],
            [2, 7, 8, 13],
            [3, 4, 9, 14],
        ]
        .into_iter()
        .enumerate()
        {
            v[a] = v[a].wrapping_add(v[b]).wrapping_add(word(sigma[2 * number]));
            v[d] = (v[d] ^ v[a]).rotate_right(16);
            v[c] = v[c].wrapping_add(v[d]);
            v[b] = (v[b] ^ v[c]).rotate_right(12);
            v[a] = v[a].wrapping_add(v[b]).wrapping_add(word(sigma[2 * number + 1]));
            v[d] = (v[d] ^ v[a]).rotate_right(8);
            v[c] = v[c].wrapping_add(v[d]);
            v[b] = (v[b] ^ v[c]).rotate_right(7);
        }
    }
    for at in 0..8 {
        state[at] ^= v[at] ^ v[at + 8];
    }
}
