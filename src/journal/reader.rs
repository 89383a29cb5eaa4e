//! Reading records back while others are appended: all from a sequence on, or those that are on disk alone.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::codec::{self, PayloadError};
use super::format::KIND_SPANS;
use super::scan::{Item, Scanner};
use super::segments::{Form, Place};
use super::{JournalError, Result, Shared};
use crate::model::span::Span;

/// A record as it was appended. It lives in the reader's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    pub sequence: u64,
    pub payload: &'a [u8],
}

impl Stored<'_> {
    /// The services that forwarded its spans before they came here; mostly nobody.
    pub fn via(&self) -> &str {
        codec::via(self.payload)
    }

    /// Its spans.
    ///
    /// # Errors
    /// [`PayloadError`] if no version of this program wrote them: the record is for [`super::Journal::set_aside`].
    pub fn spans(&self) -> Result<Vec<Span>, PayloadError> {
        let mut spans = Vec::new();
        codec::decode(self.payload, &mut spans)?;
        spans.shrink_to_fit();
        Ok(spans)
    }
}

/// Reads records in their order, up to what was appended when it is asked. Holds one record and one chunk in memory.
///
/// What cannot be read is skipped, logged and counted in [`super::Status::lost_records`], and its file kept aside.
pub struct Reader {
    shared: Arc<Shared>,
    next: u64,
    /// The segment that is being read, in the form that it had: one that is compressed meanwhile is opened anew, since how
    /// far a raw one reaches is known only while it is raw.
    open: Option<((u64, Form), Scanner)>,
    /// The record that was read last: its place in the scanner's buffer.
    last: (u64, Range<usize>),
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, next: u64) -> Self {
        Self { shared, next: next.max(1), open: None, last: (0, 0..0) }
    }

    /// The next record; `None` when everything that was appended has been read. More may come.
    ///
    /// # Errors
    /// If a file cannot be read; asking again tries again.
    pub fn read(&mut self) -> Result<Option<Stored<'_>>> {
        Ok(if self.advance()? { self.last() } else { None })
    }

    /// The record that was read last.
    pub(super) fn last(&self) -> Option<Stored<'_>> {
        let (_, scanner) = self.open.as_ref()?;
        Some(Stored { sequence: self.last.0, payload: scanner.bytes().get(self.last.1.clone())? })
    }

    /// Reads the next record; false at the tail.
    pub(super) fn advance(&mut self) -> Result<bool> {
        while let Some(place) = self.place() {
            let Some(scanner) = self.open(&place)? else { continue };
            let item = match scanner.next() {
                Ok(item) => item,
                Err(source) => {
                    // The buffer may be anything: the file is opened anew.
                    self.open = None;
                    return Err(JournalError::io("read", &place.segment.path(&self.shared.directory), source));
                }
            };
            match item {
                Item::Record { kind: KIND_SPANS, sequence, payload, .. }
                    if (self.next..place.end).contains(&sequence) =>
                {
                    self.lose(self.next, sequence - 1, &place);
                    self.next = sequence + 1;
                    self.last = (sequence, payload);
                    return Ok(true);
                }
                Item::Record { .. } => {}
                Item::Damage { at, bytes } => self.found_damage(&place, at, bytes),
                Item::End => {
                    self.lose(self.next, place.end - 1, &place);
                    self.next = place.end;
                    self.open = None;
                }
            }
        }
        Ok(false)
    }

    /// Goes on from this record instead.
    pub(super) fn seek(&mut self, sequence: u64) {
        if sequence < self.next {
            self.open = None;
        }
        self.next = sequence;
    }

    /// Where the next record is; `None` at the tail.
    fn place(&mut self) -> Option<Place> {
        let state = self.shared.state();
        let tail = state.ledger.tail();
        let place = state.table.find(self.next, tail).filter(|_| self.next <= tail)?;
        // What is before the first segment was done and removed.
        self.next = self.next.max(place.segment.first);
        (self.next <= tail).then_some(place)
    }

    /// The scanner of this segment; `None` if the segment has become another file meanwhile.
    fn open(&mut self, place: &Place) -> Result<Option<&mut Scanner>> {
        let segment = &place.segment;
        let wanted = (segment.number, segment.form);
        if self.open.as_ref().is_none_or(|(opened, _)| *opened != wanted) {
            let path = segment.path(&self.shared.directory);
            let scanner = self
                .shared
                .disk
                .open(&path)
                .and_then(|file| Scanner::new(file, segment.number, segment.form, segment.bytes));
            match scanner {
                Ok(scanner) => self.open = Some((wanted, scanner)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.place().as_ref() != Some(place) => {
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    tracing::error!(file = %path.display(), "a segment of the journal has disappeared");
                    self.lose(self.next, place.end - 1, place);
                    self.next = place.end;
                    return Ok(None);
                }
                Err(source) => return Err(JournalError::io("open", &path, source)),
            }
        }
        Ok(self.open.as_mut().map(|(_, scanner)| {
            scanner.extend(segment.bytes);
            scanner
        }))
    }

    fn lose(&self, first: u64, last: u64, place: &Place) {
        let mut state = self.shared.state();
        let lost = state.ledger.lost(first, last);
        if lost > 0 {
            state.health.lost_records += lost;
            drop(state);
            let file = place.segment.name();
            tracing::error!(file, first, last, records = lost, "records of the journal are lost");
            self.shared.bells.tend.ring();
        }
    }

    fn found_damage(&self, place: &Place, at: u64, bytes: u64) {
        let first = place.segment.first;
        let file = self.shared.state().table.mark_damaged(first);
        tracing::error!(file, offset = at, bytes, "damage in the journal; the records behind it are read");
    }
}

impl Reader {
    /// The sequence of the record that is read next, if it is there.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// That of the record that was read last.
    pub(super) fn last_sequence(&self) -> u64 {
        self.last.0
    }
}

/// Hands out the records that nobody has in memory, oldest first: what an earlier process left over, and what was
/// appended as [`super::Held::OnDisk`].
pub struct Backlog(Reader);

impl Backlog {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Reader::new(shared, 1))
    }

    /// The oldest one, which is the caller's from here on: it says [`super::Journal::done`] when its spans are stored.
    /// `None` if there is none at the moment. Costs a walk over the segment where it does not follow the one before.
    ///
    /// # Errors
    /// If a file cannot be read; nothing was handed out.
    pub fn take(&mut self) -> Result<Option<Stored<'_>>> {
        let shared = self.0.shared.clone();
        loop {
            let Some(oldest) = shared.state().ledger.first_waiting() else { return Ok(None) };
            self.0.seek(oldest);
            // Behind a loss the next one may be in memory.
            if self.0.advance()? && shared.state().ledger.take(self.0.last.0) {
                return Ok(self.0.last());
            }
        }
    }
}
