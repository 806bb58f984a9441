//! Signed objects that no library of ours would make: one field of a good one replaced, and signed again.
#![allow(dead_code, unreachable_pub, missing_docs)]

use jis::SecretKey;

/// `M ‖ signature` with field `index` replaced, under `key`.
pub fn twist(signed: &[u8], index: usize, field: &[u8], key: &SecretKey) -> Vec<u8> {
    let message = &signed[..signed.len() - 64];
    let tag = message.iter().position(|byte| *byte == 0).expect("a tag") + 1;
    let mut out = message[..tag + 2].to_vec();
    let mut rest = &message[tag + 2..];
    let mut at = 0;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (held, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
        item(&mut out, if at == index { field } else { held });
        (rest, at) = (tail, at + 1);
    }
    assert!(index < at, "there is such a field");
    let signature = key.sign(&out);
    out.extend(signature.as_bytes());
    out
}

/// A list as a field holds it.
pub fn list<I: AsRef<[u8]>>(items: impl IntoIterator<Item = I>) -> Vec<u8> {
    let mut out = Vec::new();
    items.into_iter().for_each(|one| item(&mut out, one.as_ref()));
    out
}

fn item(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
    out.extend(bytes);
}

/// The fields of a record, by their place in it (`docs/spec/record.md`).
pub mod record {
    pub const NAME: usize = 0;
    pub const SEQ: usize = 5;
    pub const TTL: usize = 7;
    pub const ENDPOINTS: usize = 8;
    pub const RELAYS: usize = 9;
    pub const CAPABILITIES: usize = 10;
}
