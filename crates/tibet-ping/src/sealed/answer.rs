//! The answer inside a tunnel.

use tibet_core::Zone;
use tibet_core::json::Object;

use super::{ANSWER, frame, read_payload, take};
use crate::codec::EncodeError;
use crate::compact::ExchangeId;
use crate::reject::Reject;
use crate::words::Decision;

/// What the verdict means, from bit 0 on: decision 2 bits, zone 2 bits, whether it is the last answer 1 bit. The others are zero.
const DECISION: u8 = 0b0000_0011;
const ZONE: u8 = 0b0000_1100;
const LAST: u8 = 0b0001_0000;

/// Trust is written in ten-thousandths, so that all of them fit two bytes and none is a float.
const WHOLE_TRUST: u16 = 10_000;

/// An answer as it travels inside a tunnel: kind 33.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedAnswer<'a> {
    /// The ping's.
    pub id: ExchangeId,
    /// What became of the ping. On the wire 1 accept, 2 pending, 3 reject.
    pub decision: Decision,
    /// The zone it was decided in. On the wire 1 GROEN, 2 GEEL, 3 ROOD.
    pub zone: Zone,
    /// How far the asker is trusted, in ten-thousandths: 0 to 10 000, big-endian.
    pub trust: u16,
    /// Whether no other answer follows. Only after `pending` one may.
    pub last: bool,
    /// What comes with it: a msgpack map that is not empty, or no bytes.
    pub payload_bytes: &'a [u8],
}

impl<'a> SealedAnswer<'a> {
    /// Trust as it is written: rounded to ten-thousandths; what is no number is no trust.
    #[must_use]
    pub fn trust_of(score: f64) -> u16 {
        // Casting saturates, and makes zero of what is no number.
        ((score * f64::from(WHOLE_TRUST)).round() as u16).min(WHOLE_TRUST)
    }

    /// Trust as a score, 0 to 1.
    #[must_use]
    pub fn score(&self) -> f64 {
        f64::from(self.trust) / f64::from(WHOLE_TRUST)
    }

    /// Reads the body of the frame.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Reject> {
        let (id, rest) = take(body)?;
        let ([verdict], rest) = take(rest)?;
        let (trust, payload_bytes) = take(rest)?;
        if verdict & !(DECISION | ZONE | LAST) != 0 {
            return Err(Reject::BadFlags);
        }
        let decision = match verdict & DECISION {
            1 => Decision::Accept,
            2 => Decision::Pending,
            3 => Decision::Reject,
            _ => return Err(Reject::BadEnum("decision")),
        };
        let zone = match (verdict & ZONE) >> ZONE.trailing_zeros() {
            1 => Zone::Groen,
            2 => Zone::Geel,
            3 => Zone::Rood,
            _ => return Err(Reject::BadEnum("zone")),
        };
        let last = verdict & LAST != 0;
        if !last && decision != Decision::Pending {
            return Err(Reject::BadEnum("last"));
        }
        let trust = u16::from_be_bytes(*trust);
        if trust > WHOLE_TRUST {
            return Err(Reject::BadMember("trust"));
        }
        Ok(Self { id: *id, decision, zone, trust, last, payload_bytes })
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`Reject`] for bytes that are not a msgpack map in its shortest form, and for an empty map.
    pub fn payload(&self) -> Result<Object, Reject> {
        read_payload(self.payload_bytes)
    }

    /// Writes the whole datagram.
    ///
    /// # Errors
    /// [`EncodeError::Member`] for trust above 10 000, for an answer other than `pending` that is not the last, and for a payload with which the frame would
    /// have more than [`MAX_SEALED`](crate::MAX_SEALED) bytes.
    pub fn write(&self) -> Result<Vec<u8>, EncodeError> {
        if self.trust > WHOLE_TRUST {
            return Err(EncodeError::Member("trust"));
        }
        if !self.last && self.decision != Decision::Pending {
            return Err(EncodeError::Member("last"));
        }
        let decision = match self.decision {
            Decision::Accept => 1,
            Decision::Pending => 2,
            Decision::Reject => 3,
        };
        let zone = match self.zone {
            Zone::Groen => 1,
            Zone::Geel => 2,
            Zone::Rood => 3,
        };
        let verdict = decision | zone << ZONE.trailing_zeros() | if self.last { LAST } else { 0 };
        let [a, b, c, d, e, f, g, h] = self.id;
        let [high, low] = self.trust.to_be_bytes();
        frame(ANSWER, &[a, b, c, d, e, f, g, h, verdict, high, low], self.payload_bytes)
    }
}
