//! The device `smoltcp` sees: one packet in at most, and the queue of those that go out.

use bytes::BytesMut;
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use tokio::sync::mpsc;

/// Lent to `smoltcp` for one packet, or for what one connection has to send.
pub(super) struct Wire<'a> {
    /// The packet that came, if it has not been taken.
    pub(super) packet: Option<&'a [u8]>,
    /// Where packets go.
    pub(super) out: &'a mpsc::Sender<BytesMut>,
    /// Largest packet in bytes.
    pub(super) mtu: u16,
    /// Whether something was to be sent and the queue had no room for it.
    pub(super) full: bool,
}

/// The packet that came.
pub(super) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Room in the queue, or none: an answer to a packet is lost then, as any packet may be.
pub(super) struct Room<'a>(Option<mpsc::Permit<'a, BytesMut>>);

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = BytesMut::zeroed(length);
        let result = write(&mut packet);
        if let Some(room) = self.0 {
            room.send(packet);
        }
        result
    }
}

impl<'a> Device for Wire<'a> {
    type RxToken<'b>
        = Received<'a>
    where
        Self: 'b;
    type TxToken<'b>
        = Room<'a>
    where
        Self: 'b;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(self.mtu);
        capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<(Received<'a>, Room<'a>)> {
        let packet = self.packet.take()?;
        Some((Received(packet), Room(self.out.try_reserve().ok())))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'a>> {
        let room = self.out.try_reserve().ok();
        self.full |= room.is_none();
        room.map(|room| Room(Some(room)))
    }
}
