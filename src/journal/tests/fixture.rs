//! A journal that version 1 of the format wrote, checked in: every later version reads it. It is never replaced; a
//! change of the format adds another beside it, written by [`what_the_fixture_holds`] of that day.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::model::attributes::Attributes;
use crate::model::ids::{SpanId, TraceId};
use crate::model::merge::merge;
use crate::model::span::{End, Event, Field, FieldType, Link, Resource, Span, Status};
use crate::model::tenant::TenantId;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal/v1")
}

/// Spans with every field of version 1, records that share resources, and a span that was merged.
fn what_the_fixture_holds() -> Vec<Vec<Span>> {
    let trace_id = TraceId::parse("7f3c0a1b2c3d4e5f60718293a4b5c6d7").unwrap();
    let heard = UnixNanos::new(1_767_607_200_123_456_789);
    let span = |id: &str| Span::new(TenantId::default(), trace_id, SpanId::parse(id).unwrap(), heard);
    let resources = [r#"{"attributes":{"service.name":"runner"}}"#, r#"{"attributes":{"service.name":"é"}}"#]
        .map(|content| Arc::new(Resource::new(content)));

    let mut full = span("7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7");
    full.tenant = TenantId::new("acme");
    full.parent_span_id = Some(SpanId::parse("1").unwrap());
    full.started_at = Some(UnixNanos::new(1_767_607_200_000_000_001));
    full.end = Some(End::At(UnixNanos::new(1_767_607_199_999_999_999)));
    full.status = Status::Failed;
    full.revision = 3;
    full.seen_at = heard.plus(5);
    // The fields of version 1: later ones are not in it.
    for (place, field) in Field::ALL.iter().take(51).enumerate() {
        match field.field_type() {
            FieldType::Int => full.fields.set_int(*field, -(place as i64)),
            FieldType::Text => full.fields.set_text(*field, format!("{} ü", field.name())),
            FieldType::Json => full.fields.set_text(*field, format!("{{\"n\": {place}}}")),
        }
    }
    full.attributes = Attributes::from_json(r#"{"b": 18446744073709551616, "a": [1, "x"]}"#).unwrap();
    full.set_events(vec![
        Event { timestamp: Some(heard), name: "e".into(), attributes: full.attributes.clone(), dropped_attributes: 2 },
        Event { timestamp: None, name: String::new(), attributes: Attributes::default(), dropped_attributes: 0 },
    ]);
    full.set_links(vec![Link {
        trace_id,
        span_id: SpanId::parse("abc").unwrap(),
        trace_state: "k=v".into(),
        attributes: full.attributes.clone(),
        flags: 1,
        dropped_attributes: 7,
    }]);
    full.resource = Some(resources[0].clone());

    let mut duration = span("2");
    duration.end = Some(End::After(-5));
    duration.status = Status::Completed;
    duration.resource = Some(resources[1].clone());
    let mut completion = span("3");
    completion.end = Some(End::At(UnixNanos::MAX));
    completion.status = Status::Cancelled;
    completion.resource = Some(resources[0].clone());
    let mut start = span("3");
    start.status = Status::Running;
    start.started_at = Some(UnixNanos::new(0));
    start.fields.set_text(Field::Operation, "from the start");
    let states = [Status::Pending, Status::Running, Status::Skipped].map(|status| {
        let mut span = span("4");
        span.status = status;
        span
    });
    vec![vec![full, duration], vec![merge(completion, start)], states.into(), vec![]]
}

#[test]
fn a_journal_of_version_1_is_read() {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let (journal, opened) = Journal::open(copy.path(), &JournalSettings::default(), UnixNanos::default).unwrap();
    assert_eq!(opened, Opened { segments: 2, to_replay: 7, ..Opened::default() });
    let mut backlog = journal.backlog();
    // The first record was done, and a mark says so; the same four again follow, compressed and raw.
    let expected = what_the_fixture_holds();
    let expected = expected.iter().skip(1).chain(&expected);
    for (spans, sequence) in expected.zip(2..) {
        let stored = backlog.take().unwrap().unwrap();
        assert_eq!((stored.sequence, &stored.spans().unwrap()), (sequence, spans));
    }
    assert!(backlog.take().unwrap().is_none());
    assert_eq!(journal.status().lost_records, 0);
}

/// What this version writes is what version 1 wrote, byte for byte, as long as the version is 1.
#[test]
fn what_is_written_is_version_1() {
    let folder_now = tempfile::tempdir().unwrap();
    write(folder_now.path());
    for entry in fs::read_dir(folder()).unwrap() {
        let entry = entry.unwrap();
        // Another zstd may compress otherwise; what is in it is read above.
        if entry.path().extension().is_some_and(|extension| extension == "seg") {
            let now = fs::read(folder_now.path().join(entry.file_name())).unwrap();
            assert!(now == fs::read(entry.path()).unwrap(), "{:?}: the format has changed", entry.file_name());
        }
    }
}

fn write(folder: &Path) {
    let settings = JournalSettings { compress_after_segments: 1, ..JournalSettings::default() };
    let mut record = Record::default();
    for round in 0..2 {
        let (journal, _) = Journal::open(folder, &settings, || UnixNanos::new(1_767_607_200_000_000_000)).unwrap();
        for spans in what_the_fixture_holds() {
            record.set_spans(&spans);
            journal.append(&mut record, Held::OnDisk).unwrap();
        }
        journal.done(1);
        tend_all(&journal);
        assert_eq!(journal.status().compressed_segments, round);
    }
}
