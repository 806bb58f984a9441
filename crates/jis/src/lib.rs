//! Who a device is.
//!
//! A device is its key, not its address. This crate holds what an identity is made of: names, keys, the events of a key's
//! life, signed records and proofs of possession. It reads no clock, no random generator and no file: time and randomness are
//! arguments, bytes come in and go out.

pub mod hex;

mod key;
pub use key::{BadSignature, KeyError, PublicKey, SecretKey, Signature};
mod message;
pub use message::{DecodeError, MAX_MESSAGE, MessageReader, MessageWriter, Tag};
mod signed;
pub use signed::{Signed, SignedObject};
mod time;
pub use time::UnixTime;
