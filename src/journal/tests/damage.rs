//! Damaged, missing and foreign files: what can be read is read, what cannot is told, nothing is thrown away.

use super::super::format::{HEADER, RECORD_HEADER};
use super::super::simulated::Faults;
use super::*;

/// Four records of 220 bytes a segment, none done.
fn written(numbers: std::ops::RangeInclusive<u64>) -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let (journal, _) = open(&disk, &small(Fsync::Interval));
    fill(&journal, numbers);
    disk
}

const RECORD: usize = RECORD_HEADER + 200;

#[test]
fn a_torn_tail_is_cut_off_and_told() {
    for cut in [1, 10, RECORD - 1] {
        let disk = written(1..=6);
        disk.change("000000000002.seg", |bytes| bytes.truncate(HEADER + 2 * RECORD - cut));
        let (journal, opened) = open(&disk, &small(Fsync::Interval));
        assert_eq!((opened.torn_bytes, opened.to_replay), ((RECORD - cut) as u64, 5), "{cut}");
        assert_eq!(handed_out(&journal), [1, 2, 3, 4, 5]);
        assert_eq!(journal.status().lost_records, 0, "it was never acknowledged");
        assert_eq!(append(&journal, &payload(6), Held::InMemory).unwrap().sequence(), 6);
        assert_eq!(read(&journal, 6), [(6, payload(6))]);
    }
}

#[test]
fn a_flipped_bit_costs_its_record_and_the_file_is_kept() {
    for at in [HEADER, HEADER + 4, HEADER + 9, HEADER + RECORD + 50] {
        let disk = written(1..=10);
        disk.change("000000000001.seg", |bytes| bytes[at] ^= 0x10);
        let (journal, opened) = open(&disk, &small(Fsync::Interval));
        assert_eq!(opened.to_replay, 10);
        let lost = 1 + (at - HEADER) as u64 / RECORD as u64;
        let read = handed_out(&journal);
        assert_eq!(read, (1..=10).filter(|sequence| *sequence != lost).collect::<Vec<_>>(), "byte {at}");
        assert_eq!(journal.status().lost_records, 1);
        read.into_iter().for_each(|sequence| journal.done(sequence));
        journal.tend().unwrap();
        assert!(disk.names().contains(&"000000000001.seg.damaged".to_owned()), "{:?}", disk.names());
        let status = journal.status();
        assert_eq!((status.damaged_segments, status.done_to), (1, 10));
        drop(journal);
        let (journal, opened) = open(&disk, &small(Fsync::Interval));
        assert_eq!((journal.status().damaged_segments, opened.to_replay), (1, 0));
    }
}

#[test]
fn a_damaged_header_costs_no_record() {
    for name in ["000000000001.seg", "000000000003.seg"] {
        let disk = written(1..=10);
        disk.change(name, |bytes| bytes[20] ^= 1);
        let (journal, _) = open(&disk, &small(Fsync::Interval));
        assert_eq!(handed_out(&journal), (1..=10).collect::<Vec<_>>(), "{name}");
        assert_eq!(journal.status().lost_records, 0);
    }
}

#[test]
fn a_file_of_which_nothing_can_be_read_is_set_aside_and_its_records_are_missed() {
    let disk = written(1..=10);
    disk.change("000000000002.seg", |bytes| bytes.fill(0x55));
    let (journal, opened) = open(&disk, &small(Fsync::Interval));
    assert_eq!(opened.damaged, ["000000000002.seg.damaged"]);
    assert_eq!(opened.missing, [2]);
    assert_eq!(handed_out(&journal), [1, 2, 3, 4, 9, 10]);
    assert_eq!(journal.status().lost_records, 4);
    assert_eq!(disk.content("000000000002.seg.damaged").len(), HEADER + 4 * RECORD);
}

#[test]
fn a_missing_segment_is_told_and_the_rest_goes_on() {
    let disk = written(1..=10);
    disk.delete("000000000002.seg");
    let (journal, opened) = open(&disk, &small(Fsync::Interval));
    assert_eq!(opened.missing, [2]);
    assert_eq!(handed_out(&journal), [1, 2, 3, 4, 9, 10]);
    assert_eq!(journal.status().lost_records, 4);
}

#[test]
fn a_segment_that_disappears_while_it_is_needed_is_told() {
    let disk = written(1..=10);
    let (journal, _) = open(&disk, &small(Fsync::Interval));
    disk.delete("000000000002.seg");
    assert_eq!(handed_out(&journal), [1, 2, 3, 4, 9, 10]);
    assert_eq!(journal.status().lost_records, 4);
}

#[test]
fn a_segment_begun_as_the_power_went_is_nothing() {
    for header in [&[][..], &[0; HEADER], &[0; 300], b"TRFJRNL\0\x01\0\0\0"] {
        let disk = written(1..=4);
        disk.create(Path::new("/journal/000000000002.seg")).unwrap();
        disk.change("000000000002.seg", |bytes| *bytes = header.to_vec());
        let (journal, opened) = open(&disk, &small(Fsync::Interval));
        assert!(opened.damaged.is_empty() && opened.missing.is_empty(), "{opened:?}");
        assert_eq!(handed_out(&journal), [1, 2, 3, 4]);
    }
}

#[test]
fn a_newer_version_is_refused_and_nothing_is_touched() {
    let disk = written(1..=10);
    disk.change("000000000002.seg", |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    });
    disk.create(Path::new("/journal/000000000001.tmp")).unwrap();
    let before = disk.names();
    let settings = small(Fsync::Interval);
    let refused = Journal::open_on(Arc::new(disk.clone()), Path::new("/journal"), &settings, &[], UnixNanos::default);
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("000000000002.seg has version 2 of the journal's format, this program reads 1"), "{text}");
    assert_eq!(disk.names(), before);
}

#[test]
fn damage_in_a_compressed_segment_costs_what_it_hits() {
    let disk = SimulatedDisk::default();
    let settings = JournalSettings { segment_bytes: 8 << 20, max_bytes: 1 << 30, ..small(Fsync::Interval) };
    let (journal, _) = open(&disk, &settings);
    // Ten records of 700 KB that do not shrink to nothing, so that the file has several frames.
    let large = |number: u64| -> Vec<u8> {
        let mut state = number;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8 & 0x3f
        };
        (0..700_000).map(|_| next()).collect()
    };
    for number in 1..=20 {
        append(&journal, &large(number), Held::OnDisk).unwrap();
    }
    journal.sync().unwrap();
    tend_all(&journal);
    assert_eq!(journal.status().compressed_segments, 1, "{:?}", disk.names());
    let whole = read(&journal, 1);
    assert!(whole.len() == 20 && whole.iter().all(|(sequence, payload)| *payload == large(*sequence)));

    let compressed = disk.content("000000000001.zst");
    for at in [90, compressed.len() / 3, compressed.len() / 2, compressed.len() - 5] {
        let disk_name = "000000000001.zst";
        disk.change(disk_name, |bytes| bytes[at] ^= 4);
        let (journal, _) = open(&disk, &settings);
        let kept = read(&journal, 1);
        let status = journal.status();
        assert!(status.lost_records >= 1 && status.lost_records <= 3, "byte {at}: {}", status.lost_records);
        assert_eq!(kept.len() as u64, 20 - status.lost_records);
        assert!(kept.iter().all(|(sequence, payload)| *payload == large(*sequence)));
        disk.change(disk_name, |bytes| *bytes = compressed.clone());
    }
}

#[test]
fn a_crash_at_any_point_of_compression_costs_nothing() {
    let settings = small(Fsync::Interval);
    let disk = SimulatedDisk::default();
    let (journal, _) = open(&disk, &settings);
    for number in 1..=10 {
        append(&journal, &payload(number), Held::OnDisk).unwrap();
    }
    journal.sync().unwrap();
    let raw = disk.content("000000000001.seg");
    tend_all(&journal);
    assert_eq!(disk.names(), ["000000000001.zst", "000000000002.zst", "000000000003.seg"]);
    let compressed = disk.content("000000000001.zst");
    let put = |name: &str, content: &[u8]| {
        if !disk.names().contains(&name.to_owned()) {
            disk.create(&Path::new("/journal").join(name)).unwrap();
        }
        disk.change(name, |bytes| *bytes = content.to_vec());
    };
    let check = |names: &[&str]| {
        let (journal, _) = open(&disk, &settings);
        assert_eq!(disk.names(), names);
        assert_eq!(handed_out(&journal), (1..=10).collect::<Vec<_>>());
    };
    // Renamed, the raw one still there.
    put("000000000001.seg", &raw);
    check(&["000000000001.zst", "000000000002.zst", "000000000003.seg"]);
    // Half written.
    disk.delete("000000000001.zst");
    put("000000000001.seg", &raw);
    put("000000000001.tmp", &compressed[..compressed.len() / 2]);
    check(&["000000000001.seg", "000000000002.zst", "000000000003.seg"]);
}

#[test]
fn a_file_that_cannot_be_read_just_now_loses_nothing() {
    let disk = written(1..=10);
    let (journal, _) = open(&disk, &small(Fsync::Interval));
    let mut backlog = journal.backlog();
    assert_eq!(backlog.take().unwrap().unwrap().sequence, 1);
    let mut read = 1;
    disk.set(Faults { read: true, ..Faults::default() });
    // What is in the buffer already comes; then the error, as often as it is asked.
    while backlog.take().is_ok_and(|stored| stored.is_some()) {
        read += 1;
    }
    assert!(backlog.take().unwrap_err().to_string().contains("000000000002.seg"));
    disk.set(Faults::default());
    while let Some(stored) = backlog.take().unwrap() {
        read += 1;
        assert_eq!(stored.sequence, read);
    }
    assert_eq!((read, journal.status().lost_records), (10, 0));
}

#[test]
fn a_record_that_cannot_be_used_is_kept_aside() {
    let disk = written(1..=6);
    let (journal, _) = open(&disk, &small(Fsync::Interval));
    let mut backlog = journal.backlog();
    let stored = backlog.take().unwrap().unwrap();
    let reason = stored.spans().unwrap_err();
    journal.set_aside(1, &reason.to_string());
    handed_out(&journal).into_iter().for_each(|sequence| journal.done(sequence));
    journal.tend().unwrap();
    assert_eq!(journal.status().lost_records, 1);
    assert!(disk.names().contains(&"000000000001.seg.damaged".to_owned()));
}
