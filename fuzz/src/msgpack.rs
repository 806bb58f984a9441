//! F3: a msgpack body. SECURITY R12, R47 and 3.2 rows 23 to 28.
//!
//! - A body is refused for its msgpack exactly when [`Walk`] refuses it: a second reader, which only looks whether each value stands in
//!   the one form it may have, and builds nothing.
//! - Packets and responses that are read are within all bounds, and are written and read again as they are ([`bodies`](super::bodies)).
//! - A body with all our members in our order, and no others, is what we write, byte for byte; only the digits of a response's signature may
//!   be of another case (`docs/spec/ping.md`).

use tibet_ping::{
    Encoding, Kind, MAX_BODY, MAX_DEPTH, MAX_MAP_MEMBERS, MAX_MEMBERS, Packet, Reject, Response,
};

use super::Verdict;
use super::bodies::{body, packet_holds, response_holds};

/// Checks one body, as a packet and as a response.
pub fn check(bytes: &[u8]) -> Verdict {
    let packet = Packet::decode(Encoding::Msgpack, bytes);
    let response = Response::decode(Encoding::Msgpack, bytes);
    let names = Walk::names(bytes);
    for error in [packet.as_ref().err(), response.as_ref().err()] {
        let of_the_msgpack = matches!(
            error,
            Some(
                Reject::TooLarge
                    | Reject::BadMsgpack
                    | Reject::BadUtf8
                    | Reject::TooComplex
                    | Reject::NotAMap
            )
        );
        assert_eq!(of_the_msgpack, names.is_none(), "{error:?}");
    }
    if let Ok(packet) = &packet {
        packet_holds(packet, Encoding::Msgpack, bytes.len());
        is_as_written(bytes, names.as_deref(), packet.encode(Encoding::Msgpack).ok(), Kind::Packet);
    }
    if let Ok(response) = &response {
        response_holds(response, Encoding::Msgpack, bytes.len());
        is_as_written(bytes, names.as_deref(), response.encode(Encoding::Msgpack).ok(), Kind::Response);
    }
    Verdict::of(packet.is_ok() || response.is_ok())
}

fn is_as_written(bytes: &[u8], names: Option<&[&[u8]]>, datagram: Option<Vec<u8>>, kind: Kind) {
    let Some(datagram) = datagram else { return };
    let ours = body(&datagram, kind, Encoding::Msgpack);
    if names != Walk::names(ours).as_deref() {
        return;
    }
    // The last member of a signed response, and there 128 digits.
    let signed = kind == Kind::Response && names.is_some_and(|names| names.ends_with(&[b"signature"]));
    let digits = bytes.len() - if signed { 128 } else { 0 };
    assert_eq!([&bytes[..digits], &bytes[digits..].to_ascii_lowercase()].concat(), ours);
}

/// Walks over a body and looks at the form of what is in it. Everything is `None` for another form.
struct Walk<'a> {
    rest: &'a [u8],
    members: usize,
}

impl<'a> Walk<'a> {
    /// The names of the map that the body is.
    fn names(bytes: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let mut walk = Self { rest: bytes, members: 0 };
        if bytes.len() > MAX_BODY || !matches!(bytes.first()?, 0x80..=0x8f | 0xde | 0xdf) {
            return None;
        }
        let names = walk.map(1)?;
        walk.rest.is_empty().then_some(names)
    }

    fn map(&mut self, level: usize) -> Option<Vec<&'a [u8]>> {
        let count = self.head([0x80, 0x8f], 0xde)?;
        self.members += count;
        if level > MAX_DEPTH || count > MAX_MAP_MEMBERS || self.members > MAX_MEMBERS {
            return None;
        }
        let mut names = Vec::new();
        for _ in 0..count {
            let name = self.text()?;
            if names.contains(&name) {
                return None;
            }
            names.push(name);
            self.value(level)?;
        }
        Some(names)
    }

    /// A value inside level `level`.
    fn value(&mut self, level: usize) -> Option<()> {
        match *self.rest.first()? {
            0x80..=0x8f | 0xde | 0xdf => self.map(level + 1).map(|_| ()),
            0x90..=0x9f | 0xdc | 0xdd => {
                let count = self.head([0x90, 0x9f], 0xdc)?;
                if level + 1 > MAX_DEPTH {
                    return None;
                }
                (0..count).try_for_each(|_| self.value(level + 1))
            }
            0xa0..=0xbf | 0xd9..=0xdb => self.text().map(|_| ()),
            0xcb => f64::from_bits(self.number(8)?).is_finite().then_some(()),
            marker => self.small(marker),
        }
    }

    /// Null, truth values and integers, these in no more bytes than they need.
    fn small(&mut self, marker: u8) -> Option<()> {
        match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => self.take(1).map(|_| ()),
            0xcc..=0xcf => {
                let width = 1 << (marker - 0xcc);
                let number = self.number(width)?;
                (number > [0x7f, 0xff, 0xffff, 0xffff_ffff][usize::from(marker - 0xcc)]).then_some(())
            }
            0xd0..=0xd3 => {
                let width = 1 << (marker - 0xd0);
                let unused = 64 - 8 * width;
                let number = (self.number(width)? << unused) as i64 >> unused;
                (number < [-0x20, -0x80, -0x8000, -0x8000_0000][usize::from(marker - 0xd0)]).then_some(())
            }
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = match *self.rest.first()? {
            0xd9 => self.number(1).filter(|length| *length > 0x1f)?,
            0xda => self.number(2).filter(|length| *length > 0xff)?,
            0xdb => self.number(4).filter(|length| *length > 0xffff)?,
            marker @ 0xa0..=0xbf => self.take(1).map(|_| u64::from(marker & 0x1f))?,
            _ => return None,
        };
        let text = self.take(usize::try_from(length).ok()?)?;
        std::str::from_utf8(text).is_ok().then_some(text)
    }

    /// How many items follow: in the marker for up to 15, else in two bytes behind `wide`, else in four behind the next one.
    fn head(&mut self, short: [u8; 2], wide: u8) -> Option<usize> {
        let marker = *self.rest.first()?;
        let count = if (short[0]..=short[1]).contains(&marker) {
            self.take(1).map(|_| u64::from(marker - short[0]))?
        } else if marker == wide {
            self.number(2).filter(|count| *count > 15)?
        } else {
            self.number(4).filter(|count| *count > 0xffff)?
        };
        usize::try_from(count).ok()
    }

    /// The `width` bytes behind a marker.
    fn number(&mut self, width: usize) -> Option<u64> {
        let bytes = self.take(1 + width)?;
        Some(bytes[1..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }
}
