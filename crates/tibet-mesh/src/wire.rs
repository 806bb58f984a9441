//! How a datagram of the mesh begins, and how it is told from others that come in on the same socket.
//!
//! | first bytes | what | for |
//! |---|---|---|
//! | `01`…`04`, then three zeros | WireGuard message | [`Wire::WireGuard`] |
//! | `TP`, version 2, a kind from 16 on | a frame of the mesh | [`Wire::Frame`] |
//! | everything else | not the mesh's | `None` |

/// Bytes before the body of a frame: `TP`, 2, the kind, the length of the body as 4 bytes big-endian (`docs/spec/frame.md`).
pub(crate) const HEADER: usize = 8;
/// A probe.
pub const PROBE: u8 = 16;
/// Its answer.
pub const PROBE_ANSWER: u8 = 17;
/// What confirms the answer.
pub const PROBE_CONFIRM: u8 = 18;
/// To a relay: pass this on.
pub const RELAY_SEND: u8 = 19;
/// From a relay: this was passed on.
pub const RELAY_DELIVERY: u8 = 20;
/// To a relay: is the session alive?
pub const RELAY_CALL: u8 = 21;
/// Its answer.
pub const RELAY_ALIVE: u8 = 22;

/// Longest WireGuard message that is taken: more than any path carries.
const MAX_WIREGUARD: usize = 65_507;

/// A datagram of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire<'a> {
    /// For a tunnel. Its type is 1 to 4 and its length possible for that type; nothing else was looked at.
    WireGuard(&'a [u8]),
    /// A frame of version 2 with a kind of the mesh.
    Frame {
        /// [`PROBE`], …
        kind: u8,
        /// What follows its header.
        body: &'a [u8],
    },
}

impl<'a> Wire<'a> {
    /// Reads a datagram; `None` if it is none of the mesh's, or cut off.
    #[must_use]
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        match datagram {
            [kind @ 1..=4, 0, 0, 0, ..] => {
                // Handshake initiation, response, cookie reply; data has a header of 16 bytes and a tag of 16.
                let possible = match (kind, datagram.len()) {
                    (1, 148) | (2, 92) | (3, 64) => true,
                    (4, length) => (32..=MAX_WIREGUARD).contains(&length),
                    _ => false,
                };
                possible.then_some(Self::WireGuard(datagram))
            }
            [b'T', b'P', 2, kind @ 16..=255, a, b, c, d, body @ ..] => {
                let declared = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok()?;
                (declared == body.len()).then_some(Self::Frame { kind: *kind, body })
            }
            _ => None,
        }
    }
}

/// The beginning of a frame with a body of `length` bytes.
#[must_use]
pub(crate) fn header(kind: u8, length: u32) -> [u8; HEADER] {
    let [a, b, c, d] = length.to_be_bytes();
    [b'T', b'P', 2, kind, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_told_apart_by_their_first_bytes() {
        let wireguard = |kind: u8, length: usize| {
            let mut datagram = vec![0; length];
            datagram[0] = kind;
            datagram
        };
        for (kind, length) in [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1452)] {
            let datagram = wireguard(kind, length);
            assert_eq!(Wire::read(&datagram), Some(Wire::WireGuard(&datagram)));
        }
        // SECURITY R54: what can be no message never reaches the tunnel.
        for (kind, length) in [(1, 147), (1, 149), (2, 64), (3, 92), (4, 31), (4, 4), (0, 148), (5, 148)] {
            assert_eq!(Wire::read(&wireguard(kind, length)), None, "{kind} {length}");
        }
        let mut reserved = wireguard(1, 148);
        reserved[2] = 1;
        assert_eq!(Wire::read(&reserved), None);
        let frame = [&header(PROBE, 3)[..], b"abc"].concat();
        assert_eq!(Wire::read(&frame), Some(Wire::Frame { kind: PROBE, body: b"abc" }));
        assert_eq!(Wire::read(&frame[..10]), None, "cut off");
        assert_eq!(Wire::read(&[&frame[..], b"d"].concat()), None, "too long");
        assert_eq!(Wire::read(&[&header(9, 3)[..], b"abc"].concat()), None, "an answer of a node");
        assert_eq!(Wire::read(b""), None);
    }
}
