//! Where received datagrams lie.

use std::fmt;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use quinn_udp::{BATCH_SIZE, RecvMeta};

/// Bytes of a slot. No datagram and no row of coalesced ones is longer than 65 535 bytes, headers included, so none is ever cut off; one that
/// fills its slot to the last byte would have been, and is dropped.
const SLOT: usize = 1 << 16;

/// Room for what one system call receives: 32 slots of 64 KiB.
///
/// That is 2 MiB of address space, of which the kernel gives only the pages that were ever written to: a node that receives short datagrams
/// pays for one page a slot. Made once and used for every call.
pub struct ReceiveBuffers {
    memory: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

/// A datagram and how it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) to: Option<IpAddr>,
    pub(crate) interface: Option<u32>,
    pub(crate) bytes: &'a [u8],
}

impl ReceiveBuffers {
    /// Room for one batch.
    #[must_use]
    pub fn new() -> Self {
        Self { memory: vec![0; SLOT * BATCH_SIZE], meta: [RecvMeta::default(); BATCH_SIZE], filled: 0 }
    }

    /// The datagrams of the last batch with their sources, in the order they came.
    ///
    /// An IPv4 source is given as such, whatever the socket (SECURITY R48). A datagram may be empty.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.received().map(|received| (received.from, received.bytes))
    }

    pub(crate) fn received(&self) -> impl Iterator<Item = Received<'_>> {
        let slots = self.meta.iter().zip(self.memory.chunks_exact(SLOT)).take(self.filled);
        slots.flat_map(|(meta, slot)| {
            let (from, to) = (canonical(meta.addr), meta.dst_ip.map(|ip| ip.to_canonical()));
            datagrams_in(meta, slot).map(move |bytes| Received {
                from,
                to,
                interface: meta.interface_index,
                bytes,
            })
        })
    }

    /// Forgets what the last call received.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Whether the last call filled every slot, so that more may be waiting.
    pub(super) fn is_full(&self) -> bool {
        self.filled == BATCH_SIZE
    }

    /// Has `receive` fill the slots and say how many it filled. Returns the number of whole datagrams, and of slots that were cut off.
    pub(super) fn fill<E>(
        &mut self,
        receive: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> Result<usize, E>,
    ) -> Result<(usize, usize), E> {
        self.filled = 0;
        let mut slots = self.memory.chunks_exact_mut(SLOT);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        self.filled = receive(&mut slices, &mut self.meta)?.min(BATCH_SIZE);
        let filled = &self.meta[..self.filled];
        let cut_off = filled.iter().filter(|meta| is_cut_off(meta)).count();
        Ok((filled.iter().map(count_in).sum(), cut_off))
    }
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ReceiveBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBuffers").field("slots_filled", &self.filled).finish_non_exhaustive()
    }
}

fn is_cut_off(meta: &RecvMeta) -> bool {
    meta.len >= SLOT
}

/// How many datagrams lie in a slot. An empty datagram is one too, though it has neither length nor stride.
fn count_in(meta: &RecvMeta) -> usize {
    if is_cut_off(meta) { 0 } else { meta.len.div_ceil(meta.stride.max(1)).max(1) }
}

fn datagrams_in<'a>(meta: &RecvMeta, slot: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let (length, stride) = (meta.len.min(slot.len()), meta.stride.max(1));
    (0..count_in(meta)).map(move |index| {
        let begin = index.saturating_mul(stride).min(length);
        &slot[begin..begin.saturating_add(stride).min(length)]
    })
}

/// One spelling per address: IPv4 as itself, no flow label, the scope only where the system gives one.
fn canonical(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        (SocketAddr::V6(v6), IpAddr::V6(ip)) => SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into(),
        (_, ip) => SocketAddr::new(ip, address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out when the kernel says this of the first slots, which hold `bytes`.
    fn split(said: &[(usize, usize)], bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut buffers = ReceiveBuffers::new();
        let (whole, cut_off) = buffers
            .fill(|slices, meta| {
                for ((length, stride), (slice, meta)) in said.iter().zip(slices.iter_mut().zip(meta)) {
                    slice[..bytes.len()].copy_from_slice(bytes);
                    meta.len = *length;
                    meta.stride = *stride;
                }
                Ok::<_, ()>(said.len())
            })
            .expect("filled");
        let datagrams: Vec<_> = buffers.datagrams().map(|(_, bytes)| bytes.to_vec()).collect();
        assert_eq!(datagrams.len(), whole);
        assert_eq!(cut_off, said.iter().filter(|(length, _)| *length >= SLOT).count());
        datagrams
    }

    #[test]
    fn coalesced_datagrams_are_taken_apart_at_their_stride() {
        assert_eq!(split(&[(7, 3)], b"aaabbbc"), [b"aaa".to_vec(), b"bbb".to_vec(), b"c".to_vec()]);
        assert_eq!(split(&[(6, 3)], b"aaabbb").len(), 2);
        assert_eq!(split(&[(3, 3)], b"aaa"), [b"aaa"]);
        assert_eq!(split(&[(3, 9)], b"aaa"), [b"aaa"], "a stride beyond the end");
    }

    #[test]
    fn an_empty_datagram_is_one_datagram_and_hides_none_row_1() {
        assert_eq!(split(&[(0, 0), (2, 2), (0, 0)], b"ab"), [b"".to_vec(), b"ab".to_vec(), b"".to_vec()]);
    }

    #[test]
    fn a_datagram_that_fills_its_slot_is_never_passed_on_as_whole() {
        assert_eq!(split(&[(SLOT, SLOT), (1, 1)], b"x"), [b"x"]);
        assert_eq!(split(&[(SLOT - 1, SLOT - 1)], b"x")[0].len(), SLOT - 1);
    }

    #[test]
    fn a_failed_call_leaves_nothing_of_the_batch_before() {
        let mut buffers = ReceiveBuffers::new();
        buffers.fill(|_, _| Ok::<_, ()>(2)).expect("filled");
        buffers.fill(|_, _| Err(())).expect_err("failed");
        assert_eq!(buffers.datagrams().count(), 0);
    }

    #[test]
    fn a_source_has_one_spelling() {
        let same = |given: &str, canonical_form: &str| {
            let address: SocketAddr = given.parse().expect("address");
            assert_eq!(canonical(address).to_string(), canonical_form);
        };
        same("[::ffff:192.0.2.1]:7150", "192.0.2.1:7150");
        same("192.0.2.1:7150", "192.0.2.1:7150");
        same("[2001:db8::1]:1", "[2001:db8::1]:1");
        same("[fe80::1%3]:1", "[fe80::1%3]:1");
        let with_flow = SocketAddrV6::new("2001:db8::1".parse().expect("ip"), 1, 77, 0);
        assert_eq!(canonical(with_flow.into()), "[2001:db8::1]:1".parse().expect("address"));
    }
}
