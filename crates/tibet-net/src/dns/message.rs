//! Messages of DNS, as far as this zone needs them (RFC 1035 §4, RFC 2308, RFC 6891): one question in, at most one record of an answer out.
//!
//! Written here and not taken from a library, because it is little and a stranger's bytes: nothing is followed (a question needs no pointers), nothing is
//! reserved by counts that a message claims, and what is written never needs more than 512 bytes, so nothing is ever cut off.

use std::net::Ipv6Addr;

use jis::Name;

use super::name::{below_zone, dns_name, is_between, name_of};

const HEADER: usize = 12;
/// Longest name on the wire (RFC 1035 §3.1).
const MAX_NAME: usize = 255;
/// Seconds an address may be kept. A device's address never changes, its being known may.
const TTL: u32 = 60;
/// Seconds that nothing was found may be kept (RFC 2308): a device that has just been switched on is to be reachable.
const NEGATIVE_TTL: u32 = 5;
/// What we take over UDP (RFC 9715 has 1400 as the most; DNS flag day 2020 has this).
const UDP_SIZE: u16 = 1232;
/// Labels of a whole address below `ip6.arpa` (RFC 3596 §2.5), and how many of them stand before those of its network, a /48.
const NIBBLES: usize = 32;
const HOST_NIBBLES: usize = 20;

const SOA: u16 = 6;
const PTR: u16 = 12;
const AAAA: u16 = 28;
const OPT: u16 = 41;
/// IXFR, AXFR, MAILB, MAILA: what asks for more than a record.
const TRANSFERS: std::ops::RangeInclusive<u16> = 251..=254;
const ANY: u16 = 255;
const IN: u16 = 1;

/// Answers' codes (RFC 1035 §4.1.1, RFC 6891 §9).
mod code {
    pub(super) const FINE: u16 = 0;
    pub(super) const FORMAT: u16 = 1;
    pub(super) const FAILED: u16 = 2;
    pub(super) const NO_NAME: u16 = 3;
    pub(super) const NOT_IMPLEMENTED: u16 = 4;
    pub(super) const REFUSED: u16 = 5;
    pub(super) const VERSION: u16 = 16;
}

/// What is to be done about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsRead {
    /// Nothing: it is no query. An answer to an answer could go on for ever.
    Silence,
    /// This is the answer already.
    Answer(Vec<u8>),
    /// Something has to be looked up.
    Ask(DnsQuery),
}

/// A query for something that has to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsQuery {
    wanted: DnsWanted,
    asked: Asked,
}

/// What is to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsWanted {
    /// The address of a name; also when other records of it are asked for, since those are missing only where the name exists.
    Address(Name),
    /// The name of an address in `fd00::/8`.
    Name(Ipv6Addr),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsFound {
    /// The address of the name.
    Address(Ipv6Addr),
    /// The name of the address.
    Name(Name),
    /// There is none.
    Nothing,
    /// It could not be found out in time.
    Failed,
}

/// What an answer repeats of its question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    id: [u8; 2],
    /// The bit that asks for recursion; there is none, but it is repeated.
    recursion: u16,
    /// Name, type and class as they came, so that the case of letters stays.
    question: Vec<u8>,
    kind: u16,
    /// Where the name of the zone begins in the message.
    zone: Option<u16>,
    extended: bool,
}

impl DnsQuery {
    /// Reads a message.
    #[must_use]
    pub fn read(message: &[u8]) -> DnsRead {
        let Some(header) = message.first_chunk::<HEADER>() else { return DnsRead::Silence };
        let flags = u16::from_be_bytes([header[2], header[3]]);
        if flags & 0x8000 != 0 {
            return DnsRead::Silence;
        }
        let mut asked = Asked {
            id: [header[0], header[1]],
            recursion: flags & 0x0100,
            question: Vec::new(),
            kind: 0,
            zone: None,
            extended: false,
        };
        if flags & 0x7800 != 0 {
            return DnsRead::Answer(asked.answer(code::NOT_IMPLEMENTED, None));
        }
        match Self::question(message, header, &mut asked) {
            Ok(wanted) => DnsRead::Ask(Self { wanted, asked }),
            Err(code) => DnsRead::Answer(asked.answer(code, None)),
        }
    }

    fn question(message: &[u8], header: &[u8; HEADER], asked: &mut Asked) -> Result<DnsWanted, u16> {
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if (count(4), count(6), count(8)) != (1, 0, 0) {
            return Err(code::FORMAT);
        }
        let mut rest = Reader { message, at: HEADER };
        let labels = rest.name().ok_or(code::FORMAT)?;
        let (kind, class) = rest.number().zip(rest.number()).ok_or(code::FORMAT)?;
        asked.question = message.get(HEADER..rest.at).unwrap_or_default().to_vec();
        asked.kind = kind;
        if rest.extension(count(10)).ok_or(code::FORMAT)?.is_some_and(|version| {
            asked.extended = true;
            version != 0
        }) {
            return Err(code::VERSION);
        }
        let places: Vec<u16> = labels.iter().map(|(at, _)| *at).collect();
        let labels: Vec<&[u8]> = labels.iter().map(|(_, label)| *label).collect();
        if class != IN && class != ANY || TRANSFERS.contains(&kind) {
            return Err(code::REFUSED);
        }
        if let Some(address) = address_of(&labels) {
            asked.zone = places.get(HOST_NIBBLES).copied();
            return Ok(DnsWanted::Name(address));
        }
        let own = below_zone(&labels).ok_or(code::REFUSED)?;
        asked.zone = places.get(own.len()).copied();
        // The zone itself, and where names begin without being one: they exist, and have nothing.
        if own.is_empty() || is_between(own) {
            return Err(code::FINE);
        }
        name_of(own).map(DnsWanted::Address).ok_or(code::NO_NAME)
    }

    /// What is to be looked up.
    #[must_use]
    pub fn wanted(&self) -> &DnsWanted {
        &self.wanted
    }

    /// The answer, of at most 512 bytes. An address that is none of the mesh is never given out (SECURITY R73).
    #[must_use]
    pub fn answer(&self, found: &DnsFound) -> Vec<u8> {
        let asks = |kind| self.asked.kind == kind || self.asked.kind == ANY;
        let (code, record) = match (&self.wanted, found) {
            (_, DnsFound::Failed) => (code::FAILED, None),
            (DnsWanted::Address(_), DnsFound::Nothing) => (code::NO_NAME, None),
            (DnsWanted::Address(_), DnsFound::Address(address)) if is_ours(*address) => {
                (code::FINE, asks(AAAA).then(|| (AAAA, address.octets().to_vec())))
            }
            // Whose address it is is for another server to say.
            (DnsWanted::Name(_), DnsFound::Nothing) => (code::REFUSED, None),
            (DnsWanted::Name(_), DnsFound::Name(name)) => {
                (code::FINE, asks(PTR).then(|| (PTR, on_the_wire(&dns_name(name)))))
            }
            _ => (code::FAILED, None),
        };
        self.asked.answer(code, record)
    }
}

impl Asked {
    /// The answer with `record` about the question's name, or with why there is none: the record of the zone (RFC 2308 §3).
    fn answer(&self, code: u16, record: Option<(u16, Vec<u8>)>) -> Vec<u8> {
        // What is asked about the zone itself is in the question when its name begins there.
        let zone = self.zone.filter(|_| matches!(code, code::FINE | code::NO_NAME));
        let about_zone = zone == Some(HEADER as u16) && matches!(self.kind, SOA | ANY);
        let (answers, authority) = match (record.is_some() || about_zone, zone) {
            (true, _) => (1, 0),
            (false, Some(_)) => (0, 1),
            (false, None) => (0, 0),
        };
        let authoritative = if zone.is_some() { 0x0400 } else { 0 };
        let flags = 0x8000 | authoritative | self.recursion | code & 0x0F;
        let mut message = self.id.to_vec();
        for number in
            [flags, u16::from(!self.question.is_empty()), answers, authority, u16::from(self.extended)]
        {
            message.extend(number.to_be_bytes());
        }
        message.extend(&self.question);
        match (record, zone) {
            (Some((kind, data)), _) => put(&mut message, HEADER as u16, kind, TTL, &data),
            (None, Some(zone)) => put(&mut message, zone, SOA, NEGATIVE_TTL, &start_of_authority(zone)),
            (None, None) => {}
        }
        if self.extended {
            // The root, OPT, what we take; the upper bits of the code, version 0; no options.
            message.push(0);
            for number in [OPT, UDP_SIZE, code >> 4 << 8, 0, 0] {
                message.extend(number.to_be_bytes());
            }
        }
        message
    }
}

/// A record about the name that stands at `name`.
fn put(message: &mut Vec<u8>, name: u16, kind: u16, ttl: u32, data: &[u8]) {
    for number in [pointer(name), kind, IN] {
        message.extend(number.to_be_bytes());
    }
    message.extend(ttl.to_be_bytes());
    // Addresses and names: far below 64 KiB.
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
}

/// A name that stands elsewhere in the message (RFC 1035 §4.1.4).
const fn pointer(at: u16) -> u16 {
    0xC000 | at
}

/// The zone's own record: no server, no mailbox anybody reads, no transfers; what counts is how long nothing is kept.
fn start_of_authority(zone: u16) -> Vec<u8> {
    let mut data = pointer(zone).to_be_bytes().to_vec();
    data.extend(b"\x0Ahostmaster");
    data.extend(pointer(zone).to_be_bytes());
    for number in [1, 3600, 600, 86_400, NEGATIVE_TTL] {
        data.extend(number.to_be_bytes());
    }
    data
}

fn on_the_wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        // At most 63 bytes, as `dns_name` says.
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// Whether an address can be one of the mesh.
fn is_ours(address: Ipv6Addr) -> bool {
    address.octets()[0] == 0xFD
}

/// The address that a whole name below `ip6.arpa` stands for, if it can be one of the mesh.
fn address_of(labels: &[&[u8]]) -> Option<Ipv6Addr> {
    let (nibbles, [ip6, arpa]) = labels.split_first_chunk::<NIBBLES>()? else { return None };
    if !ip6.eq_ignore_ascii_case(b"ip6") || !arpa.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    let mut address = 0_u128;
    for (place, nibble) in nibbles.iter().enumerate() {
        let [digit] = nibble else { return None };
        address |= u128::from(char::from(*digit).to_digit(16)?) << (place * 4);
    }
    Some(Ipv6Addr::from(address)).filter(|address| is_ours(*address))
}

/// What of a message has not been read yet.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, number: usize) -> Option<&'a [u8]> {
        let taken = self.message.get(self.at..)?.get(..number)?;
        self.at += number;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    /// A name that is written out, label by label with where it begins.
    fn name(&mut self) -> Option<Vec<(u16, &'a [u8])>> {
        let begin = self.at;
        let mut labels = Vec::new();
        loop {
            let at = u16::try_from(self.at).ok()?;
            match self.take(1)? {
                [0] => return Some(labels),
                // The upper two bits would make it a pointer, and nothing stands before the first name.
                [length @ 1..=63] => labels.push((at, self.take(usize::from(*length))?)),
                _ => return None,
            }
            // The root is still to come.
            if self.at - begin >= MAX_NAME {
                return None;
            }
        }
    }

    /// The version in the OPT record among `records`, if there is one; `None` if they cannot be read or there are two.
    fn extension(&mut self, records: u16) -> Option<Option<u8>> {
        let mut version = None;
        for _ in 0..records {
            let root = self.message.get(self.at) == Some(&0);
            self.skip_name()?;
            let kind = self.number()?;
            let [_, _, _, found, _, _] = *self.take(6)? else { return None };
            let length = self.number()?;
            self.take(usize::from(length))?;
            if kind == OPT && (!root || version.replace(found).is_some()) {
                return None;
            }
        }
        Some(version)
    }

    fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.take(1)? {
                [0] => return Some(()),
                [length @ 1..=63] => self.take(usize::from(*length))?,
                // A pointer ends a name. It is not followed.
                [0xC0..=0xFF] => return self.take(1).map(|_| ()),
                _ => return None,
            };
        }
    }
}

#[cfg(test)]
mod tests;
