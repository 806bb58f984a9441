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
//! | which key the name is known by | [`KeyBook::expected`] |
//! | signed by the key bound to the name, and for us | [`verify_ping`], [`VerifiedPing::check_audience`] |
//! | stored as seen | [`ReplayCache::insert`] |
//! | for somebody else: passed on | [`Relay::handle_ping`] |
//! | where the sender is | [`PeerTable::handle_ping`] |
//! | how far it is trusted | [`TrustTable::lookup`], [`VouchBook`] |
//! | accept, wait, or silence | [`Airlock::evaluate`], [`PendingQueue`] |
//! | the answer | [`Response::to`], [`sign_pong`], [`Response::encode`] |
//!
//! What came through a tunnel is a [`Sealed`] ping or answer: the tunnel has proved its sender, so the first six steps are one comparison of keys
//! and a look at the last ids ([`PingNode::handle_sealed`]).
//!
//! Beacons go to a [`BeaconBook`]; [`Topology`] groups devices for people. The parts are driven alike: `handle_…` puts something in and returns
//! what follows from it, `poll_timeout` says when `handle_timeout` is due. None of them sends anything, and each table, queue and cache
//! has a bound that a constant names and argues for, and counts what it turned away.

pub mod canonical;
pub mod timestamp;

mod airlock;
pub use airlock::{
    Airlock, DEFAULT_PRIORITY, MAX_PENDING, MAX_PENDING_BYTES, MAX_PENDING_PER_SOURCE, MAX_RULES,
    PENDING_LIFETIME, PendingPing, PendingQueue, PendingRefusal, Rule, RulePattern, RulePatternError,
    Settled, Standing, Thresholds, TooManyRules, Verdict,
};
mod beacon;
pub use beacon::{
    BEACON_RATE, Beacon, BeaconBook, BeaconRule, BeaconVerdict, FRESH_FOR, MAX_BEACON_RULES, MAX_BEACONS,
    MAX_UNBOUND_BEACONS, SeenBeacon, beacon_in, discover_payload,
};
mod codec;
pub use codec::{EncodeError, MAX_DEPTH, MAX_MAP_MEMBERS, MAX_MEMBERS, MAX_TEXT};
mod compact;
pub use compact::{
    COOKIE, Compact, Cookie, ExchangeId, Found, FoundStatus, HELLO, KeepaliveToken, MAX_UNFRAGMENTED, TOKEN,
    Welcome, address_bytes, address_from,
};
mod frame;
pub use frame::{BodyTooLarge, Encoding, Frame, HEADER, Kind, MAGIC, MAX_BODY};
mod glob;
pub use glob::Glob;
mod keys;
pub use keys::{
    Expected, FirstContact, KeyBook, KeyBookFull, KeyRefusal, KeySource, MAX_KEYS, MAX_PINS, MAX_UNSIGNED,
};
mod node;
pub use node::{
    AnswerError, Answered, Ask, AskError, DISCOVERY_INTERVAL, Destination, Discovered, Event,
    HEARTBEAT_INTERVAL, Ignored, MAX_CLAIMS, MAX_QUESTIONS, MAX_REQUESTS, NodeConfig, NodeIdentity,
    NodeStats, OperatorError, PendingSettled, PingNode, PingSeen, Proof, QUESTION_LIFETIME, QuestionId,
    REQUEST_TIMEOUT, RandomSource, RequestId, TokenStamp, Transmit, Via,
};
mod now;
pub use now::Now;
mod packet;
pub use packet::{BROADCAST, DEFAULT_MAX_HOPS, Fresh, PING_SCHEME, Packet, PingClaim, Target};
mod peers;
pub use peers::{Heard, MAX_PEERS, PEER_CLEANUP, PEER_TIMEOUT, Peer, PeerTable, can_be_answered};
mod rate;
pub use rate::Rate;
mod reject;
pub use reject::Reject;
mod relay;
pub use relay::{
    MAX_ANSWERS, MAX_FAN_OUT, MAX_HOPS, MAX_ORIGINS, MAX_SEEN, MAX_WAYS_BACK, ORIGIN_RATE, Relay,
    RelayConfig, RelayDecision, RelayDrop, WAY_BACK_LIFETIME,
};
mod replay;
pub use replay::{
    MAX_NONCES, MAX_NONCES_PER_SENDER, ReplayCache, ReplayConfig, ReplayRefusal, RestartBound, Sender,
};
mod response;
pub use response::{MAX_CAPABILITIES, PONG_SCHEME, PongClaim, Response};
mod sealed;
pub use sealed::{Expects, MAX_INTENT, MAX_PURPOSE, MAX_SEALED, Sealed, SealedAnswer, SealedPing};
mod signing;
pub use signing::{
    MAX_LIFETIME, SignError, VerifiedPing, VerifiedPong, VerifyError, request_hash, sign_ping, sign_pong,
    verify_ping, verify_pong,
};
pub use timestamp::Timestamp;
mod topology;
pub use topology::{MAX_HUBBIES, MAX_PODS, MAX_STATIONS, Pod, Role, Station, Topology, TopologyError};
mod trust;
pub use trust::{MAX_EXPLICIT, Trust, TrustError, TrustSource, TrustTable};
mod vouching;
pub use vouching::{
    Binding, MAX_PER_SUBJECT, MAX_PER_VOUCHER, MAX_VOUCHES, MOST_BY_VOUCH, VouchBook, VouchId, VouchRefusal,
    VouchStats,
};
mod words;
pub use words::{Decision, PingType, Priority, RoutingMode};
