//! A span as the canonical JSON object that [`super::decode`] reads back to the same span.

use std::fmt::Display;

use crate::model::span::{Field, FieldType, FieldValue, OtelStatus, Span, SpanKind};
use crate::wire::{json, number};

/// Writes a span: what is absent is left out, ids and times are canonical, every field goes by its own name, and money
/// is a decimal text. It is one line. `duration_ms` is derived where start and end are known, and exact to the nanosecond.
///
/// `decode` reads it back to an equal span, but for the tenant and the times of arrival, which are the service's own,
/// and for what merging remembers of weaker records: the text holds one record.
pub fn encode(span: &Span) -> String {
    let mut text = String::with_capacity(512 + span.attributes.len());
    encode_into(span, &mut text);
    text
}

/// As [`encode`], appending to a text.
pub fn encode_into(span: &Span, text: &mut String) {
    let mut object = Object::begin(text);
    object.string("trace_id", span.trace_id);
    object.string("span_id", span.span_id);
    if let Some(parent) = span.parent_span_id {
        object.string("parent_span_id", parent);
    }
    for field in FIRST {
        if let Some(value) = span.fields.get(*field) {
            object.field(*field, value);
        }
    }
    object.string("status", span.status);
    if let Some(at) = span.started_at {
        object.string("started_at", at);
    }
    // A duration that was told without an end stays one: with the start unknown nothing else could be said.
    if let Some(at) = span.ended_at() {
        object.string("completed_at", at);
    }
    if let Some(ns) = span.duration_ns() {
        object.raw("duration_ms", &number::decimal_text(ns, 6));
    }
    for (field, value) in span.fields.iter().filter(|(field, _)| !FIRST.contains(field)) {
        object.field(field, value);
    }
    if !span.attributes.is_empty() {
        object.raw("attributes", span.attributes.as_json());
    }
    if !span.events().is_empty() {
        object.serialized("events", span.events());
    }
    if !span.links().is_empty() {
        object.serialized("links", span.links());
    }
    if let Some(resource) = &span.resource {
        object.raw("resource", resource.content());
    }
    if span.revision > 0 {
        object.raw("revision", &span.revision.to_string());
    }
    object.end();
}

/// The fields that say what a span is, before when it was.
const FIRST: &[Field] = &[Field::Service, Field::Operation, Field::SpanType, Field::Kind];

/// Writes the members of one object.
struct Object<'t> {
    text: &'t mut String,
    separator: char,
}

impl<'t> Object<'t> {
    fn begin(text: &'t mut String) -> Self {
        Self { text, separator: '{' }
    }

    fn raw(&mut self, name: &str, json: &str) {
        self.text.push(self.separator);
        self.separator = ',';
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        self.text.push_str(json);
    }

    /// A text that needs no escape.
    fn string(&mut self, name: &str, value: impl Display) {
        self.raw(name, &format!("\"{value}\""));
    }

    fn serialized(&mut self, name: &str, value: &(impl serde::Serialize + ?Sized)) {
        // Events and links are plain data, whose writing cannot fail; and an absent list is better than no span.
        if let Ok(json) = serde_json::to_string(value) {
            self.raw(name, &json);
        }
    }

    fn field(&mut self, field: Field, value: &FieldValue) {
        match (field, value) {
            (Field::CostPico, FieldValue::Int(pico)) => self.string("cost_usd", number::decimal_text(*pico, 12)),
            (_, FieldValue::Int(number)) => match name_of(field, *number) {
                Some(name) => self.string(field.name(), name),
                None => self.raw(field.name(), &number.to_string()),
            },
            (_, FieldValue::Text(text)) if field.field_type() == FieldType::Json => self.raw(field.name(), text),
            (_, FieldValue::Text(text)) => self.raw(field.name(), &json::quoted(text)),
        }
    }

    fn end(self) {
        self.text.push('}');
    }
}

/// The name of a number that stands for one.
fn name_of(field: Field, number: i64) -> Option<&'static str> {
    match field {
        Field::Kind => SpanKind::from_number(number).map(SpanKind::name),
        Field::OtelStatus => OtelStatus::from_number(number).map(OtelStatus::name),
        _ => None,
    }
}
