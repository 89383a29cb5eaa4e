//! Instants: lossless Unix nanoseconds, and their RFC 3339 spelling.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nanoseconds since 1970-01-01T00:00:00 UTC, leap seconds not counted: 1970 to 2554-07-21, the range of OTLP's
/// `fixed64` times. Written as RFC 3339 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UnixNanos(u64);

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    #[error("is not an RFC 3339 time such as 2026-01-05T10:00:00.123Z")]
    Spelling,
    #[error("is outside the range that is kept, 1970-01-01 to 2554-07-21")]
    Range,
}

/// Nanoseconds in a day.
pub const DAY_NS: u64 = 86_400 * 1_000_000_000;

impl UnixNanos {
    pub const MAX: Self = Self(u64::MAX);

    pub const fn new(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Reads RFC 3339, with up to nine fractional digits (further ones are cut) and any offset. As Python's
    /// `isoformat()` and SQL print them, a space may stand for the `T`, and a time without an offset is UTC.
    ///
    /// # Errors
    /// [`TimeError::Spelling`], or [`TimeError::Range`] before 1970 and after 2554.
    pub fn parse_rfc3339(text: &str) -> Result<Self, TimeError> {
        let timestamp = match text.parse::<jiff::Timestamp>() {
            Ok(timestamp) => timestamp,
            Err(_) => text
                .parse::<jiff::civil::DateTime>()
                .ok()
                .filter(|_| text.contains(':'))
                .and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC).ok())
                .ok_or(TimeError::Spelling)?
                .timestamp(),
        };
        u64::try_from(timestamp.as_nanosecond()).map(Self).map_err(|_| TimeError::Range)
    }

    /// Whether `text` is the zero time of Go (`0001-01-01T00:00:00Z`) in any offset-free spelling: its programs send it
    /// for "not set".
    pub fn is_go_zero(text: &str) -> bool {
        matches!(text, "0001-01-01T00:00:00Z" | "0001-01-01T00:00:00" | "0001-01-01 00:00:00")
    }

    /// Days since 1970-01-01 (UTC): the day whose table or partition holds this instant.
    pub const fn day(self) -> u32 {
        (self.0 / DAY_NS) as u32
    }

    /// The first instant of a day counted from 1970-01-01.
    pub const fn of_day(day: u32) -> Self {
        Self(day as u64 * DAY_NS)
    }

    /// The day (UTC) as `2026-01-05`.
    pub fn date(self) -> String {
        let text = self.to_string();
        text.split('T').next().unwrap_or_default().to_owned()
    }

    /// `self - earlier` in nanoseconds; negative if `self` is before it, held at the ends of i64.
    pub fn since(self, earlier: Self) -> i64 {
        saturate(i128::from(self.0) - i128::from(earlier.0))
    }

    /// This instant moved by `ns` nanoseconds, held within the range.
    pub fn plus(self, ns: i64) -> Self {
        Self(self.0.saturating_add_signed(ns))
    }
}

fn saturate(ns: i128) -> i64 {
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// RFC 3339 in UTC with 0, 3, 6 or 9 fractional digits, the fewest that lose nothing.
impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = jiff::Timestamp::from_nanosecond(i128::from(self.0)).map_err(|_| fmt::Error)?;
        let digits = match self.0 {
            ns if ns % 1_000_000_000 == 0 => 0,
            ns if ns % 1_000_000 == 0 => 3,
            ns if ns % 1_000 == 0 => 6,
            _ => 9,
        };
        write!(f, "{timestamp:.digits$}")
    }
}

impl fmt::Debug for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for UnixNanos {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixNanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).map_err(|error| serde::de::Error::custom(format_args!("{text:?} {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_read_to_the_nanosecond_and_printed_as_short_as_it_is() {
        for (text, nanos, printed) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2026-01-05T10:00:00.123456789Z", 1_767_607_200_123_456_789, "2026-01-05T10:00:00.123456789Z"),
            ("2026-01-05T11:00:00.5+01:00", 1_767_607_200_500_000_000, "2026-01-05T10:00:00.500Z"),
            ("2026-01-05 10:00:00.000001", 1_767_607_200_000_001_000, "2026-01-05T10:00:00.000001Z"),
            ("2026-01-05T10:00:00", 1_767_607_200_000_000_000, "2026-01-05T10:00:00Z"),
        ] {
            let at = UnixNanos::parse_rfc3339(text).unwrap_or_else(|error| panic!("{text} {error}"));
            assert_eq!(at.as_u64(), nanos, "{text}");
            assert_eq!(at.to_string(), printed);
        }
        assert_eq!(UnixNanos::MAX.to_string(), "2554-07-21T23:34:33.709551615Z");
        assert_eq!(UnixNanos::parse_rfc3339("2554-07-21T23:34:33.709551615Z"), Ok(UnixNanos::MAX));
    }

    #[test]
    fn what_is_no_time_or_out_of_range_says_so() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-05", "1767607200"] {
            assert_eq!(UnixNanos::parse_rfc3339(text), Err(TimeError::Spelling), "{text}");
        }
        for text in ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z"] {
            let error = UnixNanos::parse_rfc3339(text).unwrap_err();
            assert!(matches!(error, TimeError::Range | TimeError::Spelling), "{text}: {error}");
        }
    }

    #[test]
    fn arithmetic_stays_in_range() {
        assert_eq!(UnixNanos::MAX.since(UnixNanos::default()), i64::MAX);
        assert_eq!(UnixNanos::default().since(UnixNanos::MAX), i64::MIN);
        assert_eq!(UnixNanos::default().plus(-1), UnixNanos::default());
        assert_eq!(UnixNanos::MAX.plus(1), UnixNanos::MAX);
    }
}
