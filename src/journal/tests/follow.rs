//! Who reads along: cursors that outlive the process, and shares of the disk.

use super::*;

fn open_for(disk: &SimulatedDisk, follow: &[Follow]) -> Journal {
    let settings = JournalSettings { compress_after_segments: 0, ..small(Fsync::Interval) };
    let now = UnixNanos::default;
    Journal::open_on(Arc::new(disk.clone()), Path::new("/journal"), &settings, follow, now).unwrap().0
}

fn follow(name: &str, max_bytes: u64) -> Follow {
    Follow { name: name.to_owned(), max_bytes }
}

/// The sequences that are there to be read, read.
fn follow_on(follower: &mut Follower) -> Vec<u64> {
    let mut sequences = Vec::new();
    while let Some(stored) = follower.read().unwrap() {
        assert_eq!(stored.payload, payload(stored.sequence));
        sequences.push(stored.sequence);
    }
    sequences
}

fn done(journal: &Journal, sequences: std::ops::RangeInclusive<u64>) {
    sequences.for_each(|sequence| journal.done(sequence));
    tend_all(journal);
}

#[test]
fn a_segment_waits_for_the_store_and_for_all_who_follow() {
    let disk = SimulatedDisk::default();
    let journal = open_for(&disk, &[follow("a", 100_000), follow("b", 100_000)]);
    let (mut a, mut b) = (journal.follower("a").unwrap(), journal.follower("b").unwrap());
    assert!(journal.follower("c").is_none());
    fill(&journal, 1..=20);
    let all = journal.status().segments;
    assert!(all > 4);
    assert_eq!((follow_on(&mut a), follow_on(&mut b)), ((1..=20).collect(), (1..=20).collect()));
    a.done(20).unwrap();
    tend_all(&journal);
    assert_eq!(journal.status().kept_bytes, 0, "the store has nothing yet");
    done(&journal, 1..=20);
    let status = journal.status();
    assert!(status.segments == all && status.kept_bytes > 3_000, "{status:?}");
    assert!(status.bytes <= 1_000, "only the last file is the store's: {status:?}");
    assert_eq!((journal.behind("a").records, journal.behind("b").records), (0, 20));
    assert!(journal.behind("b").bytes > 4_000);
    b.done(11).unwrap();
    tend_all(&journal);
    assert!((2..all).contains(&journal.status().segments));
    b.done(20).unwrap();
    tend_all(&journal);
    assert_eq!((journal.status().segments, journal.status().kept_bytes), (1, 0));
}

#[test]
fn a_cursor_outlives_the_process_and_a_new_one_begins_with_what_comes() {
    let disk = SimulatedDisk::default();
    {
        let journal = open_for(&disk, &[follow("a", 100_000)]);
        fill(&journal, 1..=10);
        done(&journal, 1..=10);
        let mut a = journal.follower("a").unwrap();
        assert_eq!(follow_on(&mut a).len(), 10);
        a.done(4).unwrap();
        journal.close().unwrap();
        assert!(matches!(a.done(10), Err(JournalError::Closed)));
    }
    let both = [follow("a", 100_000), follow("b", 100_000)];
    {
        let journal = open_for(&disk, &both);
        assert_eq!(follow_on(&mut journal.follower("a").unwrap()), [5, 6, 7, 8, 9, 10], "what was in hand comes again");
        assert_eq!(follow_on(&mut journal.follower("b").unwrap()), [0; 0]);
        fill(&journal, 11..=12);
        journal.close().unwrap();
    }
    // Also one that has not read anything.
    let journal = open_for(&disk, &both);
    assert_eq!(follow_on(&mut journal.follower("b").unwrap()), [11, 12]);
}

#[test]
fn a_cursor_that_cannot_be_read_begins_with_the_oldest() {
    let disk = SimulatedDisk::default();
    let a = [follow("a", 100_000)];
    {
        let journal = open_for(&disk, &a);
        fill(&journal, 1..=3);
        done(&journal, 1..=3);
        journal.follower("a").unwrap().done(3).unwrap();
        journal.close().unwrap();
    }
    let file = disk.open(Path::new("/journal/forward-a.cursor")).unwrap();
    file.write_at(b"1 9", 0).unwrap();
    let journal = open_for(&disk, &a);
    assert_eq!(follow_on(&mut journal.follower("a").unwrap()), [1, 2, 3]);
}

#[test]
fn beyond_its_share_the_oldest_are_let_go_for_one_and_kept_for_the_other() {
    let disk = SimulatedDisk::default();
    let journal = open_for(&disk, &[follow("small", 2_500), follow("large", 100_000)]);
    let (mut small, mut large) = (journal.follower("small").unwrap(), journal.follower("large").unwrap());
    fill(&journal, 1..=2);
    assert_eq!(small.read().unwrap().unwrap().sequence, 1, "in hand, so it is not let go");
    fill(&journal, 3..=40);
    done(&journal, 1..=40);
    // The payloads here hold no spans to be counted.
    assert_eq!(journal.let_go_spans("small"), 0);
    let left = follow_on(&mut small);
    assert!(left.len() < 20 && left.last() == Some(&40) && left.is_sorted(), "{left:?}");
    assert_eq!(follow_on(&mut large).len(), 40);
    large.done(40).unwrap();
    tend_all(&journal);
    let kept = journal.status().kept_bytes;
    assert!(kept > 0 && kept <= 2_500, "{kept}");
}

#[test]
fn spans_that_are_let_go_are_counted_once() {
    use crate::model::ids::{SpanId, TraceId};
    use crate::model::tenant::TenantId;
    let disk = SimulatedDisk::default();
    let journal = open_for(&disk, &[follow("a", 2_500)]);
    let trace_id = TraceId::from_bytes([7; 16]).unwrap();
    let span = |id| Span::new(TenantId::default(), trace_id, SpanId::from_u128(id).unwrap(), UnixNanos::new(5));
    let mut record = Record::default();
    for _ in 0..200 {
        record.set_spans_via(&[span(1), span(2), span(3)], "a,b");
        let ticket = journal.append(&mut record, Held::InMemory).unwrap();
        journal.done(ticket.sequence());
    }
    tend_all(&journal);
    let let_go = journal.let_go_spans("a");
    assert_eq!(journal.let_go_spans("a"), 0);
    let mut follower = journal.follower("a").unwrap();
    let mut read = 0;
    while let Some(stored) = follower.read().unwrap() {
        assert_eq!(stored.via(), "a,b");
        read += stored.spans().unwrap().len() as u64;
    }
    assert!(let_go > 300 && read > 0, "{let_go} {read}");
    assert_eq!(let_go + read, 600);
}

/// What is kept for others does not count against what ingest may take.
#[test]
fn the_budget_is_not_spent_by_what_is_kept() {
    let disk = SimulatedDisk::default();
    let journal = open_for(&disk, &[follow("a", 1 << 20)]);
    for number in 1..=1_000 {
        append(&journal, &payload(number), Held::InMemory).unwrap();
        journal.done(number);
    }
    tend_all(&journal);
    let status = journal.status();
    assert!(status.kept_bytes > 4 * status.max_bytes && !status.full, "{status:?}");
}
