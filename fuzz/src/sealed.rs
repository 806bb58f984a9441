//! F22: pings and answers inside a tunnel. SECURITY 3.2 rows 2, 5 to 7, R12 and R16.
//!
//! - What is a sealed frame is what `docs/spec/sealed-ping.md` says, which is written down a second time below.
//! - What is read is written again byte for byte: each message has one encoding.
//! - A byte more or less makes another message, or none: the frame says its length.
//! - The payload is a map, and not an empty one, or it is refused; nothing else of the message depends on it.

use tibet_ping::{MAX_SEALED, Sealed};

use super::Verdict;

/// Checks one datagram.
pub fn check(input: &[u8]) -> Verdict {
    let read = Sealed::read(input);
    assert_eq!(read.is_ok(), expected(input).is_some(), "{read:?}");
    let Ok(sealed) = read else { return Verdict::Refused };
    let (written, payload, bytes) = match sealed {
        Sealed::Ping(ping) => (ping.write(), ping.payload(), ping.payload_bytes),
        Sealed::Answer(answer) => (answer.write(), answer.payload(), answer.payload_bytes),
    };
    assert_eq!(written.as_deref(), Ok(input));
    if let Ok(payload) = &payload {
        assert_eq!(payload.is_empty(), bytes.is_empty(), "{payload:?}");
    }
    assert!(Sealed::read(&[input, &[0]].concat()).is_err());
    assert!(Sealed::read(&input[..input.len() - 1]).is_err());
    Verdict::of(payload.is_ok())
}

/// What the page says.
fn expected(datagram: &[u8]) -> Option<()> {
    let (header, body) = datagram.split_first_chunk::<8>()?;
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let sound = datagram.len() <= MAX_SEALED
        && header[..3] == *b"TP\x02"
        && usize::try_from(length) == Ok(body.len());
    match header[3] {
        32 if sound => {
            let flags = *body.get(8)?;
            let (intent, rest) = text(body.get(9..)?)?;
            let (purpose, _) = text(rest)?;
            let first = intent.bytes().next()?;
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let grammar = intent.bytes().all(|byte| plain(byte) || b"._-/".contains(&byte));
            let named = flags < 12 && flags % 4 != 0;
            (named && plain(first) && grammar && intent.len() <= 64 && !purpose.chars().any(char::is_control))
                .then_some(())
        }
        33 if sound => {
            let [verdict, high, low] = *body.get(8..)?.first_chunk()?;
            let (decision, zone, last) = (verdict & 3, verdict >> 2 & 3, verdict >> 4);
            let trust = u16::from_be_bytes([high, low]);
            (decision != 0 && zone != 0 && last <= 1 && (last == 1 || decision == 2) && trust <= 10_000)
                .then_some(())
        }
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let text = rest.get(..usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, &rest[text.len()..]))
}
