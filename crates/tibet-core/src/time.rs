//! The time of an event.

use std::fmt;

use jiff::civil::{DateTime, date};
use jiff::{SignedDuration, Timestamp};
use jis::UnixTime;

/// Midnight, 1 January 1970 UTC.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted: the resolution of token ids and timestamps.
///
/// At most [`Micros::MAX`], because a year of five digits would break the rule that the order of timestamp texts is the order
/// of times.
///
/// Shown as the timestamp of a token, `2026-01-02T03:04:05.000001+00:00`: UTC, always six digits, 32 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(u64);

impl Micros {
    /// The last microsecond of the year 9999.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// Takes microseconds since the epoch; `None` beyond [`Micros::MAX`].
    #[must_use]
    pub const fn from_micros(micros: u64) -> Option<Self> {
        if micros <= Self::MAX.0 { Some(Self(micros)) } else { None }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Date and time of day in UTC.
    pub(crate) fn civil(self) -> DateTime {
        // Cannot saturate: MAX is inside jiff's range. The conversion cannot either: MAX is below 2^63.
        EPOCH.saturating_add(SignedDuration::from_micros(i64::try_from(self.0).unwrap_or(i64::MAX)))
    }
}

/// Times after [`Micros::MAX`] become [`Micros::MAX`].
impl From<UnixTime> for Micros {
    fn from(time: UnixTime) -> Self {
        Self::from_micros(time.as_millis().saturating_mul(1000)).unwrap_or(Self::MAX)
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(*self))
    }
}

/// The timestamp of a token.
pub(crate) fn text(time: Micros) -> String {
    let mut out = naive_text(time);
    out.push_str("+00:00");
    out
}

/// The timestamp as Python writes it, without the offset that says which time zone it is in.
pub(crate) fn naive_text(time: Micros) -> String {
    let Parts { date, time_of_day, micros } = Parts::of(time);
    let [year, month, day] = date;
    let [hour, minute, second] = time_of_day;
    let mut out = String::with_capacity("2026-01-02T03:04:05.000001+00:00".len());
    push_digits(&mut out, year, 4);
    for (mark, number) in [('-', month), ('-', day), ('T', hour), (':', minute), (':', second)] {
        out.push(mark);
        push_digits(&mut out, number, 2);
    }
    out.push('.');
    push_digits(&mut out, micros, 6);
    out
}

/// The id of the token made at `time` with these random bytes: `tibet_` + `YYYYMMDDhhmmss` + six digits of microseconds + `_` + 8 hex digits.
#[must_use]
pub fn token_id(time: Micros, random: [u8; 4]) -> String {
    let Parts { date, time_of_day, micros } = Parts::of(time);
    let [year, month, day] = date;
    let mut out = String::with_capacity("tibet_20260102030405000001_00000001".len());
    out.push_str("tibet_");
    push_digits(&mut out, year, 4);
    for number in [month, day].into_iter().chain(time_of_day) {
        push_digits(&mut out, number, 2);
    }
    push_digits(&mut out, micros, 6);
    out.push('_');
    out.push_str(&jis::hex::encode(&random));
    out
}

/// A time taken apart for its texts, which are written for every event: `format!` takes several times as long.
struct Parts {
    date: [u64; 3],
    time_of_day: [u64; 3],
    micros: u64,
}

impl Parts {
    fn of(time: Micros) -> Self {
        // None of these is negative: times begin in 1970.
        let number = |n: i16| u64::from(n.unsigned_abs());
        let t = time.civil();
        Self {
            date: [number(t.year()), number(t.month().into()), number(t.day().into())],
            time_of_day: [number(t.hour().into()), number(t.minute().into()), number(t.second().into())],
            micros: time.0 % 1_000_000,
        }
    }
}

/// Appends `number` in `width` digits.
fn push_digits(out: &mut String, number: u64, width: u32) {
    for place in (0..width).rev() {
        let digit = number / 10_u64.pow(place) % 10;
        // One digit always is a character.
        out.push(char::from_digit(u32::try_from(digit).unwrap_or(0), 10).unwrap_or('0'));
    }
}

/// The instant a timestamp names, in microseconds since the epoch (negative before it).
///
/// A text with an offset is RFC 3339. One without is what the Python package writes: local time of an unknown zone, read
/// here as UTC because that is the only reading two machines agree on.
pub(crate) fn instant(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let civil: DateTime = text.parse().ok()?;
    i64::try_from(civil.duration_since(EPOCH).as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_first_and_the_last_moment() {
        assert_eq!(Micros::from_micros(0).unwrap().to_string(), "1970-01-01T00:00:00.000000+00:00");
        assert_eq!(Micros::MAX.to_string(), "9999-12-31T23:59:59.999999+00:00");
        assert_eq!(Micros::from_micros(Micros::MAX.as_micros() + 1), None);
    }

    #[test]
    fn far_unix_times_saturate() {
        assert_eq!(Micros::from(UnixTime::MAX), Micros::MAX);
        let time = UnixTime::from_millis(1_767_323_045_678).unwrap();
        assert_eq!(Micros::from(time).to_string(), "2026-01-02T03:04:05.678000+00:00");
    }

    #[test]
    fn a_text_without_offset_is_utc() {
        let with = instant("2026-01-02T03:04:05.000001+00:00");
        assert_eq!(with, Some(1_767_323_045_000_001));
        assert_eq!(instant("2026-01-02T03:04:05.000001"), with);
        assert_eq!(instant("2026-01-02T04:04:05.000001+01:00"), with);
        assert_eq!(instant("2026-01-02T03:04:05.000001Z"), with);
        assert_eq!(instant("2026-01-02"), Some(1_767_312_000_000_000));
        assert_eq!(instant("1969-12-31T23:59:59"), Some(-1_000_000));
        assert_eq!(instant("yesterday"), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for micros in [0, 1, 999_999, 1_767_323_045_000_001] {
            let time = Micros::from_micros(micros).unwrap();
            assert_eq!(instant(&time.to_string()), i64::try_from(micros).ok());
        }
    }
}
