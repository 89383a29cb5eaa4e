//! Appending: one write(2) a record, whole or not at all, and the way back when the disk refuses.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::DiskFile;
use super::format::{HEADER, MAX_PAYLOAD, Record, SegmentHeader};
use super::segments::{self, Form, Segment};
use super::status::percent;
use super::sync::Ticket;
use super::{Held, Journal, JournalError, Result, Shared};
use crate::settings::journal::Fsync;

/// Percent of the budget from which on it is told that it is nearly spent.
pub(super) const HIGH_WATER_PERCENT: u64 = 80;

/// Who holds this writes.
pub(super) struct Writer {
    /// The segment that is written; none before the first record of this process.
    active: Option<Active>,
    /// Of the next record.
    next_sequence: u64,
    /// Of the next segment. A number is never used twice.
    next_number: u64,
    /// For marks and headers.
    record: Record,
    pub closed: bool,
}

pub(super) struct Active {
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
    /// Bytes of whole records; what the file has beyond is void.
    pub length: u64,
    /// The mark in its header.
    pub done_to: u64,
    /// Whether something may stand behind `length`, so that nothing can be appended.
    spoilt: bool,
}

impl Writer {
    pub fn new(next_sequence: u64, next_number: u64) -> Self {
        Self { active: None, next_sequence, next_number, record: Record::default(), closed: false }
    }
}

impl Journal {
    /// Appends the spans of one request, all or none, and gives them their sequence. With [`Held::InMemory`] the caller
    /// has them and says [`Journal::done`] once they are stored; with [`Held::OnDisk`], [`Backlog`](super::Backlog)
    /// hands them out. From the moment this returns they survive a killed process; what more, the ticket tells.
    ///
    /// Blocks for one `write(2)` into the page cache, longer where the disk is behind.
    ///
    /// # Errors
    /// Nothing was appended, and a later try may succeed: [`JournalError::Full`], [`JournalError::NoSpace`],
    /// [`JournalError::Io`], [`JournalError::NotDurable`]; or never will: [`JournalError::TooLarge`],
    /// [`JournalError::Closed`].
    pub fn append(&self, record: &mut Record, held: Held) -> Result<Ticket> {
        let appended = self.0.append(record, held);
        self.0.state().health.appended(appended.as_ref().err());
        if appended.is_err() {
            self.0.bells.tend.ring();
        }
        let sequence = appended?;
        if self.0.options.fsync != Fsync::Off {
            self.0.bells.sync.ring();
        }
        Ok(Ticket::new(self.0.clone(), sequence))
    }
}

impl Shared {
    fn append(&self, record: &mut Record, held: Held) -> Result<u64> {
        if record.payload_bytes() > MAX_PAYLOAD {
            return Err(JournalError::TooLarge { bytes: record.payload_bytes() });
        }
        let mut writer = self.writer();
        if writer.closed {
            return Err(JournalError::Closed);
        }
        self.refuse_in_doubt()?;
        self.make_room(&mut writer, record.byte_count() as u64)?;
        let sequence = writer.next_sequence;
        self.put(&mut writer, record, sequence)?;
        writer.next_sequence += 1;
        let mut state = self.state();
        state.ledger.appended(held == Held::OnDisk);
        Ok(sequence)
    }

    /// While earlier records are in doubt no more are taken: they would be in the same doubt.
    fn refuse_in_doubt(&self) -> Result<()> {
        match &self.state().unsynced.doubt {
            Some(reason) => Err(JournalError::NotDurable { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Sees to a segment that takes so many bytes, within the budget.
    fn make_room(&self, writer: &mut Writer, bytes: u64) -> Result<()> {
        if self.is_over_budget(bytes) {
            // What is done but shares a segment with the last record still counts: a new segment sets it free.
            if self.state().ledger.is_all_done() && writer.active.is_some() {
                self.begin_segment(writer)?;
            }
            self.remove_done();
            if self.is_over_budget(bytes) {
                let bytes = self.state().table.unstored_bytes();
                return Err(JournalError::Full { bytes, max_bytes: self.options.max_bytes });
            }
        }
        let fits = |active: &Active| {
            let is_empty = active.length <= HEADER as u64;
            !active.spoilt && (is_empty || active.length + bytes <= self.options.segment_bytes)
        };
        if writer.active.as_ref().is_some_and(fits) { Ok(()) } else { self.begin_segment(writer) }
    }

    fn is_over_budget(&self, bytes: u64) -> bool {
        let mut state = self.state();
        let (used, most) = (state.table.unstored_bytes(), self.options.max_bytes);
        let is_high = used >= percent(most, HIGH_WATER_PERCENT);
        if is_high != std::mem::replace(&mut state.health.high_water, is_high) && is_high {
            tracing::warn!(bytes = used, max_bytes = most, "the journal's budget is nearly spent: the store is behind");
        }
        // It may take a new segment.
        used + bytes + HEADER as u64 > most
    }

    /// Writes at the end of the active segment, or leaves it as it was.
    fn put(&self, writer: &mut Writer, record: &mut Record, sequence: u64) -> Result<()> {
        let Some(active) = &mut writer.active else { return Err(JournalError::Closed) };
        let bytes = record.seal(sequence, active.number);
        if let Err(source) = active.file.write_all_at(bytes, active.length) {
            // Where it cannot be cut back, the next append begins another segment and what is here is void.
            active.spoilt = active.file.truncate(active.length).is_err();
            return Err(JournalError::io("append to", &self.raw_path(active.number), source));
        }
        active.length += bytes.len() as u64;
        let mut state = self.state();
        state.table.grow(active.number, active.length);
        state.unsynced.wrote(active);
        Ok(())
    }

    /// Begins a new segment. The one before stays as it is.
    pub(super) fn begin_segment(&self, writer: &mut Writer) -> Result<()> {
        let first = writer.next_sequence;
        let begun = self.create_segment(writer, first, None)?;
        self.adopt(writer, begun, first);
        Ok(())
    }

    /// Creates the file of a segment whose first record has this sequence, by another name if it has one until it is
    /// filled. Nothing knows of it yet.
    pub(super) fn create_segment(&self, writer: &mut Writer, first: u64, name: Option<&str>) -> Result<Active> {
        let number = writer.next_number;
        let done_to = self.state().ledger.low();
        let header = SegmentHeader { number, first, done_to, created_ns: (self.options.now)().as_u64() };
        let path = name.map_or(self.raw_path(number), |name| self.directory.join(name));
        let failed = |source| JournalError::io("begin", &path, source);
        // Even if this fails: something may be left in the way.
        writer.next_number += 1;
        let file = self.disk.create(&path).map_err(failed)?;
        if let Err(source) = file.write_all_at(&header.encode(), 0) {
            // Without a whole header it is nothing; the next start removes it at the latest.
            let _ = self.disk.remove(&path);
            return Err(failed(source));
        }
        Ok(Active { number, file, length: HEADER as u64, done_to, spoilt: false })
    }

    pub(super) fn raw_path(&self, number: u64) -> PathBuf {
        self.directory.join(segments::name(number, Form::Raw))
    }

    /// Makes a segment the active one, and removes those that it makes void.
    pub(super) fn adopt(&self, writer: &mut Writer, active: Active, first: u64) {
        let mut state = self.state();
        state.marked = state.marked.max(active.done_to);
        let segment = Segment { number: active.number, first, form: Form::Raw, bytes: active.length, damaged: false };
        let void = state.table.push(segment);
        state.unsynced.began(&active);
        drop(state);
        writer.active = Some(active);
        for segment in void {
            // Void by its place; a file that stays behind is removed at the next start.
            let _ = self.disk.remove(&segment.path(&self.directory));
        }
        self.bells.tend.ring();
    }

    /// Writes down that everything up to `low` is done.
    pub(super) fn mark(&self, low: u64) -> Result<()> {
        let mut writer = self.writer();
        if writer.active.as_ref().is_none_or(|active| active.spoilt) {
            // Its header is the mark.
            return self.begin_segment(&mut writer);
        }
        let mut record = std::mem::take(&mut writer.record);
        record.set_mark();
        let put = self.put(&mut writer, &mut record, low);
        writer.record = record;
        put.map(|()| self.state().marked = low)
    }
}
