//! The bytes of headers and records, as the module's page specifies them. Pure.

use crate::model::span::Span;

use super::codec;

/// The version of the format that is written. Older ones are read.
pub const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub const HEADER: usize = 64;
/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 20;
/// Bytes of payload that a record may have: twice the largest request that is accepted by default.
pub const MAX_PAYLOAD: usize = 128 << 20;

const MAGIC: [u8; 8] = *b"TRFJRNL\0";
/// What a record begins with.
pub(super) const RECORD_MAGIC: [u8; 3] = [0xf1, 0x9e, 0xa7];

pub(super) const KIND_SPANS: u8 = 1;
pub(super) const KIND_MARK: u8 = 2;

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub number: u64,
    pub first: u64,
    pub done_to: u64,
    pub created_ns: u64,
}

/// Why 64 bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    Newer(u32),
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.done_to.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.created_ns.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() < HEADER || bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(HeaderError::Damaged);
        }
        match u32_at(bytes, 8) {
            version if version > VERSION => Err(HeaderError::Newer(version)),
            _ => Ok(Self {
                number: u64_at(bytes, 16),
                first: u64_at(bytes, 24),
                done_to: u64_at(bytes, 32),
                created_ns: u64_at(bytes, 40),
            }),
        }
    }
}

/// The header of a record, its checksum not yet compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordHeader {
    pub kind: u8,
    pub length: usize,
    pub sequence: u64,
    crc: u32,
}

impl RecordHeader {
    /// `None` if these are not the first bytes of a record.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < RECORD_HEADER || bytes[..3] != RECORD_MAGIC {
            return None;
        }
        let length = usize::try_from(u32_at(bytes, 4)).ok().filter(|length| *length <= MAX_PAYLOAD)?;
        Some(Self { kind: bytes[3], length, sequence: u64_at(bytes, 8), crc: u32_at(bytes, 16) })
    }

    /// Whether this payload, in this segment, is the one that was written.
    pub fn matches(&self, payload: &[u8], segment: u64) -> bool {
        checksum(crc32c::crc32c(payload), self.kind, payload.len() as u32, self.sequence, segment) == self.crc
    }
}

/// The payload comes first, so that it is summed before the sequence is known.
fn checksum(payload_crc: u32, kind: u8, length: u32, sequence: u64, segment: u64) -> u32 {
    let mut rest = [0; 21];
    rest[0] = kind;
    rest[1..5].copy_from_slice(&length.to_le_bytes());
    rest[5..13].copy_from_slice(&sequence.to_le_bytes());
    rest[13..].copy_from_slice(&segment.to_le_bytes());
    crc32c::crc32c_append(payload_crc, &rest)
}

/// A record to be appended: a buffer that is used again and again.
#[derive(Debug, Clone)]
pub struct Record {
    bytes: Vec<u8>,
    payload_crc: u32,
    kind: u8,
}

impl Default for Record {
    fn default() -> Self {
        Self { bytes: vec![0; RECORD_HEADER], payload_crc: 0, kind: KIND_SPANS }
    }
}

impl Record {
    /// Beyond this a buffer is not kept for the next record.
    const KEPT: usize = 1 << 20;

    /// Replaces what it held by these spans. Costs about 0.2 µs a span; allocates only to grow.
    pub fn set_spans(&mut self, spans: &[Span]) {
        self.set_spans_via(spans, "");
    }

    /// The same of spans that came by way of these services, see [`super::Stored::via`].
    pub fn set_spans_via(&mut self, spans: &[Span], via: &str) {
        self.begin(KIND_SPANS);
        codec::encode_via(via, &mut self.bytes);
        codec::encode(spans, &mut self.bytes);
        self.finish();
    }

    /// Replaces what it held by a payload that was read from another record.
    pub(super) fn set_payload(&mut self, payload: &[u8]) {
        self.begin(KIND_SPANS);
        self.bytes.extend_from_slice(payload);
        self.finish();
    }

    /// Replaces what it held by a mark.
    pub(super) fn set_mark(&mut self) {
        self.begin(KIND_MARK);
        self.finish();
    }

    /// Bytes that it takes in a segment.
    pub fn byte_count(&self) -> usize {
        self.bytes.len()
    }

    fn begin(&mut self, kind: u8) {
        self.bytes.clear();
        self.bytes.shrink_to(Self::KEPT);
        self.bytes.resize(RECORD_HEADER, 0);
        self.kind = kind;
    }

    fn finish(&mut self) {
        self.payload_crc = crc32c::crc32c(&self.bytes[RECORD_HEADER..]);
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.bytes.len() - RECORD_HEADER
    }

    /// Its bytes at this place. Costs the same for any payload.
    pub(super) fn seal(&mut self, sequence: u64, segment: u64) -> &[u8] {
        let length = self.payload_bytes() as u32;
        let crc = checksum(self.payload_crc, self.kind, length, sequence, segment);
        self.bytes[..3].copy_from_slice(&RECORD_MAGIC);
        self.bytes[3] = self.kind;
        self.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_any_flipped_bit_is_noticed() {
        let header = SegmentHeader { number: 42, first: 1_000, done_to: 900, created_ns: 5 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..HEADER * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&damaged), Err(HeaderError::Damaged), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&bytes[..60]), Err(HeaderError::Damaged));
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = SegmentHeader { number: 1, first: 1, done_to: 0, created_ns: 0 }.encode();
        bytes[8..12].copy_from_slice(&7_u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderError::Newer(7)));
    }

    #[test]
    fn a_record_belongs_to_its_place() {
        let mut record = Record::default();
        record.set_payload(b"payload");
        let bytes = record.seal(7, 3).to_vec();
        let header = RecordHeader::decode(&bytes).unwrap();
        assert_eq!((header.kind, header.length, header.sequence), (KIND_SPANS, 7, 7));
        assert!(header.matches(b"payload", 3));
        assert!(!header.matches(b"payload", 4), "another segment");
        assert!(!header.matches(b"qayload", 3));
        for bit in 24..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let noticed = RecordHeader::decode(&damaged)
                .is_none_or(|header| header.length != 7 || !header.matches(&damaged[RECORD_HEADER..], 3));
            assert!(noticed, "bit {bit}");
        }
    }
}
