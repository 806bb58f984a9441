//! Timestamps as packets carry them: ISO 8601 text.
//!
//! What is read is what the Python packages write and the plain forms beside it; their parser's slack is refused (`docs/spec/frame.md`).

use jis::UnixTime;
use tibet_core::Micros;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// An instant in microseconds since 1970-01-01T00:00:00Z, negative before; between the years 1 and 9999, so sums and differences
/// of two cannot overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Microseconds since the epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads a date, or a date and a time, at most 64 bytes: `YYYY-MM-DD` or `YYYYMMDD`; `T` or a blank; `HH`, `HH:MM`, `HH:MM:SS` or the
    /// same without colons; after seconds a fraction of any number of digits, of which six count; `Z`, `±HH:MM`, `±HHMM` or `±HH`. Without
    /// offset it is UTC. `None` for everything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 64 || !text.is_ascii() {
            return None;
        }
        let (days, rest) = parse_date(text.as_bytes())?;
        let micros = match rest {
            [] => 0,
            [b'T' | b' ', time @ ..] => parse_time(time)?,
            _ => return None,
        };
        Some(Self(days * SECONDS_PER_DAY * MICROS_PER_SECOND + micros))
    }
}

impl From<UnixTime> for Timestamp {
    fn from(time: UnixTime) -> Self {
        // At most the year 9999, which is far below 2^63 microseconds.
        Self(i64::try_from(Micros::from(time).as_micros()).unwrap_or(i64::MAX))
    }
}

/// Spells a time as the Python packages do: UTC, `YYYY-MM-DDTHH:MM:SS.ffffff+00:00`, the fraction left out when it is zero.
#[must_use]
pub fn write(time: UnixTime) -> String {
    let micros = Micros::from(time);
    let text = micros.to_string();
    if micros.as_micros() % MICROS_PER_SECOND.unsigned_abs() == 0 {
        text.replace(".000000", "")
    } else {
        text
    }
}

/// Days since the epoch, and what follows the date.
fn parse_date(text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, rest) = number(text, 4)?;
    let (month, day, rest) = if let [b'-', rest @ ..] = rest {
        let (month, rest) = number(rest, 2)?;
        let rest = rest.strip_prefix(b"-")?;
        let (day, rest) = number(rest, 2)?;
        (month, day, rest)
    } else {
        let (month, rest) = number(rest, 2)?;
        let (day, rest) = number(rest, 2)?;
        (month, day, rest)
    };
    let valid = year >= 1 && (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    valid.then(|| (days_since_epoch(year, month, day), rest))
}

/// Microseconds since midnight UTC; negative or beyond a day where the offset makes it so.
fn parse_time(text: &[u8]) -> Option<i64> {
    let (hour, rest) = number(text, 2)?;
    let (minute, second, rest) = match rest {
        [b':', rest @ ..] => {
            let (minute, rest) = number(rest, 2)?;
            match rest {
                [b':', rest @ ..] => {
                    let (second, rest) = number(rest, 2)?;
                    let (fraction, rest) = fraction(rest)?;
                    (minute, second * MICROS_PER_SECOND + fraction, rest)
                }
                _ => (minute, 0, rest),
            }
        }
        [b'0'..=b'9', ..] => {
            let (minute, rest) = number(rest, 2)?;
            match rest {
                [b'0'..=b'9', ..] => {
                    let (second, rest) = number(rest, 2)?;
                    let (fraction, rest) = fraction(rest)?;
                    (minute, second * MICROS_PER_SECOND + fraction, rest)
                }
                _ => (minute, 0, rest),
            }
        }
        _ => (0, 0, rest),
    };
    if hour > 23 || minute > 59 || second >= 60 * MICROS_PER_SECOND {
        return None;
    }
    let offset = parse_offset(rest)?;
    Some((hour * 3600 + minute * 60 - offset) * MICROS_PER_SECOND + second)
}

/// Seconds east of UTC.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text {
        [] | [b'Z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hour, rest) = number(rest, 2)?;
    let minute = match rest {
        [] => 0,
        [b':', rest @ ..] | rest => match number(rest, 2)? {
            (minute, []) => minute,
            _ => return None,
        },
    };
    (hour <= 23 && minute <= 59).then_some(sign * (hour * 3600 + minute * 60))
}

/// `.` or `,` and digits, as microseconds; zero when there is none.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', rest @ ..] = text else { return Some((0, text)) };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let (digits, rest) = rest.split_at(digits);
    let micros = (0..6).fold(0, |sum, at| sum * 10 + digits.get(at).map_or(0, |b| i64::from(b - b'0')));
    Some((micros, rest))
}

/// Exactly `digits` ASCII digits.
fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    let valid = number.iter().all(u8::is_ascii_digit);
    valid.then(|| (number.iter().fold(0, |sum, b| sum * 10 + i64::from(b - b'0')), rest))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar from 1970-01-01.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    // 719 162 days lie between 0001-01-01 and 1970-01-01.
    before * 365 + leap_days + months + day - 1 - 719_162
}
