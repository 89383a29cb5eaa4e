//! Every span comes back as it was; any bytes give an answer; the numbers of the fields never change.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::model::attributes::{Attributes, AttributesBuilder};
use crate::model::ids::{SpanId, TraceId};
use crate::model::merge::merge;
use crate::model::span::{End, Event, Field, FieldType, Link, Resource, Span, Status};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

fn attribute_sets() -> impl Strategy<Value = Attributes> {
    vec((".{0,6}", prop_oneof!["[0-9]{1,9}", Just("\"é\"".to_owned()), Just("{\"x\": [1]}".to_owned())]), 0..4)
        .prop_map(|pairs| {
            let mut builder = AttributesBuilder::default();
            for (key, value) in pairs {
                builder.push_raw(key, value);
            }
            builder.finish()
        })
}

fn span_ids() -> impl Strategy<Value = SpanId> {
    prop_oneof![any::<u64>().prop_map(u128::from), any::<u128>()]
        .prop_map(|number| SpanId::from_u128(number.max(1)).unwrap())
}

fn trace_ids() -> impl Strategy<Value = TraceId> {
    (1..=u128::MAX).prop_map(|number| TraceId::from_bytes(number.to_be_bytes()).unwrap())
}

fn instants() -> impl Strategy<Value = UnixNanos> {
    prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), 1_700_000_000_000_000_000..1_800_000_000_000_000_000u64]
        .prop_map(UnixNanos::new)
}

fn events() -> impl Strategy<Value = Event> {
    (option::of(instants()), ".{0,8}", attribute_sets(), 0..3u32).prop_map(
        |(timestamp, name, attributes, dropped_attributes)| Event { timestamp, name, attributes, dropped_attributes },
    )
}

fn links() -> impl Strategy<Value = Link> {
    (trace_ids(), span_ids(), ".{0,4}", attribute_sets(), any::<u32>(), 0..3u32).prop_map(
        |(trace_id, span_id, trace_state, attributes, flags, dropped_attributes)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            flags,
            dropped_attributes,
        },
    )
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![instants().prop_map(End::At), any::<i64>().prop_map(End::After)]
}

prop_compose! {
    fn records()(
        ids in (trace_ids(), span_ids(), option::of(span_ids())),
        tenant in prop_oneof![Just("default"), Just("acme")],
        times in (option::of(instants()), option::of(ends()), instants(), option::of(instants())),
        status in proptest::sample::select(Status::ALL),
        revision in prop_oneof![Just(0), any::<u64>()],
        numbers in vec((proptest::sample::select(Field::ALL), any::<i64>(), ".{0,12}"), 0..12),
        attributes in attribute_sets(),
        events in vec(events(), 0..3),
        links in vec(links(), 0..3),
        resource in option::of(0..40usize),
    ) -> (Span, Option<usize>) {
        let (trace_id, span_id, parent_span_id) = ids;
        let (started_at, end, heard, seen) = times;
        let mut span = Span::new(TenantId::new(tenant), trace_id, span_id, heard);
        span.parent_span_id = parent_span_id;
        span.started_at = started_at;
        span.end = end;
        span.seen_at = seen.unwrap_or(heard);
        span.status = if end.is_some() && !status.is_terminal() { Status::Failed } else { status };
        span.revision = revision;
        for (field, number, text) in numbers {
            match field.field_type() {
                FieldType::Int => span.fields.set_int(field, number),
                FieldType::Text | FieldType::Json => span.fields.set_text(field, text),
            }
        }
        span.attributes = attributes;
        span.set_events(events);
        span.set_links(links);
        (span, resource)
    }
}

/// Spans that share forty resources, as those of a request do.
fn requests() -> impl Strategy<Value = Vec<Span>> {
    vec(records(), 0..60).prop_map(|records| {
        let resources: Vec<Arc<Resource>> =
            (0..40).map(|number| Arc::new(Resource::new(format!("{{\"r\":{number}}}")))).collect();
        let attach = |(mut span, resource): (Span, Option<usize>)| {
            span.resource = resource.map(|number| resources[number].clone());
            span
        };
        records.into_iter().map(attach).collect()
    })
}

fn back(spans: &[Span]) -> Vec<Span> {
    let (mut bytes, mut read) = (Vec::new(), Vec::new());
    encode(spans, &mut bytes);
    decode(&bytes, &mut read).unwrap();
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_span_comes_back_as_it_was(spans in requests()) {
        let read = back(&spans);
        prop_assert_eq!(&read, &spans);
        let contents = |spans: &[Span]| -> Vec<Option<String>> {
            spans.iter().map(|span| span.resource.as_ref().map(|resource| resource.content().to_owned())).collect()
        };
        prop_assert_eq!(contents(&read), contents(&spans));
    }

    #[test]
    fn a_merged_span_keeps_where_its_fields_came_from(a in records(), b in records()) {
        let (a, mut b) = (a.0, b.0);
        (b.trace_id, b.span_id, b.tenant) = (a.trace_id, a.span_id, a.tenant.clone());
        let merged = merge(a, b);
        prop_assert_eq!(back(std::slice::from_ref(&merged)), vec![merged]);
    }

    #[test]
    fn any_bytes_give_an_answer(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, &mut Vec::new());
    }

    #[test]
    fn a_damaged_payload_gives_an_answer(spans in requests(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Vec::new();
        encode(&spans, &mut bytes);
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode(&bytes, &mut Vec::new());
            bytes.truncate(at);
            let _ = decode(&bytes, &mut Vec::new());
        }
    }
}

#[test]
fn what_a_newer_version_adds_is_skipped() {
    let span = Span::new(
        TenantId::default(),
        TraceId::from_bytes([7; 16]).unwrap(),
        SpanId::parse("1").unwrap(),
        UnixNanos::new(5),
    );
    let mut bytes = Vec::new();
    protobuf::put_bytes(&mut bytes, 99, b"between the spans");
    let mut message = Vec::new();
    encode(std::slice::from_ref(&span), &mut message);
    // The span's message is the last field of the payload: what is appended to it and counted belongs to it.
    let mut plain = Vec::new();
    let mut fields = protobuf::Fields::new(&message);
    while let Some(Some((tag, value))) = fields.next() {
        match value {
            protobuf::Value::Bytes(content) if tag == payload_tag::SPAN => {
                protobuf::put_message(&mut plain, tag, |plain| {
                    plain.extend_from_slice(content);
                    protobuf::put_bytes(plain, 31, b"a text");
                    protobuf::put_uint(plain, 30, 7);
                    protobuf::put_fixed64(plain, span_tag::FIELDS + 5_000, 7);
                });
            }
            protobuf::Value::Bytes(content) => protobuf::put_bytes(&mut plain, tag, content),
            protobuf::Value::Fixed64(number) => protobuf::put_fixed64(&mut plain, tag, number),
            other => panic!("{other:?}"),
        }
    }
    bytes.extend_from_slice(&plain);
    let mut read = Vec::new();
    decode(&bytes, &mut read).unwrap();
    assert_eq!(read, [span]);
}

/// A field's number on disk is its place in the list. Nobody may reorder the list: what stands in journals would change
/// its meaning. New fields are added here at the end.
#[test]
fn the_numbers_of_fields_never_change() {
    let names: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
    let written: Vec<&str> = include_str!("field_numbers.txt").lines().collect();
    assert_eq!(names, written);
    assert!(Field::ALL.iter().enumerate().all(|(place, field)| place == *field as usize));
}
