//! The journal: what was accepted, on disk before it is acknowledged, until the store has it.
//!
//! Owns the files, their format, what of them is done and what still waits. What a span means, when a request is
//! answered and how the store is written is left to the write path; so are metrics ([`Journal::status`] tells).
//! Plain threads and blocking calls: nothing here awaits.
//!
//! # Files
//!
//! A directory of its own, locked by one process ([`lock`]). **Segments**, numbered upwards without reuse:
//!
//! | name | is |
//! |---|---|
//! | `000000000042.seg` | a segment |
//! | `000000000042.zst` | the same, compressed; if both are there, this one is whole and counts |
//! | `*.tmp` | a compression that did not finish; removed at the start |
//! | `*.damaged` | a segment in which damage was found, set aside once what could be read of it was done; nobody reads it |
//! | `forward-NAME.cursor` | how far somebody who follows has read, see [`Follower`] |
//! | `lock` | the lock, with the process id of its holder |
//!
//! # A segment
//!
//! All numbers are little-endian. A header of 64 bytes:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 8 | `TRFJRNL` and a zero byte |
//! | 8 | 4 | version of the format, now 1; a newer one stops the start, nothing is touched |
//! | 12 | 4 | zero |
//! | 16 | 8 | number of the segment, as in its name |
//! | 24 | 8 | `first`: the sequence of its first record |
//! | 32 | 8 | low-water mark when it was begun: everything up to this sequence is done |
//! | 40 | 8 | when it was begun, Unix nanoseconds; for people, nothing depends on it |
//! | 48 | 12 | zero |
//! | 60 | 4 | CRC-32C of the 60 bytes before |
//!
//! Then records without gaps or padding, each a header of 20 bytes and a payload:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 3 | `F1 9E A7`: never part of UTF-8, so no text that a caller sent looks like a record |
//! | 3 | 1 | kind: 1 spans, 2 mark; others are skipped |
//! | 4 | 4 | bytes of payload, at most [`format::MAX_PAYLOAD`] |
//! | 8 | 8 | sequence |
//! | 16 | 4 | CRC-32C of payload, kind, length, sequence and the segment's number |
//! | 20 | | payload |
//!
//! - **spans**: the spans of one request, see [`codec`]. Sequences count up by one from record to record and from segment
//!   to segment, and are all that orders anything: the wall clock may jump as it likes.
//! - **mark**: "everything up to this sequence is done". The payload names who is done: empty is the store. Written now
//!   and then; the highest in the last segment counts, or its header's.
//!
//! A segment holds the sequences from its `first` to the one before the least `first` of the segments behind it. What
//! it has beyond that (the rest of a failed write, records that a later segment repeats) is void. Within that range a
//! missing sequence is a loss, and is told as one.
//!
//! A compressed segment is a zstd skippable frame that holds the 64 bytes of header and eight of the raw file's length,
//! so that opening needs no decompression, and then the whole raw file in independent frames of 1 MiB, so that damage
//! costs what it hits: `zstd -d` gives the raw file back.
//!
//! # What holds
//!
//! - A record is acknowledged when `write(2)` has returned: it survives a killed process. With `fsync = "always"` its
//!   [`Ticket`] is told after `fdatasync`, one for all who wait (a new segment's directory entry included): it survives
//!   a power cut. With `interval` that happens within `fsync_interval_ms`.
//! - An append that fails leaves no valid record: the file is cut back, or, where even that fails, the next append
//!   begins a new segment with the same sequence, and what the failed one left is void. Nothing has to be restarted.
//! - After a failed `fdatasync` nothing of that file counts as durable any more, whatever a second call says
//!   (<https://wiki.postgresql.org/wiki/Fsync_Errors>): the records since the last good one are read back, checked,
//!   written to a new segment and synced there. Until that succeeds, appends are refused. (A process that is started
//!   anew in the meantime does not know, and trusts its own fdatasync.)
//! - A segment is removed when every record in it is done and read by all who follow, oldest first, and the low-water mark survives that: it stands
//!   in the header of every later segment. Replaying what was done already is harmless anyway.
//! - At the start nothing is read but the headers and the last segment; replay streams, one record at a time.

pub mod codec;
mod compress;
mod disk;
mod follow;
pub mod format;
mod inspect;
mod keepers;
mod ledger;
pub mod lock;
mod open;
mod ranges;
mod reader;
mod rescue;
mod scan;
mod segments;
mod status;
mod sync;
mod tend;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use disk::{Disk, DiskFile, RealDisk};
pub use follow::{Behind, Follow, Follower};
pub use format::Record;
pub use inspect::{inspect, space};
pub use keepers::Keepers;
pub use open::{Opened, Options};
pub use reader::{Backlog, Reader, Stored};
pub use status::{Replay, Status};
pub use sync::Ticket;

use follow::Following;
use ledger::Ledger;
use segments::Table;
use sync::Unsynced;
use write::Writer;

/// What the journal could not do. An append that fails left nothing behind and may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the directory.
    #[error(transparent)]
    Locked(#[from] lock::LockError),
    /// The directory cannot be used at all.
    #[error("the journal cannot {doing} {}: {source}; {advice}", path.display())]
    Directory { doing: &'static str, path: PathBuf, source: std::io::Error, advice: &'static str },
    /// Written by a newer version of this program.
    #[error(
        "{} has version {version} of the journal's format, this program reads {} and older; \
         start the newer program again, or let it finish what is there", path.display(), format::VERSION
    )]
    Newer { path: PathBuf, version: u32 },
    /// The budget is spent: callers have to wait until the store has taken something.
    #[error("the journal is full: {bytes} of {max_bytes} bytes wait for the store")]
    Full { bytes: u64, max_bytes: u64 },
    /// The disk is full.
    #[error("the disk is full: cannot {doing} {}", path.display())]
    NoSpace { doing: &'static str, path: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    /// The disk refused to make earlier records durable, and did so again.
    #[error("the disk does not keep what is written to it: {reason}")]
    NotDurable { reason: String },
    #[error("a record of {bytes} bytes is too large for the journal, accepted are {}", format::MAX_PAYLOAD)]
    TooLarge { bytes: usize },
    #[error("the journal is closed")]
    Closed,
}

type Result<T, E = JournalError> = std::result::Result<T, E>;

impl JournalError {
    /// An error of the file system, a full disk told apart.
    fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace { doing, path },
            _ => Self::Io { doing, path, source },
        }
    }
}

/// Where the spans of a record are once it is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Its writer has them in memory, and will say [`Journal::done`].
    InMemory,
    /// On disk alone: [`Backlog`] will hand them out.
    OnDisk,
}

/// An open journal. Cloning shares it; the directory stays locked until it is closed, or the last
/// clone and reader is gone.
#[derive(Clone)]
pub struct Journal(Arc<Shared>);

/// Locks are taken in the order of the fields, never the other way round.
struct Shared {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    options: Options,
    /// Held by who syncs, so that one does.
    sync_turn: Mutex<()>,
    /// Held by who tends, so that one does.
    tend_turn: Mutex<()>,
    /// Held while a record is written.
    writer: Mutex<Writer>,
    /// Held for moments.
    state: Mutex<State>,
    bells: keepers::Bells,
    /// Of the directory, another one if it had to be made again; held until the journal is closed.
    lock: Mutex<Option<Box<dyn Send + Sync>>>,
}

/// What is known of the files and of the records in them.
struct State {
    table: Table,
    ledger: Ledger,
    following: Following,
    /// What is written and not known to be durable.
    unsynced: Unsynced,
    /// How far the files say that everything is done.
    marked: u64,
    health: status::Health,
}

impl Journal {
    /// Everything that waited in memory for this record's end is over: the store has all of its spans. In any order,
    /// each once or more often.
    pub fn done(&self, sequence: u64) {
        let mut state = self.0.state();
        if state.ledger.done(sequence) {
            drop(state);
            self.0.bells.tend.ring();
        }
    }

    /// Whoever had the record in memory has it no longer, and its spans are not stored: it is on disk alone from here on.
    pub fn give_back(&self, sequence: u64) {
        self.0.state().ledger.give_back(sequence);
    }

    /// The record cannot be used although its checksum is right: its file is kept aside in the end, and the record
    /// counts as done.
    pub fn set_aside(&self, sequence: u64, reason: &str) {
        let mut state = self.0.state();
        let file = state.table.mark_damaged(sequence);
        state.health.lost_records += 1;
        tracing::error!(sequence, file, reason, "a record of the journal cannot be used; its segment is kept aside");
        drop(state);
        self.done(sequence);
    }

    /// Records that are on disk alone and wait for [`Backlog`].
    pub fn waiting(&self) -> u64 {
        self.0.state().ledger.waiting()
    }

    /// Hands out the records that are on disk alone, oldest first. One at a time makes sense: two share the records.
    pub fn backlog(&self) -> Backlog {
        Backlog::new(self.0.clone())
    }

    /// Reads every record from this sequence on, whether it is done or not, as far as it is still there.
    pub fn read_from(&self, sequence: u64) -> Reader {
        Reader::new(self.0.clone(), sequence)
    }

    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Takes no more records, makes durable what was taken, notes what is done, and gives the directory free: whoever
    /// holds a clone still can do nothing with it.
    ///
    /// # Errors
    /// If the disk does not keep it; it may all the same survive a killed process.
    pub fn close(&self) -> Result<()> {
        self.0.writer().closed = true;
        let noted = self.0.note_done();
        let closed = self.0.sync().and(noted);
        *self.0.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        closed
    }

    /// Makes everything that was appended durable, whatever the policy.
    ///
    /// # Errors
    /// If the disk does not keep it, also not in a new file.
    pub fn sync(&self) -> Result<()> {
        self.0.sync()
    }

    /// Writes down how far everything is done, removes what is done, compresses what waits for long. [`Keepers`] does
    /// it by itself.
    ///
    /// # Errors
    /// What the file system said; the rest was done, and the next call tries again.
    pub fn tend(&self) -> Result<()> {
        // The directory may be another process's by then.
        if self.0.writer().closed { Ok(()) } else { self.0.tend() }
    }
}

impl Shared {
    // Nothing below these locks panics half-way, so a poisoned state is a whole one.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
