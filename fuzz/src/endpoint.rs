//! F6: addresses. SECURITY R48, R58 and 3.2 rows 11 and 55.
//!
//! - Whether an address may stand in a record is decided a second time below, by a table of networks, and agrees about every address.
//! - An endpoint has one value and one encoding, in bytes and in text, and is nobody's other spelling.
//! - An address that may stand in a record can be answered. Whether one can be answered does not depend on how it is written.
//!
//! The first byte of an input says what follows: 0 the bytes of an endpoint, 1 a text, 2 an IPv6 address with port and zone.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use jis::{Endpoint, EndpointError};
use tibet_ping::can_be_answered;

use super::Verdict;
use super::script::Script;

/// Checks one address.
pub fn check(input: &[u8]) -> Verdict {
    let mut script = Script::new(input);
    let endpoint = match script.byte().map(|byte| byte % 3) {
        Some(0) => bytes_hold(script.rest()),
        Some(1) => text_holds(script.rest()),
        Some(_) => zoned_holds(&mut script),
        None => None,
    };
    if let Some(endpoint) = endpoint {
        endpoint_holds(endpoint);
    }
    Verdict::of(endpoint.is_some())
}

fn bytes_hold(bytes: &[u8]) -> Option<Endpoint> {
    let endpoint = Endpoint::from_bytes(bytes);
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => <[u8; 4]>::try_from(ip).map(IpAddr::from).ok(),
        16 => <[u8; 16]>::try_from(ip).map(IpAddr::from).ok(),
        _ => None,
    };
    let Some(ip) = ip else {
        assert_eq!(endpoint, None);
        return None;
    };
    let address = SocketAddr::new(ip, u16::from_be_bytes(*port));
    assert_eq!(endpoint.is_some(), is_allowed(address), "{address}");
    assert_eq!(endpoint.map(|endpoint| endpoint.to_bytes()).unwrap_or(bytes.to_vec()), bytes);
    answers_hold(address);
    endpoint
}

fn text_holds(bytes: &[u8]) -> Option<Endpoint> {
    let text = std::str::from_utf8(bytes).ok()?;
    let endpoint = text.parse::<Endpoint>();
    let zone = text.contains('%');
    match text.parse::<SocketAddr>() {
        Ok(address) => {
            assert_eq!(endpoint.is_ok(), is_allowed(address) && !zone, "{text:?}");
            answers_hold(address);
        }
        Err(_) => {
            let expected = if zone { EndpointError::Zone } else { EndpointError::Syntax };
            assert_eq!(endpoint, Err(expected), "{text:?}");
        }
    }
    endpoint.ok()
}

fn zoned_holds(script: &mut Script<'_>) -> Option<Endpoint> {
    let ip = Ipv6Addr::from(script.take::<16>()?);
    let port = u16::from_be_bytes(script.take()?);
    let (flow, zone) = (script.byte()?.into(), script.byte()?.into());
    let address = SocketAddr::V6(SocketAddrV6::new(ip, port, flow, zone));
    let endpoint = Endpoint::new(address);
    assert_eq!(endpoint.is_ok(), zone == 0 && is_allowed(address), "{address}");
    answers_hold(address);
    endpoint.ok()
}

fn endpoint_holds(endpoint: Endpoint) {
    let address = endpoint.address();
    assert_eq!(address.ip(), address.ip().to_canonical());
    if let SocketAddr::V6(v6) = address {
        assert_eq!((v6.scope_id(), v6.flowinfo()), (0, 0));
    }
    assert_eq!(Endpoint::new(address), Ok(endpoint));
    assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    assert_eq!(Endpoint::from_bytes(&endpoint.to_bytes()), Some(endpoint));
    assert!(can_be_answered(address));
}

/// SECURITY 3.2 row 11, and that an IPv4 address is the same whether it is mapped or not.
fn answers_hold(address: SocketAddr) {
    let ip = address.ip();
    let v4 = match ip {
        IpAddr::V4(ip) => Some(u32::from(ip)),
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map(u32::from),
    };
    let nobody = match (v4, ip) {
        (Some(v4), _) => v4 == 0 || v4 == u32::MAX || v4 >> 28 == 0xe,
        (None, IpAddr::V6(v6)) => u128::from(v6) == 0 || u128::from(v6) >> 120 == 0xff,
        (None, IpAddr::V4(_)) => unreachable!("an IPv4 address is one"),
    };
    assert_eq!(can_be_answered(address), address.port() != 0 && !nobody, "{address}");
}

/// Networks that no endpoint may lie in: the bits of the first address, and how many of them count.
const CLOSED: [(&str, u32); 13] = [
    // This network, loopback, link-local, groups, reserved with everybody at its end.
    ("0.0.0.0", 8),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("224.0.0.0", 4),
    ("240.0.0.0", 4),
    // Nobody, loopback, IPv4-compatible, IPv4-mapped.
    ("::", 128),
    ("::1", 128),
    ("::", 96),
    ("::ffff:0:0", 96),
    // NAT64, both prefixes and what lies about them; 6to4.
    ("64:ff9b::", 32),
    ("2002::", 16),
    // Link-local, groups.
    ("fe80::", 10),
    ("ff00::", 8),
];

/// Ports of other services, and none.
const CLOSED_PORTS: [u16; 9] = [0, 19, 53, 123, 161, 389, 1900, 5353, 11211];

fn is_allowed(address: SocketAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 4),
        IpAddr::V6(ip) => (u128::from(ip), 6),
    };
    let (ip, version) = bits(address.ip());
    let closed = CLOSED.iter().any(|(network, length)| {
        let (network, of) = bits(network.parse().expect("an address"));
        of == version && (ip ^ network) >> (128 - length) == 0
    });
    !closed && !CLOSED_PORTS.contains(&address.port())
}
