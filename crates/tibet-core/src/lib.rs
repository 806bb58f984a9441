//! What happened: provenance tokens.
//!
//! A [`Token`] records one event in four layers: ERIN (what happened), ERAAN (what it depends on), EROMHEEN (its context)
//! and ERACHTER (its intent). Every token carries the SHA-256 of its content and a signature of the node that made it, and names its parent
//! by id and by content hash, so a log of tokens cannot be edited, thinned out or reordered without leaving a trace. The
//! format is that of the Python package `tibet-core`; `docs/spec/token.md` is the normative page and lists every difference.
//!
//! The crate reads no clock and draws no randomness: both are arguments. Files and databases are touched by the stores only.

pub mod json;
pub mod sqlite;

mod draft;
pub use draft::{Draft, Parent};
mod hash;
pub use hash::{EmptyKey, HmacKey};
mod minter;
pub use minter::{Head, Linking, Minter};
mod query;
pub use query::Query;
mod state;
pub use state::{State, UnknownState};
mod store;
pub use store::{MemoryStore, SqliteStore, StoreError, TokenStore};
mod time;
pub use time::Micros;
mod token;
pub use token::{CONTENT_LINK, MAX_TOKEN_LINE, SignatureError, Token, TokenError};
