//! What happened: provenance tokens.
//!
//! A [`Token`] records one event in four layers: ERIN (what happened), ERAAN (what it depends on), EROMHEEN (its context)
//! and ERACHTER (its intent). Every token carries the SHA-256 of its content and a signature of the node that made it, and names its parent
//! by id and by content hash, so a log of tokens cannot be edited, thinned out or reordered without leaving a trace. The
//! format is that of the Python package `tibet-core`; `docs/spec/token.md` is the normative page and lists every difference.
//!
//! How to drive it:
//!
//! - [`Minter`] makes tokens and nothing else: put a [`Draft`], the time and four random bytes in, take a [`Token`] out.
//! - [`TokenStore`] keeps them: [`MemoryStore`], [`FileStore`] (JSON lines), [`SqliteStore`], or the functions of [`sqlite`]
//!   inside a transaction of your own.
//! - [`Provider`] is both together, and [`NetworkBridge`] turns network events into tokens.
//! - [`verify_log`] checks a whole log in one pass, [`Chain`] follows one token to its origin.
//!
//! ```
//! use tibet_core::{Draft, LogCheck, MemoryStore, Micros, Minter, Provider, object, verify_store};
//!
//! let mut provider = Provider::new(Minter::new("jis:home:hub"), MemoryStore::new())?;
//! let now = Micros::from_micros(1_767_323_045_000_001).expect("a time before the year 10000");
//! let token = provider.create(Draft::new("login").erin(object! { "user" => "alice" }), now, [0, 0, 0, 1])?;
//! assert_eq!(token.token_id, "tibet_20260102030405000001_00000001");
//! assert!(verify_store(provider.store(), &LogCheck::default())?.ok());
//! # Ok::<(), tibet_core::StoreError>(())
//! ```
//!
//! The crate reads no clock and draws no randomness: both are arguments. Files and databases are touched by the stores only.

pub mod json;
pub mod sqlite;

mod bridge;
pub use bridge::NetworkBridge;
mod chain;
pub use chain::{Chain, MAX_TREE_DEPTH, Summary, TreeNode};
mod draft;
pub use draft::{Draft, Parent};
mod facts;
pub use facts::{PingFacts, ResponseFacts, Zone};
mod hash;
pub use hash::{EmptyKey, HmacKey};
mod log;
pub use log::{Finding, LogCheck, LogReport, LogVerifier, MAX_FINDINGS, Problem, verify_log, verify_store};
mod minter;
pub use minter::{Head, Linking, Minter};
mod provider;
pub use provider::{ExportFormat, Provider, UnknownFormat};
mod query;
pub use query::Query;
mod state;
pub use state::{State, UnknownState};
mod store;
pub use store::{FileStore, Fsync, MemoryStore, Recovered, SqliteStore, StoreError, TokenLines, TokenStore};
mod time;
pub use time::{Micros, token_id};
mod token;
pub use token::{CONTENT_LINK, MAX_TOKEN_LINE, SignatureError, Token, TokenError};
