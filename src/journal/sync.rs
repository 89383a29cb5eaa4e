//! Making records durable: one fdatasync for all who wait, and what is told to whom.

use std::io;
use std::sync::{Arc, PoisonError};

use super::disk::DiskFile;
use super::format::HEADER;
use super::write::Active;
use super::{JournalError, Result, Shared};
use crate::settings::journal::Fsync;

type Told = Box<dyn FnOnce(Result<()>) + Send>;

/// What is written and not known to be durable.
#[derive(Default)]
pub(super) struct Unsynced {
    /// Segments with bytes that were not synced, in the order of their numbers.
    files: Vec<(u64, Arc<dyn DiskFile>)>,
    /// Whether names in the directory were not.
    directory: bool,
    /// Every record up to this sequence is durable.
    pub durable: u64,
    /// Why the records behind `durable` cannot be made durable where they are.
    pub doubt: Option<String>,
    tickets: Vec<(u64, Told)>,
}

/// An appended record.
pub struct Ticket {
    shared: Arc<Shared>,
    sequence: u64,
}

impl Ticket {
    pub(super) fn new(shared: Arc<Shared>, sequence: u64) -> Self {
        Self { shared, sequence }
    }

    /// Its place among all records: counts up by one.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Calls `told` once the record is as safe as the policy promises: with `always` when the disk has it, together with
    /// all others that wait, on a thread of the journal; otherwise at once. `told` must not block.
    ///
    /// It is told [`JournalError::NotDurable`] when the disk does not keep the record. The record may be replayed all the
    /// same, so its spans may be sent again: spans merge.
    pub fn when_durable(self, told: impl FnOnce(Result<()>) + Send + 'static) {
        if self.shared.options.fsync == Fsync::Always {
            let mut state = self.shared.state();
            if state.unsynced.durable < self.sequence {
                state.unsynced.tickets.push((self.sequence, Box::new(told)));
                drop(state);
                self.shared.bells.sync.ring();
                return;
            }
        }
        told(Ok(()));
    }
}

impl Unsynced {
    /// After a start: `files` hold what an earlier process wrote behind `durable`.
    pub fn after_start(durable: u64, files: Vec<(u64, Arc<dyn DiskFile>)>) -> Self {
        Self { directory: !files.is_empty(), files, durable, ..Self::default() }
    }

    /// The file is gone, or another one that is durable is in its place.
    pub fn forget(&mut self, gone: u64) {
        self.files.retain(|(number, _)| *number != gone);
    }

    pub fn wrote(&mut self, active: &Active) {
        if self.files.last().is_none_or(|(number, _)| *number != active.number) {
            self.files.push((active.number, active.file.clone()));
        }
    }

    pub fn began(&mut self, active: &Active) {
        debug_assert!(active.length >= HEADER as u64);
        self.wrote(active);
        self.directory = true;
    }

    /// Everything up to `tail` is durable, but for `lost`: the tickets that are told so, and those that are told of it.
    pub fn settled(&mut self, tail: u64, lost: &[u64]) -> Vec<(Told, Result<()>)> {
        self.durable = self.durable.max(tail);
        let (told, waiting) = std::mem::take(&mut self.tickets).into_iter().partition(|(of, _)| *of <= tail);
        self.tickets = waiting;
        let answer = |(of, ticket): (u64, Told)| match lost.contains(&of) {
            false => (ticket, Ok(())),
            true => (ticket, Err(JournalError::NotDurable { reason: "it cannot be read back".to_owned() })),
        };
        Vec::into_iter(told).map(answer).collect()
    }

    /// They stand in a file that was synced as a whole.
    pub fn rescued(&mut self) {
        self.files.clear();
        self.directory = false;
        self.doubt = None;
    }

    /// Nothing behind `durable` is safe: all who wait are told.
    pub fn in_doubt(&mut self, reason: String) -> Vec<(Told, Result<()>)> {
        let failed = |(_, ticket)| (ticket, Err(JournalError::NotDurable { reason: reason.clone() }));
        let told = std::mem::take(&mut self.tickets).into_iter().map(failed).collect();
        self.doubt = Some(reason);
        told
    }
}

impl Shared {
    pub(super) fn sync(&self) -> Result<()> {
        let _turn = self.sync_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if state.unsynced.doubt.is_some() {
            drop(state);
            return self.rescue();
        }
        let files = std::mem::take(&mut state.unsynced.files);
        let directory = std::mem::take(&mut state.unsynced.directory);
        // What is appended from here on puts its file back into the list.
        let tail = state.ledger.tail();
        drop(state);
        let synced = files.iter().try_for_each(|(_, file)| file.sync());
        let synced = synced.and_then(|()| if directory { self.disk.sync_directory(&self.directory) } else { Ok(()) });
        let synced = synced.and_then(|()| self.check_name());
        match synced {
            Ok(()) => {
                let told = self.state().unsynced.settled(tail, &[]);
                told.into_iter().for_each(|(ticket, answer)| ticket(answer));
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the disk did not keep what was written; the records in doubt are written again");
                self.state().health.sync_failed(&error);
                // From here until they are safe nothing is appended.
                self.state().unsynced.doubt = Some(error.to_string());
                self.rescue()
            }
        }
    }

    /// Somebody may have removed the directory: what is written then goes to a file that nobody finds again.
    fn check_name(&self) -> io::Result<()> {
        let Some(last) = self.state().table.last().cloned() else { return Ok(()) };
        match self.disk.open(&last.path(&self.directory)) {
            // The last one is removed only when there is another last one.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_last(last.number) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn is_last(&self, number: u64) -> bool {
        self.state().table.last().is_some_and(|last| last.number == number)
    }
}
