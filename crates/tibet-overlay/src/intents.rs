//! The intents `overlay.*`: what devices and overlay nodes ask each other, as types.
//!
//! Wire format: `docs/spec/overlay.md`. They travel in a signed [`jis::Query`] and come back in a signed [`jis::Answer`]. Reading checks form and
//! bounds only; what is signed inside is checked by whoever acts on it.

mod answer;
pub use answer::{
    Failure, FailureCode, FoundNames, PongAnswer, PresenceState, ProofAnswer, PunchAnswer, RegisterAnswer,
    RelayAnswer, ResolveAnswer,
};
mod members;
pub use members::Malformed;
mod ping;
pub use ping::{PingRequest, PongZone};
mod request;
pub use request::{OverlayRequest, RegisterRequest};

/// The intent that has a device prove who it is, at a node and at the device.
pub const CHALLENGE: &str = "overlay.challenge";
/// The intent that passes a ping on, at a node and at the device.
pub const PING: &str = "overlay.ping";
/// The intent that introduces one device to another, at a node.
pub const CONNECT: &str = "overlay.connect";
/// The intent by which a node passes on that a device wants a direct path, at the other device.
pub const PUNCH: &str = "overlay.punch";

/// An intent of ours as a question names it.
pub(crate) fn parse_intent(intent: &'static str) -> jis::Capability {
    intent.parse().expect("intents are written as capabilities")
}
