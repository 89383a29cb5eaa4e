//! Disks that are full, refuse, or do not keep what they were given.

use super::super::simulated::Faults;
use super::*;

#[test]
fn a_full_disk_refuses_and_space_heals_it() {
    for truncate in [false, true] {
        let disk = SimulatedDisk::default();
        let settings = small(Fsync::Interval);
        let (journal, _) = open(&disk, &settings);
        fill(&journal, 1..=3);
        disk.set(Faults { no_space: true, truncate, ..Faults::default() });
        for _ in 0..3 {
            let error = append(&journal, &payload(4), Held::InMemory).err().unwrap();
            assert!(matches!(error, JournalError::NoSpace { .. }), "{error}");
        }
        let status = journal.status();
        assert!(!status.full && !status.can_append(), "{status:?}");
        journal.tend().unwrap_err();
        disk.set(Faults::default());
        // Also when nobody comes with a record.
        journal.tend().unwrap();
        assert!(journal.status().can_append());
        fill(&journal, 4..=5);
        assert!(journal.status().can_append());
        drop(journal);
        let (journal, opened) = open(&disk, &settings);
        assert_eq!((handed_out(&journal), opened.torn_bytes), (vec![1, 2, 3, 4, 5], 0));
        assert_eq!(journal.status().lost_records, 0);
    }
}

#[test]
fn writes_that_stop_short_are_carried_on() {
    let disk = SimulatedDisk::default();
    let (journal, _) = open(&disk, &small(Fsync::Interval));
    disk.set(Faults { short_write: 7, ..Faults::default() });
    fill(&journal, 1..=10);
    assert_eq!(read(&journal, 1).len(), 10);
}

#[test]
fn a_failed_write_says_so_and_leaves_nothing() {
    for truncate in [false, true] {
        let disk = SimulatedDisk::default();
        let settings = small(Fsync::Interval);
        let (journal, _) = open(&disk, &settings);
        fill(&journal, 1..=2);
        disk.set(Faults { write: true, truncate, ..Faults::default() });
        let error = append(&journal, &payload(99), Held::InMemory).err().unwrap().to_string();
        assert_eq!(error, "cannot append to /journal/000000000001.seg: I/O error");
        assert_eq!(journal.status().append_error, Some(error));
        disk.set(Faults::default());
        fill(&journal, 3..=3);
        drop(journal);
        let (journal, _) = open(&disk, &settings);
        assert_eq!(handed_out(&journal), [1, 2, 3]);
    }
}

#[test]
fn the_budget_refuses_and_what_is_done_makes_room() {
    let settings = JournalSettings { max_bytes: 4_000, ..small(Fsync::Off) };
    let disk = SimulatedDisk::default();
    let (journal, _) = open(&disk, &settings);
    let mut taken = 0;
    let error = loop {
        match append(&journal, &payload(taken + 1), Held::InMemory) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, JournalError::Full { max_bytes: 4_000, .. }), "{error}");
    let status = journal.status();
    assert!(status.full && status.high_water && status.bytes <= 4_000, "{status:?}");
    assert!(taken >= 14, "{taken}");
    (1..=4).for_each(|sequence| journal.done(sequence));
    append(&journal, &payload(taken + 1), Held::InMemory).unwrap();
    assert!(!journal.status().full);
    // Everything done in the segment that is being written makes room too.
    (1..=taken + 1).for_each(|sequence| journal.done(sequence));
    let large = vec![7; 3_500];
    append(&journal, &large, Held::InMemory).unwrap();
    assert_eq!(journal.status().segments, 1);
}

#[test]
fn a_failed_sync_moves_the_records_in_doubt_to_a_new_file() {
    let disk = SimulatedDisk::default();
    let settings = small(Fsync::Always);
    let (journal, _) = open(&disk, &settings);
    fill(&journal, 1..=2);
    journal.sync().unwrap();
    let told: Vec<_> =
        (3..=7).map(|number| told(append(&journal, &payload(number), Held::InMemory).unwrap())).collect();
    assert!(told.iter().all(|told| told.try_recv().is_err()), "not before the sync");

    disk.set(Faults { sync: true, ..Faults::default() });
    let error = journal.sync().unwrap_err();
    assert!(matches!(error, JournalError::NotDurable { .. }), "{error}");
    assert!(told.iter().all(|told| matches!(told.try_recv(), Ok(Err(JournalError::NotDurable { .. })))));
    assert!(matches!(append(&journal, &payload(8), Held::InMemory), Err(JournalError::NotDurable { .. })));
    assert!(journal.status().sync_error.is_some_and(|error| error.contains("I/O error")));

    // The disk says yes again, but does not mean the file whose sync failed.
    disk.set(Faults::default());
    journal.sync().unwrap();
    let status = journal.status();
    assert_eq!((status.sync_error, status.durable_to), (None, 7));
    assert_eq!(append(&journal, &payload(8), Held::InMemory).unwrap().sequence(), 8);
    journal.sync().unwrap();
    let all: Vec<u64> = (1..=8).collect();
    assert_eq!(read(&journal, 1).into_iter().map(|(sequence, _)| sequence).collect::<Vec<_>>(), all);
    disk.power_cut(|_| 0);
    let (journal, opened) = open(&disk, &settings);
    assert_eq!(handed_out(&journal), all);
    assert_eq!((journal.status().lost_records, opened.missing), (0, vec![]));
}

#[test]
fn records_that_the_failed_sync_took_along_are_told() {
    let disk = SimulatedDisk::default();
    let (journal, _) = open(&disk, &small(Fsync::Always));
    fill(&journal, 1..=2);
    journal.sync().unwrap();
    append(&journal, &payload(3), Held::OnDisk).unwrap();
    disk.set(Faults { sync: true, drops_pages: true, ..Faults::default() });
    journal.sync().unwrap_err();
    let late = journal.status().tail;
    disk.set(Faults::default());
    journal.sync().unwrap();
    assert_eq!(late, 3);
    append(&journal, &payload(4), Held::OnDisk).unwrap();
    assert_eq!(handed_out(&journal), [4]);
    assert_eq!(journal.status().lost_records, 1);
}

#[test]
fn who_appends_always_is_told_after_the_sync_and_others_at_once() {
    let disk = SimulatedDisk::default();
    for (fsync, at_once) in [(Fsync::Interval, true), (Fsync::Off, true), (Fsync::Always, false)] {
        let (journal, _) = open(&disk, &small(fsync));
        let told = told(append(&journal, b"x", Held::InMemory).unwrap());
        assert_eq!(matches!(told.try_recv(), Ok(Ok(()))), at_once, "{fsync:?}");
        journal.sync().unwrap();
        assert_eq!(matches!(told.try_recv(), Ok(Ok(()))), !at_once, "{fsync:?}");
    }
}

#[test]
fn a_record_too_large_is_refused_and_a_closed_journal_takes_nothing() {
    let disk = SimulatedDisk::default();
    let (journal, _) = open(&disk, &small(Fsync::Interval));
    let too_large = append(&journal, &vec![0; format::MAX_PAYLOAD + 1], Held::InMemory);
    assert!(matches!(too_large, Err(JournalError::TooLarge { .. })));
    fill(&journal, 1..=2);
    journal.done(1);
    journal.close().unwrap();
    assert!(matches!(append(&journal, b"x", Held::InMemory), Err(JournalError::Closed)));
    drop(journal);
    let (journal, opened) = open(&disk, &small(Fsync::Interval));
    assert_eq!((opened.to_replay, handed_out(&journal)), (1, vec![2]));
}
