//! Who reads along: each has a cursor that outlives the process, and a share of the disk within which what the store has
//! already waits for it. Beyond the share the oldest segments are let go, and their spans counted.
//!
//! A cursor is a file, `forward-NAME.cursor`: one line of text with the version (1), the sequence up to which everything was
//! read, and the CRC-32C of what stands before it in hex. It is replaced as a whole, by a file that was synced.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec;
use super::disk::Disk;
use super::format::KIND_SPANS;
use super::reader::{Reader, Stored};
use super::scan::{Item, Scanner};
use super::segments::Segment;
use super::{Journal, JournalError, Result, Shared};

/// Somebody who reads along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// Part of a file's name: letters, digits, `-` and `_`.
    pub name: String,
    /// Bytes of segments that may be kept for it when the store has them.
    pub max_bytes: u64,
}

/// How far somebody is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Requests that were appended and are not done.
    pub records: u64,
    /// Their bytes on disk, estimated from the number of records in each segment.
    pub bytes: u64,
}

/// All who read along.
#[derive(Debug, Default)]
pub(super) struct Following(Vec<One>);

#[derive(Debug)]
struct One {
    follow: Follow,
    /// Everything up to here is done, or was let go.
    done_to: u64,
    /// Everything up to here is in the follower's hands.
    taken_to: u64,
    /// Everything up to here that was not taken by then was let go.
    let_go_to: u64,
    /// Spans that were let go and that nobody was told of yet.
    let_go_spans: u64,
}

/// A segment to be let go.
struct Surplus {
    follower: usize,
    segment: Segment,
    last: u64,
}

impl Following {
    /// Reads the cursors. Who has none begins behind `tail`; whose cursor cannot be read begins with the oldest record
    /// that is there.
    pub fn open(disk: &dyn Disk, directory: &Path, follow: &[Follow], tail: u64) -> Result<Self> {
        let mut following = Vec::new();
        for follow in follow {
            let path = cursor_path(directory, &follow.name);
            let cursor = read_cursor(disk, &path).map_err(|source| JournalError::io("read", &path, source))?;
            let done_to = match cursor {
                Cursor::At(sequence) => sequence.min(tail),
                Cursor::Absent => tail,
                Cursor::Damaged => {
                    tracing::warn!(
                        file = %path.display(),
                        "a cursor of the journal cannot be read; everything that is there is forwarded again"
                    );
                    0
                }
            };
            // One that is not written would begin behind a later tail after the next start.
            if !matches!(cursor, Cursor::At(at) if at == done_to) {
                write_cursor(disk, &path, done_to).map_err(|source| JournalError::io("write", &path, source))?;
            }
            let follow = follow.clone();
            following.push(One { follow, done_to, taken_to: done_to, let_go_to: 0, let_go_spans: 0 });
        }
        Ok(Self(following))
    }

    /// Everything up to here is done by all.
    pub fn read_to(&self) -> u64 {
        self.0.iter().map(|one| one.done_to).min().unwrap_or(u64::MAX)
    }
}

/// Reads every record once, in order, from where it stopped before. There is one a name.
pub struct Follower {
    reader: Reader,
    shared: Arc<Shared>,
    at: usize,
}

impl Journal {
    /// The follower of this name; `None` if the journal was not opened for it.
    pub fn follower(&self, name: &str) -> Option<Follower> {
        let shared = self.0.clone();
        let at = shared.state().following.0.iter().position(|one| one.follow.name == name)?;
        let next = shared.state().following.0[at].taken_to + 1;
        Some(Follower { reader: Reader::new(shared.clone(), next), shared, at })
    }

    /// Spans that were let go unread since this was asked before, because the share of the disk was used up.
    pub fn let_go_spans(&self, name: &str) -> u64 {
        let mut state = self.0.state();
        let one = state.following.0.iter_mut().find(|one| one.follow.name == name);
        one.map_or(0, |one| std::mem::take(&mut one.let_go_spans))
    }

    /// How far the follower of this name is behind; not at all if there is none.
    pub fn behind(&self, name: &str) -> Behind {
        let state = self.0.state();
        let Some(one) = state.following.0.iter().find(|one| one.follow.name == name) else { return Behind::default() };
        let tail = state.ledger.tail();
        let segments = state.table.segments();
        let ends = segments.iter().skip(1).map(|next| next.first).chain([tail + 1]);
        let left = |(segment, end): (&Segment, u64)| {
            let (all, first) = (end.saturating_sub(segment.first), segment.first.max(one.done_to + 1));
            let share = u128::from(segment.bytes) * u128::from(end.saturating_sub(first)) / u128::from(all.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        Behind { records: tail.saturating_sub(one.done_to), bytes: segments.iter().zip(ends).map(left).sum() }
    }
}

impl Follower {
    /// The next record, which is the caller's from here on: it says [`Follower::done`]. `None` at the tail.
    ///
    /// # Errors
    /// If a file cannot be read; asking again tries again.
    pub fn read(&mut self) -> Result<Option<Stored<'_>>> {
        loop {
            let let_go_to = self.shared.state().following.0[self.at].let_go_to;
            if let_go_to >= self.reader.next_sequence() {
                self.reader.seek(let_go_to + 1);
            }
            let wanted = self.reader.next_sequence();
            if !self.reader.advance()? {
                return Ok(None);
            }
            let sequence = self.reader.last_sequence();
            let mut state = self.shared.state();
            let one = &mut state.following.0[self.at];
            // Let go in this moment: it is counted.
            if sequence <= one.let_go_to {
                continue;
            }
            let missing = sequence - wanted.max(one.let_go_to + 1);
            one.taken_to = sequence;
            if missing > 0 {
                let name = one.follow.name.clone();
                drop(state);
                tracing::warn!(follower = name, records = missing, "records of the journal are gone unread");
            }
            return Ok(self.reader.last());
        }
    }

    /// Everything up to this record is done with, and is not read again after a restart.
    ///
    /// # Errors
    /// If that could not be written down; it counts for this process.
    pub fn done(&self, sequence: u64) -> Result<()> {
        // The directory may be another process's by then.
        if self.shared.writer().closed {
            return Err(JournalError::Closed);
        }
        let (done_to, name) = {
            let mut state = self.shared.state();
            let one = &mut state.following.0[self.at];
            one.done_to = one.done_to.max(sequence);
            (one.done_to, one.follow.name.clone())
        };
        self.shared.bells.tend.ring();
        let path = cursor_path(&self.shared.directory, &name);
        let written = write_cursor(&*self.shared.disk, &path, done_to);
        written.map_err(|source| JournalError::io("write", &path, source))
    }
}

impl Shared {
    /// Lets the oldest segments go that are kept beyond somebody's share. Reads them, to count their spans.
    pub(super) fn let_go(&self) -> Result<()> {
        while let Some(surplus) = self.surplus() {
            let path = surplus.segment.path(&self.directory);
            let counted = match self.count_spans(&surplus.segment, surplus.last) {
                // Somebody has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                counted => counted.map_err(|source| JournalError::io("read", &path, source))?,
            };
            let mut state = self.state();
            let one = &mut state.following.0[surplus.follower];
            let untaken = |(sequence, _): &&(u64, u64)| *sequence > one.taken_to;
            let spans: u64 = counted.iter().filter(untaken).map(|(_, spans)| spans).sum();
            one.done_to = one.done_to.max(surplus.last);
            one.let_go_to = one.let_go_to.max(surplus.last);
            one.let_go_spans += spans;
            let name = one.follow.name.clone();
            drop(state);
            tracing::warn!(follower = name, spans, "let go unread: more waits than its share of the disk holds");
            self.remove_done();
        }
        Ok(())
    }

    /// The oldest segment of somebody who has more of them than its share holds.
    fn surplus(&self) -> Option<Surplus> {
        let state = self.state();
        state.following.0.iter().enumerate().find_map(|(follower, one)| {
            let kept = || state.table.kept().filter(|(_, last)| *last > one.done_to);
            let bytes: u64 = kept().map(|(segment, _)| segment.bytes).sum();
            let (segment, last) = kept().next().filter(|_| bytes > one.follow.max_bytes)?;
            Some(Surplus { follower, segment: segment.clone(), last })
        })
    }

    /// The sequence of each record up to `last`, and the number of its spans.
    fn count_spans(&self, segment: &Segment, last: u64) -> io::Result<Vec<(u64, u64)>> {
        let file = self.disk.open(&segment.path(&self.directory))?;
        let mut scanner = Scanner::new(file, segment.number, segment.form, segment.bytes)?;
        let mut counted = Vec::new();
        loop {
            match scanner.next()? {
                Item::Record { kind: KIND_SPANS, sequence, payload, .. } if sequence <= last => {
                    counted.push((sequence, codec::count_spans(&scanner.bytes()[payload])));
                }
                Item::End => return Ok(counted),
                Item::Record { .. } | Item::Damage { .. } => {}
            }
        }
    }
}

/// What a cursor's file says.
enum Cursor {
    At(u64),
    Absent,
    Damaged,
}

fn cursor_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("forward-{name}.cursor"))
}

/// Bytes that a cursor has at most.
const MOST: usize = 64;

fn read_cursor(disk: &dyn Disk, path: &Path) -> io::Result<Cursor> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Cursor::Absent),
        opened => opened?,
    };
    let mut bytes = [0; MOST];
    let read = file.read_full_at(&mut bytes, 0)?;
    let sequence = std::str::from_utf8(&bytes[..read]).ok().and_then(|text| {
        let (told, crc) = text.trim_end().rsplit_once(' ')?;
        let sequence = told.strip_prefix("1 ")?.parse().ok()?;
        (format!("{:08x}", crc32c::crc32c(told.as_bytes())) == crc).then_some(sequence)
    });
    Ok(sequence.map_or(Cursor::Damaged, Cursor::At))
}

fn write_cursor(disk: &dyn Disk, path: &Path, sequence: u64) -> io::Result<()> {
    let told = format!("1 {sequence}");
    let text = format!("{told} {:08x}\n", crc32c::crc32c(told.as_bytes()));
    // Removed at the start if it stays.
    let temporary = path.with_extension("tmp");
    match disk.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&temporary)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&temporary, path)
}
