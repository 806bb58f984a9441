//! The TP protocol as pure machines.
//!
//! Devices ask each other over UDP and answer by trust. This crate holds everything of that which is not a socket: what the bytes
//! mean, who signed them, whether they were seen before, how far the sender is trusted, what the airlock says, and where a packet goes
//! next. It reads no clock and draws no randomness: times and random bytes are arguments.
//!
//! A datagram passes the parts in this order, cheapest first (SECURITY R12):
//!
//! | step | part |
//! |---|---|
//! | header, version, flags, length | [`Frame::read`] |
//! | body, members, types, bounds | [`Packet::decode`], [`Response::decode`] |
//! | fresh and not seen, without storing anything | [`RestartBound::check`], [`ReplayCache::check`] |
//! | signed by the key bound to the name, and for us | [`verify_ping`], [`VerifiedPing::check_audience`] |
//! | stored as seen | [`ReplayCache::insert`] |

pub mod canonical;
pub mod timestamp;

mod codec;
pub use codec::{EncodeError, MAX_DEPTH, MAX_MAP_MEMBERS, MAX_MEMBERS, MAX_TEXT};
mod frame;
pub use frame::{BodyTooLarge, Encoding, Frame, HEADER, Kind, MAGIC, MAX_BODY};
mod now;
pub use now::Now;
mod packet;
pub use packet::{BROADCAST, DEFAULT_MAX_HOPS, Fresh, PING_SCHEME, Packet, PingClaim, Target};
mod reject;
pub use reject::Reject;
mod replay;
pub use replay::{
    MAX_NONCES, MAX_NONCES_PER_SENDER, ReplayCache, ReplayRefusal, ReplayWindow, RestartBound, Sender,
};
mod response;
pub use response::{MAX_CAPABILITIES, PONG_SCHEME, PongClaim, Response};
mod signing;
pub use signing::{
    MAX_LIFETIME, SignError, VerifiedPing, VerifiedPong, VerifyError, request_hash, sign_ping, sign_pong,
    verify_ping, verify_pong,
};
pub use timestamp::Timestamp;
mod words;
pub use words::{Decision, PingType, Priority, RoutingMode};
