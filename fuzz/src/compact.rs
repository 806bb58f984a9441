//! F18: the body of a frame of version 2. SECURITY 3.2 rows 2, 5, 6 and 80.
//!
//! - What is a body of its kind is what `docs/spec/overlay.md` says, which is written down a second time below.
//! - What is read is written again byte for byte, but for a hello with more padding than it needs.
//! - Key events of an answer lie within it, one after the other.
//!
//! The first byte is the kind.

use tibet_ping::{Compact, Frame, HELLO};

use super::Verdict;

/// Checks one body.
pub fn check(input: &[u8]) -> Verdict {
    let Some((kind, body)) = input.split_first() else { return Verdict::Refused };
    let read = Compact::read(*kind, body);
    assert_eq!(read.is_ok(), expected(*kind, body), "{read:?}");
    let Ok(frame) = read else { return Verdict::Refused };
    let datagram = frame.write();
    assert_eq!(Frame::read(&datagram), Ok(Frame::Version2 { kind: *kind, body: &datagram[8..] }));
    match frame {
        Compact::Hello(id) => {
            assert_eq!((datagram.len(), &datagram[8..16]), (HELLO, &id[..]));
            assert!(body.starts_with(&datagram[8..]));
        }
        _ => assert_eq!(&datagram[8..], body),
    }
    if let Compact::Found { found, .. } = frame {
        let taken: usize = found.history().map(|event| event.len() + 2).sum();
        assert!(taken <= found.history.len());
    }
    Verdict::Accepted
}

/// What the page says of each kind.
fn expected(kind: u8, body: &[u8]) -> bool {
    let length = body.len();
    match kind {
        // A token; an id.
        1 | 2 => length == 16,
        8 => length == 8,
        // The datagram has 96 bytes or more, and zeros after the id.
        3 => length + 8 >= 96 && body[8..].iter().all(|byte| *byte == 0),
        // Id, key, cookie, address and port.
        4 => length == 8 + 32 + 16 + 16 + 2,
        // Judged by whoever checks the signature.
        5 => true,
        9 => length >= 8,
        // Id, cookie, number, and a text.
        6 => length > 8 + 16 && std::str::from_utf8(&body[25..]).is_ok(),
        // Id, status, a record with its length before it, a count, and what is left.
        7 => {
            let at = |n: usize| body.get(n).copied().map_or(0, usize::from);
            length >= 8 + 1 + 2 && at(8) <= 3 && length > 11 + at(9) * 256 + at(10)
        }
        // Id, cookie, eight zeros.
        10 => length == 8 + 16 + 8 && body[24..] == [0; 8],
        // Id, port.
        11 => length == 8 + 2,
        _ => false,
    }
}
