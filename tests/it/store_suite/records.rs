//! Spans for tests, made from little.

use std::sync::Arc;

use tracefall::model::attributes::{Attributes, AttributesBuilder};
use tracefall::model::ids::{SpanId, TraceId};
use tracefall::model::merge::fold;
use tracefall::model::span::{End, Event, Field, FieldType, Link, Resource, Span, Status};
use tracefall::model::tenant::TenantId;
use tracefall::model::time::{DAY_NS, UnixNanos};
use tracefall::model::trace::Trace;
use tracefall::store::{Detail, Store, Touch};

/// 2026-01-05T10:00:00Z.
pub const NOW: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);
/// 2026-01-05T00:00:00Z.
pub const MIDNIGHT: UnixNanos = UnixNanos::new(1_767_571_200_000_000_000);
pub const SECOND: i64 = 1_000_000_000;

pub fn tenant() -> TenantId {
    TenantId::default()
}

/// The state of a trace that was written to once.
pub const FIRST: Touch = Touch { times: 1, since: NOW };

pub fn trace_id(number: u64) -> TraceId {
    let mut bytes = [7; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    TraceId::from_bytes(bytes).unwrap()
}

pub fn span_id(number: u64) -> SpanId {
    SpanId::from_u128(u128::from(number)).unwrap()
}

/// What is known of a span before anything is said about it, heard of now.
pub fn record(trace: u64, span: u64) -> Span {
    Span::new(tenant(), trace_id(trace), span_id(span), NOW)
}

pub fn started(trace: u64, span: u64, at: UnixNanos) -> Span {
    let mut record = record(trace, span);
    record.status = Status::Running;
    record.started_at = Some(at);
    record.fields.set_text(Field::Operation, "modal.inference");
    record.fields.set_text(Field::Region, "us-east");
    record
}

/// A completion that does not know the start.
pub fn ended(trace: u64, span: u64, at: UnixNanos) -> Span {
    let mut record = record(trace, span);
    record.status = Status::Failed;
    record.end = Some(End::At(at));
    record.fields.set_text(Field::ErrorMessage, "CUDA out of memory");
    record.fields.set_text(Field::Region, "us-west");
    record
}

/// A span told at once, a second long.
pub fn whole(trace: u64, span: u64, at: UnixNanos) -> Span {
    let mut record = ended(trace, span, at.plus(SECOND));
    record.started_at = Some(at);
    record
}

pub fn days(count: i64) -> i64 {
    count * DAY_NS as i64
}

pub fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    let mut builder = AttributesBuilder::default();
    for (key, json) in pairs {
        builder.push_raw(*key, *json);
    }
    builder.finish()
}

/// A span with something in every place that can hold something.
pub fn full(trace: u64, span: u64) -> Span {
    let mut full = whole(trace, span, NOW.plus(-5 * SECOND + 123));
    full.parent_span_id = Some(SpanId::parse("7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7").unwrap());
    full.revision = u64::MAX;
    for (index, field) in Field::ALL.iter().enumerate() {
        match field.field_type() {
            FieldType::Int => full.fields.set_int(*field, i64::MAX - index as i64),
            FieldType::Text => full.fields.set_text(*field, format!("{} Grüße 'x' \"y\" 🦀", field.name())),
            FieldType::Json => full.fields.set_text(*field, format!(r#"{{"{}":[1,null,"x"]}}"#, field.name())),
        }
    }
    full.attributes = attributes(&[("a", "1.50"), ("b", r#"{"x": [1, 2]}"#), ("q\"", r#""line\nbreak""#)]);
    full.set_events(vec![
        Event {
            timestamp: Some(NOW),
            name: "retry".into(),
            attributes: attributes(&[("n", "1")]),
            dropped_attributes: 2,
        },
        Event { timestamp: None, name: "untimed".into(), attributes: Attributes::default(), dropped_attributes: 0 },
    ]);
    full.set_links(vec![Link {
        trace_id: trace_id(99),
        span_id: span_id(98),
        trace_state: "k=v".into(),
        attributes: attributes(&[("why", "\"batch\"")]),
        flags: 1,
        dropped_attributes: 3,
    }]);
    full.resource = Some(Arc::new(Resource::new(r#"{"attributes":{"service.name":"runner"},"scope":{"name":"x"}}"#)));
    full
}

/// Writes records as the pipeline does: one batch, folded and in order.
pub async fn write(store: &Store, records: impl IntoIterator<Item = Span>) {
    store.spans.write_spans(&fold(records.into_iter().collect())).await.unwrap();
}

pub async fn rows(store: &Store, trace: u64) -> Vec<Span> {
    store.traces.trace_rows(&tenant(), trace_id(trace), Detail::Full, 100_000).await.unwrap().rows
}

/// The spans of a trace, folded, as they read: an ended span keeps no last sign of life.
pub async fn spans(store: &Store, trace: u64) -> Vec<Span> {
    let rows = rows(store, trace).await;
    Trace::new(tenant(), trace_id(trace), rows, false).spans.into_iter().map(without_sign_of_life).collect()
}

pub fn without_sign_of_life(mut span: Span) -> Span {
    if span.is_ended() {
        span.seen_at = span.created_at;
    }
    span
}

/// What reading a trace of these records gives.
pub fn expected(records: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let records: Vec<Span> = records.into_iter().collect();
    let trace = Trace::new(tenant(), records[0].trace_id, records, false);
    trace.spans.into_iter().map(without_sign_of_life).collect()
}

/// Numbers that look random and are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index as u64 + 1) as usize);
        }
    }
}
