//! Reading and writing arguments and values by their place.

use std::net::SocketAddr;

use jis::{Name, Signed, SignedObject, UnixTime};
use tibet_ping::{address_bytes, address_from};

/// Arguments or values are not what their intent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is missing, or is not what it should be")]
pub struct Malformed(pub &'static str);

/// Reads one after the other. What is left over at the end is an error.
pub(super) struct Reader<'a>(std::slice::Iter<'a, Vec<u8>>);

impl<'a> Reader<'a> {
    pub(super) fn new(items: &'a [Vec<u8>]) -> Self {
        Self(items.iter())
    }

    pub(super) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Malformed> {
        self.0.next().map(Vec::as_slice).ok_or(Malformed(what))
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        self.bytes(what)?.try_into().map_err(|_| Malformed(what))
    }

    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_be_bytes)
    }

    pub(super) fn time(&mut self, what: &'static str) -> Result<UnixTime, Malformed> {
        UnixTime::from_millis(self.number(what)?).ok_or(Malformed(what))
    }

    pub(super) fn address(&mut self, what: &'static str) -> Result<SocketAddr, Malformed> {
        self.array(what).map(address_from)
    }

    pub(super) fn parsed<T: std::str::FromStr>(&mut self, what: &'static str) -> Result<T, Malformed> {
        parse(self.bytes(what)?, what)
    }

    pub(super) fn signed<T: SignedObject>(&mut self, what: &'static str) -> Result<Signed<T>, Malformed> {
        Signed::decode(self.bytes(what)?).map_err(|_| Malformed(what))
    }

    /// Nothing, or what `read` makes of it.
    pub(super) fn optional<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.bytes(what)? {
            [] => Ok(None),
            bytes => read(bytes).map(Some),
        }
    }

    /// All that is left, at most `most`.
    pub(super) fn rest<T>(
        self,
        what: &'static str,
        most: usize,
        read: impl Fn(&'a [u8]) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        if self.0.len() > most {
            return Err(Malformed(what));
        }
        self.0.map(|item| read(item)).collect()
    }

    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.0.len() == 0 { Ok(()) } else { Err(Malformed("number of parts")) }
    }
}

pub(super) fn parse<T: std::str::FromStr>(bytes: &[u8], what: &'static str) -> Result<T, Malformed> {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(Malformed(what))
}

pub(super) fn number(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

pub(super) fn time(time: UnixTime) -> Vec<u8> {
    number(time.as_millis())
}

pub(super) fn name(name: &Name) -> Vec<u8> {
    name.as_str().as_bytes().to_vec()
}

pub(super) fn address(address: SocketAddr) -> Vec<u8> {
    address_bytes(address).to_vec()
}

/// What is not there is empty.
pub(super) fn optional<T>(value: Option<&T>, write: impl FnOnce(&T) -> Vec<u8>) -> Vec<u8> {
    value.map(write).unwrap_or_default()
}
