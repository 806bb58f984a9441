//! Who is a peer at the moment, by identity and by name.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use jis::{Fingerprint, Name, PublicKey, TransportKey};
use tibet_registry::Zone;

use super::address_names::AddressNames;

/// A peer.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) name: Name,
    pub(super) fingerprint: Fingerprint,
    /// Its identity key, which signs consents.
    pub(super) key: PublicKey,
    pub(super) transport: TransportKey,
    pub(super) address: Ipv6Addr,
    pub(super) zone: Zone,
    /// Whether somebody here has spoken to it, and not only it to us.
    pub(super) wanted: bool,
    pub(super) looked_up: Instant,
}

/// Who is known.
#[derive(Debug, Default)]
pub(super) struct Book {
    peers: BTreeMap<Fingerprint, Peer>,
    /// Looked at with every look-up: a fifth as many in a second as there are peers, when all of them speak.
    by_name: BTreeMap<Name, Fingerprint>,
    /// Whose overlay address is whose, peer or not.
    pub(super) names: AddressNames,
}

impl Book {
    pub(super) fn get(&self, peer: &Fingerprint) -> Option<&Peer> {
        self.peers.get(peer)
    }

    pub(super) fn get_mut(&mut self, peer: &Fingerprint) -> Option<&mut Peer> {
        self.peers.get_mut(peer)
    }

    pub(super) fn named(&self, name: &Name) -> Option<&Peer> {
        self.peers.get(self.by_name.get(name)?)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// Writes a peer down, or what is new of it.
    pub(super) fn insert(&mut self, peer: Peer) {
        self.by_name.insert(peer.name.clone(), peer.fingerprint);
        self.peers.insert(peer.fingerprint, peer);
    }

    pub(super) fn remove(&mut self, peer: &Fingerprint) -> Option<Peer> {
        let removed = self.peers.remove(peer)?;
        // Another identity may have the name by now.
        if self.by_name.get(&removed.name) == Some(peer) {
            self.by_name.remove(&removed.name);
        }
        Some(removed)
    }

    /// The peer with this name, if it is one that was looked up no longer ago than `age`. `wanted` says that somebody here speaks to it.
    pub(super) fn want(&mut self, name: &Name, wanted: bool, age: Duration) -> Option<Peer> {
        let peer = self.peers.get_mut(self.by_name.get(name)?)?;
        peer.wanted |= wanted;
        (peer.looked_up.elapsed() < age).then(|| peer.clone())
    }

    /// Notes that a look-up has told nothing of a peer.
    pub(super) fn note_look(&mut self, name: &Name) {
        if let Some(peer) = self.by_name.get(name).and_then(|peer| self.peers.get_mut(peer)) {
            peer.looked_up = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, number: u8) -> Peer {
        let seed: [u8; 32] = std::array::from_fn(|at| number.wrapping_add(at as u8));
        let secret = jis::TransportSecret::from_bytes(seed.into()).expect("a secret");
        let key = jis::SecretKey::from_seed(seed.into()).expect("a seed").public_key();
        Peer {
            name: name.parse().expect("a name"),
            fingerprint: Fingerprint::of_inception(&[number]),
            key,
            transport: secret.public_key(),
            address: Ipv6Addr::LOCALHOST,
            zone: Zone::Groen,
            wanted: false,
            looked_up: Instant::now(),
        }
    }

    #[test]
    fn a_name_leads_to_the_peer_that_has_it_now() {
        let (mut book, name) = (Book::default(), "jis:hub".parse().expect("a name"));
        let has = |book: &Book| book.named(&name).map(|peer| peer.fingerprint);
        let (first, second) = (peer("jis:hub", 1), peer("jis:hub", 2));
        book.insert(first.clone());
        book.insert(peer("jis:sensor", 3));
        assert_eq!(has(&book), Some(first.fingerprint));
        book.insert(second.clone());
        assert_eq!(has(&book), Some(second.fingerprint));
        // The one that had it before goes without it.
        assert!(book.remove(&first.fingerprint).is_some());
        assert_eq!(has(&book), Some(second.fingerprint));
        assert!(book.want(&name, true, Duration::from_secs(60)).is_some_and(|peer| peer.wanted));
        assert!(book.remove(&second.fingerprint).is_some() && book.remove(&second.fingerprint).is_none());
        assert_eq!(has(&book), None);
        assert!(book.want(&name, true, Duration::from_secs(60)).is_none());
        assert_eq!(book.all().count(), 1);
    }
}
