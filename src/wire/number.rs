//! Numbers read from their decimal text, exactly: identifiers, nanoseconds and money never pass through a float.

use crate::model::time::UnixNanos;

/// `±digits × 10^exponent`. Of more than 38 significant digits the first 38 are held, and that others follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    digits: u128,
    exponent: i64,
    /// A digit other than 0 stood behind those that are held.
    more: bool,
}

/// The unit of a number that tells a time or a duration; its name stands in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

/// One US dollar is this power of ten of the unit in which money is kept.
const PICO: i64 = 12;

impl Unit {
    /// How many powers of ten above a nanosecond it is.
    fn power(self) -> i64 {
        match self {
            Unit::Seconds => 9,
            Unit::Millis => 6,
            Unit::Micros => 3,
            Unit::Nanos => 0,
        }
    }
}

impl Decimal {
    /// Reads an optional minus, digits, an optional fraction and an optional exponent, and nothing else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            None => (text, 0),
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            None => (mantissa, ""),
            Some((_, "")) => return None,
            Some(parts) => parts,
        };
        if whole.is_empty() {
            return None;
        }
        let mut number = Self { negative, digits: 0, exponent, more: false };
        for (text, is_fraction) in [(whole, false), (fraction, true)] {
            for byte in text.bytes() {
                number.push(byte, is_fraction)?;
            }
        }
        Some(number)
    }

    fn push(&mut self, byte: u8, is_fraction: bool) -> Option<()> {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        if self.digits < 10u128.pow(37) {
            self.digits = self.digits * 10 + u128::from(digit);
            self.exponent = self.exponent.saturating_sub(i64::from(is_fraction));
        } else {
            self.more |= digit != 0;
            self.exponent = self.exponent.saturating_add(i64::from(!is_fraction));
        }
        Some(())
    }

    /// This number times 10^`power` as an integer, rounded half to even, and whether nothing was lost. `None` beyond
    /// about 10^38.
    fn scaled(&self, power: i64) -> Option<(i128, bool)> {
        let shift = self.exponent.saturating_add(power);
        let (magnitude, exact) = if self.digits == 0 {
            (0, !self.more)
        } else if shift >= 0 {
            let factor = 10u128.checked_pow(u32::try_from(shift).ok()?)?;
            (self.digits.checked_mul(factor)?, !self.more)
        } else {
            match u32::try_from(shift.unsigned_abs()).ok().and_then(|places| 10u128.checked_pow(places)) {
                None => (0, false),
                Some(divisor) => {
                    let (quotient, rest) = (self.digits / divisor, self.digits % divisor);
                    let half = (rest * 2).cmp(&divisor).then(self.more.cmp(&false));
                    let up = half.is_gt() || half.is_eq() && quotient % 2 == 1;
                    (quotient + u128::from(up), rest == 0 && !self.more)
                }
            }
        };
        let magnitude = i128::try_from(magnitude).ok()?;
        Some((if self.negative { -magnitude } else { magnitude }, exact))
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse().unwrap_or(i64::from(i32::MAX));
    Some(if negative { -size } else { size })
}

const NOT_A_NUMBER: &str = "is not a number";

/// A whole number: `12`, `12.0` and `1.2e1` are, `12.5` is not.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub(super) fn integer(text: &str) -> Result<i64, &'static str> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    match Decimal::parse(text).ok_or(NOT_A_NUMBER)?.scaled(0) {
        Some((_, false)) => Err("is not a whole number"),
        Some((number, true)) => i64::try_from(number).map_err(|_| "does not fit into 64 bits"),
        None => Err("does not fit into 64 bits"),
    }
}

/// As [`integer`], of any size up to 38 digits; `None` for what is no whole number.
pub(super) fn wide_integer(text: &str) -> Option<i128> {
    text.parse().ok().or_else(|| Decimal::parse(text)?.scaled(0).filter(|(_, exact)| *exact).map(|(number, _)| number))
}

/// US dollars as pico-dollars; what is finer (the noise of a sender's floats) is rounded half to even.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub(super) fn pico_dollars(text: &str) -> Result<i64, &'static str> {
    const TOO_MUCH: &str = "is more than 9223372 USD, which is the most that a span can cost";
    let (pico, _) = Decimal::parse(text).ok_or(NOT_A_NUMBER)?.scaled(PICO).ok_or(TOO_MUCH)?;
    if pico < 0 {
        return Err("is negative");
    }
    i64::try_from(pico).map_err(|_| TOO_MUCH)
}

/// An instant, told as a count of `unit` since 1970; what is finer than a nanosecond is rounded.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub(super) fn instant(text: &str, unit: Unit) -> Result<UnixNanos, &'static str> {
    const RANGE: &str = "is outside the range that is kept, 1970-01-01 to 2554-07-21";
    let (nanos, _) = Decimal::parse(text).ok_or(NOT_A_NUMBER)?.scaled(unit.power()).ok_or(RANGE)?;
    u64::try_from(nanos).map(UnixNanos::new).map_err(|_| RANGE)
}

/// A length of time in nanoseconds; negative ones are kept.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub(super) fn duration_ns(text: &str, unit: Unit) -> Result<i64, &'static str> {
    const RANGE: &str = "is longer than 292 years";
    let (nanos, _) = Decimal::parse(text).ok_or(NOT_A_NUMBER)?.scaled(unit.power()).ok_or(RANGE)?;
    i64::try_from(nanos).map_err(|_| RANGE)
}

/// `number` divided by 10^`places`, as the shortest decimal text that is exact.
pub(super) fn decimal_text(number: i64, places: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_exact_and_others_say_why_not() {
        for (text, number) in [
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("12.0", 12),
            ("1.2e1", 12),
            ("1200e-2", 12),
            ("-0", 0),
            ("007", 7),
            ("0e99999999999999999999", 0),
        ] {
            assert_eq!(integer(text), Ok(number), "{text}");
        }
        for text in
            ["9223372036854775808", "1e400", "1e18446744073709551616", "340282366920938463463374607431768211456"]
        {
            assert_eq!(integer(text), Err("does not fit into 64 bits"), "{text}");
        }
        for text in ["12.5", "1e-1", "1e-9999999999999999999", "1.00000000000000000000000000000000000000000001"] {
            assert_eq!(integer(text), Err("is not a whole number"), "{text}");
        }
        for text in ["", "-", "1.", ".5", "0x10", "1 ", "1e", "1e+", "NaN", "Infinity", "１", "1.5.5", "1e5e5"] {
            assert_eq!(integer(text), Err("is not a number"), "{text}");
        }
    }

    #[test]
    fn money_is_exact_to_the_pico_dollar() {
        for (text, pico) in [
            ("0.0042", 4_200_000_000),
            ("1.5e-7", 150_000),
            ("0.30000000000000004", 300_000_000_000),
            ("0.0000000000005", 0),
            ("0.0000000000015", 2),
            ("0.00000000000050000001", 1),
            ("9223372.036854775807", i64::MAX),
        ] {
            assert_eq!(pico_dollars(text), Ok(pico), "{text}");
            assert_eq!(pico_dollars(&decimal_text(pico, 12)), Ok(pico));
        }
        assert!(pico_dollars("9223372.036854775808").unwrap_err().contains("more than"));
        assert!(pico_dollars("1e300").unwrap_err().contains("more than"));
        assert_eq!(pico_dollars("-0.1"), Err("is negative"));
    }

    #[test]
    fn times_are_read_in_their_unit() {
        for (text, unit, nanos) in [
            ("1767607200.123456789", Unit::Seconds, 1_767_607_200_123_456_789),
            ("1767607200123", Unit::Millis, 1_767_607_200_123_000_000),
            ("1767607200123456.7", Unit::Micros, 1_767_607_200_123_456_700),
            ("18446744073709551615", Unit::Nanos, u64::MAX),
        ] {
            assert_eq!(instant(text, unit), Ok(UnixNanos::new(nanos)), "{text}");
        }
        assert!(instant("18446744073709551616", Unit::Nanos).is_err());
        assert!(instant("-1", Unit::Seconds).is_err());
        assert_eq!(duration_ns("-1.5", Unit::Micros), Ok(-1_500));
        assert!(duration_ns("9223372037", Unit::Seconds).is_err());
    }

    #[test]
    fn decimal_texts_are_short_and_exact() {
        for (number, places, text) in [(0, 6, "0"), (1, 6, "0.000001"), (-1_500_000, 6, "-1.5"), (12_000_000, 6, "12")]
        {
            assert_eq!(decimal_text(number, places), text);
        }
        assert_eq!(decimal_text(i64::MIN, 6), "-9223372036854.775808");
    }
}
