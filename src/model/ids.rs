//! Identifiers of traces and spans: every accepted spelling in, one canonical spelling out.
//!
//! Owns parsing and printing. The rule that a 16-digit parent may name half of a 128-bit span id belongs to
//! [`crate::analysis::tree`], which sees the whole trace.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A trace id: 128 bits, never all zero.
///
/// Accepted spellings, in either case: 32 hex digits (OpenTelemetry, W3C), a UUID with dashes, and 16 hex digits
/// (64-bit ids of older tracers; the high half is zero). Printed as 32 lower-case hex digits.
/// Source: <https://www.w3.org/TR/trace-context/#trace-id>.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// A span id: 64 bits (OpenTelemetry) or 128 bits (a UUID), never all zero.
///
/// Accepted spellings, in either case: 1 to 16 hex digits (shorter ones are padded on the left, as Zipkin does), 32 hex
/// digits, and a UUID with dashes. A 128-bit id whose high half is zero *is* the 64-bit id. Printed as 16 or 32
/// lower-case hex digits. Ordered as its bytes are, which is how both stores order it.
#[derive(Clone, Copy)]
pub struct SpanId {
    bytes: [u8; 16],
    long: bool,
}

/// Why a text is not an id. The message names what was found and what is accepted; it never repeats the input at length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("is empty")]
    Empty,
    #[error("has {found} characters; accepted are {accepted}")]
    Length { found: usize, accepted: &'static str },
    #[error("has {character:?} at position {position}, which is not a hex digit")]
    Alphabet { character: char, position: usize },
    #[error("is all zero, which the W3C trace context reserves for \"no id\"")]
    Zero,
    #[error("has {found} bytes; accepted are {accepted}")]
    Bytes { found: usize, accepted: &'static str },
}

const TRACE_ID_SPELLINGS: &str = "32 hex digits, a UUID, or 16 hex digits";
const SPAN_ID_SPELLINGS: &str = "16 hex digits (1 to 15 are padded on the left), a UUID, or 32 hex digits";

impl TraceId {
    /// Reads any accepted spelling.
    ///
    /// # Errors
    /// [`IdError`] for another length, a character that is not a hex digit, or an all-zero id.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0u8; 16];
        match text.len() {
            0 => return Err(IdError::Empty),
            32 => hex_into(text, &mut bytes)?,
            16 => hex_into(text, &mut bytes[8..])?,
            36 if is_dashed(text) => uuid_into(text, &mut bytes)?,
            _ => return Err(wrong_length(text, TRACE_ID_SPELLINGS)),
        }
        Self::from_bytes(bytes)
    }

    /// From its 16 bytes.
    ///
    /// # Errors
    /// [`IdError::Zero`] if all are zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
        if bytes == [0; 16] { Err(IdError::Zero) } else { Ok(Self(bytes)) }
    }

    /// From a byte string as a store or a protobuf message holds it.
    ///
    /// # Errors
    /// [`IdError::Bytes`] unless there are exactly 16, [`IdError::Zero`] if all are zero.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        let bytes = bytes.try_into().map_err(|_| IdError::Bytes { found: bytes.len(), accepted: "16" })?;
        Self::from_bytes(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl SpanId {
    /// Reads any accepted spelling.
    ///
    /// # Errors
    /// [`IdError`] for another length, a character that is not a hex digit, or an all-zero id.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0u8; 16];
        match text.len() {
            0 => return Err(IdError::Empty),
            16 => hex_into(text, &mut bytes[8..])?,
            1..=15 => {
                if let Some(position) = text.bytes().position(|byte| hex_digit(byte).is_none()) {
                    return Err(not_hex(text, position));
                }
                let number = u64::from_str_radix(text, 16).map_err(|_| wrong_length(text, SPAN_ID_SPELLINGS))?;
                bytes[8..].copy_from_slice(&number.to_be_bytes());
            }
            32 => hex_into(text, &mut bytes)?,
            36 if is_dashed(text) => uuid_into(text, &mut bytes)?,
            _ => return Err(wrong_length(text, SPAN_ID_SPELLINGS)),
        }
        Self::from_u128(u128::from_be_bytes(bytes))
    }

    /// From its number; anything below 2^64 is a 64-bit id.
    ///
    /// # Errors
    /// [`IdError::Zero`] for 0.
    pub fn from_u128(number: u128) -> Result<Self, IdError> {
        if number == 0 {
            return Err(IdError::Zero);
        }
        Ok(Self { bytes: number.to_be_bytes(), long: number > u128::from(u64::MAX) })
    }

    /// From a byte string of 8 or 16 bytes as a store or a protobuf message holds it.
    ///
    /// # Errors
    /// [`IdError::Bytes`] for another length, [`IdError::Zero`] if all are zero.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
        let mut wide = [0u8; 16];
        match bytes.len() {
            8 => wide[8..].copy_from_slice(bytes),
            16 => wide.copy_from_slice(bytes),
            found => return Err(IdError::Bytes { found, accepted: "8 or 16" }),
        }
        Self::from_u128(u128::from_be_bytes(wide))
    }

    /// Its 8 or 16 bytes, as stored.
    pub fn as_bytes(&self) -> &[u8] {
        if self.long { &self.bytes } else { &self.bytes[8..] }
    }

    /// Whether this is a 128-bit id, as Beacon's UUIDs are.
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// The id of the server's half of a span that client and server share, as Zipkin's tracers do: each reports a span of
    /// its own by one id. It has that id as its low half; the high half is the same for all. A 128-bit id shares nothing.
    pub fn server_half(self) -> Self {
        if self.long {
            return self;
        }
        let mut bytes = self.bytes;
        bytes[..8].copy_from_slice(&SERVER_HALF);
        Self { bytes, long: true }
    }

    /// The id that a server's half shares with its client; `None` for every other id.
    pub fn shared_id(&self) -> Option<Self> {
        let mut bytes = self.bytes;
        if !bytes.starts_with(&SERVER_HALF) {
            return None;
        }
        bytes[..8].fill(0);
        Self::from_u128(u128::from_be_bytes(bytes)).ok()
    }

    /// The two 64-bit halves of a 128-bit id, each as the 64-bit id a tracer would print for it; a zero half is `None`.
    /// A 64-bit id has only its low half.
    pub fn halves(&self) -> [Option<SpanId>; 2] {
        let number = u128::from_be_bytes(self.bytes);
        [Self::from_u128(number >> 64).ok(), Self::from_u128(number & u128::from(u64::MAX)).ok()]
    }
}

/// The high half of [`SpanId::server_half`]: no random UUID, whose version and variant stand elsewhere, looks like it.
const SERVER_HALF: [u8; 8] = *b"zipkin/s";

fn wrong_length(text: &str, accepted: &'static str) -> IdError {
    IdError::Length { found: text.chars().count(), accepted }
}

fn is_dashed(text: &str) -> bool {
    let bytes = text.as_bytes();
    [8, 13, 18, 23].iter().all(|&at| bytes[at] == b'-')
}

fn uuid_into(text: &str, into: &mut [u8; 16]) -> Result<(), IdError> {
    let mut digits = [0u8; 32];
    let mut count = 0;
    for (position, byte) in text.bytes().enumerate() {
        if matches!(position, 8 | 13 | 18 | 23) {
            continue;
        }
        if !byte.is_ascii_hexdigit() {
            return Err(not_hex(text, position));
        }
        digits[count] = byte;
        count += 1;
    }
    hex_bytes_into(&digits, into).map_err(|position| not_hex(text, position))
}

fn hex_into(text: &str, into: &mut [u8]) -> Result<(), IdError> {
    hex_bytes_into(text.as_bytes(), into).map_err(|position| not_hex(text, position))
}

/// Decodes as many digit pairs as `into` holds; `Err` is the index of the first byte that is no digit.
fn hex_bytes_into(digits: &[u8], into: &mut [u8]) -> Result<(), usize> {
    for (index, byte) in into.iter_mut().enumerate() {
        let high = hex_digit(digits[2 * index]).ok_or(2 * index)?;
        let low = hex_digit(digits[2 * index + 1]).ok_or(2 * index + 1)?;
        *byte = high << 4 | low;
    }
    Ok(())
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn not_hex(text: &str, byte_position: usize) -> IdError {
    let position = text.char_indices().take_while(|(at, _)| *at <= byte_position).count().saturating_sub(1);
    let character = text.chars().nth(position).unwrap_or('?');
    IdError::Alphabet { character, position }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 32];
    for (index, byte) in bytes.iter().enumerate() {
        text[2 * index] = DIGITS[usize::from(byte >> 4)];
        text[2 * index + 1] = DIGITS[usize::from(byte & 15)];
    }
    f.pad(std::str::from_utf8(&text[..2 * bytes.len()]).unwrap_or_default())
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.as_bytes(), f)
    }
}

impl PartialEq for SpanId {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for SpanId {}

impl std::hash::Hash for SpanId {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl Ord for SpanId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for SpanId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

macro_rules! text_form {
    ($id:ident) => {
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($id), "({})"), self)
            }
        }

        impl std::str::FromStr for $id {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_form!(TraceId);
text_form!(SpanId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_trace_id_is_the_same_id() {
        let canonical = "7f3c0a1b2c3d4e5f60718293a4b5c6d7";
        let id = TraceId::parse(canonical).unwrap();
        assert_eq!(TraceId::parse("7F3C0A1B2C3D4E5F60718293A4B5C6D7").unwrap(), id);
        assert_eq!(TraceId::parse("7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7").unwrap(), id);
        assert_eq!(id.to_string(), canonical);
        assert_eq!(
            TraceId::parse("60718293a4b5c6d7").unwrap(),
            TraceId::parse("000000000000000060718293A4B5C6D7").unwrap()
        );
    }

    #[test]
    fn every_spelling_of_a_span_id_is_the_same_id() {
        assert_eq!(SpanId::parse("1").unwrap().to_string(), "0000000000000001");
        assert_eq!(SpanId::parse("aBc").unwrap(), SpanId::parse("0000000000000abc").unwrap());
        let long = SpanId::parse("7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7").unwrap();
        assert!(long.is_long());
        assert_eq!(long.to_string(), "7f3c0a1b2c3d4e5f60718293a4b5c6d7");
        assert_eq!(long, SpanId::parse(&long.to_string()).unwrap());
        assert_eq!(long.halves()[1], Some(SpanId::parse("60718293a4b5c6d7").unwrap()));
        let zero_high = SpanId::parse("0000000000000000a000000000000001").unwrap();
        assert_eq!(zero_high, SpanId::parse("a000000000000001").unwrap());
        assert_eq!(zero_high.as_bytes().len(), 8);
    }

    #[test]
    fn a_bad_id_says_what_is_wrong() {
        let message = |text: &str| TraceId::parse(text).unwrap_err().to_string();
        assert_eq!(message(""), "is empty");
        assert_eq!(message("abc"), format!("has 3 characters; accepted are {TRACE_ID_SPELLINGS}"));
        assert!(message(&"0".repeat(32)).contains("all zero"));
        assert_eq!(message("7f3c0a1b2c3d4e5f60718293a4b5c6dg"), "has 'g' at position 31, which is not a hex digit");
        assert!(message("7f3c0a1b_2c3d-4e5f-6071-8293a4b5c6d7").contains("has 36 characters"));
        assert!(message("7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6dé").contains("characters"));
        assert!(message(&"é".repeat(16)).contains("'é' at position 0"));
        assert!(SpanId::parse("é").unwrap_err().to_string().contains("'é' at position 0"));
        assert!(SpanId::parse("12é").unwrap_err().to_string().contains("'é' at position 2"));
        assert!(SpanId::parse("12345678901234567").unwrap_err().to_string().contains("17 characters"));
        assert_eq!(SpanId::parse("0").unwrap_err(), IdError::Zero);
    }

    #[test]
    fn span_ids_are_ordered_as_their_bytes() {
        let mut ids = ["ffffffffffffffff", "0000000000000001", "7f3c0a1b2c3d4e5f60718293a4b5c6d7"]
            .map(|text| SpanId::parse(text).unwrap());
        ids.sort();
        assert!(ids.windows(2).all(|pair| pair[0].as_bytes() < pair[1].as_bytes()));
    }
}
