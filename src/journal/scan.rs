//! From the bytes of a segment to its records, raw or compressed, past whatever damage there is. Holds one record and
//! one chunk at a time.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::compress::{self, Frames};
use super::disk::DiskFile;
use super::format::{HEADER, RECORD_HEADER, RECORD_MAGIC, RecordHeader};
use super::segments::Form;

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// A buffer larger than this is not kept once its record was read.
const KEPT: usize = 4 << 20;

/// What stands at a place of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// A whole record; `payload` is a range of [`Scanner::bytes`], until the next item is asked for.
    Record { kind: u8, sequence: u64, payload: Range<usize>, at: u64 },
    /// Bytes that are no record, with records behind them or without.
    Damage { at: u64, bytes: u64 },
    /// Nothing more, up to the limit.
    End,
}

/// Reads a segment from its first record on.
pub(super) struct Scanner {
    number: u64,
    source: Source,
    buffer: Vec<u8>,
    /// The first byte of `buffer` that was not given out.
    start: usize,
    /// Its place in the raw segment.
    at: u64,
    /// The raw segment's bytes that may be looked at.
    limit: u64,
}

enum Source {
    Raw(Arc<dyn DiskFile>),
    Compressed(Frames),
}

impl Scanner {
    /// `limit` is the number of bytes of a raw segment that are there for sure; a compressed one knows its own.
    pub fn new(file: Arc<dyn DiskFile>, number: u64, form: Form, limit: u64) -> io::Result<Self> {
        let (source, limit) = match form {
            Form::Raw => (Source::Raw(file), limit),
            Form::Compressed => {
                let header = compress::read_header(&*file)?;
                let limit = header.map_or(u64::MAX, |(_, raw_bytes)| raw_bytes);
                (Source::Compressed(Frames::new(file)), limit)
            }
        };
        let mut scanner = Self { number, source, buffer: Vec::new(), start: 0, at: 0, limit };
        scanner.fill(HEADER)?;
        scanner.skip(HEADER.min(scanner.left().len()));
        Ok(scanner)
    }

    /// More of a raw segment has become readable.
    pub fn extend(&mut self, limit: u64) {
        if matches!(self.source, Source::Raw(_)) {
            self.limit = self.limit.max(limit);
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The next record, or what stands in its place.
    pub fn next(&mut self) -> io::Result<Item> {
        if let Some(record) = self.record()? {
            return Ok(record);
        }
        if self.left().is_empty() {
            return Ok(Item::End);
        }
        let at = self.at;
        // What looks like the beginning of a record must be one to end the damage.
        loop {
            self.skip(1);
            self.skip_to_magic()?;
            if self.left().is_empty() || self.peek()?.is_some() {
                return Ok(Item::Damage { at, bytes: self.at - at });
            }
        }
    }

    fn record(&mut self) -> io::Result<Option<Item>> {
        let Some(header) = self.peek()? else { return Ok(None) };
        let (at, from) = (self.at, self.start + RECORD_HEADER);
        self.skip(RECORD_HEADER + header.length);
        let payload = from..from + header.length;
        Ok(Some(Item::Record { kind: header.kind, sequence: header.sequence, payload, at }))
    }

    /// The header of the whole and undamaged record that begins here, if one does.
    fn peek(&mut self) -> io::Result<Option<RecordHeader>> {
        self.fill(RECORD_HEADER)?;
        let Some(header) = RecordHeader::decode(self.left()) else { return Ok(None) };
        let bytes = RECORD_HEADER + header.length;
        if bytes as u64 > self.limit.saturating_sub(self.at) {
            return Ok(None);
        }
        self.fill(bytes)?;
        let whole = self.left().get(RECORD_HEADER..bytes);
        Ok(whole.is_some_and(|payload| header.matches(payload, self.number)).then_some(header))
    }

    fn skip_to_magic(&mut self) -> io::Result<()> {
        loop {
            self.fill(RECORD_HEADER)?;
            let left = self.left();
            if left.len() < RECORD_HEADER {
                self.skip(left.len());
                return Ok(());
            }
            let found = left.windows(RECORD_MAGIC.len()).position(|window| window == RECORD_MAGIC);
            match found {
                Some(place) => {
                    self.skip(place);
                    self.fill(RECORD_HEADER)?;
                    return Ok(());
                }
                // The last bytes may be the first of one.
                None => self.skip(left.len() + 1 - RECORD_MAGIC.len()),
            }
        }
    }

    fn left(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.at += bytes as u64;
    }

    /// Has `bytes` bytes in `left`, or as many as there are.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        if self.left().len() >= bytes {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.capacity() > KEPT && bytes < KEPT && self.buffer.len() < KEPT {
            self.buffer.shrink_to(KEPT);
        }
        while self.buffer.len() < bytes {
            let known = self.buffer.len();
            match &mut self.source {
                Source::Raw(file) => {
                    let from = self.at + known as u64;
                    let allowed = usize::try_from(self.limit.saturating_sub(from)).unwrap_or(usize::MAX);
                    let wanted = CHUNK.max(bytes - known).min(allowed);
                    self.buffer.resize(known + wanted, 0);
                    let read = file.read_full_at(&mut self.buffer[known..], from);
                    self.buffer.truncate(known + *read.as_ref().unwrap_or(&0));
                    read?;
                }
                Source::Compressed(frames) => frames.next_into(&mut self.buffer)?,
            }
            if self.buffer.len() == known {
                return Ok(());
            }
        }
        Ok(())
    }
}
