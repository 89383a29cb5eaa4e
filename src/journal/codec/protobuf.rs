//! The wire types of protobuf that the codec uses, written and read. Pure.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// Wire types. A group (3, 4) is never written; a fixed32 (5) only skipped.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Bytes of a message's length, which is written behind the message: a varint padded to this is legal and holds 2^28.
const LENGTH_BYTES: usize = 4;

pub(super) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

pub(super) fn put_uint(bytes: &mut Vec<u8>, tag: u32, value: u64) {
    put_varint(bytes, u64::from(tag << 3 | VARINT));
    put_varint(bytes, value);
}

pub(super) fn put_sint(bytes: &mut Vec<u8>, tag: u32, value: i64) {
    put_uint(bytes, tag, (value << 1 ^ value >> 63) as u64);
}

pub(super) fn put_fixed64(bytes: &mut Vec<u8>, tag: u32, value: u64) {
    put_varint(bytes, u64::from(tag << 3 | FIXED64));
    bytes.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_bytes(bytes: &mut Vec<u8>, tag: u32, value: &[u8]) {
    put_varint(bytes, u64::from(tag << 3 | BYTES));
    put_varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

/// Writes a message whose content `content` appends. Records are far smaller than the 256 MiB that its length holds.
pub(super) fn put_message(bytes: &mut Vec<u8>, tag: u32, content: impl FnOnce(&mut Vec<u8>)) {
    put_varint(bytes, u64::from(tag << 3 | BYTES));
    let length_at = bytes.len();
    bytes.extend_from_slice(&[0; LENGTH_BYTES]);
    content(bytes);
    let length = bytes.len() - length_at - LENGTH_BYTES;
    for (index, byte) in bytes[length_at..length_at + LENGTH_BYTES].iter_mut().enumerate() {
        let more = if index + 1 < LENGTH_BYTES { 0x80 } else { 0 };
        *byte = (length >> (7 * index)) as u8 & 0x7f | more;
    }
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// Of a wire type that is only skipped.
    Other,
}

impl Value<'_> {
    /// Of a `sint64`.
    pub fn sint(value: u64) -> i64 {
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }
}

/// The fields of a message, one after the other.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next field's number and value; `Some(None)` if what is left is no message.
    #[inline]
    pub fn next(&mut self) -> Option<Option<(u32, Value<'a>)>> {
        (!self.0.is_empty()).then(|| self.field())
    }

    #[inline]
    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = u32::try_from(self.varint()?).ok()?;
        let value = match key & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            FIXED32 => {
                self.take(4)?;
                Value::Other
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_read_back(tag in 1u32..1_000, number in any::<u64>(), signed in any::<i64>(), text in ".{0,40}") {
            let mut bytes = Vec::new();
            put_uint(&mut bytes, tag, number);
            put_sint(&mut bytes, tag, signed);
            put_fixed64(&mut bytes, tag, number);
            put_message(&mut bytes, tag, |bytes| put_bytes(bytes, tag, text.as_bytes()));
            let mut fields = Fields::new(&bytes);
            prop_assert_eq!(fields.next(), Some(Some((tag, Value::Varint(number)))));
            let Some(Some((_, Value::Varint(raw)))) = fields.next() else { panic!("a varint") };
            prop_assert_eq!(Value::sint(raw), signed);
            prop_assert_eq!(fields.next(), Some(Some((tag, Value::Fixed64(number)))));
            let Some(Some((_, Value::Bytes(message)))) = fields.next() else { panic!("a message") };
            prop_assert_eq!(Fields::new(message).next(), Some(Some((tag, Value::Bytes(text.as_bytes())))));
            prop_assert_eq!(fields.next(), None);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut fields = Fields::new(&bytes);
            while let Some(Some(_)) = fields.next() {}
        }
    }
}
