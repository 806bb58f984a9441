//! Opening a way through a relay: a device asks one relay to pass its ciphertext on, and to take in what others send it there.
//!
//! A relay serves whom it knows, and delivers to nobody who has not asked it to (SECURITY R50). The request names the relay's key, so it opens nothing at another, and
//! carries a key that was made for it alone, so what the session is kept with goes when the session ends. Wire format: `docs/spec/relay.md`.

use std::time::Duration;

use crate::field::{read_key, read_name, read_time};
use crate::key::PublicKey;
use crate::message::{DecodeError, MessageReader, MessageWriter, Tag};
use crate::name::Name;
use crate::permission::check_lifetime;
use crate::signed::SignedObject;
use crate::time::UnixTime;
use crate::transport::TransportKey;

/// A device's request to open a relay. Signed by its identity key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayOpen {
    /// Who asks.
    pub name: Name,
    /// Its key.
    pub key: PublicKey,
    /// The generation of that key.
    pub generation: u64,
    /// The identity key of the relay that is asked: no other may serve this request.
    pub relay: PublicKey,
    /// A key made for this request and used for nothing else: the keys of the session come from it and from one that the relay makes.
    pub exchange: TransportKey,
    /// When it was asked.
    pub issued_at: UnixTime,
    /// Until when the session may last: at most [`RelayOpen::MAX_LIFETIME`] later.
    pub expires_at: UnixTime,
}

impl RelayOpen {
    /// Longest validity (SECURITY R10).
    pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);
    /// How far the two clocks may differ (SECURITY R21).
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

    /// Whether this request counts at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: UnixTime) -> bool {
        self.issued_at <= now.saturating_add(Self::MAX_CLOCK_SKEW) && now <= self.expires_at
    }
}

impl SignedObject for RelayOpen {
    const TAG: Tag = Tag::RelayOpen;
    const FIELDS: u16 = 7;

    fn write(&self, message: MessageWriter) -> MessageWriter {
        message
            .text(self.name.as_str())
            .bytes(self.key.as_bytes())
            .integer(self.generation)
            .bytes(self.relay.as_bytes())
            .bytes(self.exchange.as_bytes())
            .integer(self.issued_at.as_millis())
            .integer(self.expires_at.as_millis())
    }

    fn read(message: &mut MessageReader<'_>) -> Result<Self, DecodeError> {
        let open = Self {
            name: read_name(message, "name")?,
            key: read_key(message, "key")?,
            generation: message.integer("generation")?,
            relay: read_key(message, "relay")?,
            exchange: TransportKey::from_bytes(&message.array("exchange")?)
                .map_err(|_| DecodeError::Field("exchange"))?,
            issued_at: read_time(message, "issued_at")?,
            expires_at: read_time(message, "expires_at")?,
        };
        check_lifetime(open.issued_at, open.expires_at, Self::MAX_LIFETIME)?;
        Ok(open)
    }
}
