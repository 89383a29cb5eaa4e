//! After a failed fdatasync: the records that may be gone are read back, checked, and written to a new file.
//!
//! A second fdatasync of the same file may succeed although the pages were dropped
//! (<https://wiki.postgresql.org/wiki/Fsync_Errors>), so the file is not asked again.

use std::io;
use std::ops::RangeInclusive;
use std::sync::PoisonError;

use super::format::{KIND_SPANS, Record};
use super::scan::{Item, Scanner};
use super::write::{Active, Writer};
use super::{JournalError, Result, Shared};

impl Shared {
    /// Puts every record behind the durable ones into a new segment and makes it durable. What cannot be read back is
    /// told to those who wait for it. Called with the turn to sync.
    pub(super) fn rescue(&self) -> Result<()> {
        let mut writer = self.writer();
        let (first, tail) = {
            let state = self.state();
            (state.unsynced.durable + 1, state.ledger.tail())
        };
        let rescued = self.write_again(&mut writer, first..=tail);
        let mut state = self.state();
        let (told, outcome) = match rescued {
            Ok((fresh, lost)) => {
                drop(state);
                self.adopt(&mut writer, fresh, first);
                state = self.state();
                state.unsynced.rescued();
                state.health.synced();
                if !lost.is_empty() {
                    tracing::error!(records = lost.len(), "records could not be read back after the disk failed");
                }
                (state.unsynced.settled(tail, &lost), Ok(()))
            }
            Err(error) => {
                state.health.sync_failed(&error);
                let reason = error.to_string();
                (state.unsynced.in_doubt(reason.clone()), Err(JournalError::NotDurable { reason }))
            }
        };
        drop(state);
        drop(writer);
        told.into_iter().for_each(|(ticket, answer)| ticket(answer));
        outcome
    }

    /// A durable segment with these records, and the sequences of those that could not be read.
    fn write_again(&self, writer: &mut Writer, records: RangeInclusive<u64>) -> Result<(Active, Vec<u64>)> {
        // Half of it must never count: it gets its name once it is whole.
        let temporary = "rescue.tmp";
        let aside = self.directory.join(temporary);
        // What an attempt before left.
        let _ = self.disk.remove(&aside);
        let mut fresh = match self.create_segment(writer, *records.start(), Some(temporary)) {
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.make_directory_again()?;
                self.create_segment(writer, *records.start(), Some(temporary))?
            }
            created => created?,
        };
        let path = self.raw_path(fresh.number);
        let copied = self.copy(records, &mut fresh).and_then(|lost| {
            let synced = fresh.file.sync().and_then(|()| self.disk.rename(&aside, &path));
            let synced = synced.and_then(|()| self.disk.sync_directory(&self.directory));
            synced.map_err(|source| JournalError::io("sync", &path, source))?;
            Ok(lost)
        });
        match copied {
            Ok(lost) => Ok((fresh, lost)),
            Err(error) => {
                let _ = self.disk.remove(&aside);
                Err(error)
            }
        }
    }

    /// Somebody removed the directory while it was in use. What is in memory is still stored, and what comes is kept.
    fn make_directory_again(&self) -> Result<()> {
        let failed = |source| JournalError::io("make again", &self.directory, source);
        self.disk.make_directory(&self.directory).map_err(failed)?;
        let lock = self.disk.lock(&self.directory)?;
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        tracing::error!(directory = %self.directory.display(), "the journal's directory had disappeared; it is made again");
        Ok(())
    }

    fn copy(&self, records: RangeInclusive<u64>, fresh: &mut Active) -> Result<Vec<u64>> {
        let (mut next, tail) = (*records.start(), *records.end());
        let mut lost = Vec::new();
        let mut record = Record::default();
        while next <= tail {
            let Some(place) = self.state().table.find(next, tail) else { break };
            let path = place.segment.path(&self.directory);
            let failed = |source| JournalError::io("read back", &path, source);
            let file = match self.disk.open(&path) {
                // Compressed in this moment.
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && self.state().table.find(next, tail).as_ref() != Some(&place) =>
                {
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    lost.extend(next..place.end);
                    next = next.max(place.end);
                    continue;
                }
                opened => opened.map_err(failed)?,
            };
            let mut scanner =
                Scanner::new(file, place.segment.number, place.segment.form, place.segment.bytes).map_err(failed)?;
            while next < place.end {
                match scanner.next().map_err(failed)? {
                    Item::Record { kind: KIND_SPANS, sequence, payload, .. }
                        if (next..place.end).contains(&sequence) =>
                    {
                        lost.extend(next..sequence);
                        record.set_payload(&scanner.bytes()[payload]);
                        let bytes = record.seal(sequence, fresh.number);
                        fresh.file.write_all_at(bytes, fresh.length).map_err(failed)?;
                        fresh.length += bytes.len() as u64;
                        next = sequence + 1;
                    }
                    Item::End => break,
                    Item::Record { .. } | Item::Damage { .. } => {}
                }
            }
            lost.extend(next..place.end);
            next = next.max(place.end);
        }
        Ok(lost)
    }
}
