//! WireGuard tunnels to peers. The only file that names `gotatun`.
//!
//! A tunnel belongs to one identity and one transport key, both from a verified record. What comes in is admitted before anything is computed for it:
//!
//! | message | checked before its tunnel sees it |
//! |---|---|
//! | handshake initiation | MAC1; when more than [`HANDSHAKES_PER_SECOND`] come, or [`HANDSHAKES_AT_ONCE`], a cookie from everybody; when it names a key that is named too often, a cookie; a key that is a peer's. Cookies are asked for [`COOKIES_PER_SECOND`] at most |
//! | everything else | an index that one of our tunnels has given out |
//!
//! `gotatun`'s own limiter counts by full address and has no bound for all, so a flood from many addresses meets no cookie: ours stands in front (SECURITY R55).
//! It is shown places instead of addresses, of which there are few.
//! To whoever is no peer nothing is sent but a cookie, shorter than what he sent (R20).

mod limits;
pub use limits::{COOKIES_AT_ONCE, COOKIES_PER_SECOND, HANDSHAKES_AT_ONCE, HANDSHAKES_PER_SECOND};
mod places;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gotatun::noise::errors::WireGuardError;
use gotatun::noise::handshake::parse_handshake_anon;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::noise::{Tunn, TunnResult};
use gotatun::packet::{Packet, WgKind};
use gotatun::tun::MtuWatcher;
use gotatun::x25519;
use jis::{Fingerprint, TransportKey, TransportSecret};

use crate::routes::MAX_PEERS;
use limits::{Admission, Cookies, PerKey, Seconds};
use places::{Place, Places};

/// The first byte of a handshake initiation, and of the response to one.
pub(crate) const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
/// The place of what is not limited.
const NOWHERE: Place = Place::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// How often tunnels look at their timers.
const TICK: Duration = Duration::from_millis(250);
/// How long a session holds (WireGuard's REJECT_AFTER_TIME).
pub(crate) const REJECT_AFTER: Duration = Duration::from_secs(180);
/// How soon a handshake is begun again (WireGuard's REKEY_TIMEOUT).
const BEGIN_AGAIN: Duration = Duration::from_secs(5);

/// All tunnels of a device.
pub struct Tunnels {
    secret: x25519::StaticSecret,
    public: x25519::PublicKey,
    indices: IndexTable,
    /// Asks for no cookie, and for one always.
    usual: Arc<RateLimiter>,
    strict: Arc<RateLimiter>,
    places: Places,
    admitted: Admission,
    /// By the key that a handshake names, whether it is a peer's or not: who hears nothing and who is asked for a cookie tells nobody whose peer that is (SECURITY R20).
    asked: PerKey,
    cookies: Cookies,
    seconds: Seconds,
    mtu: u16,
    peers: BTreeMap<Fingerprint, Tunnel>,
    by_key: BTreeMap<[u8; 32], Fingerprint>,
    /// Whose messages bear an index.
    by_index: BTreeMap<u32, Fingerprint>,
    next_tick: Option<Duration>,
}

struct Tunnel {
    tunn: Tunn,
    key: TransportKey,
    /// When the peer last spoke in a session.
    heard: Option<Duration>,
    /// When a handshake was last begun in the place of one of the peer's that was too old.
    begun_instead: Option<Duration>,
    /// Whether it has anything to wait for.
    awake: bool,
}

/// What has become of a message.
#[derive(Debug)]
pub enum Opened {
    /// A packet of the peer's. What is in it has not been looked at.
    Packet(Fingerprint, BytesMut),
    /// The peer has spoken, and said nothing: a keepalive, or a part of a handshake.
    Heard(Fingerprint),
    /// It asks for a cookie before it takes up our handshake. Whoever has seen that can ask so in its place: this is no sign of the peer.
    Asked,
    /// Somebody else's, damaged, sent again, or not admitted.
    Refused(Refusal),
}

/// Why a message came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// No WireGuard message, or its MAC1 is not for us.
    NotForUs,
    /// A cookie was asked for.
    Cookie,
    /// It shows no cookie that counts, and no more are asked for at the moment.
    Flooded,
    /// No peer has this key or this index.
    NoPeer,
    /// It does not decrypt, or came before.
    Bad,
}

/// A datagram to be sent.
#[derive(Debug)]
pub struct TunnelTransmit {
    /// To a peer, over the path in use, or back where a message came from.
    pub to: TunnelDestination,
    /// The whole datagram.
    pub datagram: BytesMut,
}

/// Where a tunnel's datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelDestination {
    /// The peer, wherever it is.
    Peer(Fingerprint),
    /// The sender of the message that was just handled.
    Back,
}

/// How a tunnel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelStats {
    /// Since the last handshake, if there is a session.
    pub since_handshake: Option<Duration>,
    /// Bytes sent, with all that WireGuard adds.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

impl Tunnels {
    /// No tunnels yet, for whoever holds `secret`. Packets are padded up to multiples of 16 bytes within `mtu`.
    #[must_use]
    pub fn new(secret: &TransportSecret, mtu: u16) -> Self {
        let (places, asked, cookies) = (Places::new(secret), PerKey::new(secret), Cookies::new(secret));
        let secret = x25519::StaticSecret::from(*secret.to_bytes());
        let public = x25519::PublicKey::from(&secret);
        Self {
            indices: IndexTable::from_os_rng(),
            usual: Arc::new(RateLimiter::new(&public, u64::MAX)),
            strict: Arc::new(RateLimiter::new(&public, 0)),
            secret,
            public,
            places,
            admitted: Admission::default(),
            asked,
            cookies,
            seconds: Seconds::default(),
            mtu,
            peers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_index: BTreeMap::new(),
            next_tick: None,
        }
    }

    /// Has a tunnel to `peer`, whose verified record names `key`. With another key than before it begins anew. False where another peer has that key, or
    /// there are [`MAX_PEERS`]: a key is one peer's.
    pub fn set(&mut self, peer: Fingerprint, key: TransportKey) -> bool {
        if self.peers.get(&peer).is_some_and(|tunnel| tunnel.key == key) {
            return true;
        }
        if self.by_key.contains_key(key.as_bytes()) || self.peers.len() >= MAX_PEERS {
            return false;
        }
        self.remove(&peer);
        let tunn = Tunn::new(
            self.secret.clone(),
            x25519::PublicKey::from(*key.as_bytes()),
            None,
            None,
            self.indices.clone(),
            Arc::clone(&self.usual),
        );
        self.by_key.insert(*key.as_bytes(), peer);
        self.peers.insert(peer, Tunnel { tunn, key, heard: None, begun_instead: None, awake: false });
        true
    }

    /// Ends a tunnel: from now on nothing of this peer is taken, and nothing is sent to it.
    pub fn remove(&mut self, peer: &Fingerprint) {
        if let Some(tunnel) = self.peers.remove(peer) {
            self.by_key.remove(tunnel.key.as_bytes());
            self.by_index.retain(|_, owner| owner != peer);
        }
    }

    /// Seals a packet for a peer: the datagram to be sent to it. Without a session the packet waits, with up to 255 others, and what is sent is a handshake,
    /// or nothing when one is under way.
    pub fn seal(&mut self, peer: &Fingerprint, packet: BytesMut, now: Duration) -> Option<BytesMut> {
        let tunnel = self.peers.get_mut(peer)?;
        wake(&mut self.next_tick, tunnel, now);
        let mut mtu = MtuWatcher::new(self.mtu);
        let sent = tunnel.tunn.handle_outgoing_packet(Packet::from_bytes(packet), Some(&mut mtu))?;
        Some(self.outgoing(*peer, sent))
    }

    /// Begins the handshake with a peer anew, where one has gone out and there is no session yet: the peer may not have known us then. The datagram to be sent.
    ///
    /// Where none has gone out it waits for the peer's: two that cross make two sessions, of which each side would speak in the other one.
    pub fn begin_again(&mut self, peer: &Fingerprint, now: Duration) -> Option<BytesMut> {
        let tunnel = self.peers.get_mut(peer).filter(|tunnel| tunnel.awake)?;
        let (None, ..) = tunnel.tunn.stats() else { return None };
        wake(&mut self.next_tick, tunnel, now);
        let begun = tunnel.tunn.format_handshake_initiation(true)?;
        Some(self.outgoing(*peer, begun.into()))
    }

    /// Opens a message that came from `from`. What is to be sent because of it is handed to `transmit`.
    pub fn open(
        &mut self,
        from: SocketAddr,
        message: BytesMut,
        now: Duration,
        transmit: &mut impl FnMut(TunnelTransmit),
    ) -> Opened {
        let begins = message.first() == Some(&INITIATION);
        let (peer, message) = match self.admit(from, message, now, transmit) {
            Ok(admitted) => admitted,
            Err(refusal) => return Opened::Refused(refusal),
        };
        let Some(tunnel) = self.peers.get_mut(&peer) else { return Opened::Refused(Refusal::NoPeer) };
        wake(&mut self.next_tick, tunnel, now);
        match tunnel.tunn.handle_incoming_packet(message) {
            TunnResult::WriteToTunnel(packet) => {
                tunnel.heard = Some(now);
                // Whoever answered a handshake may speak from the first packet on.
                self.flush(peer, transmit);
                if packet.is_empty() { Opened::Heard(peer) } else { Opened::Packet(peer, take(packet)) }
            }
            TunnResult::WriteToNetwork(answer) => {
                let to = TunnelDestination::Peer(peer);
                // A peer whose path is not known yet is answered where it has spoken from.
                let to = if begins { TunnelDestination::Back } else { to };
                let datagram = self.outgoing(peer, answer);
                transmit(TunnelTransmit { to, datagram });
                if !begins {
                    self.flush(peer, transmit);
                }
                Opened::Heard(peer)
            }
            TunnResult::Done => Opened::Asked,
            TunnResult::Err(WireGuardError::WrongTai64nTimestamp) => {
                self.begin_instead(peer, now, transmit);
                Opened::Refused(Refusal::Bad)
            }
            TunnResult::Err(_) => Opened::Refused(Refusal::Bad),
        }
    }

    /// Does what time brings: handshakes that are sent again, keys that are renewed, keepalives.
    pub fn handle_timeout(&mut self, now: Duration, transmit: &mut impl FnMut(TunnelTransmit)) {
        if self.next_tick.is_none_or(|next| next > now) {
            return;
        }
        let awake: Vec<Fingerprint> =
            self.peers.iter().filter(|(_, tunnel)| tunnel.awake).map(|(peer, _)| *peer).collect();
        for peer in &awake {
            let Some(tunnel) = self.peers.get_mut(peer) else { continue };
            match tunnel.tunn.update_timers() {
                Ok(Some(message)) => {
                    let datagram = self.outgoing(*peer, message);
                    transmit(TunnelTransmit { to: TunnelDestination::Peer(*peer), datagram });
                }
                Ok(None) => {}
                Err(WireGuardError::ConnectionExpired) => tunnel.awake = false,
                Err(_) => {}
            }
        }
        let indices = &self.indices;
        self.by_index.retain(|index, _| indices.in_use(*index));
        self.next_tick = (!awake.is_empty()).then_some(now + TICK);
    }

    /// When [`Tunnels::handle_timeout`] is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.next_tick
    }

    /// How the tunnel to a peer stands.
    #[must_use]
    pub fn stats(&self, peer: &Fingerprint) -> Option<TunnelStats> {
        let (since_handshake, sent, received, ..) = self.peers.get(peer)?.tunn.stats();
        let bytes = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Some(TunnelStats { since_handshake, sent: bytes(sent), received: bytes(received) })
    }

    /// Begins a handshake with a peer whose own had a date before one that was there already. It may be an old one that somebody sends again; but it may also be
    /// that the peer's clock was ahead for a while, and then no handshake of its own would be taken until that date (SECURITY R43, CVE-2021-46873). So where no session
    /// is in use we begin, as seldom as an honest peer does: towards the peer, never back.
    fn begin_instead(&mut self, peer: Fingerprint, now: Duration, transmit: &mut impl FnMut(TunnelTransmit)) {
        let Some(tunnel) = self.peers.get_mut(&peer) else { return };
        let within = |at: Option<Duration>, time| at.is_some_and(|at| now.saturating_sub(at) < time);
        if within(tunnel.heard, REJECT_AFTER) || within(tunnel.begun_instead, BEGIN_AGAIN) {
            return;
        }
        if let Some(begun) = tunnel.tunn.format_handshake_initiation(false) {
            tunnel.begun_instead = Some(now);
            let datagram = self.outgoing(peer, begun.into());
            transmit(TunnelTransmit { to: TunnelDestination::Peer(peer), datagram });
        }
    }

    /// Whose message this is, if its tunnel may see it. A cookie that is asked for is handed to `transmit`.
    fn admit(
        &mut self,
        from: SocketAddr,
        message: BytesMut,
        now: Duration,
        transmit: &mut impl FnMut(TunnelTransmit),
    ) -> Result<(Fingerprint, WgKind), Refusal> {
        let kind = message.first().copied();
        if kind != Some(INITIATION) {
            // What answers nothing of ours is not even counted.
            let owner = self.owner(&message).ok_or(Refusal::NoPeer)?;
            let from = if kind == Some(RESPONSE) { self.places.of(from) } else { NOWHERE };
            let message = verify(&self.usual, from, Packet::from_bytes(message), transmit)?;
            if let WgKind::HandshakeResp(message) = &message {
                is_sound(&message.unencrypted_ephemeral)?;
            }
            return Ok((owner, message));
        }
        if self.seconds.begins(now) {
            // They remember every place until they are told that its second is over.
            self.usual.try_reset_count();
            self.strict.try_reset_count();
        }
        let mut message = verify(&self.usual, self.places.of(from), Packet::from_bytes(message), transmit)?;
        if !self.admitted.take(now) {
            message = self.challenge(from, message, now, transmit)?;
        }
        let WgKind::HandshakeInit(begun) = &message else { return Err(Refusal::NotForUs) };
        is_sound(&begun.unencrypted_ephemeral)?;
        let named = parse_handshake_anon(&self.secret, &self.public, begun).map_err(|_| Refusal::Bad)?;
        let named = named.peer_static_public;
        // Anybody who knows the keys can begin a handshake in a peer's name as far as this: when it is too often, with a cookie only.
        if !self.asked.take(&named, now) {
            message = self.challenge(from, message, now, transmit)?;
        }
        let peer = self.by_key.get(&named).copied().ok_or(Refusal::NoPeer)?;
        Ok((peer, message))
    }

    /// Has a handshake show a cookie. Without one it is asked for it, as long as there are cookies.
    fn challenge(
        &mut self,
        from: SocketAddr,
        message: WgKind,
        now: Duration,
        transmit: &mut impl FnMut(TunnelTransmit),
    ) -> Result<WgKind, Refusal> {
        // What shows none costs nothing beyond this. For what shows a wrong one the right one is computed, and then not sent.
        let shows_none = matches!(&message, WgKind::HandshakeInit(message) if message.mac2 == [0; 16]);
        if shows_none && !self.cookies.take(from, now) {
            return Err(Refusal::Flooded);
        }
        let mut asked = None;
        let verified =
            verify(&self.strict, self.places.of(from), message.into(), &mut |cookie| asked = Some(cookie));
        if let Some(cookie) = asked {
            if !shows_none && !self.cookies.take(from, now) {
                return Err(Refusal::Flooded);
            }
            transmit(cookie);
        }
        verified
    }

    /// Whose tunnel has given out the index that a message other than an initiation bears.
    fn owner(&self, message: &[u8]) -> Option<Fingerprint> {
        // A response names its own index first.
        let at = if message.first() == Some(&RESPONSE) { 8 } else { 4 };
        let index = message.get(at..)?.first_chunk::<4>()?;
        self.by_index.get(&u32::from_le_bytes(*index)).copied()
    }

    /// Sends what has waited for the session that is there now.
    fn flush(&mut self, peer: Fingerprint, transmit: &mut impl FnMut(TunnelTransmit)) {
        let Some(tunnel) = self.peers.get_mut(&peer) else { return };
        let mut mtu = MtuWatcher::new(self.mtu);
        let sealed: Vec<WgKind> = tunnel
            .tunn
            .get_queued_packets(&mut mtu)
            .take_while(|message| matches!(message, WgKind::Data(_)))
            .collect();
        for message in sealed {
            let datagram = bytes_of(message);
            transmit(TunnelTransmit { to: TunnelDestination::Peer(peer), datagram });
        }
    }

    /// The datagram of a message, whose index is this peer's from now on.
    fn outgoing(&mut self, peer: Fingerprint, message: WgKind) -> BytesMut {
        match &message {
            WgKind::HandshakeInit(message) => self.by_index.insert(message.sender_idx.get(), peer),
            WgKind::HandshakeResp(message) => self.by_index.insert(message.sender_idx.get(), peer),
            WgKind::CookieReply(_) | WgKind::Data(_) => None,
        };
        bytes_of(message)
    }
}

impl std::fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnels").field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

/// Whether the agreement with this key is a secret: with one of small order it is zero for whoever looks (SECURITY 3.2 row 39).
fn is_sound(ephemeral: &[u8; 32]) -> Result<(), Refusal> {
    TransportKey::from_bytes(ephemeral).map(|_| ()).map_err(|_| Refusal::Bad)
}

/// Has a limiter look at a message. A cookie that it asks for goes back.
fn verify(
    limiter: &RateLimiter,
    from: Place,
    message: Packet,
    transmit: &mut impl FnMut(TunnelTransmit),
) -> Result<WgKind, Refusal> {
    match limiter.verify_packet(from, message) {
        Ok(message) => Ok(message),
        Err(TunnResult::WriteToNetwork(cookie)) => {
            transmit(TunnelTransmit { to: TunnelDestination::Back, datagram: bytes_of(cookie) });
            Err(Refusal::Cookie)
        }
        Err(_) => Err(Refusal::NotForUs),
    }
}

fn wake(next_tick: &mut Option<Duration>, tunnel: &mut Tunnel, now: Duration) {
    if !tunnel.awake {
        // Its clock goes only when it is told to look at it: a session made by the time at which it fell asleep would be over at the next tick. What had
        // been left to do is past.
        let _ = tunnel.tunn.update_timers();
    }
    tunnel.awake = true;
    next_tick.get_or_insert(now + TICK);
}

fn bytes_of(message: WgKind) -> BytesMut {
    take(Packet::from(message))
}

fn take(mut packet: Packet) -> BytesMut {
    std::mem::take(packet.buf_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::secret;

    const NOW: Duration = Duration::from_secs(1000);

    fn identity(number: u8) -> Fingerprint {
        Fingerprint::of_inception(&[number])
    }

    fn at(number: u8) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, number], 7150))
    }

    /// The tunnels of device `number`, with all of `peers`.
    fn tunnels(number: u8, peers: &[u8]) -> Tunnels {
        let mut tunnels = Tunnels::new(&secret(number), 1280);
        for peer in peers {
            assert!(tunnels.set(identity(*peer), secret(*peer).public_key()));
        }
        tunnels
    }

    /// Opens a message, and gives what comes of it and what is sent because of it.
    fn open(tunnels: &mut Tunnels, from: u8, message: BytesMut) -> (Opened, Vec<TunnelTransmit>) {
        let mut sent = Vec::new();
        let opened = tunnels.open(at(from), message, NOW, &mut |transmit| sent.push(transmit));
        (opened, sent)
    }

    /// Has 1 speak to 2, and gives the packets that arrive there.
    fn handshake(a: &mut Tunnels, b: &mut Tunnels, packet: &[u8]) -> Vec<BytesMut> {
        let begun = a.seal(&identity(2), packet.into(), NOW).expect("a handshake");
        let (_, mut answers) = open(b, 1, begun);
        let answer = answers.pop().expect("an answer");
        assert_eq!(answer.to, TunnelDestination::Back);
        let (_, sent) = open(a, 2, answer.datagram);
        let arrived = sent.into_iter().map(|transmit| {
            assert_eq!(transmit.to, TunnelDestination::Peer(identity(2)));
            open(b, 1, transmit.datagram).0
        });
        arrived
            .filter_map(|opened| match opened {
                Opened::Packet(from, packet) => {
                    assert_eq!(from, identity(1));
                    Some(packet)
                }
                Opened::Heard(_) | Opened::Asked => None,
                Opened::Refused(refusal) => panic!("{refusal:?}"),
            })
            .collect()
    }

    #[test]
    fn what_waited_for_the_handshake_arrives_and_then_both_speak() {
        let (mut a, mut b) = (tunnels(1, &[2]), tunnels(2, &[1]));
        assert_eq!(a.poll_timeout(), None);
        let arrived = handshake(&mut a, &mut b, b"sixteen bytes or");
        assert_eq!(arrived, [b"sixteen bytes or"[..].to_vec()]);
        let answer = b.seal(&identity(1), b"as many back to."[..].into(), NOW).expect("sealed");
        let Opened::Packet(from, packet) = open(&mut a, 2, answer).0 else { panic!("no packet") };
        assert_eq!((from, &packet[..]), (identity(2), &b"as many back to."[..]));
        assert!(a.poll_timeout().is_some());
        assert!(a.stats(&identity(2)).expect("a tunnel").since_handshake.is_some());
        assert_eq!(a.stats(&identity(3)), None);
    }

    #[test]
    fn a_message_sent_again_or_damaged_is_refused() {
        let (mut a, mut b) = (tunnels(1, &[2]), tunnels(2, &[1]));
        handshake(&mut a, &mut b, b"first");
        let message = a.seal(&identity(2), b"second"[..].into(), NOW).expect("sealed");
        // WireGuard does not authenticate its three reserved bytes; `Wire` lets none through in which they are not zero.
        for at in (0..message.len()).filter(|at| !(1..4).contains(at)) {
            let mut damaged = message.clone();
            damaged[at] ^= 1;
            assert!(matches!(open(&mut b, 1, damaged).0, Opened::Refused(_)), "byte {at}");
        }
        assert!(matches!(open(&mut b, 1, message.clone()).0, Opened::Packet(..)));
        assert!(matches!(open(&mut b, 1, message).0, Opened::Refused(Refusal::Bad)));
    }

    /// SECURITY R20: to whoever is no peer nothing is sent, and a peer that is removed is none from that moment.
    #[test]
    fn r20_who_is_no_peer_hears_nothing() {
        let (mut a, mut b) = (tunnels(1, &[2]), tunnels(2, &[3]));
        let begun = a.seal(&identity(2), b"hello"[..].into(), NOW).expect("a handshake");
        let (opened, sent) = open(&mut b, 1, begun);
        assert!(matches!(opened, Opened::Refused(Refusal::NoPeer)) && sent.is_empty());

        let (mut a, mut b) = (tunnels(1, &[2]), tunnels(2, &[1]));
        handshake(&mut a, &mut b, b"first");
        let message = a.seal(&identity(2), b"second"[..].into(), NOW).expect("sealed");
        b.remove(&identity(1));
        let (opened, sent) = open(&mut b, 1, message);
        assert!(matches!(opened, Opened::Refused(Refusal::NoPeer)) && sent.is_empty());
        assert!(b.seal(&identity(1), b"third"[..].into(), NOW).is_none());
    }

    /// SECURITY R5, R54: a key is one peer's, and a peer with another key begins anew.
    #[test]
    fn a_key_is_one_peers() {
        let mut a = tunnels(1, &[2]);
        assert!(!a.set(identity(3), secret(2).public_key()), "another peer's key");
        let mut b = tunnels(2, &[1]);
        handshake(&mut a, &mut b, b"first");
        assert!(a.set(identity(2), secret(2).public_key()), "the same is the same");
        assert!(a.stats(&identity(2)).expect("a tunnel").since_handshake.is_some());
        assert!(a.set(identity(2), secret(4).public_key()));
        assert!(a.stats(&identity(2)).expect("a tunnel").since_handshake.is_none());
        assert!(a.set(identity(3), secret(2).public_key()), "free now");
    }

    /// SECURITY R55: beyond so many in a second everybody is asked for a cookie, whatever address he has, and a peer that shows it gets through.
    #[test]
    fn r55_a_flood_of_handshakes_meets_a_cookie() {
        let (mut a, mut b) = (tunnels(1, &[2]), tunnels(2, &[1]));
        let begun = a.seal(&identity(2), b"hello"[..].into(), NOW).expect("a handshake");
        // Some of strangers, with a good MAC1: the key for it is public.
        let flood = (10..150).map(|stranger| {
            tunnels(stranger, &[2]).seal(&identity(2), b"flood"[..].into(), NOW).expect("a handshake")
        });
        let flood: Vec<BytesMut> = flood.collect();
        let mut cookies = 0;
        for (number, flood) in (0..HANDSHAKES_AT_ONCE + 500).zip(flood.iter().cycle()) {
            let from = SocketAddr::from((number.to_be_bytes(), 9));
            b.open(from, flood.clone(), NOW, &mut |transmit| {
                assert!(transmit.to == TunnelDestination::Back && transmit.datagram.len() < 148);
                cookies += 1;
            });
        }
        assert_eq!(cookies, 500);
        let (opened, mut sent) = open(&mut b, 1, begun);
        assert!(matches!(opened, Opened::Refused(Refusal::Cookie)));
        let cookie = sent.pop().expect("a cookie");
        assert!(matches!(open(&mut a, 2, cookie.datagram).0, Opened::Asked));
        // With the cookie it gets through, from where it was given to and from nowhere else.
        let tunnel = a.peers.get_mut(&identity(2)).expect("a tunnel");
        let begun = tunnel.tunn.format_handshake_initiation(true).expect("a handshake");
        let begun = bytes_of(begun.into());
        assert!(matches!(open(&mut b, 9, begun.clone()).0, Opened::Refused(Refusal::Cookie)));
        let (opened, sent) = open(&mut b, 1, begun);
        assert!(matches!(opened, Opened::Heard(_)) && sent.len() == 1, "{opened:?}");
        // A second later it is asked for no more.
        let mut heard = Vec::new();
        b.open(at(1), flood[0].clone(), NOW + Duration::from_secs(1), &mut |transmit| heard.push(transmit));
        assert!(heard.is_empty());
    }

    /// SECURITY R55, T12d: a flood from one place gets so many cookies and then nothing, whatever it shows; a peer elsewhere gets one, and with that its answer.
    #[test]
    fn r55_a_flood_uses_up_no_cookies_but_its_own() {
        let (mut a, mut b) = (tunnels(1, &[2]), tunnels(2, &[1]));
        let begun = |tunnels: &mut Tunnels| {
            tunnels.seal(&identity(2), b"hello"[..].into(), NOW).expect("a handshake")
        };
        let mut flood: Vec<BytesMut> = (10..110).map(|number| begun(&mut tunnels(number, &[2]))).collect();
        // Half of them show something that is no cookie.
        flood.iter_mut().step_by(2).for_each(|message| message[147] = 1);
        let mut refused = BTreeMap::<_, u32>::new();
        let mut given = 0;
        for message in flood.iter().cycle().take(3000) {
            match open(&mut b, 9, message.clone()) {
                (Opened::Refused(refusal), sent) => {
                    given += sent.len();
                    *refused.entry(refusal).or_default() += 1;
                }
                (opened, _) => panic!("{opened:?}"),
            }
        }
        assert_eq!(given, 600, "half of what all may have, and what is kept for the place");
        let expected = [
            (Refusal::Cookie, 600),
            (Refusal::Flooded, 3000 - 600 - HANDSHAKES_AT_ONCE),
            (Refusal::NoPeer, HANDSHAKES_AT_ONCE),
        ];
        assert_eq!(refused, BTreeMap::from(expected));
        let first = begun(&mut a);
        let (_, mut sent) = open(&mut b, 1, first);
        assert!(matches!(open(&mut a, 2, sent.pop().expect("a cookie").datagram).0, Opened::Asked));
        let again = a.begin_again(&identity(2), NOW).expect("a handshake");
        let (opened, sent) = open(&mut b, 1, again);
        assert!(matches!(opened, Opened::Heard(_)) && sent.len() == 1, "{opened:?}");
    }

    /// SECURITY R55: a key has an allowance of its own, so that one behind a carrier's NAT does not use up its neighbours'. R20: it is the same for a peer's key and
    /// for a stranger's, so nobody learns from a cookie whose peer somebody is.
    #[test]
    fn r55_five_handshakes_in_a_keys_name_are_taken_at_once_and_a_cookie_is_asked_for_the_next() {
        let mut b = tunnels(2, &[1, 3]);
        let begin = |number: u8, from: u8, b: &mut Tunnels| {
            let mut tunnels = tunnels(number, &[2]);
            let begun = tunnels.seal(&identity(2), b"hello"[..].into(), NOW).expect("a handshake");
            let (opened, sent) = open(b, from, begun);
            (matches!(opened, Opened::Refused(Refusal::Cookie)), sent.len())
        };
        let of_peer: Vec<_> = (0..7).map(|_| begin(1, 1, &mut b).0).collect();
        assert_eq!(of_peer, [false, false, false, false, false, true, true]);
        let of_stranger: Vec<_> = (0..7).map(|_| begin(4, 1, &mut b)).collect();
        assert_eq!(
            of_stranger,
            [(false, 0), (false, 0), (false, 0), (false, 0), (false, 0), (true, 1), (true, 1)]
        );
        assert!(!begin(3, 1, &mut b).0, "the neighbour at the same address");
    }

    /// SECURITY R55, T12: what bears no MAC1 for us uses up nothing: anybody can make it without knowing a thing.
    #[test]
    fn r55_noise_in_the_shape_of_handshakes_costs_no_honest_peer_a_cookie() {
        let (mut a, mut b) = (tunnels(1, &[2]), tunnels(2, &[1]));
        let begun = a.seal(&identity(2), b"hello"[..].into(), NOW).expect("a handshake");
        let mut noise = BytesMut::zeroed(148);
        noise[0] = INITIATION;
        for _ in 0..HANDSHAKES_PER_SECOND {
            assert!(matches!(open(&mut b, 9, noise.clone()).0, Opened::Refused(Refusal::NotForUs)));
        }
        assert!(matches!(open(&mut b, 1, begun).0, Opened::Heard(_)));
    }

    /// SECURITY R54: what can be no message changes nothing.
    #[test]
    fn r54_bytes_that_are_no_message_are_refused() {
        let mut b = tunnels(2, &[1]);
        for length in [0, 1, 4, 31, 32, 64, 92, 148, 1500, 65_535] {
            for kind in 0..6 {
                let mut bytes = BytesMut::zeroed(length);
                if let Some(first) = bytes.first_mut() {
                    *first = kind;
                }
                assert!(matches!(open(&mut b, 1, bytes).0, Opened::Refused(_)), "{kind} {length}");
            }
        }
        assert_eq!(b.poll_timeout(), None);
    }
}
