//! What each fuzz target asserts, as plain functions over bytes.
//!
//! There is one copy of each check: the targets call it under libFuzzer, and `xtask/tests/fuzz_corpus.rs` includes these files
//! and replays the corpora in every ordinary test run. A check panics when a property fails. It takes any bytes, reads no clock and draws no
//! randomness, so an input that failed once fails always.
//!
//! A new target is a module here, a line in [`TARGETS`], a `[[bin]]` in `Cargo.toml` with its file in
//! `targets/`, and seeds in `src/bin/seeds/`.

pub mod bodies;
pub mod challenge;
pub mod compact;
pub mod dns;
pub mod encodings;
pub mod endpoint;
pub mod frame;
pub mod honest;
pub mod inner;
pub mod intents;
pub mod json;
pub mod mesh;
pub mod msgpack;
pub mod name;
pub mod node;
pub mod question;
pub mod replay;
pub mod script;
pub mod sealed;
pub mod tun;

/// The part of `tibet-overlay` that reads what strangers send, taken in as it is: the whole crate brings a web server and a database's client along, which
/// would be built anew with instrumentation and never run.
#[path = "../../crates/tibet-overlay/src"]
pub mod overlay {
    pub mod intents;
}

/// The gate before whoever may only answer, which is no part of the interface of `tibet-mesh`.
#[path = "../../crates/tibet-mesh/src"]
pub(crate) mod mesh_parts {
    pub(crate) mod flows;
}

/// What became of an input. Only for the names of seeds: `…-accepted` and `…-refused` say what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The code under test took it.
    Accepted,
    /// The code under test refused it.
    Refused,
}

impl Verdict {
    /// Accepted if `taken`.
    #[must_use]
    pub const fn of(taken: bool) -> Self {
        if taken { Self::Accepted } else { Self::Refused }
    }
}

/// A check.
pub type Check = fn(&[u8]) -> Verdict;

/// Every target with its check. The name is that of the binary and of its directory in `fuzz/corpus/`.
pub const TARGETS: &[(&str, Check)] = &[
    ("f01_frame", frame::check),
    ("f02_json", json::check),
    ("f03_msgpack", msgpack::check),
    ("f04_encodings", encodings::check),
    ("f05_name", name::check),
    ("f06_endpoint", endpoint::check),
    ("f09_challenge", challenge::check),
    ("f10_replay", replay::check),
    ("f12_node", node::check),
    ("f13_mesh", mesh::check),
    ("f18_compact", compact::check),
    ("f19_question", question::check),
    ("f20_intents", intents::check),
    ("f21_inner", inner::check),
    ("f22_sealed", sealed::check),
    ("f23_dns", dns::check),
    ("f24_tun", tun::check),
];
