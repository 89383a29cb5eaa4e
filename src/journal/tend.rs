//! Looking after the files: noting what is done, removing what is done, compressing what waits for long.

use std::io;
use std::sync::PoisonError;

use super::compress::compress;
use super::open::DAMAGED;
use super::segments::{Form, Segment, name};
use super::{JournalError, Result, Shared};

impl Shared {
    pub(super) fn tend(&self) -> Result<()> {
        let _turn = self.tend_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = self.note_done();
        let let_go = self.let_go();
        self.compress_next().and(let_go).and(noted)
    }

    /// Writes down how far everything is done, and removes the segments that are done.
    pub(super) fn note_done(&self) -> Result<()> {
        let (low, is_noted, tries) = {
            let state = self.state();
            let (low, tries) = (state.ledger.low(), state.health.is_worth_a_try());
            let is_noted = low == state.marked && !tries;
            (low, is_noted || state.unsynced.doubt.is_some(), tries)
        };
        let marked = if is_noted { Ok(()) } else { self.mark(low) };
        if tries && !is_noted && marked.is_ok() {
            // A disk that takes a mark may take records again.
            self.state().health.appended(None);
        }
        self.remove_done();
        marked
    }

    /// Removes every segment of which all records are done and read by all who follow, but the last; damaged ones are set
    /// aside instead.
    pub(super) fn remove_done(&self) {
        let done = {
            let mut state = self.state();
            let low = state.ledger.low();
            let read_to = state.following.read_to();
            let done = state.table.take_done(low.min(read_to));
            state.table.keep(low);
            done
        };
        for segment in done {
            let path = segment.path(&self.directory);
            let removed = if segment.damaged {
                let aside = self.directory.join(format!("{}{DAMAGED}", segment.name()));
                tracing::warn!(file = %aside.display(), "a damaged segment of the journal is set aside");
                self.disk.rename(&path, &aside)
            } else {
                self.disk.remove(&path)
            };
            let mut state = self.state();
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => state.table.put_back(segment),
                _ => {
                    state.unsynced.forget(segment.number);
                    state.health.removed(segment.damaged);
                }
            }
        }
    }

    /// Compresses one segment, if one waits; rings for the next.
    fn compress_next(&self) -> Result<()> {
        let Some(segment) = self.to_compress() else { return Ok(()) };
        let path = segment.path(&self.directory);
        let bytes = compress(&*self.disk, &self.directory, &segment)
            .map_err(|source| JournalError::io("compress", &path, source))?;
        let is_current = {
            let mut state = self.state();
            state.unsynced.forget(segment.number);
            if bytes < segment.bytes {
                state.health.freed();
            }
            state.table.compressed(segment.number, bytes)
        };
        let superfluous = if is_current { path } else { self.directory.join(name(segment.number, Form::Compressed)) };
        // If it stays, the next start removes it.
        let _ = self.disk.remove(&superfluous);
        self.bells.tend.ring();
        Ok(())
    }

    /// The oldest raw segment that is far enough behind and holds records that nobody has in memory, or that only wait to
    /// be read by who follows.
    fn to_compress(&self) -> Option<Segment> {
        let behind = self.options.compress_after_segments.filter(|behind| *behind > 0)?;
        let state = self.state();
        let segments = state.table.segments();
        let old = segments.windows(2).take(segments.len().saturating_sub(behind));
        let low = state.ledger.low();
        let waits = |segment: &Segment, next: &Segment| {
            let is_plain = segment.form == Form::Raw && !segment.damaged;
            // What is done waits for who follows.
            let waits = || next.first <= low + 1 || state.ledger.any_waits(segment.first, next.first - 1);
            is_plain && next.first > segment.first && waits()
        };
        old.into_iter().find_map(|pair| match pair {
            [segment, next] if waits(segment, next) => Some(segment.clone()),
            _ => None,
        })
    }
}
