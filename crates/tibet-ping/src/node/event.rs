//! What a node tells its owner.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use jis::{Name, Signed, Vouch, hex};
use tibet_core::{Micros, Zone, token_id};

use crate::beacon::BeaconVerdict;
use crate::packet::Packet;
use crate::response::Response;
use crate::trust::Trust;
use crate::vouching::Binding;
use crate::words::Decision;

/// Names a request of ours, until it is answered or given up: the random part of its packet id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) u64);

impl RequestId {
    pub(super) fn of_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    pub(super) fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The id that stands in `in_response_to`; `None` when it is none that was made here.
    pub(super) fn parse(packet_id: &str) -> Option<Self> {
        hex::decode_array(packet_id.strip_prefix("ping_")?).map(Self::of_bytes)
    }
}

/// Names a question that waits for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub(super) u64);

/// The time and the random bytes of the token an event is recorded with. The event's answer names that token already, so it is made with these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenStamp {
    /// When.
    pub at: Micros,
    /// What keeps ids of one microsecond apart.
    pub random: [u8; 4],
}

impl TokenStamp {
    /// The token's id.
    #[must_use]
    pub fn token_id(&self) -> String {
        token_id(self.at, self.random)
    }
}

/// How a packet or an answer came, and by that the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// As a datagram from this address: the sender's, or the last relay's.
    Address(SocketAddr),
    /// Through the tunnel of whoever sent it.
    Tunnel,
}

impl Via {
    /// The address it came from; `None` for what came through a tunnel.
    #[must_use]
    pub const fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Tunnel => None,
        }
    }
}

/// The address, or `tunnel`.
impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Tunnel => f.pad("tunnel"),
        }
    }
}

impl From<SocketAddr> for Via {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// What stands behind the name of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The signature of the key bound to the name.
    Verified,
    /// The signature of the key that came along, remembered from now on: the first contact.
    FirstContact,
    /// The tunnel it came through, whose other end holds the key bound to the name. Nothing is signed.
    Sealed,
    /// Nothing; the operator allows that.
    Unsigned,
    /// Nothing that was looked at: the packet was dropped for want of trust.
    Unproven,
}

impl Proof {
    /// Whether a key stands behind the name.
    #[must_use]
    pub const fn is_verified(self) -> bool {
        matches!(self, Self::Verified | Self::FirstContact | Self::Sealed)
    }
}

/// A ping for us that was decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct PingSeen {
    /// What was asked.
    pub packet: Packet,
    /// How it came.
    pub from: Via,
    /// What stands behind the sender's name.
    pub proof: Proof,
    /// How far the sender is trusted.
    pub trust: Trust,
    /// The zone it is in.
    pub zone: Zone,
    /// What was decided. [`Decision::Reject`] is silence.
    pub decision: Decision,
    /// The rule that decided, by name.
    pub rule: Option<String>,
    /// For its token.
    pub stamp: TokenStamp,
}

/// An answer to a request of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The request.
    pub request: RequestId,
    /// What was asked.
    pub packet: Packet,
    /// The answer.
    pub response: Response,
    /// How it came.
    pub from: Via,
    /// What stands behind the responder's name.
    pub proof: Proof,
    /// From sending the request to having the answer.
    pub round_trip: Duration,
    /// Whether no other answer is waited for. After `pending` the decision may follow.
    pub last: bool,
    /// For its token.
    pub stamp: TokenStamp,
}

/// Answers to a request that were not believed, by what was wrong with them. They changed nothing (SECURITY R11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ignored {
    /// Not signed, and the name may not do without.
    pub unsigned: u32,
    /// Signed by another key than the one the name is known by.
    pub wrong_key: u32,
    /// By somebody else, for another request, altered, or too many.
    pub false_answers: u32,
}

/// Where a device was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovered {
    /// Its name.
    pub name: Name,
    /// Where it answers.
    pub address: SocketAddr,
    /// What it offers.
    pub capabilities: Vec<String>,
    /// What it says it is.
    pub device_type: String,
    /// Whether the key bound to its name has signed this. If not it is hearsay.
    pub verified: bool,
    /// Whether it answered our search from that address. If not, it announced itself.
    pub answered: bool,
    /// What became of its beacon; `None` for an answer, and for a legacy device that has none.
    pub verdict: Option<BeaconVerdict>,
    /// For its token.
    pub stamp: TokenStamp,
}

/// A ping that had to wait and was decided on, or waited too long.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingSettled {
    /// What was asked.
    pub packet: Packet,
    /// How far its sender was trusted when it came.
    pub trust: f64,
    /// What was decided; `None` when it waited too long and was dropped.
    pub decision: Option<Decision>,
    /// For its token.
    pub stamp: TokenStamp,
}

/// What has happened at a node. Each becomes a token where tokens are kept.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A ping for us was decided on.
    Ping(Box<PingSeen>),
    /// An accepted ping waits for the application: [`PingNode::answer`](crate::PingNode::answer).
    Question {
        /// To be answered with this.
        id: QuestionId,
        /// The ping, which was decided to be accepted.
        ping: Box<PingSeen>,
    },
    /// A request of ours was answered.
    Answered(Box<Answered>),
    /// A request of ours was given up.
    Unanswered {
        /// The request.
        request: RequestId,
        /// What was asked.
        packet: Box<Packet>,
        /// Answers that were not believed meanwhile.
        ignored: Ignored,
        /// For its token.
        stamp: TokenStamp,
    },
    /// A ping that waited was settled.
    Settled(Box<PendingSettled>),
    /// A packet for somebody else was passed on.
    Relayed {
        /// The packet as it goes on.
        packet: Box<Packet>,
        /// Where to.
        to: Vec<SocketAddr>,
        /// For its token.
        stamp: TokenStamp,
    },
    /// A name was heard for the first time; its key is to be kept on disk.
    Pinned {
        /// Name and key.
        binding: Binding,
        /// For its token.
        stamp: TokenStamp,
    },
    /// Somebody speaks under a name with another key than the one it is bound to: a new device, or an impostor. Told of at most ten times a
    /// second.
    ChangedKey {
        /// The name.
        name: Name,
        /// How the packet came.
        from: Via,
    },
    /// A peer was heard for the first time, or after a long silence.
    PeerFound {
        /// Its name.
        name: Name,
        /// Where it is.
        address: SocketAddr,
        /// For its token.
        stamp: TokenStamp,
    },
    /// A peer has answered from a new address, and is there now.
    PeerMoved {
        /// Its name.
        name: Name,
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
        /// For its token.
        stamp: TokenStamp,
    },
    /// A peer has not been heard for long.
    PeerGone {
        /// Its name.
        name: Name,
        /// For its token.
        stamp: TokenStamp,
    },
    /// A device was found on the network.
    Discovered(Box<Discovered>),
    /// The operator has changed how far a name is trusted.
    TrustChanged {
        /// The name.
        name: Name,
        /// How far it was trusted.
        before: f64,
        /// How far it is.
        now: f64,
        /// Why, in words.
        reason: String,
        /// For its token.
        stamp: TokenStamp,
    },
    /// We vouch for a device.
    Vouched {
        /// Signed by us.
        vouch: Box<Signed<Vouch>>,
        /// For its token.
        stamp: TokenStamp,
    },
    /// What was dropped in the last minute, by reason (SECURITY R64).
    Dropped {
        /// Reason and number.
        counts: Vec<(&'static str, u64)>,
        /// For its token.
        stamp: TokenStamp,
    },
}

/// Where a datagram goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To this address.
    Address(SocketAddr),
    /// To the discovery groups, on every interface.
    Multicast,
    /// Into the tunnel to this identity. If there is none any more, it is lost like any datagram.
    Sealed(Name),
}

/// A datagram to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: Destination,
    /// The frame.
    pub bytes: Vec<u8>,
}
