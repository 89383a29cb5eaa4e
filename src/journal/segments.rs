//! The table of segments: which file holds which sequences. Pure, but for the names of files.

use std::path::{Path, PathBuf};

/// How a segment lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Raw,
    Compressed,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub number: u64,
    pub first: u64,
    pub form: Form,
    /// Of the file; of a segment that is being written, those that are whole records.
    pub bytes: u64,
    /// Whether something in it could not be read.
    pub damaged: bool,
}

/// Where a sequence is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub segment: Segment,
    /// The first sequence behind it.
    pub end: u64,
}

impl Segment {
    pub fn name(&self) -> String {
        name(self.number, self.form)
    }

    pub fn path(&self, directory: &Path) -> PathBuf {
        directory.join(self.name())
    }
}

/// The name of a segment's file.
pub(super) fn name(number: u64, form: Form) -> String {
    match form {
        Form::Raw => format!("{number:012}.seg"),
        Form::Compressed => format!("{number:012}.zst"),
    }
}

/// The number and form that a file's name tells; `None` for other files.
pub(super) fn parse_name(file: &str) -> Option<(u64, Form)> {
    let (number, form) = match file.rsplit_once('.')? {
        (number, "seg") => (number, Form::Raw),
        (number, "zst") => (number, Form::Compressed),
        _ => return None,
    };
    let is_number = number.len() >= 12 && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.parse().ok().map(|number| (number, form))).flatten()
}

/// Segments in the order of their numbers and of their sequences.
#[derive(Debug, Default)]
pub(super) struct Table {
    segments: Vec<Segment>,
    bytes: u64,
    /// How many of the first segments the store has: they are there for followers only.
    kept: usize,
    /// Bytes of these.
    kept_bytes: u64,
}

impl Table {
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of the segments that hold what the store has not, which is what the budget bounds.
    pub fn unstored_bytes(&self) -> u64 {
        self.bytes - self.kept_bytes
    }

    /// Segments of which the store has everything, each with its last sequence: the first ones.
    pub fn kept(&self) -> impl Iterator<Item = (&Segment, u64)> {
        let ends = self.segments.iter().skip(1).map(|next| next.first - 1);
        self.segments.iter().zip(ends).take(self.kept)
    }

    /// Segments that hold something that the store has not, and the last one.
    pub fn unstored(&self) -> &[Segment] {
        &self.segments[self.kept..]
    }

    /// Counts those of which every sequence is up to `low` as kept for followers.
    pub fn keep(&mut self, low: u64) {
        self.kept = self.segments.iter().skip(1).take_while(|next| next.first <= low + 1).count();
        self.kept_bytes = self.segments.iter().take(self.kept).map(|segment| segment.bytes).sum();
    }

    pub fn last(&self) -> Option<&Segment> {
        self.segments.last()
    }

    /// Adds the next segment, and gives back those that it makes void: all of what they hold is in it.
    pub fn push(&mut self, segment: Segment) -> Vec<Segment> {
        let kept = self.segments.partition_point(|before| before.first < segment.first);
        let void = self.segments.split_off(kept);
        self.kept_bytes -= void.iter().take(self.kept.saturating_sub(kept)).map(|void| void.bytes).sum::<u64>();
        self.kept = self.kept.min(kept);
        self.bytes += segment.bytes;
        self.bytes -= void.iter().map(|void| void.bytes).sum::<u64>();
        self.segments.push(segment);
        void
    }

    /// The segment that holds this sequence, or the first one behind it. `tail` is the last sequence there is.
    pub fn find(&self, sequence: u64, tail: u64) -> Option<Place> {
        let behind = self.segments.partition_point(|segment| segment.first <= sequence);
        let at = behind.saturating_sub(1);
        let segment = self.segments.get(at)?.clone();
        let end = self.segments.get(at + 1).map_or(tail + 1, |next| next.first);
        Some(Place { segment, end })
    }

    /// Takes out the segments of which every sequence is up to `low`; the last one stays, since it knows how far
    /// everything is done.
    pub fn take_done(&mut self, low: u64) -> Vec<Segment> {
        let firsts = self.segments.iter().skip(1);
        let done = firsts.take_while(|next| next.first <= low + 1).count();
        let taken: Vec<Segment> = self.segments.drain(..done).collect();
        self.kept_bytes -= taken.iter().take(self.kept).map(|segment| segment.bytes).sum::<u64>();
        self.kept = self.kept.saturating_sub(done);
        self.bytes -= taken.iter().map(|segment| segment.bytes).sum::<u64>();
        taken
    }

    /// Puts back, at the front, what could not be removed.
    pub fn put_back(&mut self, segment: Segment) {
        self.bytes += segment.bytes;
        let at = self.segments.partition_point(|other| other.number < segment.number);
        if at < self.kept {
            self.kept += 1;
            self.kept_bytes += segment.bytes;
        }
        self.segments.insert(at, segment);
    }

    /// The segment of this number has so many bytes now.
    pub fn grow(&mut self, number: u64, bytes: u64) {
        let found = self.segments.iter_mut().enumerate().rev().find(|(_, segment)| segment.number == number);
        if let Some((at, segment)) = found {
            self.bytes = self.bytes - segment.bytes + bytes;
            if at < self.kept {
                self.kept_bytes = self.kept_bytes - segment.bytes + bytes;
            }
            segment.bytes = bytes;
        }
    }

    /// Whether the segment was still there to be marked as compressed.
    pub fn compressed(&mut self, number: u64, bytes: u64) -> bool {
        let found = self.segments.iter_mut().find(|segment| segment.number == number);
        let Some(segment) = found else { return false };
        segment.form = Form::Compressed;
        self.grow(number, bytes);
        true
    }

    /// Notes that the segment of this sequence is damaged, and gives its name.
    pub fn mark_damaged(&mut self, sequence: u64) -> String {
        let behind = self.segments.partition_point(|segment| segment.first <= sequence);
        match self.segments.get_mut(behind.saturating_sub(1)) {
            Some(segment) => {
                segment.damaged = true;
                segment.name()
            }
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u64, first: u64) -> Segment {
        Segment { number, first, form: Form::Raw, bytes: 10, damaged: false }
    }

    #[test]
    fn names_tell_number_and_form() {
        for (number, form) in [(1, Form::Raw), (999_999_999_999, Form::Compressed), (u64::MAX, Form::Raw)] {
            assert_eq!(parse_name(&name(number, form)), Some((number, form)));
        }
        for other in ["lock", "1.seg", "000000000001.tmp", "000000000001.seg.damaged", "00000000000x.seg", ".seg"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_segment_ends_where_the_next_begins() {
        let mut table = Table::default();
        for (number, first) in [(1, 1), (2, 10), (4, 20)] {
            assert!(table.push(segment(number, first)).is_empty());
        }
        let found = |sequence| table.find(sequence, 25).map(|place| (place.segment.number, place.end));
        assert_eq!(
            [found(1), found(9), found(10), found(25)],
            [Some((1, 10)), Some((1, 10)), Some((2, 20)), Some((4, 26))]
        );
        let numbers = |segments: Vec<Segment>| segments.iter().map(|segment| segment.number).collect::<Vec<_>>();
        assert_eq!(numbers(table.take_done(18)), [1]);
        assert_eq!(table.find(3, 25).map(|place| place.segment.number), Some(2), "the first one there is");
        assert_eq!(numbers(table.take_done(19)), [2]);
        assert!(table.take_done(25).is_empty(), "the last one stays");
        assert_eq!(table.bytes(), 10);
    }

    #[test]
    fn what_is_kept_for_followers_does_not_count_as_unstored() {
        let mut table = Table::default();
        for (number, first) in [(1, 1), (2, 10), (3, 15), (4, 20)] {
            table.push(segment(number, first));
        }
        table.keep(14);
        assert_eq!((table.bytes(), table.unstored_bytes()), (40, 20));
        assert_eq!(table.kept().map(|(segment, last)| (segment.number, last)).collect::<Vec<_>>(), [(1, 9), (2, 14)]);
        assert!(table.compressed(2, 3));
        assert_eq!((table.bytes(), table.unstored_bytes()), (33, 20));
        assert_eq!(table.take_done(9).len(), 1);
        assert_eq!((table.bytes(), table.unstored_bytes(), table.kept().count()), (23, 20, 1));
        assert_eq!(table.push(segment(5, 12)).len(), 2);
        assert_eq!((table.bytes(), table.unstored_bytes()), (13, 10));
    }

    #[test]
    fn a_segment_that_repeats_others_makes_them_void() {
        let mut table = Table::default();
        for (number, first) in [(1, 1), (2, 10), (3, 15)] {
            table.push(segment(number, first));
        }
        let void = table.push(segment(4, 10));
        assert_eq!(void, [segment(2, 10), segment(3, 15)]);
        assert_eq!(table.find(9, 20).map(|place| (place.segment.number, place.end)), Some((1, 10)));
        assert_eq!(table.bytes(), 20);
    }
}
