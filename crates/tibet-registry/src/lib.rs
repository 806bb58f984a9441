//! The overlay's memory: who owns which name, where devices are, and how far they are trusted.
//!
//! [`Registry`] holds the rules and drives a [`Store`], which holds bytes and indexes: [`MemoryStore`], [`SqliteStore`], or
//! `PostgresStore` with the feature `postgres`. The rules read no
//! clock and draw no randomness. Every change is written in one transaction with a signed provenance token that tells of it.
//!
//! | a request | call | checks |
//! |---|---|---|
//! | claim a name | [`Registry::register`] | history, record, name policy |
//! | move, change capabilities | [`Registry::update`] | newer record by the bound key |
//! | change or end a key | [`Registry::rotate`], [`Registry::revoke`] | key events |
//! | let a human decide on a name | [`Registry::requests`], [`Registry::approve`], [`Registry::deny`] | operator |
//! | come and go | [`Registry::note_presence`] | node |
//! | show that a node is alive | [`Registry::leave_sign`] | – |
//! | prove who you are | [`Registry::challenge`], [`Registry::accept_proof`] | proof of possession |
//! | keep a copy in memory | [`Registry::for_each`], [`Registry::changes_since`] | – |
//! | look up | [`Registry::resolve`], [`Registry::find`] | – |
//! | say how far to trust | [`Registry::set_trust`], [`Registry::vouch`], … | operator, or a voucher's signature |
//! | check it all | [`Registry::audit`] | log, key events, records against each other |

mod challenges;
pub use challenges::MAX_ANSWERED;
mod entry;
pub use entry::{Damaged, Route};
mod policy;
pub use policy::{FirstCome, Policy};
mod quota;
pub use quota::{MAX_NETWORKS, NAMES_PER_HOUR};
mod refusal;
pub use refusal::{PermissionError, Refusal};
mod registration;
pub use registration::{CheckedRegistration, MAX_EVENTS, Permission, Registration};
mod registry;
pub use registry::{
    Audit, AuditProblem, Changes, DENIAL, MAX_CHANGES, MAX_PAGE, MAX_PRESENCE_TOKENS, MAX_REQUESTS,
    MAX_REQUESTS_WAITING, MAX_SEQUENCE_JUMP, MAX_SIGNS, MAX_VOUCHES_GIVEN, MAX_VOUCHES_TAKEN, NodeSign,
    NotedLookups, Opening, Page, PresenceChange, Registered, Registry, Resolution, Source, Verification,
};
mod store;
#[cfg(feature = "postgres")]
pub use store::PostgresStore;
pub use store::{
    Evidence, KeyUse, MAX_EVIDENCE, MAX_IDENTITIES, MAX_TOKENS, MemoryStore, NameRequest, Presence,
    RequestState, SqliteStore, Store, StoreError, StoredEntry, StoredVouch,
};
mod tally;
pub use tally::{MAX_AT_ONCE, MAX_SUBJECTS, WINDOW as TALLY_WINDOW};
mod trust;
pub use trust::{
    COUNTING_INTERVAL, Fira, GROEN_FROM, History, MOST_WITHOUT_PROOF, ROOD_BELOW, Standing, TrustSource, Zone,
};
mod update;
pub use update::CheckedUpdate;
