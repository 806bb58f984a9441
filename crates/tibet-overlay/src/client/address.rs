//! How a node's address is written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use jis::PublicKey;
use tibet_iot::MAIN_PORT;

use super::QueryError;

/// Addresses of one host that are asked at once; the first that answers is used.
const MAX_ADDRESSES: usize = 4;
/// Longest name of a host (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;

/// An overlay node as its users write it: `ADDR:PORT`, `HOST:PORT`, either with `KEY@` before it. The port may be left out: 7150.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    host: Host,
    port: u16,
    key: Option<PublicKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Address(IpAddr),
    Name(String),
}

/// Text is no node's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeAddressError {
    /// Neither an address nor a host's name.
    #[error(
        "a node is written HOST, HOST:PORT or KEY@HOST:PORT, for example 203.0.113.5:7150, node.example or z6Mk…@[2001:db8::5]:7150"
    )]
    Syntax,
    /// What stands before the `@` is no key.
    #[error("{0:?} is no key of a node; one begins with z6Mk")]
    Key(String),
    /// The port is none.
    #[error("{0:?} is no port")]
    Port(String),
}

impl NodeAddress {
    /// A node at this address, whose key is not known yet.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip().to_canonical()), port: address.port(), key: None }
    }

    /// The same, by this key only.
    #[must_use]
    pub fn with_key(self, key: PublicKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The key that was written with it.
    #[must_use]
    pub fn key(&self) -> Option<PublicKey> {
        self.key
    }

    /// Where it is, without the key: what its pin is kept under.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.host {
            Host::Address(ip) => SocketAddr::new(*ip, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }

    /// Its addresses now. A host's name is asked of the system each time: nodes move.
    pub(crate) async fn look_up(&self) -> Result<Vec<SocketAddr>, QueryError> {
        let name = match &self.host {
            Host::Address(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => name,
        };
        let failed = |reason: String| QueryError::NoAddress { node: self.place(), reason };
        let found = tokio::net::lookup_host((name.as_str(), self.port)).await;
        let found = found.map_err(|error| failed(error.to_string()))?;
        let addresses: Vec<_> = found.take(MAX_ADDRESSES).map(canonical).collect();
        if addresses.is_empty() { Err(failed("it has no address".into())) } else { Ok(addresses) }
    }
}

/// IPv4 addresses have one form here.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

impl FromStr for NodeAddress {
    type Err = NodeAddressError;

    fn from_str(text: &str) -> Result<Self, NodeAddressError> {
        let (key, place) = match text.split_once('@') {
            Some((key, place)) => {
                let parsed =
                    key.parse().map_err(|_| NodeAddressError::Key(key.chars().take(80).collect()))?;
                (Some(parsed), place)
            }
            None => (None, text),
        };
        if let Ok(address) = place.parse::<SocketAddr>() {
            return Ok(Self { key, ..Self::at(address) });
        }
        let bare = place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(place);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self { key, ..Self::at(SocketAddr::new(ip, MAIN_PORT)) });
        }
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) => {
                let number = port.parse().ok().filter(|port| *port != 0);
                (host, number.ok_or_else(|| NodeAddressError::Port(port.chars().take(20).collect()))?)
            }
            None => (place, MAIN_PORT),
        };
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        if name.len() > MAX_HOST || !name.split('.').all(label) {
            return Err(NodeAddressError::Syntax);
        }
        Ok(Self { host: Host::Name(name.to_ascii_lowercase()), port, key })
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "{key}@")?;
        }
        f.write_str(&self.place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        for (text, place) in [
            ("203.0.113.5", "203.0.113.5:7150"),
            ("203.0.113.5:1", "203.0.113.5:1"),
            ("[2001:db8::5]:7150", "[2001:db8::5]:7150"),
            ("[2001:db8::5]", "[2001:db8::5]:7150"),
            ("2001:db8::5", "[2001:db8::5]:7150"),
            ("[::ffff:203.0.113.5]:9", "203.0.113.5:9"),
            ("Node.Example.", "node.example:7150"),
            ("localhost:7151", "localhost:7151"),
        ] {
            assert_eq!(text.parse::<NodeAddress>().map(|node| node.place()), Ok(place.to_owned()), "{text}");
        }
        let key = jis::SecretKey::from_seed(zeroize::Zeroizing::new(std::array::from_fn(|at| at as u8)))
            .expect("a key")
            .public_key();
        let node: NodeAddress = format!("{key}@203.0.113.5:7150").parse().expect("an address");
        assert_eq!((node.key(), node.to_string()), (Some(key), format!("{key}@203.0.113.5:7150")));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":",
            ":7150",
            "node:",
            "node:0",
            "node:65536",
            "a b",
            "-@x",
            "z6Mk@203.0.113.5",
            "a..b",
            "\u{1b}[31m",
            "x@",
        ] {
            assert!(text.parse::<NodeAddress>().is_err(), "{text:?} was read");
        }
        assert!("a".repeat(254).parse::<NodeAddress>().is_err());
    }
}
