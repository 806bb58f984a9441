//! F1: the header of a datagram. SECURITY R12 and 3.2 rows 1 to 8.
//!
//! - The class of every datagram is the one that `docs/spec/frame.md` gives it, in the page's order; the page is written down a second time
//!   below, as a list of conditions.
//! - A frame that is read is written again byte for byte, so no two datagrams are one frame.
//! - A byte less, a byte more, or the frame twice is refused.

use tibet_ping::{Encoding, Frame, HEADER, Kind, MAX_BODY, Reject};

use super::Verdict;

/// Checks one datagram.
pub fn check(datagram: &[u8]) -> Verdict {
    let read = Frame::read(datagram);
    assert_eq!(read.err(), expected(datagram));
    let Ok(frame) = read else { return Verdict::Refused };
    assert_eq!(frame.write().as_deref(), Ok(datagram));
    match frame {
        Frame::Version1 { kind, encoding, body } => {
            assert_eq!(datagram[3] & 1 == 1, kind == Kind::Response);
            assert_eq!(datagram[3] & 2 == 2, encoding == Encoding::Msgpack);
            assert_eq!(body, &datagram[HEADER..]);
        }
        Frame::Version2 { kind, body } => {
            assert_eq!(datagram[3], kind);
            assert_eq!(body, &datagram[HEADER..]);
        }
    }
    let shorter = &datagram[..datagram.len() - 1];
    let cut = if shorter.len() < HEADER { Reject::TruncatedHeader } else { Reject::TruncatedPayload };
    assert_eq!(Frame::read(shorter), Err(cut));
    assert_eq!(Frame::read(&[datagram, &[0]].concat()), Err(Reject::TrailingBytes));
    assert_eq!(Frame::read(&[datagram, datagram].concat()), Err(Reject::TrailingBytes));
    Verdict::Accepted
}

/// What the page says: the first of these that holds.
fn expected(datagram: &[u8]) -> Option<Reject> {
    let at = |n: usize| datagram.get(n).copied().unwrap_or(0);
    let declared = (4..8).fold(0_u64, |sum, n| sum * 256 + u64::from(at(n)));
    let there = datagram.len() as u64;
    let conditions = [
        (there < 8, Reject::TruncatedHeader),
        (!datagram.starts_with(&[0x54, 0x50]), Reject::BadMagic),
        (!(at(2) == 1 || at(2) == 2 && at(3) > 0), Reject::BadVersion),
        (at(2) == 1 && at(3) > 3, Reject::BadFlags),
        (declared > MAX_BODY as u64, Reject::TooLarge),
        (there < 8 + declared, Reject::TruncatedPayload),
        (there > 8 + declared, Reject::TrailingBytes),
    ];
    conditions.into_iter().find(|(holds, _)| *holds).map(|(_, class)| class)
}
