//! Spans as an `ExportTraceServiceRequest` in JSON: what [`super::decode`] reads back to the same spans.
//!
//! What a span says without OTLP's help goes along as attributes that are read back as the fields they are: each by its own
//! name, a 128-bit span id as `tracefall.span_id` beside its low half, a status that OTLP has no word for as
//! `tracefall.status`.

use std::collections::BTreeMap;

use super::{Encoding, decode, values};
use crate::model::attributes::Attributes;
use crate::model::ids::{SpanId, TraceId};
use crate::model::limits::Limits;
use crate::model::span::{Event, Field, FieldType, FieldValue, Link, Span};
use crate::model::time::UnixNanos;
use crate::wire::{DecodeContext, json};

/// Attributes in which an id of 128 bits, or a status that OTLP does not know, goes along.
pub(in crate::wire) const SPAN_ID: &str = "tracefall.span_id";
pub(in crate::wire) const PARENT_SPAN_ID: &str = "tracefall.parent_span_id";
pub(super) const STATUS: &str = "tracefall.status";

/// Fields that stand in OTLP's own places, or follow from what stands there.
const STRUCTURAL: [Field; 9] = [
    Field::Service,
    Field::Operation,
    Field::Kind,
    Field::OtelStatus,
    Field::StatusMessage,
    Field::TraceState,
    Field::Flags,
    Field::DroppedEvents,
    Field::DroppedLinks,
];

/// Writes spans, those of one resource and scope together. Costs a decoding of each span beside its encoding.
pub fn encode(spans: &[Span]) -> String {
    let mut by_origin: BTreeMap<(String, String), Vec<&Span>> = BTreeMap::new();
    for span in spans {
        by_origin.entry(origin(span)).or_default().push(span);
    }
    let mut text = String::with_capacity(64 + 1024 * spans.len());
    text.push_str("{\"resourceSpans\":[");
    let mut last: Option<&str> = None;
    for ((resource, scope), spans) in &by_origin {
        match last {
            Some(same) if same == resource => text.push_str("]},"),
            Some(_) => text.push_str("]}]},{"),
            None => text.push('{'),
        }
        if last != Some(resource) {
            text.push_str(resource);
            text.push_str("\"scopeSpans\":[");
        }
        last = Some(resource);
        text.push('{');
        text.push_str(scope);
        text.push_str("\"spans\":[");
        for (index, span) in spans.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            encode_span(span, &mut text);
        }
    }
    text.push_str(if last.is_some() { "]}]}]}" } else { "]}" });
    text
}

/// The members of the envelopes that a span belongs to, each list with a comma behind it.
fn origin(span: &Span) -> (String, String) {
    let content = span.resource.as_ref().map_or("{}", |resource| resource.content());
    let (mut resource, mut scope) = (String::new(), String::new());
    let (mut attributes, mut dropped, mut schema, mut scope_content) = ("{}", "0", "\"\"", "{}");
    for (key, raw) in json::Members::of(content) {
        match json::inside(key) {
            "attributes" => attributes = raw,
            "dropped_attributes" => dropped = raw,
            "schema_url" => schema = raw,
            "scope" => scope_content = raw,
            _ => {}
        }
    }
    let service = span.service().filter(|_| !attributes.contains("\"service.name\"")).map(|name| {
        let mut quoted = String::new();
        values::string(&mut quoted, name);
        quoted
    });
    let unknown = service.as_deref() == Some("\"unknown_service\"");
    let service = service.filter(|_| !unknown);
    resource.push_str("\"resource\":{\"attributes\":[");
    let own = json::Members::of(attributes);
    key_values(service.iter().map(|raw| ("\"service.name\"", raw.as_str())).chain(own), &mut resource);
    values::display(&mut resource, format_args!("],\"droppedAttributesCount\":{dropped}}},\"schemaUrl\":{schema},"));

    let (mut name, mut version, mut attributes, mut dropped, mut schema) = ("\"\"", "\"\"", "{}", "0", "\"\"");
    for (key, raw) in json::Members::of(scope_content) {
        match json::inside(key) {
            "name" => name = raw,
            "version" => version = raw,
            "attributes" => attributes = raw,
            "dropped_attributes" => dropped = raw,
            "schema_url" => schema = raw,
            _ => {}
        }
    }
    values::display(&mut scope, format_args!("\"scope\":{{\"name\":{name},\"version\":{version},\"attributes\":["));
    key_values(json::Members::of(attributes), &mut scope);
    values::display(&mut scope, format_args!("],\"droppedAttributesCount\":{dropped}}},\"schemaUrl\":{schema},"));
    (resource, scope)
}

fn encode_span(span: &Span, into: &mut String) {
    let mut told = String::with_capacity(512 + span.attributes.len() * 2);
    write_span(span, &[], &mut told);
    let added = added(span, &told);
    match added.is_empty() {
        true => into.push_str(&told),
        false => write_span(span, &added, into),
    }
}

/// What a span says without OTLP's help, as attributes: each a key with its quotes and a value as JSON. Costs an encoding of
/// the span and a decoding.
pub(in crate::wire) fn beside(span: &Span) -> Vec<(String, String)> {
    let mut told = String::with_capacity(512 + span.attributes.len() * 2);
    write_span(span, &[], &mut told);
    added(span, &told)
}

/// What is lost when the span is read back, as attributes that keep it.
fn added(span: &Span, told: &str) -> Vec<(String, String)> {
    let mut added = Vec::new();
    let mut add = |key: &str, write: &dyn Fn(&mut String)| {
        let (mut quoted, mut raw) = (String::new(), String::new());
        values::string(&mut quoted, key);
        write(&mut raw);
        added.push((quoted, raw));
    };
    // One that came by OTLP has them among its attributes.
    let is_new = |key: &str| span.attributes.get(key).is_none();
    if span.span_id.is_long() && is_new(SPAN_ID) {
        add(SPAN_ID, &|raw| values::string(raw, &span.span_id.to_string()));
    }
    if let Some(parent) = span.parent_span_id.filter(|id| id.is_long() && is_new(PARENT_SPAN_ID)) {
        add(PARENT_SPAN_ID, &|raw| values::string(raw, &parent.to_string()));
    }
    let body = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{told}]}}]}}]}}");
    let unlimited = Limits {
        max_span_bytes: usize::MAX,
        max_value_bytes: usize::MAX,
        max_content_bytes: usize::MAX,
        max_depth: usize::MAX,
        ..Limits::default()
    };
    let context = DecodeContext { tenant: &span.tenant, received_at: span.created_at, limits: &unlimited };
    let again = decode(body.as_bytes(), Encoding::Json, &context).ok().and_then(|mut decoded| decoded.spans.pop());
    let status = again.as_ref().map(|again| again.status);
    if status != Some(span.status) {
        add(STATUS, &|raw| values::string(raw, span.status.name()));
    }
    for (field, value) in span.fields.iter().filter(|(field, _)| !STRUCTURAL.contains(field)) {
        if again.as_ref().and_then(|again| again.fields.get(field)) == Some(value) {
            continue;
        }
        add(name_of(field), &|raw| match value {
            FieldValue::Int(number) => values::integer(raw, *number),
            FieldValue::Text(text) => values::string(raw, text),
        });
    }
    added
}

/// The attribute that carries a field. A prompt is no field of ours to read back: it goes by OpenInference's name.
fn name_of(field: Field) -> &'static str {
    match field {
        Field::Inputs => "input.value",
        Field::Outputs => "output.value",
        field => {
            debug_assert_ne!(field.field_type(), FieldType::Json, "{field:?}");
            field.name()
        }
    }
}

fn write_span(span: &Span, added: &[(String, String)], into: &mut String) {
    values::display(into, format_args!("{{\"traceId\":\"{}\",\"spanId\":\"{}\"", span.trace_id, short(span.span_id)));
    if let Some(parent) = span.parent_span_id {
        values::display(into, format_args!(",\"parentSpanId\":\"{}\"", short(parent)));
    }
    text(into, "traceState", span.trace_state());
    text(into, "name", span.operation());
    number(into, "kind", span.kind());
    for (name, at) in [("startTimeUnixNano", span.started_at), ("endTimeUnixNano", span.ended_at())] {
        values::display(into, format_args!(",\"{name}\":\"{}\"", at.map_or(0, UnixNanos::as_u64)));
    }
    into.push_str(",\"attributes\":[");
    let own = json::Members::of(span.attributes.as_json());
    key_values(own.chain(added.iter().map(|(key, raw)| (key.as_str(), raw.as_str()))), into);
    into.push(']');
    number(into, "droppedAttributesCount", span.dropped_attributes());
    list(into, "events", span.events(), event);
    number(into, "droppedEventsCount", span.dropped_events());
    list(into, "links", span.links(), link);
    number(into, "droppedLinksCount", span.dropped_links());
    number(into, "flags", span.flags());
    into.push_str(",\"status\":{\"code\":");
    values::integer(into, span.otel_status().unwrap_or_else(|| code_of(span)));
    text(into, "message", span.status_message());
    into.push_str("}}");
}

/// OTLP's code of a span whose sender told none: an error for what failed.
fn code_of(span: &Span) -> i64 {
    use crate::model::span::{OtelStatus, Status};
    match span.status {
        Status::Failed => OtelStatus::Error as i64,
        _ => OtelStatus::Unset as i64,
    }
}

/// The low half of an id, which is all of most.
fn short(id: SpanId) -> String {
    let [high, low] = id.halves();
    low.or(high).unwrap_or(id).to_string()
}

fn text(into: &mut String, name: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        values::display(into, format_args!(",\"{name}\":"));
        values::string(into, text);
    }
}

fn number(into: &mut String, name: &str, number: Option<i64>) {
    if let Some(number) = number.filter(|number| *number != 0) {
        values::display(into, format_args!(",\"{name}\":{number}"));
    }
}

fn list<T>(into: &mut String, name: &str, entries: &[T], write: impl Fn(&T, &mut String)) {
    if entries.is_empty() {
        return;
    }
    values::display(into, format_args!(",\"{name}\":["));
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            into.push(',');
        }
        write(entry, into);
    }
    into.push(']');
}

fn event(event: &Event, into: &mut String) {
    let at = event.timestamp.map_or(0, UnixNanos::as_u64);
    values::display(into, format_args!("{{\"timeUnixNano\":\"{at}\",\"name\":"));
    values::string(into, &event.name);
    inner(into, &event.attributes, event.dropped_attributes);
}

fn link(link: &Link, into: &mut String) {
    let Link { trace_id, span_id, trace_state, attributes, flags, dropped_attributes } = link;
    let trace_id: &TraceId = trace_id;
    values::display(into, format_args!("{{\"traceId\":\"{trace_id}\",\"spanId\":\"{}\"", short(*span_id)));
    text(into, "traceState", Some(trace_state));
    number(into, "flags", Some((*flags).into()));
    inner(into, attributes, *dropped_attributes);
}

fn inner(into: &mut String, attributes: &Attributes, dropped: u32) {
    into.push_str(",\"attributes\":[");
    key_values(json::Members::of(attributes.as_json()), into);
    into.push(']');
    number(into, "droppedAttributesCount", Some(dropped.into()));
    into.push('}');
}

fn key_values<'a>(members: impl Iterator<Item = (&'a str, &'a str)>, into: &mut String) {
    for (index, (key, raw)) in members.enumerate() {
        into.push_str(if index > 0 { ",{\"key\":" } else { "{\"key\":" });
        into.push_str(key);
        into.push_str(",\"value\":");
        any_value(raw, into);
        into.push('}');
    }
}

/// A kept value as the `AnyValue` that it came from. Values nest as deep as the limits let them in.
fn any_value(raw: &str, into: &mut String) {
    match raw.as_bytes().first() {
        Some(b'"') => values::display(into, format_args!("{{\"stringValue\":{raw}}}")),
        Some(b't' | b'f') => values::display(into, format_args!("{{\"boolValue\":{raw}}}")),
        Some(b'[') => {
            into.push_str("{\"arrayValue\":{\"values\":[");
            for (index, raw) in json::Elements::of(raw).enumerate() {
                if index > 0 {
                    into.push(',');
                }
                any_value(raw, into);
            }
            into.push_str("]}}");
        }
        Some(b'{') => object(raw, into),
        Some(b'-' | b'0'..=b'9') if raw.contains(['.', 'e', 'E']) => {
            values::display(into, format_args!("{{\"doubleValue\":{raw}}}"));
        }
        Some(b'-' | b'0'..=b'9') => match raw.parse::<i64>() {
            Ok(_) => values::display(into, format_args!("{{\"intValue\":\"{raw}\"}}")),
            // Beyond 64 bits its digits are kept.
            Err(_) => values::display(into, format_args!("{{\"stringValue\":\"{raw}\"}}")),
        },
        _ => into.push_str("{}"),
    }
}

fn object(raw: &str, into: &mut String) {
    let mut members = json::Members::of(raw);
    if let (Some((key, value)), None) = (members.next(), members.next()) {
        match (json::inside(key), value.as_bytes().first()) {
            (values::BYTES | values::DOUBLE, Some(b'"')) => return into.push_str(raw),
            (values::MAP, Some(b'{')) => return map(value, into),
            _ => {}
        }
    }
    map(raw, into);
}

fn map(raw: &str, into: &mut String) {
    into.push_str("{\"kvlistValue\":{\"values\":[");
    key_values(json::Members::of(raw), into);
    into.push_str("]}}");
}
