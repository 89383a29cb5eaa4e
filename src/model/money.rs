//! Money: pico-dollars (1e-12 USD) in an integer, written as an exact decimal number of dollars.

use serde::{Deserialize, Deserializer, Serializer};

const PLACES: usize = 12;

/// The shortest exact decimal text: `0.0042`, `12`, `-0.5`.
pub fn usd(pico: i64) -> String {
    let sign = if pico < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", pico.unsigned_abs(), width = PLACES + 1);
    let (dollars, fraction) = digits.split_at(digits.len() - PLACES);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{dollars}"),
        fraction => format!("{sign}{dollars}.{fraction}"),
    }
}

/// Reads what [`usd`] wrote; `None` for anything else.
pub fn parse_usd(text: &str) -> Option<i64> {
    let (dollars, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let digits = dollars.strip_prefix('-').unwrap_or(dollars);
    if digits.is_empty() || fraction.len() > PLACES || !is_plain(fraction) || !is_plain(digits) {
        return None;
    }
    format!("{dollars}{fraction:0<PLACES$}").parse().ok()
}

/// For `#[serde(with)]`: an optional amount as [`usd`] writes it.
pub mod serde_usd {
    use super::*;

    /// # Errors
    /// What the serializer says.
    pub fn serialize<S: Serializer>(pico: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        match pico {
            Some(pico) => serializer.serialize_some(&usd(*pico)),
            None => serializer.serialize_none(),
        }
    }

    /// # Errors
    /// If the text is no such amount.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| parse_usd(&text).ok_or_else(|| serde::de::Error::custom(format_args!("{text:?} is no amount"))))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_read_back() {
        for (pico, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (4_200_000_000, "0.0042"),
            (12_000_000_000_000, "12"),
            (-500_000_000_000, "-0.5"),
            (i64::MAX, "9223372.036854775807"),
            (i64::MIN, "-9223372.036854775808"),
        ] {
            assert_eq!(usd(pico), text);
            assert_eq!(parse_usd(text), Some(pico), "{text}");
        }
        for text in ["", "1e3", "0.0000000000001", "9223373", "--1", "1.-5", "+1"] {
            assert_eq!(parse_usd(text), None, "{text}");
        }
    }
}
