//! The addresses of this machine, interface by interface.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

/// An address of this machine together with the network it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// How many of its leading bits name the network: at most 32 or 128. 0 is read as the address alone: no network holds all addresses.
    pub length: u8,
}

/// An interface that is up and has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The number the system gives it, which it does not give to another while this one exists.
    pub index: u32,
    /// Its name, such as `eth0`.
    pub name: String,
    /// Whether it leads back to this machine.
    pub loopback: bool,
    /// Whether multicast may be sent through it.
    pub multicast: bool,
    /// Its addresses, IPv4 first.
    pub prefixes: Vec<Prefix>,
}

/// The interfaces at one moment, by index.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interfaces(BTreeMap<u32, Interface>);

impl Prefix {
    /// Whether an address is in this network. IPv4 in IPv6 spelling counts as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = u32::from(own) ^ u32::from(other);
                differing.leading_zeros() >= u32::from(self.significant(32))
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = u128::from(own) ^ u128::from(other);
                differing.leading_zeros() >= u32::from(self.significant(128))
            }
            _ => false,
        }
    }

    fn significant(&self, bits: u8) -> u8 {
        if self.length == 0 { bits } else { self.length.min(bits) }
    }
}

impl Interface {
    /// The first IPv4 address: where datagrams sent through this interface come from.
    #[must_use]
    pub fn v4(&self) -> Option<Ipv4Addr> {
        self.prefixes.iter().find_map(|prefix| match prefix.address {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        })
    }

    /// Whether it has an IPv6 address.
    #[must_use]
    pub fn has_v6(&self) -> bool {
        self.prefixes.iter().any(|prefix| prefix.address.is_ipv6())
    }
}

impl Interfaces {
    /// Reads the present state from the system (getifaddrs). Interfaces that are down or have no address are left out.
    ///
    /// # Errors
    /// What the system reports.
    pub fn read() -> io::Result<Self> {
        let mut interfaces = Self::default();
        for entry in getifaddrs()?.filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP)) {
            let Some(prefix) = prefix(&entry) else { continue };
            // It may have gone since the list was made.
            let Ok(index) = if_nametoindex(entry.interface_name.as_str()) else { continue };
            interfaces.insert(index, &entry, prefix);
        }
        for interface in interfaces.0.values_mut() {
            interface.prefixes.sort_by_key(|prefix| prefix.address.is_ipv6());
        }
        Ok(interfaces)
    }

    fn insert(&mut self, index: u32, entry: &InterfaceAddress, prefix: Prefix) {
        let interface = self.0.entry(index).or_insert_with(|| Interface {
            index,
            name: entry.interface_name.clone(),
            loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
            multicast: entry.flags.contains(InterfaceFlags::IFF_MULTICAST),
            prefixes: Vec::new(),
        });
        interface.prefixes.push(prefix);
    }

    /// The interface with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Interface> {
        self.0.get(&index)
    }

    /// All of them, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.0.values()
    }

    /// Whether a source may be a neighbour on the interface that its datagram came through: an address in a network of that interface, or one
    /// of this machine's own. Only such a source is answered when it announces itself (SECURITY R17).
    ///
    /// Multicast and unspecified addresses are nobody's. The far end of a point-to-point link is a neighbour only if both ends share a network.
    #[must_use]
    pub fn is_on_link(&self, from: IpAddr, interface: u32) -> bool {
        let from = from.to_canonical();
        if from.is_unspecified() || from.is_multicast() {
            return false;
        }
        let near = self
            .get(interface)
            .is_some_and(|interface| interface.prefixes.iter().any(|prefix| prefix.contains(from)));
        near || self.is_own(from)
    }

    /// Whether the address is one of this machine.
    #[must_use]
    pub fn is_own(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.iter().any(|interface| interface.prefixes.iter().any(|prefix| prefix.address == ip))
    }
}

fn prefix(entry: &InterfaceAddress) -> Option<Prefix> {
    let address = ip(entry.address.as_ref()?)?;
    // Without a mask, the address alone.
    let length = match entry.netmask.as_ref().and_then(ip) {
        Some(IpAddr::V4(mask)) => u32::from(mask).leading_ones(),
        Some(IpAddr::V6(mask)) => u128::from(mask).leading_ones(),
        None => 0,
    };
    Some(Prefix { address, length: u8::try_from(length).ok()? })
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn interface(index: u32, prefixes: &[(&str, u8)]) -> (u32, Interface) {
        let prefixes =
            prefixes.iter().map(|(address, length)| Prefix { address: ip(address), length: *length });
        let name = format!("if{index}");
        let (loopback, multicast) = (index == 1, true);
        (index, Interface { index, name, loopback, multicast, prefixes: prefixes.collect() })
    }

    fn machine() -> Interfaces {
        Interfaces(BTreeMap::from([
            interface(1, &[("127.0.0.1", 8), ("::1", 128)]),
            interface(2, &[("192.168.1.20", 24), ("fe80::2", 64), ("2001:db8:1::2", 64)]),
            interface(3, &[("10.9.0.1", 30)]),
            interface(4, &[("198.51.100.7", 0)]),
        ]))
    }

    #[test]
    fn only_a_source_in_a_network_of_the_receiving_interface_is_on_link_row_74() {
        let on_link = |from: &str, interface| machine().is_on_link(ip(from), interface);
        for (from, interface) in [
            ("127.0.0.1", 1),
            ("127.200.3.4", 1),
            ("::1", 1),
            ("192.168.1.1", 2),
            ("192.168.1.255", 2),
            ("::ffff:192.168.1.1", 2),
            ("fe80::77", 2),
            ("2001:db8:1:0:ffff::9", 2),
            ("10.9.0.2", 3),
        ] {
            assert!(on_link(from, interface), "{from} on {interface}");
        }
        for (from, interface) in [
            ("127.0.0.2", 2),
            ("192.168.2.1", 2),
            ("192.168.1.1", 3),
            ("10.9.0.4", 3),
            ("fe80:0:0:1::77", 2),
            ("2001:db8:2::1", 2),
            ("::192.168.1.1", 2),
            ("192.168.1.1", 9),
            ("0.0.0.0", 2),
            ("::", 2),
            ("224.0.71.50", 2),
            ("ff12::1", 2),
        ] {
            assert!(!on_link(from, interface), "{from} on {interface}");
        }
    }

    #[test]
    fn own_addresses_are_on_link_wherever_they_are_heard() {
        for own in ["127.0.0.1", "192.168.1.20", "10.9.0.1", "fe80::2"] {
            assert!(machine().is_on_link(ip(own), 3), "{own}");
        }
    }

    #[test]
    fn a_network_without_a_mask_is_the_address_alone() {
        assert!(machine().is_on_link(ip("198.51.100.7"), 4));
        assert!(!machine().is_on_link(ip("198.51.100.8"), 4));
        assert!(!machine().is_on_link(ip("8.8.8.8"), 4));
    }

    #[test]
    fn a_prefix_longer_than_an_address_is_the_address() {
        let prefix = Prefix { address: ip("10.0.0.1"), length: 200 };
        assert!(prefix.contains(ip("10.0.0.1")) && !prefix.contains(ip("10.0.0.0")));
    }

    #[test]
    fn this_machine_has_a_loopback_interface() {
        let interfaces = Interfaces::read().expect("read");
        let loopback = interfaces.iter().find(|interface| interface.loopback).expect("loopback");
        assert_eq!(loopback.v4(), Some(Ipv4Addr::LOCALHOST));
        assert!(interfaces.is_on_link(ip("127.9.9.9"), loopback.index));
        assert!(interfaces.is_own(ip("127.0.0.1")) && !interfaces.is_own(ip("192.0.2.200")));
        assert_eq!(interfaces.get(loopback.index), Some(loopback));
    }
}
