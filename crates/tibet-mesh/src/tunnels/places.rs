//! What stands for an address where handshakes are limited. `gotatun`'s limiter remembers every address for a second; shown places, it remembers few (SECURITY R19).

use std::net::{IpAddr, SocketAddr};

use jis::TransportSecret;

/// Places that the limiter can tell apart when it counts.
const COUNTED: u16 = 8192;

/// A cookie is given to it and counts for it.
pub(super) type Place = SocketAddr;

/// Makes places of addresses: nobody else can tell which two have the same.
pub(super) struct Places([u8; 32]);

impl Places {
    pub(super) fn new(secret: &TransportSecret) -> Self {
        Self(blake3::derive_key("jis-handshake-place:v1", &*secret.to_bytes()))
    }

    /// The place of an address: of [`COUNTED`], with 16 bits more that a cookie is bound to. That two addresses share one is found out only by trying half a
    /// billion, and gains whoever finds it a handshake without a round trip.
    pub(super) fn of(&self, address: SocketAddr) -> Place {
        let mut hash = blake3::Hasher::new_keyed(&self.0);
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => hash.update(&ip.octets()),
            IpAddr::V6(ip) => hash.update(&ip.octets()),
        };
        hash.update(&address.port().to_be_bytes());
        let [a, b, c, d, ..] = *hash.finalize().as_bytes();
        let [high, low] = (u16::from_be_bytes([a, b]) % COUNTED).to_be_bytes();
        SocketAddr::from(([0, 0, high, low], u16::from_be_bytes([c, d])))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sample::secret;

    /// SECURITY R19, R55: whatever the flood, the addresses that are counted are few. A cookie is bound to far more.
    #[test]
    fn r55_the_addresses_of_a_flood_are_few_where_they_are_counted() {
        let places = Places::new(&secret(1));
        let flood = (0..100_000_u32).map(|number| SocketAddr::from((number.to_be_bytes(), 7150)));
        let flood: Vec<Place> = flood.map(|from| places.of(from)).collect();
        let counted: BTreeSet<IpAddr> = flood.iter().map(SocketAddr::ip).collect();
        assert_eq!(counted.len(), usize::from(COUNTED));
        let bound: BTreeSet<Place> = flood.iter().copied().collect();
        assert!(bound.len() > 99_900, "{}", bound.len());
        let address = |text: &str| places.of(text.parse().expect("address"));
        let one = address("203.0.113.1:7150");
        assert_eq!(address("[::ffff:203.0.113.1]:7150"), one, "one address, whatever its spelling");
        assert_ne!(address("203.0.113.1:7151"), one);
        let elsewhere = Places::new(&secret(2)).of("203.0.113.1:7150".parse().expect("address"));
        assert_ne!(elsewhere, one, "nobody else knows it");
    }
}
