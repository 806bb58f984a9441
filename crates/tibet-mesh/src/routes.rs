//! Which overlay address is whose.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use jis::Fingerprint;

/// Peers with a route. Each costs some hundred bytes here, and a tunnel elsewhere.
pub const MAX_PEERS: usize = 65_536;

/// The addresses of the peers, each derived from an identity and nothing else (SECURITY R56): nobody chooses one.
#[derive(Debug, Clone)]
pub struct Routes {
    network: String,
    peers: BTreeMap<Ipv6Addr, Owner>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    One(Fingerprint),
    /// Two identities have the same address: neither is routed (SECURITY R28).
    Disputed,
}

/// Why an identity gets no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Another identity's address is the same; now neither has a route. With 80 bits this is somebody's work and not chance.
    #[error("two identities have the address {0}; neither is routed")]
    Disputed(Ipv6Addr),
    /// There are [`MAX_PEERS`] already.
    #[error("no more than {MAX_PEERS} peers")]
    Full,
}

impl Routes {
    /// No routes yet, in the named network.
    #[must_use]
    pub fn new(network: &str) -> Self {
        Self { network: network.to_owned(), peers: BTreeMap::new() }
    }

    /// The address of an identity in this network, routed or not.
    #[must_use]
    pub fn address_of(&self, identity: &Fingerprint) -> Ipv6Addr {
        identity.overlay_address(&self.network)
    }

    /// Gives an identity its route. One that has it keeps it.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn add(&mut self, identity: Fingerprint) -> Result<Ipv6Addr, RouteError> {
        let address = self.address_of(&identity);
        self.insert(address, identity).map(|()| address)
    }

    fn insert(&mut self, address: Ipv6Addr, identity: Fingerprint) -> Result<(), RouteError> {
        let full = self.peers.len() >= MAX_PEERS;
        match self.peers.get_mut(&address) {
            None if full => Err(RouteError::Full),
            None => {
                self.peers.insert(address, Owner::One(identity));
                Ok(())
            }
            Some(Owner::One(known)) if *known == identity => Ok(()),
            Some(owner) => {
                *owner = Owner::Disputed;
                Err(RouteError::Disputed(address))
            }
        }
    }

    /// Takes an identity's route away. A dispute stays: who of the two goes does not say whose the address is.
    pub fn remove(&mut self, identity: &Fingerprint) {
        let address = self.address_of(identity);
        if self.peers.get(&address) == Some(&Owner::One(*identity)) {
            self.peers.remove(&address);
        }
    }

    /// Whose address this is.
    #[must_use]
    pub fn owner(&self, address: Ipv6Addr) -> Option<Fingerprint> {
        match self.peers.get(&address) {
            Some(Owner::One(identity)) => Some(*identity),
            Some(Owner::Disputed) | None => None,
        }
    }

    /// Whether an address belongs to this network, routed or not: such an address is no place to send datagrams to.
    #[must_use]
    pub fn is_inside(&self, address: Ipv6Addr) -> bool {
        let prefix = Fingerprint::from_bytes([0; 32]).overlay_address(&self.network);
        prefix.octets()[..6] == address.octets()[..6]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: u16) -> Fingerprint {
        Fingerprint::of_inception(&number.to_be_bytes())
    }

    #[test]
    fn an_address_leads_to_its_identity_and_to_no_other() {
        let mut routes = Routes::new("tibet");
        let addresses: Vec<Ipv6Addr> =
            (0..100).map(|number| routes.add(identity(number)).expect("a route")).collect();
        for (number, address) in (0..).zip(&addresses) {
            assert_eq!(routes.owner(*address), Some(identity(number)));
            assert!(routes.is_inside(*address));
        }
        assert_eq!(routes.add(identity(7)), Ok(addresses[7]), "twice is once");
        routes.remove(&identity(7));
        assert_eq!(routes.owner(addresses[7]), None);
        assert_eq!(routes.owner(addresses[8]), Some(identity(8)));
        assert_eq!(routes.owner("fd00::1".parse().expect("address")), None);
        let elsewhere = identity(1).overlay_address("another");
        assert!(!routes.is_inside(elsewhere) && routes.owner(elsewhere).is_none());
    }

    /// SECURITY R28.
    #[test]
    fn r28_two_identities_with_one_address_are_both_unrouted() {
        let mut routes = Routes::new("tibet");
        let address = routes.add(identity(1)).expect("a route");
        assert_eq!(routes.insert(address, identity(2)), Err(RouteError::Disputed(address)));
        assert_eq!(routes.owner(address), None);
        assert_eq!(routes.add(identity(1)), Err(RouteError::Disputed(address)), "and stay so");
        routes.remove(&identity(1));
        assert_eq!(routes.add(identity(1)), Err(RouteError::Disputed(address)));
    }

    #[test]
    fn there_is_an_end_to_routes() {
        let mut routes = Routes::new("tibet");
        (0..=u16::MAX).for_each(|number| assert!(routes.add(identity(number)).is_ok()));
        let another = Fingerprint::of_inception(b"one more");
        assert_eq!(routes.add(another), Err(RouteError::Full));
        routes.remove(&identity(0));
        assert!(routes.add(another).is_ok());
    }
}
