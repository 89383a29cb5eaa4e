//! The start: what lies in the directory becomes the table of segments, and the ledger what waits in it.
//!
//! Reads the headers, and the last segment whole; a start does not wait for the rest.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::compress;
use super::disk::{Disk, RealDisk};
use super::follow::{Follow, Following};
use super::format::{HEADER, HeaderError, KIND_MARK, KIND_SPANS, SegmentHeader};
use super::keepers::Bells;
use super::ledger::Ledger;
use super::scan::{Item, Scanner};
use super::segments::{Form, Segment, Table, parse_name};
use super::status::Health;
use super::sync::Unsynced;
use super::write::Writer;
use super::{Journal, JournalError, Result, Shared, State};
use crate::model::time::UnixNanos;
use crate::settings::journal::{Fsync, JournalSettings};

/// What the names of segments that are set aside end with.
pub(super) const DAMAGED: &str = ".damaged";
/// The budget unless one is set.
const DEFAULT_MAX_BYTES: u64 = 8 << 30;

/// How a journal works: its settings, with what depends on the machine decided.
#[derive(Clone)]
pub struct Options {
    pub fsync: Fsync,
    pub fsync_interval: Duration,
    pub max_bytes: u64,
    pub segment_bytes: u64,
    /// Absent: nothing is compressed.
    pub compress_after_segments: Option<usize>,
    /// Tells the time, for the headers of segments.
    pub now: Arc<dyn Fn() -> UnixNanos + Send + Sync>,
}

/// What the start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    pub segments: usize,
    /// Records that were not done.
    pub to_replay: u64,
    /// Bytes at the end of the last segment that were no whole record, and were cut off.
    pub torn_bytes: u64,
    /// Files of which nothing could be read, by their new names.
    pub damaged: Vec<String>,
    /// Numbers of segments that are missing, records and all.
    pub missing: Vec<u64>,
}

impl Journal {
    /// Opens the journal in `directory`, made if it is missing, and locks it. Nothing is running yet: [`super::Keepers`].
    ///
    /// `max_bytes` of 0 in the settings becomes 8 GiB or half of the disk that is free (what the journal holds already
    /// counted as free), whichever is less.
    ///
    /// # Errors
    /// [`JournalError::Locked`], [`JournalError::Directory`], [`JournalError::Newer`], [`JournalError::Io`]. Nothing of
    /// what is there was removed then.
    pub fn open(
        directory: &Path,
        settings: &JournalSettings,
        now: impl Fn() -> UnixNanos + Send + Sync + 'static,
    ) -> Result<(Self, Opened)> {
        Self::open_on(Arc::new(RealDisk), directory, settings, &[], now)
    }

    /// The same, and keeps every record until these have read it too, each within its share of the disk. One that is new
    /// begins with what comes next.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_followed(
        directory: &Path,
        settings: &JournalSettings,
        follow: &[Follow],
        now: impl Fn() -> UnixNanos + Send + Sync + 'static,
    ) -> Result<(Self, Opened)> {
        Self::open_on(Arc::new(RealDisk), directory, settings, follow, now)
    }

    /// The same on another disk.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        directory: &Path,
        settings: &JournalSettings,
        follow: &[Follow],
        now: impl Fn() -> UnixNanos + Send + Sync + 'static,
    ) -> Result<(Self, Opened)> {
        let unusable = |doing: &'static str| {
            let path = directory.to_owned();
            move |source: std::io::Error| JournalError::Directory { doing, advice: advice(&source), path, source }
        };
        disk.make_directory(directory).map_err(unusable("make"))?;
        let lock = disk.lock(directory).map_err(|error| match error {
            super::lock::LockError::Io { source, .. } => unusable("write to")(source),
            held @ super::lock::LockError::Held { .. } => JournalError::Locked(held),
        })?;
        let files = disk.list(directory).map_err(unusable("list"))?;
        let mut start = Start { disk: &*disk, directory, opened: Opened::default() };
        let next_number = 1 + files.iter().filter_map(|(name, _)| any_number(name)).max().unwrap_or(0);
        let aside = files.iter().filter(|(name, _)| name.ends_with(DAMAGED)).count() as u64;
        let candidates = start.candidates(&files)?;
        let (mut table, marked) = start.table(candidates)?;
        start.find_missing(&table)?;
        let last = start.read_last(&mut table, marked)?;
        let unsynced = start.unsynced(&table, last.tail)?;
        let mut opened = start.opened;

        let held = table.bytes();
        let max_bytes = match settings.max_bytes {
            0 => {
                let free = disk.free_bytes(directory).map_err(unusable("look at the space of"))?;
                DEFAULT_MAX_BYTES.min(free.saturating_add(held) / 2)
            }
            set => set,
        };
        let options = Options {
            fsync: settings.fsync,
            fsync_interval: Duration::from_millis(settings.fsync_interval_ms),
            max_bytes,
            segment_bytes: settings.segment_bytes.min(max_bytes / 4).max(HEADER as u64),
            compress_after_segments: usize::try_from(settings.compress_after_segments).ok().filter(|count| *count > 0),
            now: Arc::new(now),
        };
        let ledger = Ledger::new(last.low, last.tail);
        opened.segments = table.segments().len();
        opened.to_replay = ledger.waiting();
        let following = Following::open(&*disk, directory, follow, ledger.tail())?;
        table.keep(ledger.low());
        let last_number = table.last().map_or(0, |segment| segment.number);
        let replay = if ledger.waiting() > 0 { (last_number, table.unstored_bytes()) } else { (0, 0) };
        let health = Health::new(opened.damaged.len() as u64 + aside, replay);
        let shared = Shared {
            writer: Mutex::new(Writer::new(ledger.tail() + 1, next_number)),
            state: Mutex::new(State { table, ledger, following, unsynced, marked: last.marked, health }),
            disk,
            directory: directory.to_owned(),
            options,
            sync_turn: Mutex::default(),
            tend_turn: Mutex::default(),
            bells: Bells::default(),
            lock: Mutex::new(Some(lock)),
        };
        shared.remove_done();
        Ok((Self(Arc::new(shared)), opened))
    }
}

/// Reads a directory. Nothing is removed before every header was looked at.
struct Start<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    opened: Opened,
}

/// A file that may be a segment.
struct Candidate {
    number: u64,
    form: Form,
    bytes: u64,
    header: Option<SegmentHeader>,
}

/// What the last segment says.
struct Last {
    low: u64,
    tail: u64,
    marked: u64,
}

impl Start<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Files by number, a compressed one before the raw one of the same number.
    fn candidates(&self, files: &[(String, u64)]) -> Result<Vec<Candidate>> {
        let mut candidates = Vec::new();
        for (name, bytes) in files {
            let Some((number, form)) = parse_name(name) else { continue };
            let path = self.path(name);
            let header = self.header(&path, form).map_err(|source| JournalError::io("read", &path, source))?;
            let header = match header.map(|bytes| SegmentHeader::decode(&bytes)) {
                Some(Err(HeaderError::Newer(version))) => return Err(JournalError::Newer { path, version }),
                Some(Ok(header)) if header.number == number => Some(header),
                Some(Ok(_) | Err(HeaderError::Damaged)) | None => None,
            };
            candidates.push(Candidate { number, form, bytes: *bytes, header });
        }
        candidates.sort_by_key(|one| (one.number, one.form == Form::Raw));
        for (name, _) in files.iter().filter(|(name, _)| name.ends_with(".tmp")) {
            // One that stays is in nobody's way.
            let _ = self.disk.remove(&self.path(name));
        }
        Ok(candidates)
    }

    fn header(&self, path: &Path, form: Form) -> std::io::Result<Option<[u8; HEADER]>> {
        let file = self.disk.open(path)?;
        match form {
            Form::Compressed => Ok(compress::read_header(&*file)?.map(|(header, _)| header)),
            Form::Raw => {
                let mut bytes = [0; HEADER];
                let read = file.read_full_at(&mut bytes, 0)?;
                Ok((read == HEADER).then_some(bytes))
            }
        }
    }

    /// The table of what can be read, and the highest mark in a header.
    fn table(&mut self, candidates: Vec<Candidate>) -> Result<(Table, u64)> {
        let mut table = Table::default();
        let mut marked = 0;
        for Candidate { number, form, bytes, header } in candidates {
            let mut segment = Segment { number, first: 0, form, bytes, damaged: header.is_none() };
            if table.last().is_some_and(|before| before.number == number) {
                // The compressed one is whole.
                let _ = self.disk.remove(&segment.path(self.directory));
                continue;
            }
            let first = match header {
                Some(header) => {
                    marked = marked.max(header.done_to);
                    Some(header.first)
                }
                None => self.first_record(&segment)?,
            };
            match first {
                Some(first) => segment.first = first,
                None => {
                    self.set_aside(&segment)?;
                    continue;
                }
            }
            for void in table.push(segment) {
                let _ = self.disk.remove(&void.path(self.directory));
            }
        }
        Ok((table, marked))
    }

    /// The first record of a segment whose header cannot be read.
    fn first_record(&self, segment: &Segment) -> Result<Option<u64>> {
        let mut scanner = self.scanner(segment)?;
        loop {
            match self.item(&mut scanner, segment)? {
                Item::Record { kind: KIND_SPANS, sequence, .. } => return Ok(Some(sequence)),
                Item::End => return Ok(None),
                Item::Record { .. } | Item::Damage { .. } => {}
            }
        }
    }

    /// A file without a header and without a record: one that was just begun when the power went is removed, any other
    /// is kept under another name.
    fn set_aside(&mut self, segment: &Segment) -> Result<()> {
        let path = segment.path(self.directory);
        let failed = |source| JournalError::io("set aside", &path, source);
        let mut begin = [0; HEADER];
        let file = self.disk.open(&path).map_err(failed)?;
        let read = file.read_full_at(&mut begin, 0).map_err(failed)?;
        if read < HEADER || begin == [0; HEADER] {
            self.opened.torn_bytes += segment.bytes;
            return self.disk.remove(&path).map_err(failed);
        }
        let name = format!("{}{DAMAGED}", segment.name());
        tracing::error!(
            file = name,
            "nothing can be read of a segment of the journal; it is set aside under this name"
        );
        self.disk.rename(&path, &self.path(&name)).map_err(failed)?;
        self.opened.damaged.push(name);
        Ok(())
    }

    /// Where numbers are missing, whether records are missing too: segments that others made void are rightly gone.
    fn find_missing(&mut self, table: &Table) -> Result<()> {
        for pair in table.segments().windows(2) {
            let [before, next] = pair else { continue };
            if before.number + 1 == next.number {
                continue;
            }
            let end = self.scan(before)?.last.map_or(before.first, |last| last + 1);
            if end < next.first {
                let missing = before.number + 1..next.number;
                tracing::error!(?missing, first = end, last = next.first - 1, "segments of the journal are missing");
                self.opened.missing.extend(missing);
            }
        }
        Ok(())
    }

    /// Reads the last segment, and cuts off what is no whole record at its end.
    fn read_last(&mut self, table: &mut Table, marked: u64) -> Result<Last> {
        let Some(segment) = table.last().cloned() else {
            return Ok(Last { low: 0, tail: 0, marked: 0 });
        };
        let scanned = self.scan(&segment)?;
        if let Some(torn_at) = scanned.torn_at.filter(|_| segment.form == Form::Raw) {
            let path = segment.path(self.directory);
            let cut = self.disk.open(&path).and_then(|file| file.truncate(torn_at));
            cut.map_err(|source| JournalError::io("cut", &path, source))?;
            let bytes = segment.bytes - torn_at;
            tracing::warn!(
                file = segment.name(),
                offset = torn_at,
                bytes,
                "the journal ended within a record, which was never acknowledged"
            );
            self.opened.torn_bytes += bytes;
            table.grow(segment.number, torn_at);
        }
        let marked = marked.max(scanned.mark);
        let removed = table.segments().first().map_or(0, |first| first.first.saturating_sub(1));
        let low = marked.max(removed);
        let tail = scanned.last.unwrap_or(0).max(segment.first.saturating_sub(1)).max(low);
        Ok(Last { low, tail, marked })
    }

    /// What an earlier process wrote may never have reached the disk: everything but what was compressed.
    fn unsynced(&self, table: &Table, tail: u64) -> Result<Unsynced> {
        let mut files = Vec::new();
        let raw = || table.segments().iter().filter(|segment| segment.form == Form::Raw);
        for segment in raw() {
            let path = segment.path(self.directory);
            let file = self.disk.open(&path).map_err(|source| JournalError::io("open", &path, source))?;
            files.push((segment.number, file));
        }
        let durable = raw().next().map_or(tail, |segment| segment.first.saturating_sub(1));
        Ok(Unsynced::after_start(durable, files))
    }

    fn scan(&self, segment: &Segment) -> Result<Scanned> {
        let mut scanned = Scanned { last: None, mark: 0, torn_at: None };
        let mut scanner = self.scanner(segment)?;
        loop {
            match self.item(&mut scanner, segment)? {
                Item::Record { kind, sequence, .. } => {
                    scanned.torn_at = None;
                    match kind {
                        KIND_SPANS => scanned.last = scanned.last.max(Some(sequence)),
                        KIND_MARK => scanned.mark = scanned.mark.max(sequence),
                        _ => {}
                    }
                }
                Item::Damage { at, .. } => scanned.torn_at = Some(at),
                Item::End => return Ok(scanned),
            }
        }
    }

    fn scanner(&self, segment: &Segment) -> Result<Scanner> {
        let path = segment.path(self.directory);
        let file = self.disk.open(&path);
        let scanner = file.and_then(|file| Scanner::new(file, segment.number, segment.form, segment.bytes));
        scanner.map_err(|source| JournalError::io("open", &path, source))
    }

    fn item(&self, scanner: &mut Scanner, segment: &Segment) -> Result<Item> {
        scanner.next().map_err(|source| JournalError::io("read", &segment.path(self.directory), source))
    }
}

struct Scanned {
    /// The highest sequence.
    last: Option<u64>,
    /// The highest mark; 0 if there is none.
    mark: u64,
    /// Where what is no record begins, if nothing but that follows.
    torn_at: Option<u64>,
}

/// The number of a segment, also of one that is set aside.
fn any_number(name: &str) -> Option<u64> {
    parse_name(name.strip_suffix(DAMAGED).unwrap_or(name)).map(|(number, _)| number)
}

fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "the file system is mounted read-only: mount it for writing, or set journal.dir"
        }
        ErrorKind::PermissionDenied => "give this user the right to read and write there, or set journal.dir",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "a file is in its place: move it, or set journal.dir",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full: make room, or set journal.dir",
        _ => "set journal.dir to a directory on a disk that works, or journal.enabled = false to do without",
    }
}
