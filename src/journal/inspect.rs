//! Looking at a journal's directory, and at a disk, from outside: nothing is opened for writing, and the lock is left to
//! whoever has it.

use std::fs::File;
use std::io;
use std::path::Path;

use super::compress;
use super::disk::{Disk, DiskFile, RealDisk};
use super::format::{HEADER, SegmentHeader};
use super::open::DAMAGED;
use super::segments::{Form, parse_name};
use crate::checkup::facts::{JournalFacts, Known, Space};

/// What lies in the directory. It may be in use: what is counted is of some moment.
pub fn inspect(directory: &Path, max_bytes: u64) -> JournalFacts {
    let exists = directory.is_dir();
    let mut facts = JournalFacts {
        directory: directory.to_owned(),
        exists,
        writable: writable(directory),
        segments: 0,
        bytes: 0,
        waiting_bytes: 0,
        kept_bytes: 0,
        damaged_segments: 0,
        max_bytes,
        space: space(directory).map_err(|error| error.to_string()),
    };
    let files = match exists {
        true => RealDisk.list(directory),
        false => Ok(Vec::new()),
    };
    match files {
        Ok(files) => count(directory, &files, &mut facts),
        Err(error) => facts.writable = Err(format!("{} cannot be read: {error}", directory.display())),
    }
    facts
}

/// Of the disk that a path is on, or will be once it is made.
///
/// # Errors
/// As the operating system's.
pub fn space(path: &Path) -> io::Result<Space> {
    let told = rustix::fs::statvfs(nearest(path))?;
    let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
    Ok(Space { free_bytes: bytes(told.f_bavail), total_bytes: bytes(told.f_blocks) })
}

/// A segment goes once everything in it is done, oldest first: where there are several, the oldest waits, for the store or,
/// as the header of the newest tells, only for who follows.
fn count(directory: &Path, files: &[(String, u64)], facts: &mut JournalFacts) {
    let mut segments: Vec<(u64, u64, Option<SegmentHeader>)> = files
        .iter()
        .filter_map(|(name, bytes)| {
            let (number, form) = parse_name(name)?;
            Some((number, *bytes, header(&directory.join(name), form)))
        })
        .collect();
    segments.sort_unstable_by_key(|(number, ..)| *number);
    facts.segments = segments.len() as u64;
    facts.bytes = segments.iter().map(|(_, bytes, _)| bytes).sum();
    let newest = segments.last().map_or(0, |(_, bytes, _)| *bytes);
    let done_to = segments.last().and_then(|(.., header)| header.as_ref()).map_or(0, |newest| newest.done_to);
    let ends = segments.iter().skip(1).map(|(.., next)| next.as_ref().map_or(u64::MAX, |next| next.first));
    let kept = segments.iter().zip(ends).take_while(|(_, end)| *end <= done_to + 1);
    facts.kept_bytes = kept.map(|((_, bytes, _), _)| bytes).sum();
    facts.waiting_bytes = facts.bytes - newest - facts.kept_bytes;
    facts.damaged_segments = files.iter().filter(|(name, _)| name.ends_with(DAMAGED)).count() as u64;
}

/// The header of a segment; `None` if it cannot be read.
fn header(path: &Path, form: Form) -> Option<SegmentHeader> {
    let file = File::open(path).ok()?;
    let bytes = match form {
        Form::Compressed => compress::read_header(&file).ok()??.0,
        Form::Raw => {
            let mut bytes = [0; HEADER];
            let file: &dyn DiskFile = &file;
            (file.read_full_at(&mut bytes, 0).ok()? == HEADER).then_some(bytes)?
        }
    };
    SegmentHeader::decode(&bytes).ok()
}

fn writable(directory: &Path) -> Known<()> {
    let path = nearest(directory);
    if !path.is_dir() {
        return Err(format!("{} is no directory", path.display()));
    }
    let may = rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    may.map_err(|error| format!("{} cannot be written: {}", path.display(), io::Error::from(error)))
}

/// The path, or the nearest one above it that is there.
fn nearest(path: &Path) -> &Path {
    let there = path.ancestors().find(|path| !path.as_os_str().is_empty() && path.exists());
    there.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_there_is_counted_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("a/journal");
        let facts = inspect(&directory, 0);
        assert!(!facts.exists && facts.writable.is_ok() && facts.space.is_ok_and(|space| space.total_bytes > 0));
        assert!(!folder.path().join("a").exists());

        std::fs::create_dir_all(&directory).unwrap();
        for (name, bytes) in [
            ("000000000007.seg", 10),
            ("000000000008.zst", 20),
            ("000000000009.seg", 40),
            ("000000000003.damaged", 5),
            ("lock", 3),
        ] {
            std::fs::write(directory.join(name), vec![0; bytes]).unwrap();
        }
        let facts = inspect(&directory, 100);
        assert_eq!((facts.segments, facts.bytes, facts.waiting_bytes, facts.damaged_segments), (3, 70, 30, 1));
    }

    #[test]
    fn what_is_kept_for_followers_does_not_wait_for_the_store() {
        let folder = tempfile::tempdir().unwrap();
        for (number, first, done_to) in [(1, 1, 0), (2, 10, 0), (3, 20, 5), (4, 30, 25)] {
            let header = SegmentHeader { number, first, done_to, created_ns: 0 }.encode();
            std::fs::write(folder.path().join(format!("{number:012}.seg")), header).unwrap();
        }
        let facts = inspect(folder.path(), 0);
        assert_eq!((facts.bytes, facts.kept_bytes, facts.waiting_bytes), (256, 128, 64));
    }

    #[test]
    fn a_file_in_the_way_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("journal");
        std::fs::write(&file, "").unwrap();
        assert!(inspect(&file, 0).writable.unwrap_err().ends_with("is no directory"));
    }
}
