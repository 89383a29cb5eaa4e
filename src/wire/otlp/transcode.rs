//! Spans as an `ExportTraceServiceRequest` in protobuf: what [`super::encode`] writes, said in the other encoding, so that
//! both mean the same.
//!
//! Field numbers are those of opentelemetry-proto, as in `protobuf`, which reads them back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::answer::varint;
use super::encode;
use crate::model::span::Span;
use crate::wire::json::{self, Elements, Members};

/// As [`super::encode`], in protobuf. Spans of any number of traces, resources and scopes. Costs an [`encode`] and a walk
/// over its text.
pub fn encode_protobuf(spans: &[Span]) -> Vec<u8> {
    let text = encode(spans);
    let mut bytes = Vec::with_capacity(text.len() / 2);
    write_message(&text, REQUEST, &mut bytes);
    bytes
}

/// A member by its name, its field's number, and what it is.
type Schema = &'static [(&'static str, u32, Kind)];

#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Bytes as hex digits.
    Id,
    Number,
    Fixed64,
    Fixed32,
    Message(Schema),
    /// Messages, one after the other.
    List(Schema),
    /// An `AnyValue`, of which one member is there, however empty.
    Any,
    AnyList,
}

use Kind::{Any, AnyList, Fixed32, Fixed64, Id, List, Message, Number, Text};

static REQUEST: Schema = &[("resourceSpans", 1, List(RESOURCE_SPANS))];
static RESOURCE_SPANS: Schema =
    &[("resource", 1, Message(RESOURCE)), ("scopeSpans", 2, List(SCOPE_SPANS)), ("schemaUrl", 3, Text)];
static RESOURCE: Schema = &[("attributes", 1, List(KEY_VALUE)), ("droppedAttributesCount", 2, Number)];
static SCOPE_SPANS: Schema = &[("scope", 1, Message(SCOPE)), ("spans", 2, List(SPAN)), ("schemaUrl", 3, Text)];
static SCOPE: Schema = &[
    ("name", 1, Text),
    ("version", 2, Text),
    ("attributes", 3, List(KEY_VALUE)),
    ("droppedAttributesCount", 4, Number),
];
static SPAN: Schema = &[
    ("traceId", 1, Id),
    ("spanId", 2, Id),
    ("traceState", 3, Text),
    ("parentSpanId", 4, Id),
    ("name", 5, Text),
    ("kind", 6, Number),
    ("startTimeUnixNano", 7, Fixed64),
    ("endTimeUnixNano", 8, Fixed64),
    ("attributes", 9, List(KEY_VALUE)),
    ("droppedAttributesCount", 10, Number),
    ("events", 11, List(EVENT)),
    ("droppedEventsCount", 12, Number),
    ("links", 13, List(LINK)),
    ("droppedLinksCount", 14, Number),
    ("status", 15, Message(STATUS)),
    ("flags", 16, Fixed32),
];
static EVENT: Schema = &[
    ("timeUnixNano", 1, Fixed64),
    ("name", 2, Text),
    ("attributes", 3, List(KEY_VALUE)),
    ("droppedAttributesCount", 4, Number),
];
static LINK: Schema = &[
    ("traceId", 1, Id),
    ("spanId", 2, Id),
    ("traceState", 3, Text),
    ("attributes", 4, List(KEY_VALUE)),
    ("droppedAttributesCount", 5, Number),
    ("flags", 6, Fixed32),
];
static STATUS: Schema = &[("message", 2, Text), ("code", 3, Number)];
static KEY_VALUE: Schema = &[("key", 1, Text), ("value", 2, Any)];
static MAP: Schema = &[("values", 1, List(KEY_VALUE))];
static ARRAY: Schema = &[("values", 1, AnyList)];

/// Wire types.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

fn write_message(object: &str, schema: Schema, into: &mut Vec<u8>) {
    for (name, raw) in Members::of(object) {
        let name = json::inside(name);
        if let Some((_, number, kind)) = schema.iter().find(|(known, ..)| *known == name) {
            write_field(raw, *number, *kind, into);
        }
    }
}

/// Writes a field; nothing where it says nothing.
fn write_field(raw: &str, number: u32, kind: Kind, into: &mut Vec<u8>) {
    match kind {
        Text => match text(raw) {
            text if text.is_empty() => {}
            text => put_bytes(text.as_bytes(), number, into),
        },
        Id => put_bytes(&unhex(json::inside(raw)), number, into),
        Number => match integer(raw) {
            0 => {}
            value => put_varint(value as u64, number, into),
        },
        Fixed64 => match integer(raw) {
            0 => {}
            value => put_fixed(&(value as u64).to_le_bytes(), number, FIXED64, into),
        },
        Fixed32 => match integer(raw) {
            0 => {}
            value => put_fixed(&(value as u32).to_le_bytes(), number, FIXED32, into),
        },
        Message(schema) => put_message(number, into, |into| write_message(raw, schema, into)),
        List(schema) => {
            for raw in Elements::of(raw) {
                put_message(number, into, |into| write_message(raw, schema, into));
            }
        }
        Any => put_message(number, into, |into| write_any(raw, into)),
        AnyList => {
            for raw in Elements::of(raw) {
                put_message(number, into, |into| write_any(raw, into));
            }
        }
    }
}

/// An `AnyValue`. It nests as deep as the limits let a value in.
fn write_any(object: &str, into: &mut Vec<u8>) {
    let Some((name, raw)) = Members::of(object).next() else { return };
    match json::inside(name) {
        "stringValue" => put_bytes(text(raw).as_bytes(), 1, into),
        "boolValue" => put_varint(u64::from(raw == "true"), 2, into),
        "intValue" => put_varint(integer(raw) as u64, 3, into),
        "doubleValue" => put_fixed(&double(raw).to_le_bytes(), 4, FIXED64, into),
        "arrayValue" => put_message(5, into, |into| write_message(raw, ARRAY, into)),
        "kvlistValue" => put_message(6, into, |into| write_message(raw, MAP, into)),
        "bytesValue" => put_bytes(&STANDARD.decode(json::inside(raw)).unwrap_or_default(), 7, into),
        _ => {}
    }
}

fn text(raw: &str) -> std::borrow::Cow<'_, str> {
    // What is kept has no half of a surrogate pair.
    json::string(raw).unwrap_or_default()
}

/// An integer of any sign and 64 bits, within quotes or not; the bits of an unsigned one.
fn integer(raw: &str) -> i64 {
    let digits = if raw.starts_with('"') { json::inside(raw) } else { raw };
    digits.parse().unwrap_or_else(|_| digits.parse::<u64>().unwrap_or_default() as i64)
}

fn double(raw: &str) -> f64 {
    match if raw.starts_with('"') { json::inside(raw) } else { raw } {
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        digits => digits.parse().unwrap_or(f64::NAN),
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let bytes = (0..digits.len() / 2).map(|at| digits.get(2 * at..2 * at + 2));
    bytes.map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or_default()).collect()
}

fn put_key(number: u32, wire_type: u32, into: &mut Vec<u8>) {
    varint(into, u64::from(number << 3 | wire_type));
}

fn put_varint(value: u64, number: u32, into: &mut Vec<u8>) {
    put_key(number, VARINT, into);
    varint(into, value);
}

fn put_fixed(bytes: &[u8], number: u32, wire_type: u32, into: &mut Vec<u8>) {
    put_key(number, wire_type, into);
    into.extend_from_slice(bytes);
}

fn put_bytes(bytes: &[u8], number: u32, into: &mut Vec<u8>) {
    put_key(number, BYTES, into);
    varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

/// Writes a message whose content `content` appends. Its length is known afterwards: most take the one byte left for it.
fn put_message(number: u32, into: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    put_key(number, BYTES, into);
    let at = into.len();
    into.push(0);
    content(into);
    let mut length = Vec::with_capacity(5);
    varint(&mut length, (into.len() - at - 1) as u64);
    into.splice(at..=at, length);
}
