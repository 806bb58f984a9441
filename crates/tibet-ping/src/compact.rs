//! The frames of version 2: what devices and overlay nodes say to each other.
//!
//! Wire format: `docs/spec/overlay.md`. Nothing is signed here but what is inside. A cookie or a token, computed by the node and checked with one keyed hash,
//! shows that whoever sends it receives what is sent to that address; who it is, signatures in [`Compact::Query`] and in records say.

use std::net::{IpAddr, SocketAddr};

use crate::frame::Frame;
use crate::reject::Reject;

/// Bytes of a cookie.
pub const COOKIE: usize = 16;
/// Bytes of a keepalive token.
pub const TOKEN: usize = 16;
/// Bytes of a datagram that asks for a cookie: no fewer than the answer has, so that it amplifies nothing (SECURITY R15).
pub const HELLO: usize = 96;
/// Longest datagram that is made here: an IPv6 path carries it without fragments (RFC 8200: 1280 bytes, less 48 of headers).
pub const MAX_UNFRAGMENTED: usize = 1232;

const KEEPALIVE: u8 = 1;
const ALIVE: u8 = 2;
const HELLO_KIND: u8 = 3;
const WELCOME: u8 = 4;
const QUERY: u8 = 5;
const LOOKUP: u8 = 6;
const FOUND: u8 = 7;
const STALE: u8 = 8;
const ANSWER: u8 = 9;
const ASK_ELSEWHERE: u8 = 10;
const ELSEWHERE: u8 = 11;

/// Zeros at the end of [`Compact::AskElsewhere`]: it is no shorter than both answers together (SECURITY R15).
const ASK_ELSEWHERE_PADDING: usize = 8;

/// No key events are asked for.
const NO_EVENTS: u8 = 255;

/// Names a question, so that its answer is known again: random, so that nobody answers who did not see the question.
pub type ExchangeId = [u8; 8];
/// Shows a node that an address is its sender's own.
pub type Cookie = [u8; COOKIE];
/// Shows a node which registered device speaks from where it registered.
pub type KeepaliveToken = [u8; TOKEN];

/// A frame of version 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compact<'a> {
    /// From a device: it is still there. 24 bytes.
    Keepalive(KeepaliveToken),
    /// From a node: it knows. 24 bytes. A node that does not know the token, or not from there, says nothing.
    Alive(KeepaliveToken),
    /// To a node: a cookie, please. Padded to [`HELLO`] bytes.
    Hello(ExchangeId),
    /// From a node: who it is, a cookie, and where the question came from.
    Welcome(Welcome),
    /// A signed question, [`jis::Query`]: from anybody to a node, or from a node to a device.
    Query(&'a [u8]),
    /// A signed answer, [`jis::Answer`].
    Answer {
        /// From the question.
        id: ExchangeId,
        /// M and signature.
        answer: &'a [u8],
    },
    /// To a node: the record of a name, please.
    Lookup {
        /// Repeated in the answer.
        id: ExchangeId,
        /// From [`Welcome`].
        cookie: Cookie,
        /// Also key events, from the one with this number on, 0 to 254; `None` for the record alone.
        events_from: Option<u8>,
        /// The name, as text.
        name: &'a str,
    },
    /// From a node: the answer to [`Compact::Lookup`].
    Found {
        /// From the question.
        id: ExchangeId,
        /// What it knows.
        found: Found<'a>,
    },
    /// From a node: the cookie does not hold any more, or not for this address; ask for another. 16 bytes.
    Stale(ExchangeId),
    /// To a node: answer me from your second port too, so that I learn what my router lets in. 40 bytes.
    AskElsewhere {
        /// Repeated in both answers.
        id: ExchangeId,
        /// From [`Welcome`].
        cookie: Cookie,
    },
    /// From a node, once from each of its ports: the answer to [`Compact::AskElsewhere`]. 18 bytes.
    Elsewhere {
        /// From the question.
        id: ExchangeId,
        /// The node's second port; 0 if it has none.
        port: u16,
    },
}

/// How a node greets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// From the question.
    pub id: ExchangeId,
    /// The node's identity key. Its name is the self-certifying one. Proves nothing before the node has signed something with it.
    pub key: [u8; 32],
    /// For what follows, from this address, for two to four minutes.
    pub cookie: Cookie,
    /// Where the question came from, as the node saw it.
    pub observed: SocketAddr,
}

/// What a node knows of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// How the name stands.
    pub status: FoundStatus,
    /// The device's signed record, M and signature; empty when there is none to give.
    pub record: &'a [u8],
    /// How many key events the identity has.
    pub events: u8,
    /// Key events from the number asked for on, as many as fit a datagram, each with its length before it: see [`Found::events`].
    pub history: &'a [u8],
}

/// How a name stands with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundStatus {
    /// Not registered, or not for the asker to know: there is no telling.
    Unknown,
    /// Registered.
    Active,
    /// Its key is revoked; its owner can rotate to the next.
    KeyRevoked,
    /// The name has ended.
    NameRevoked,
}

impl<'a> Found<'a> {
    /// The encoded key events, in their order. Ends where what was sent is no list.
    pub fn history(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.history;
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let (event, tail) = tail.split_at_checked(u16::from_be_bytes(*length).into())?;
            rest = tail;
            Some(event)
        })
    }
}

impl<'a> Compact<'a> {
    /// Reads the body of a frame of version 2.
    ///
    /// # Errors
    /// [`Reject::BadVersion`] for a kind that does not exist, [`Reject::BadMember`] for a body that is not of its kind.
    pub fn read(kind: u8, body: &'a [u8]) -> Result<Self, Reject> {
        let whole = |body: &'a [u8]| body.try_into().map_err(|_| Reject::BadMember("length"));
        Ok(match kind {
            KEEPALIVE => Self::Keepalive(whole(body)?),
            ALIVE => Self::Alive(whole(body)?),
            HELLO_KIND => {
                let (id, padding) = take::<8>(body)?;
                let padded = padding.len() + 16 >= HELLO && padding.iter().all(|byte| *byte == 0);
                padded.then_some(Self::Hello(*id)).ok_or(Reject::BadMember("padding"))?
            }
            WELCOME => Self::Welcome(Welcome::read(body)?),
            QUERY => Self::Query(body),
            ANSWER => {
                let (id, answer) = take(body)?;
                Self::Answer { id: *id, answer }
            }
            LOOKUP => {
                let (id, rest) = take(body)?;
                let (cookie, rest) = take(rest)?;
                let ([from], name) = take(rest)?;
                let name = std::str::from_utf8(name).map_err(|_| Reject::BadUtf8)?;
                let events_from = Some(*from).filter(|from| *from != NO_EVENTS);
                Self::Lookup { id: *id, cookie: *cookie, events_from, name }
            }
            FOUND => {
                let (id, rest) = take(body)?;
                Self::Found { id: *id, found: Found::read(rest)? }
            }
            STALE => Self::Stale(whole_id(body)?),
            ASK_ELSEWHERE => {
                let (id, rest) = take(body)?;
                let (cookie, padding) = take(rest)?;
                let padded = padding == [0; ASK_ELSEWHERE_PADDING];
                padded
                    .then_some(Self::AskElsewhere { id: *id, cookie: *cookie })
                    .ok_or(Reject::BadMember("padding"))?
            }
            ELSEWHERE => {
                let (id, port) = take(body)?;
                let port = port.try_into().map_err(|_| Reject::BadMember("length"))?;
                Self::Elsewhere { id: *id, port: u16::from_be_bytes(port) }
            }
            _ => return Err(Reject::BadVersion),
        })
    }

    /// Writes the whole datagram. A body with more than a frame holds is cut off, which its reader notices; none is made here.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(HELLO);
        let kind = match self {
            Self::Keepalive(token) => (body.extend(token), KEEPALIVE).1,
            Self::Alive(token) => (body.extend(token), ALIVE).1,
            Self::Hello(id) => {
                body.extend(id);
                body.resize(HELLO - crate::frame::HEADER, 0);
                HELLO_KIND
            }
            Self::Welcome(welcome) => (welcome.write(&mut body), WELCOME).1,
            Self::Query(query) => (body.extend(*query), QUERY).1,
            Self::Answer { id, answer } => {
                body.extend(id);
                body.extend(*answer);
                ANSWER
            }
            Self::Lookup { id, cookie, events_from, name } => {
                body.extend(id);
                body.extend(cookie);
                body.push(events_from.unwrap_or(NO_EVENTS));
                body.extend(name.as_bytes());
                LOOKUP
            }
            Self::Found { id, found } => {
                body.extend(id);
                found.write(&mut body);
                FOUND
            }
            Self::Stale(id) => (body.extend(id), STALE).1,
            Self::AskElsewhere { id, cookie } => {
                body.extend(id);
                body.extend(cookie);
                body.extend([0; ASK_ELSEWHERE_PADDING]);
                ASK_ELSEWHERE
            }
            Self::Elsewhere { id, port } => {
                body.extend(id);
                body.extend(port.to_be_bytes());
                ELSEWHERE
            }
        };
        body.truncate(crate::frame::MAX_BODY);
        Frame::Version2 { kind, body: &body }.write().unwrap_or_default()
    }
}

impl Welcome {
    fn read(body: &[u8]) -> Result<Self, Reject> {
        let (id, rest) = take(body)?;
        let (key, rest) = take(rest)?;
        let (cookie, rest) = take(rest)?;
        let observed = rest.try_into().map_err(|_| Reject::BadMember("length"))?;
        Ok(Self { id: *id, key: *key, cookie: *cookie, observed: address_from(observed) })
    }

    fn write(&self, body: &mut Vec<u8>) {
        body.extend(self.id);
        body.extend(self.key);
        body.extend(self.cookie);
        body.extend(address_bytes(self.observed));
    }
}

impl<'a> Found<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Reject> {
        let ([status], rest) = take(body)?;
        let status = match status {
            0 => FoundStatus::Unknown,
            1 => FoundStatus::Active,
            2 => FoundStatus::KeyRevoked,
            3 => FoundStatus::NameRevoked,
            _ => return Err(Reject::BadEnum("status")),
        };
        let (length, rest) = take::<2>(rest)?;
        let record = rest.split_at_checked(u16::from_be_bytes(*length).into());
        let (record, rest) = record.ok_or(Reject::BadMember("record"))?;
        let ([events], history) = take(rest)?;
        Ok(Self { status, record, events: *events, history })
    }

    fn write(&self, body: &mut Vec<u8>) {
        body.push(match self.status {
            FoundStatus::Unknown => 0,
            FoundStatus::Active => 1,
            FoundStatus::KeyRevoked => 2,
            FoundStatus::NameRevoked => 3,
        });
        body.extend(u16::try_from(self.record.len()).unwrap_or(u16::MAX).to_be_bytes());
        body.extend(self.record);
        body.push(self.events);
        body.extend(self.history);
    }
}

/// An address as 18 bytes: IPv6, an IPv4 address mapped into it, then the port, big-endian.
#[must_use]
pub fn address_bytes(address: SocketAddr) -> [u8; 18] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// Reads what [`address_bytes`] writes.
#[must_use]
pub fn address_from(bytes: [u8; 18]) -> SocketAddr {
    let [ip @ .., high, low] = bytes;
    SocketAddr::new(IpAddr::from(ip).to_canonical(), u16::from_be_bytes([high, low]))
}

fn take<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Reject> {
    bytes.split_first_chunk().ok_or(Reject::BadMember("length"))
}

fn whole_id(body: &[u8]) -> Result<ExchangeId, Reject> {
    body.try_into().map_err(|_| Reject::BadMember("length"))
}
