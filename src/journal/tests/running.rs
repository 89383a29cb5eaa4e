//! On the real disk, with its threads: what the write path sees.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::model::ids::{SpanId, TraceId};
use crate::model::tenant::TenantId;

fn on_disk(folder: &Path, settings: &JournalSettings) -> (Journal, Opened) {
    Journal::open(folder, settings, UnixNanos::default).unwrap()
}

fn spans(number: u64) -> Vec<Span> {
    let trace_id = TraceId::from_bytes([7; 16]).unwrap();
    let span = |id| Span::new(TenantId::default(), trace_id, SpanId::from_u128(id).unwrap(), UnixNanos::new(number));
    (1..=3).map(span).collect()
}

#[test]
fn spans_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let settings = JournalSettings::default();
    let mut record = Record::default();
    {
        let (journal, _) = on_disk(folder.path(), &settings);
        for number in 1..=3 {
            record.set_spans(&spans(number));
            journal.append(&mut record, Held::InMemory).unwrap();
        }
        journal.done(1);
        journal.close().unwrap();
    }
    let (journal, opened) = on_disk(folder.path(), &settings);
    assert_eq!((opened.to_replay, journal.waiting()), (2, 2));
    let mut backlog = journal.backlog();
    for number in 2..=3 {
        let stored = backlog.take().unwrap().unwrap();
        assert_eq!(stored.spans().unwrap(), spans(number));
        journal.done(number);
    }
    assert!(backlog.take().unwrap().is_none());
    let replay = journal.status().replay;
    assert_eq!((replay.records, replay.done_records, replay.done_bytes), (2, 2, replay.bytes));
    journal.tend().unwrap();
    drop((journal, backlog));
    let (_, opened) = on_disk(folder.path(), &settings);
    assert_eq!(opened.to_replay, 0, "what is done is noted");
}

/// Who reads at the tail, pauses during an outage, and goes on in a file that was filled and compressed meanwhile.
#[test]
fn a_reader_that_paused_goes_on_in_a_file_that_was_compressed_meanwhile() {
    let disk = SimulatedDisk::default();
    let (journal, _) = open(&disk, &small(Fsync::Interval));
    append(&journal, &payload(1), Held::OnDisk).unwrap();
    let mut backlog = journal.backlog();
    assert_eq!(backlog.take().unwrap().unwrap().sequence, 1);
    for number in 2..=30 {
        append(&journal, &payload(number), Held::OnDisk).unwrap();
    }
    tend_all(&journal);
    assert!(journal.status().compressed_segments > 3);
    for number in 2..=30 {
        let stored = backlog.take().unwrap().unwrap();
        assert_eq!((stored.sequence, stored.payload), (number, &payload(number)[..]));
    }
    assert_eq!(journal.status().lost_records, 0);
}

/// Many append, one reads behind them, all at once.
#[test]
fn many_threads_append_and_everything_is_read_once_in_order() {
    for fsync in [Fsync::Always, Fsync::Interval, Fsync::Off] {
        let folder = tempfile::tempdir().unwrap();
        let settings = JournalSettings {
            fsync,
            fsync_interval_ms: 1,
            segment_bytes: 20_000,
            max_bytes: 100 << 20,
            ..JournalSettings::default()
        };
        let (journal, _) = on_disk(folder.path(), &settings);
        let keepers = Keepers::start(&journal).unwrap();
        const THREADS: u64 = 4;
        const EACH: u64 = 200;
        let durable = Arc::new(AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (journal, durable) = (&journal, durable.clone());
                scope.spawn(move || {
                    for number in 0..EACH {
                        let held = if number % 3 == 0 { Held::InMemory } else { Held::OnDisk };
                        let ticket = append(journal, &payload(thread * EACH + number), held).unwrap();
                        let sequence = ticket.sequence();
                        let durable = durable.clone();
                        ticket.when_durable(move |outcome| {
                            outcome.unwrap();
                            durable.fetch_add(1, Ordering::Relaxed);
                        });
                        if held == Held::InMemory {
                            journal.done(sequence);
                        }
                    }
                });
            }
            let mut backlog = journal.backlog();
            let (mut taken, mut last) = (0, 0);
            while taken < THREADS * (EACH - EACH.div_ceil(3)) {
                match backlog.take().unwrap() {
                    Some(stored) => {
                        assert!(stored.sequence != last && stored.payload.len() == 200);
                        last = stored.sequence;
                        taken += 1;
                        journal.done(last);
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
        journal.sync().unwrap();
        assert_eq!(durable.load(Ordering::Relaxed), THREADS * EACH);
        drop(keepers);
        journal.close().unwrap();
        let status = journal.status();
        assert_eq!((status.done_to, status.waiting, status.lost_records), (THREADS * EACH, 0, 0));
        drop(journal);
        let (journal, opened) = on_disk(folder.path(), &settings);
        assert_eq!((opened.to_replay, opened.torn_bytes), (0, 0));
        assert_eq!(append(&journal, b"x", Held::InMemory).unwrap().sequence(), THREADS * EACH + 1);
    }
}

#[test]
fn a_second_one_is_told_who_has_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let settings = JournalSettings::default();
    let (journal, _) = on_disk(folder.path(), &settings);
    let reader = journal.read_from(1);
    drop(journal);
    let error = Journal::open(folder.path(), &settings, UnixNanos::default).err().unwrap();
    assert!(matches!(error, JournalError::Locked(_)), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    drop(reader);
    on_disk(folder.path(), &settings);
}

#[test]
fn a_directory_that_cannot_be_used_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for place in [file.clone(), file.join("below")] {
        let error = Journal::open(&place, &JournalSettings::default(), UnixNanos::default).err().unwrap();
        let text = error.to_string();
        assert!(text.starts_with(&format!("the journal cannot make {}", place.display())), "{text}");
        assert!(text.contains("journal.dir"), "{text}");
    }
}

#[test]
fn the_budget_by_default_is_within_half_of_the_free_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = on_disk(folder.path(), &JournalSettings::default());
    let max_bytes = journal.status().max_bytes;
    assert!(max_bytes > 0 && max_bytes <= 8 << 30, "{max_bytes}");
}

#[test]
fn foreign_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    std::fs::write(folder.path().join("1.seg"), "mine").unwrap();
    let (journal, opened) = on_disk(folder.path(), &JournalSettings::default());
    fill(&journal, 1..=1);
    journal.done(1);
    journal.close().unwrap();
    assert_eq!(opened, Opened::default());
    assert!(folder.path().join("notes.txt").exists() && folder.path().join("1.seg").exists());
}

/// Sequences order everything: a clock that jumps changes nothing.
#[test]
fn a_clock_that_jumps_back_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = JournalSettings::default();
    for (round, now) in [u64::MAX, 5, 1 << 60].into_iter().enumerate() {
        let (journal, opened) = Journal::open(folder.path(), &settings, move || UnixNanos::new(now)).unwrap();
        assert_eq!(opened.to_replay, round as u64);
        fill(&journal, round as u64 + 1..=round as u64 + 1);
    }
    let (journal, _) = on_disk(folder.path(), &settings);
    assert_eq!(handed_out(&journal), [1, 2, 3]);
}
