//! The TUN device: the kernel's end of the mesh, where any program's packets go in and come out.
//!
//! With segmentation offload the kernel hands over rows of TCP segments as one packet of up to 64 KiB and takes them back so. That is what makes a TUN
//! device fast: most of its cost is per call and not per byte. Cutting such packets up and putting rows together is done here, in the two pure halves
//! below, so that what a peer sends meets no code but ours.
//!
//! | part | does |
//! |---|---|
//! | `device` | makes the interface and says what is missing when it cannot |
//! | `vnet` | the header that stands before each packet when the kernel offloads |
//! | `split` | one packet from the kernel → segments a tunnel can carry |
//! | `join` | segments from tunnels → few packets for the kernel |
//!
//! **Where a packet lies.** A tunnel builds its message in a buffer of its own, so room before the packet saves nothing; but it pads the packet to a
//! multiple of 16 bytes first, in place. So packets are read with [`SPARE`] bytes of room behind them, without which that padding would move every
//! one of them. Writing gathers the header and the packets from where they lie: nothing is copied.

mod checksum;
mod device;
mod error;
mod join;
mod split;
mod vnet;

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;

use bytes::BytesMut;
pub use error::TunError;
use tun_rs::AsyncDevice;

use self::join::Rows;

/// Bytes of an IPv6 header (RFC 8200 §3).
const IPV6_HEADER: usize = 40;
/// Largest packet the kernel gives, with the header that offload puts before it.
const LARGEST_READ: usize = vnet::LENGTH + 65_535;
/// A read ends when this many packets are there. The last packet of the kernel's may be a row of segments, which then goes beyond it.
const FULL_BATCH: usize = 64;
/// `EBADFD`: the interface was removed while it was open.
const GONE: i32 = 77;

/// What is done to packets between tunnels and the kernel, without a device: for fuzzing, and of no use to a program.
#[doc(hidden)]
pub mod halves {
    use bytes::BytesMut;

    use super::join::Rows;
    use super::split;

    /// The packets of what the kernel has handed over with offload; `None` if it contradicts itself.
    pub fn cut(frame: &mut [u8]) -> Option<Vec<BytesMut>> {
        let mut batch = Vec::new();
        split::split(frame, &mut batch).ok().map(|()| batch)
    }

    /// What the kernel is handed for these packets, call by call, each with the header that offload has.
    #[must_use]
    pub fn join(packets: &[BytesMut], datagrams: bool) -> Vec<Vec<u8>> {
        let (mut rows, mut frames) = (Rows::default(), Vec::new());
        rows.plan(packets, true, datagrams);
        let collect = |frame: &[std::io::IoSlice<'_>], _: &_| {
            frames.push(frame.iter().flat_map(|piece| piece.to_vec()).collect());
            Ok(())
        };
        // What only collects does not fail.
        let _ = rows.write(packets, true, collect);
        frames
    }
}

/// Bytes of room behind every packet that is read.
pub const SPARE: usize = 16;
/// Smallest MTU an IPv6 link may have (RFC 8200 §5).
pub const MIN_MTU: u16 = 1280;

/// What the interface is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunConfig {
    /// Name of the interface: 1 to 15 bytes, no `/`, `:`, `%` and no white space.
    pub name: String,
    /// Address of this machine in the mesh.
    pub address: Ipv6Addr,
    /// Bits of the address that all of the mesh share: a route for them leads to the interface. At most 128.
    pub prefix_length: u8,
    /// Largest packet, in bytes; at least [`MIN_MTU`].
    pub mtu: u16,
    /// Whether to ask the kernel for segmentation offload. A kernel that has none is used without in any case.
    pub offload: bool,
}

impl TunConfig {
    /// An interface with a /48, an MTU of [`MIN_MTU`] and offload.
    #[must_use]
    pub fn new(name: impl Into<String>, address: Ipv6Addr) -> Self {
        Self { name: name.into(), address, prefix_length: 48, mtu: MIN_MTU, offload: true }
    }
}

/// A TUN device. It is there as long as one of its two halves is, and goes with the process at the latest.
#[derive(Debug)]
pub struct TunDevice;

/// What one half of a device has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TunCounts {
    /// Packets that passed.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Calls to the kernel that moved them.
    pub calls: u64,
    /// Packets dropped because they are none, or because the kernel would not have them.
    pub refused: u64,
    /// Packets dropped because the kernel had no room.
    pub no_room: u64,
}

impl TunDevice {
    /// Makes the interface, gives it its address and starts it. When it returns, programs can bind the address.
    ///
    /// To be called within a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// [`TunError`], which says what to do next.
    pub async fn open(config: &TunConfig) -> Result<(TunReader, TunWriter), TunError> {
        let device = device::make(config)?;
        device::usable(config).await?;
        let failed = |source| TunError::Os { doing: "opening the interface", source };
        let device = AsyncDevice::new(device).map_err(failed)?;
        // Writing never waits, so the runtime has to know once that it can be done.
        device.writable().await.map_err(failed)?;
        let device = Arc::new(device);
        let reader =
            TunReader { device: device.clone(), buffer: vec![0; LARGEST_READ], counts: TunCounts::default() };
        let writer = TunWriter { device, rows: Rows::default(), counts: TunCounts::default() };
        Ok((reader, writer))
    }
}

/// The half that has the packets programs send.
pub struct TunReader {
    device: Arc<AsyncDevice>,
    buffer: Vec<u8>,
    counts: TunCounts,
}

impl TunReader {
    /// Adds the packets that are there to `batch`, or waits for one: at least one packet, each at most the MTU long, with right checksums and [`SPARE`]
    /// bytes of room behind it. A call adds fewer than 64 packets and the segments of one packet of 64 KiB.
    ///
    /// What had to be waited for is handed over by itself: a single packet is on its way before it is looked whether another follows, and a row of them is
    /// with the next call.
    ///
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn read(&mut self, batch: &mut Vec<BytesMut>) -> io::Result<()> {
        let before = batch.len();
        while batch.len() - before < FULL_BATCH {
            match self.device.try_recv(&mut self.buffer) {
                Ok(length) => self.take(length, batch),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while batch.len() == before {
            let length = self.device.recv(&mut self.buffer).await?;
            self.take(length, batch);
        }
        Ok(())
    }

    fn take(&mut self, length: usize, batch: &mut Vec<BytesMut>) {
        let before = batch.len();
        let frame = self.buffer.get_mut(..length).unwrap_or_default();
        let read =
            if self.device.tcp_gso() { split::split(frame, batch) } else { split::plain(frame, batch) };
        self.counts.calls += 1;
        self.counts.refused += u64::from(read.is_err());
        for packet in batch.iter().skip(before) {
            self.counts.packets += 1;
            self.counts.bytes += packet.len() as u64;
        }
    }

    /// What was read so far.
    #[must_use]
    pub fn counts(&self) -> TunCounts {
        self.counts
    }
}

/// The half that gives packets to programs.
pub struct TunWriter {
    device: Arc<AsyncDevice>,
    rows: Rows,
    counts: TunCounts,
}

impl TunWriter {
    /// Writes packets, in order within each flow, and leaves `packets` empty. Returns how many the kernel took.
    ///
    /// Rows of TCP segments, and of UDP datagrams where the kernel can take them, go in one call. Never waits: what the kernel has no room for is
    /// dropped, as on any link. What is no whole IPv6 packet is dropped by itself (SECURITY row 79); bytes behind a packet's end are cut off.
    ///
    /// The packets must come from a tunnel, which has authenticated them: in a row the checksums of segments are not looked at but made anew, as in
    /// Linux' own WireGuard.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn write(&mut self, packets: &mut Vec<BytesMut>) -> io::Result<usize> {
        let given = packets.len();
        packets.retain_mut(trim);
        self.counts.refused += (given - packets.len()) as u64;
        self.rows.plan(packets, self.device.tcp_gso(), self.device.udp_gso());
        let (device, counts) = (&self.device, &mut self.counts);
        let before = counts.packets;
        let written = self.rows.write(packets, device.tcp_gso(), |frame, row| {
            let number = row.packets as u64;
            counts.calls += 1;
            match device.try_send_vectored(frame) {
                Ok(_) => {
                    counts.packets += number;
                    counts.bytes += row.bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => counts.no_room += number,
                Err(error) if error.raw_os_error() == Some(GONE) => return Err(error),
                Err(_) => counts.refused += number,
            }
            Ok(())
        });
        packets.clear();
        written?;
        Ok(usize::try_from(counts.packets - before).unwrap_or(usize::MAX))
    }

    /// What was written so far.
    #[must_use]
    pub fn counts(&self) -> TunCounts {
        self.counts
    }

    /// Whether rows of UDP datagrams go in one call too; rows of TCP segments always do when this is so.
    #[must_use]
    pub fn joins_datagrams(&self) -> bool {
        self.device.udp_gso()
    }

    /// Whether rows of TCP segments go in one call.
    #[must_use]
    pub fn joins_segments(&self) -> bool {
        self.device.tcp_gso()
    }
}

/// Cuts a packet off where it says it ends; false if it is no whole IPv6 packet.
fn trim(packet: &mut BytesMut) -> bool {
    let Some(header) = packet.first_chunk::<IPV6_HEADER>() else { return false };
    let length = IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let whole = header[0] >> 4 == 6 && length <= packet.len();
    packet.truncate(length);
    whole
}
