//! Addresses a record may name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// UDP ports of other services, which a record must not send our packets to (SECURITY R58): chargen, DNS, NTP, SNMP, LDAP,
/// SSDP, mDNS, memcached.
const FOREIGN_PORTS: [u16; 8] = [19, 53, 123, 161, 389, 1900, 5353, 11211];

/// An address and UDP port at which a device says it can be reached.
///
/// An endpoint in a record is a stranger's word, and others will send packets there. Addresses that cannot belong to a distant
/// device, and spellings by which one address could pass as two, are refused (SECURITY R48, R58).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(SocketAddr);

/// Why an address may not stand in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not `address:port`.
    #[error("an endpoint is written address:port, for example 203.0.113.1:44321 or [2001:db8::1]:7150")]
    Syntax,
    /// The address can mean no distant device: unspecified, loopback, link-local, multicast, broadcast or reserved.
    #[error("{0} is no address another device can reach")]
    Unreachable(IpAddr),
    /// The address wraps another one: IPv4-mapped, IPv4-compatible, NAT64, 6to4.
    #[error("{0} wraps another address; give that one")]
    Wrapped(Ipv6Addr),
    /// An IPv6 address with a zone, which means something on one machine only.
    #[error("an endpoint has no zone")]
    Zone,
    /// Port 0, or the port of another service.
    #[error("port {0} belongs to another service or to none")]
    Port(u16),
}

impl Endpoint {
    /// Checks an address.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn new(address: SocketAddr) -> Result<Self, EndpointError> {
        if let SocketAddr::V6(v6) = address
            && v6.scope_id() != 0
        {
            return Err(EndpointError::Zone);
        }
        match address.ip() {
            IpAddr::V4(ip) if is_unreachable_v4(ip) => return Err(EndpointError::Unreachable(ip.into())),
            IpAddr::V6(ip) if is_unreachable_v6(ip) => return Err(EndpointError::Unreachable(ip.into())),
            IpAddr::V6(ip) if is_wrapped(ip) => return Err(EndpointError::Wrapped(ip)),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        if address.port() == 0 || FOREIGN_PORTS.contains(&address.port()) {
            return Err(EndpointError::Port(address.port()));
        }
        Ok(Self(SocketAddr::new(address.ip(), address.port())))
    }

    /// The address and port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.0
    }

    /// 6 bytes (IPv4) or 18 bytes (IPv6): the address, then the port, both big-endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = match self.0.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        bytes.extend_from_slice(&self.0.port().to_be_bytes());
        bytes
    }

    /// Reads what [`Endpoint::to_bytes`] writes; `None` for another length or an address that may not stand in a record.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ip, port) = bytes.split_last_chunk::<2>()?;
        let ip: IpAddr = match ip.len() {
            4 => <[u8; 4]>::try_from(ip).ok()?.into(),
            16 => <[u8; 16]>::try_from(ip).ok()?.into(),
            _ => return None,
        };
        Self::new(SocketAddr::new(ip, u16::from_be_bytes(*port))).ok()
    }
}

fn is_unreachable_v4(ip: Ipv4Addr) -> bool {
    // 0/8 is "this network" (RFC 1122), 240/4 reserved with the broadcast address at its end.
    let first = ip.octets()[0];
    first == 0 || first >= 240 || ip.is_loopback() || ip.is_link_local() || ip.is_multicast()
}

fn is_unreachable_v6(ip: Ipv6Addr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast()
}

fn is_wrapped(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] => true, // IPv4-compatible, IPv4-mapped
        [0x64, 0xff9b, ..] => true,                // NAT64 (RFC 6052, RFC 8215)
        [0x2002, ..] => true,                      // 6to4
        _ => false,
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.contains('%') {
            return Err(EndpointError::Zone);
        }
        Self::new(text.parse().map_err(|_| EndpointError::Syntax)?)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SECURITY 3.2 row 55 (own address and the ninth entry are checked where records are).
    #[test]
    fn row_55_addresses_that_may_not_stand_in_a_record() {
        for text in [
            "127.0.0.1:7150",
            "127.8.8.8:7150",
            "0.0.0.0:7150",
            "0.1.2.3:7150",
            "255.255.255.255:7150",
            "240.0.0.1:7150",
            "169.254.1.1:7150",
            "224.0.71.50:7150",
            "[::]:7150",
            "[::1]:7150",
            "[ff02::1]:7150",
            "[fe80::1]:7150",
            "[fe80::1%eth0]:7150",
            "[fe80::1%2]:7150",
            "[::ffff:10.0.0.1]:7150",
            "[::10.0.0.1]:7150",
            "[64:ff9b::a00:1]:7150",
            "[64:ff9b:1::a00:1]:7150",
            "[2002:a00:1::]:7150",
            "203.0.113.1:0",
            "203.0.113.1:53",
            "203.0.113.1:11211",
            "203.0.113.1",
            "host.example:7150",
            "",
            "203.0.113.1:70000",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn reachable_addresses_survive_both_encodings() {
        for text in [
            "203.0.113.1:44321",
            "10.0.0.7:7150",
            "192.168.1.42:7150",
            "100.64.0.9:7150",
            "[2001:db8::1]:7150",
            "[fd00::1]:1",
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(Endpoint::from_bytes(&endpoint.to_bytes()), Some(endpoint));
        }
        assert_eq!(Endpoint::from_bytes(&[203, 0, 113, 1, 0, 53]), None);
        assert_eq!(Endpoint::from_bytes(&[1; 7]), None);
        assert_eq!(Endpoint::from_bytes(&[]), None);
    }
}
