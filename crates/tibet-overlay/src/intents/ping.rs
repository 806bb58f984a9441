//! A ping that a node passes on: what the asker and the device say to each other.
//!
//! It is a question and an answer of their own inside those to and from the node, signed by the asker and by the device. The node can drop them,
//! and neither make nor change them.

use jis::{Answer, AnswerOutcome, Capability, Name, PublicKey, Query, UnixTime};
use tibet_registry::Zone;

use super::Malformed;
use super::members::{Reader, time};
use super::{PING, parse_intent};

/// What a ping through a node asks of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingRequest {
    /// When it was asked. A device answers for [`PingRequest::MAX_AGE_S`] seconds.
    pub issued_at: UnixTime,
    /// What the device shall decide on, for example `ping`.
    pub intent: Capability,
    /// Why, in the asker's words; at most [`PingRequest::MAX_PURPOSE`] bytes.
    pub purpose: String,
}

/// What a device says to a ping. Whoever is in ROOD is told nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PongZone {
    /// Let in.
    Groen,
    /// A human decides.
    Geel,
}

impl PingRequest {
    /// How old a ping may be, in seconds; as for pings that come directly (SECURITY R21).
    pub const MAX_AGE_S: u64 = 30;
    /// Longest purpose, in bytes.
    pub const MAX_PURPOSE: usize = 256;

    /// The question to the device with the key `device`, from `source`. `id` is random.
    #[must_use]
    pub fn query(
        &self,
        id: [u8; 8],
        source: Name,
        key: PublicKey,
        generation: u64,
        device: PublicKey,
    ) -> Query {
        let purpose: String = self.purpose.chars().filter(|c| !c.is_control()).collect();
        let end = purpose.floor_char_boundary(Self::MAX_PURPOSE);
        let intent = self.intent.as_str().as_bytes().to_vec();
        Query {
            id,
            cookie: [0; 16],
            source,
            key,
            generation,
            responder: device,
            method: parse_intent(PING),
            arguments: vec![time(self.issued_at), intent, purpose[..end].into()],
        }
    }

    /// Reads what a question asks.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(query: &Query) -> Result<Self, Malformed> {
        if query.method.as_str() != PING || query.cookie != [0; 16] {
            return Err(Malformed("ping"));
        }
        let mut reader = Reader::new(&query.arguments);
        let issued_at = reader.time("issued_at")?;
        let intent = reader.parsed("intent")?;
        let purpose: String = reader.parsed("purpose")?;
        reader.finish()?;
        if purpose.len() > Self::MAX_PURPOSE || purpose.chars().any(char::is_control) {
            return Err(Malformed("purpose"));
        }
        Ok(Self { issued_at, intent, purpose })
    }
}

impl PongZone {
    /// What to answer to whom stands in `zone`; `None` for silence (SECURITY R20).
    #[must_use]
    pub const fn of(zone: Zone) -> Option<Self> {
        match zone {
            Zone::Groen => Some(Self::Groen),
            Zone::Geel => Some(Self::Geel),
            Zone::Rood => None,
        }
    }

    /// The zone.
    #[must_use]
    pub const fn zone(self) -> Zone {
        match self {
            Self::Groen => Zone::Groen,
            Self::Geel => Zone::Geel,
        }
    }

    /// The answer of the device with this key to the question whose M has this hash.
    #[must_use]
    pub fn answer(self, request: [u8; 32], key: PublicKey) -> Answer {
        let outcome = match self {
            Self::Groen => AnswerOutcome::Yes,
            Self::Geel => AnswerOutcome::Pending,
        };
        Answer { request, key, outcome, values: Vec::new() }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// [`Malformed`] for one that no device gives.
    pub fn read(answer: &Answer) -> Result<Self, Malformed> {
        match (answer.outcome, &answer.values[..]) {
            (AnswerOutcome::Yes, []) => Ok(Self::Groen),
            (AnswerOutcome::Pending, []) => Ok(Self::Geel),
            _ => Err(Malformed("pong")),
        }
    }
}
