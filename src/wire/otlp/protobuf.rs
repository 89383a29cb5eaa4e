//! The protobuf encoding, read where it lies: no message is built, and texts are borrowed from the body.
//!
//! Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`, `common/v1/common.proto` and
//! `resource/v1/resource.proto`. As the encoding demands, unknown fields are skipped, a field of a message that is given
//! twice is merged (which is what reading both parts one after the other does), and of a plain field the last one stays.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use std::borrow::Cow;

use super::origin::Origin;
use super::record::{Event, Link, Pair, Record, Text};
use super::{Spans, Stop, fault_of, malformed, values};
use crate::model::ids::{SpanId, TraceId};
use crate::wire::DecodeError;
use crate::wire::normalize::Fault;

/// Reads an `ExportTraceServiceRequest`.
pub(super) fn read(body: &[u8], spans: &mut Spans<'_>) -> Result<(), DecodeError> {
    let mut record = Record::default();
    let (mut resource, mut scope) = (String::new(), String::new());
    each(body, |number, field| match number {
        1 => resource_spans(field.message("resource_spans")?, spans, &mut record, (&mut resource, &mut scope)),
        _ => Ok(()),
    })
}

/// Of an `ExportTraceServiceResponse`: the number of spans that were rejected, and why.
pub(super) fn partial_success(body: &[u8]) -> Option<(u64, String)> {
    let (mut count, mut message) = (0, String::new());
    each(body, |number, field| match number {
        1 => each(field.message("partial_success")?, |number, field| {
            match number {
                1 => count = field.varint("rejected_spans")?,
                2 => message = String::from_utf8_lossy(field.bytes("error_message")?).into_owned(),
                _ => {}
            }
            Ok::<(), DecodeError>(())
        }),
        _ => Ok(()),
    })
    .ok()?;
    Some((count, message))
}

/// The message of a `google.rpc.Status`.
pub(super) fn status_message(body: &[u8]) -> Option<String> {
    let mut message = None;
    each(body, |number, field| {
        if number == 2 {
            message = std::str::from_utf8(field.bytes("message")?).ok().map(str::to_owned);
        }
        Ok::<(), DecodeError>(())
    })
    .ok()?;
    message
}

fn resource_spans<'a>(
    message: &'a [u8],
    spans: &mut Spans<'_>,
    record: &mut Record<'a>,
    (resource, scope): (&mut String, &mut String),
) -> Result<(), DecodeError> {
    // The resource may stand behind its spans.
    let of_resource = fault_of(origin(message, resource, &RESOURCE))?;
    each(message, |number, field| match number {
        2 => {
            let message = field.message("scope_spans")?;
            let of_scope = fault_of(origin(message, scope, &SCOPE))?;
            spans.of(resource, scope, of_resource.clone().or(of_scope));
            each(message, |number, field| match number {
                2 => {
                    let message = field.message("spans")?;
                    spans.take(record, message.len(), |record| span(message, record))
                }
                _ => Ok(()),
            })
        }
        _ => Ok(()),
    })
}

fn span<'a>(message: &'a [u8], record: &mut Record<'a>) -> Result<(), Stop> {
    let (mut ids, mut told) = (Ids::default(), Dropped::default());
    each(message, |number, field| {
        match number {
            1 => ids.trace_id = field.bytes("trace_id")?,
            2 => ids.span_id = field.bytes("span_id")?,
            3 => record.trace_state = Text::Body(field.text("trace_state")?),
            4 => ids.parent_span_id = field.bytes("parent_span_id")?,
            5 => record.name = Text::Body(field.text("name")?),
            6 => record.kind = field.int("kind")?,
            7 => record.start = field.fixed64("start_time_unix_nano")?,
            8 => record.end = field.fixed64("end_time_unix_nano")?,
            9 if !record.has_room_for_attribute() => drop(field.message("attributes")?),
            9 => {
                let pair = pair(field.message("attributes")?, record)?;
                record.attributes.push(pair);
            }
            10 => told.attributes = field.uint("dropped_attributes_count")?,
            11 if !record.has_room_for_event() => drop(field.message("events")?),
            11 => event(field.message("events")?, record)?,
            12 => told.events = field.uint("dropped_events_count")?,
            13 if !record.has_room_for_link() => drop(field.message("links")?),
            13 => link(field.message("links")?, record)?,
            14 => told.links = field.uint("dropped_links_count")?,
            15 => each(field.message("status")?, |number, field| {
                match number {
                    2 => record.status_message = Text::Body(field.text("status.message")?),
                    3 => record.status_code = field.int("status.code")?,
                    _ => {}
                }
                Ok::<(), Stop>(())
            })?,
            16 => record.flags = field.fixed32("flags")?,
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    record.dropped_attributes = record.dropped_attributes.saturating_add(told.attributes);
    record.dropped_events = record.dropped_events.saturating_add(told.events);
    record.dropped_links = record.dropped_links.saturating_add(told.links);
    // After the walk: a span whose ids are wrong is still known to be well-formed.
    record.span_id = Some(span_id("span_id", ids.span_id)?);
    record.trace_id = Some(trace_id("trace_id", ids.trace_id)?);
    record.parent_span_id = match ids.parent_span_id {
        none if none.iter().all(|byte| *byte == 0) => None,
        parent => Some(span_id("parent_span_id", parent)?),
    };
    Ok(())
}

#[derive(Default)]
struct Ids<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    parent_span_id: &'a [u8],
}

/// What the sender says that it dropped, beside what is dropped here.
#[derive(Default)]
struct Dropped {
    attributes: u32,
    events: u32,
    links: u32,
}

fn trace_id(name: &str, bytes: &[u8]) -> Result<TraceId, Fault> {
    TraceId::from_slice(bytes).map_err(|error| Fault::of(name, error))
}

/// OTLP's ids of spans have 64 bits.
fn span_id(name: &str, bytes: &[u8]) -> Result<SpanId, Fault> {
    if bytes.len() != 8 {
        return Err(Fault::of(name, format_args!("has {} bytes; accepted are 8", bytes.len())));
    }
    SpanId::from_slice(bytes).map_err(|error| Fault::of(name, error))
}

fn event<'a>(message: &'a [u8], record: &mut Record<'a>) -> Result<(), Stop> {
    let mut event = Event::default();
    let (start, mut surplus) = (record.inner.len(), 0);
    each(message, |number, field| {
        match number {
            1 => event.time = field.fixed64("events.time_unix_nano")?,
            2 => event.name = Text::Body(field.text("events.name")?),
            3 if !record.has_room_for_inner(start, &mut surplus) => drop(field.message("events.attributes")?),
            3 => {
                let pair = pair(field.message("events.attributes")?, record)?;
                record.inner.push(pair);
            }
            4 => event.dropped_attributes = field.uint("events.dropped_attributes_count")?,
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    event.attributes = start..record.inner.len();
    event.dropped_attributes = event.dropped_attributes.saturating_add(surplus);
    record.events.push(event);
    Ok(())
}

fn link<'a>(message: &'a [u8], record: &mut Record<'a>) -> Result<(), Stop> {
    let mut link = Link::default();
    let (start, mut surplus) = (record.inner.len(), 0);
    each(message, |number, field| {
        match number {
            1 => link.trace_id = trace_id("links.trace_id", field.bytes("links.trace_id")?).ok(),
            2 => link.span_id = span_id("links.span_id", field.bytes("links.span_id")?).ok(),
            3 => link.trace_state = Text::Body(field.text("links.trace_state")?),
            4 if !record.has_room_for_inner(start, &mut surplus) => drop(field.message("links.attributes")?),
            4 => {
                let pair = pair(field.message("links.attributes")?, record)?;
                record.inner.push(pair);
            }
            5 => link.dropped_attributes = field.uint("links.dropped_attributes_count")?,
            6 => link.flags = field.fixed32("links.flags")?,
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    link.attributes = start..record.inner.len();
    link.dropped_attributes = link.dropped_attributes.saturating_add(surplus);
    record.links.push(link);
    Ok(())
}

/// A `KeyValue`, its value as JSON text in the memory of the record.
fn pair<'a>(message: &'a [u8], record: &mut Record<'a>) -> Result<Pair<'a>, Stop> {
    let (key, value) = key_value(message)?;
    let value = record.try_write(|memory| any_value(&value, memory, MAX_DEPTH))?;
    Ok(Pair { key: Text::Body(key), value })
}

/// Levels of values within a value. The limit `max_depth` is applied to the text; this one guards the stack.
const MAX_DEPTH: usize = 128;

fn key_value(message: &[u8]) -> Result<(&str, Cow<'_, [u8]>), Stop> {
    let mut key = "";
    let mut value = Cow::Borrowed(&[][..]);
    each(message, |number, field| {
        match number {
            1 => key = field.text("key")?,
            2 => merge(&mut value, field.message("value")?),
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    Ok((key, value))
}

/// Two parts of one message are one after the other's bytes.
fn merge<'a>(message: &mut Cow<'a, [u8]>, more: &'a [u8]) {
    match message.is_empty() {
        true => *message = Cow::Borrowed(more),
        false => message.to_mut().extend_from_slice(more),
    }
}

/// Writes an `AnyValue` as JSON.
fn any_value(message: &[u8], into: &mut String, depth: usize) -> Result<(), Stop> {
    let mut kind = 0;
    let mut value = Value::Varint(0);
    // The parts of an array or a map that is given in several.
    let mut parts: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    each(message, |number, field| {
        match number {
            1 => drop(field.text("string_value")?),
            2 | 3 => drop(field.varint("value")?),
            4 => drop(field.fixed64("double_value")?),
            5 | 6 if kind == number => merge(&mut parts, field.message("value")?),
            5 | 6 => parts = Cow::Borrowed(field.message("value")?),
            7 => drop(field.bytes("bytes_value")?),
            _ => return Ok(()),
        }
        (kind, value) = (number, field);
        Ok::<(), Stop>(())
    })?;
    match kind {
        1 => values::string(into, value.text("string_value")?),
        2 => values::boolean(into, value.varint("bool_value")? != 0),
        // Two's complement in 64 bits.
        3 => values::integer(into, value.varint("int_value")?.cast_signed()),
        4 => values::double(into, f64::from_bits(value.fixed64("double_value")?)),
        5 | 6 if depth == 0 => return Err(Fault::of("attributes", "nest too deep").into()),
        5 => array(&parts, into, depth - 1)?,
        6 => map(&parts, into, depth - 1)?,
        7 => values::bytes(into, value.bytes("bytes_value")?),
        _ => into.push_str("null"),
    }
    Ok(())
}

fn array(message: &[u8], into: &mut String, depth: usize) -> Result<(), Stop> {
    let mut separator = '[';
    each(message, |number, field| {
        if number == 1 {
            into.push(separator);
            separator = ',';
            any_value(field.message("values")?, into, depth)?;
        }
        Ok::<(), Stop>(())
    })?;
    into.push_str(if separator == '[' { "[]" } else { "]" });
    Ok(())
}

fn map(message: &[u8], into: &mut String, depth: usize) -> Result<(), Stop> {
    let start = into.len();
    let (mut members, mut reserved) = (0, false);
    each(message, |number, field| {
        if number == 1 {
            let (key, value) = key_value(field.message("values")?)?;
            into.push(if members == 0 { '{' } else { ',' });
            values::string(into, key);
            into.push(':');
            any_value(&value, into, depth)?;
            members += 1;
            reserved |= values::is_reserved(key);
        }
        Ok::<(), Stop>(())
    })?;
    into.push_str(if members == 0 { "{}" } else { "}" });
    if members == 1 && reserved {
        into.insert_str(start, &format!("{{\"{}\":", values::MAP));
        into.push('}');
    }
    Ok(())
}

/// The fields of a resource, or of a scope.
struct Layout {
    attributes: u32,
    dropped_attributes: u32,
    name: u32,
    version: u32,
}

const RESOURCE: Layout = Layout { attributes: 1, dropped_attributes: 2, name: 0, version: 0 };
const SCOPE: Layout = Layout { attributes: 3, dropped_attributes: 4, name: 1, version: 2 };

/// Writes what an envelope, `ResourceSpans` or `ScopeSpans`, tells beside its spans: field 1 of either, and the schema's
/// URL in field 3.
fn origin(envelope: &[u8], into: &mut String, layout: &Layout) -> Result<(), Stop> {
    let mut message = Cow::Borrowed(&[][..]);
    let mut schema_url = "";
    each(envelope, |number, field| {
        match number {
            1 => merge(&mut message, field.message("resource")?),
            3 => schema_url = field.text("schema_url")?,
            _ => {}
        }
        Ok::<(), Stop>(())
    })?;
    let (mut name, mut version, mut dropped_attributes) = ("", "", 0);
    let mut attributes = String::new();
    each(&message, |number, field| {
        if number == layout.attributes {
            let (key, value) = key_value(field.message("attributes")?)?;
            attributes.push(if attributes.is_empty() { '{' } else { ',' });
            values::string(&mut attributes, key);
            attributes.push(':');
            any_value(&value, &mut attributes, MAX_DEPTH)?;
        } else if number == layout.dropped_attributes {
            dropped_attributes = field.uint("dropped_attributes_count")?;
        } else if number == layout.name {
            name = field.text("scope.name")?;
        } else if number == layout.version {
            version = field.text("scope.version")?;
        }
        Ok::<(), Stop>(())
    })?;
    if !attributes.is_empty() {
        attributes.push('}');
    }
    let texts = [("name", name), ("version", version), ("schema_url", schema_url)];
    Origin { texts, attributes: &attributes, dropped_attributes }.write(into);
    Ok(())
}

/// The value of one field, by its wire type.
#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    fn varint(self, name: &str) -> Result<u64, DecodeError> {
        match self {
            Value::Varint(value) => Ok(value),
            _ => Err(wrong_type(name)),
        }
    }

    /// An int32 or an enum, of which the low 32 bits count.
    fn int(self, name: &str) -> Result<i32, DecodeError> {
        self.varint(name).map(|value| value as i32)
    }

    /// A uint32, of which the low 32 bits count.
    fn uint(self, name: &str) -> Result<u32, DecodeError> {
        self.varint(name).map(|value| value as u32)
    }

    fn fixed64(self, name: &str) -> Result<u64, DecodeError> {
        match self {
            Value::Fixed64(value) => Ok(value),
            _ => Err(wrong_type(name)),
        }
    }

    fn fixed32(self, name: &str) -> Result<u32, DecodeError> {
        match self {
            Value::Fixed32(value) => Ok(value),
            _ => Err(wrong_type(name)),
        }
    }

    fn bytes(self, name: &str) -> Result<&'a [u8], DecodeError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(wrong_type(name)),
        }
    }

    fn message(self, name: &str) -> Result<&'a [u8], DecodeError> {
        self.bytes(name)
    }

    /// A text. Not every sender sees to its being UTF-8; one that is not costs its span only.
    fn text(self, name: &str) -> Result<&'a str, Stop> {
        std::str::from_utf8(self.bytes(name)?).map_err(|error| {
            Fault::of(name, format_args!("is not UTF-8: its byte {} belongs to no character", error.valid_up_to()))
                .into()
        })
    }
}

fn wrong_type(name: &str) -> DecodeError {
    malformed(format!("the body is no ExportTraceServiceRequest: {name} has the wrong wire type"))
}

fn truncated() -> DecodeError {
    malformed("the body is no protobuf message: it ends within a field; was it cut, or is it JSON?")
}

/// Hands each field of a message to `each`, with its number.
fn each<'a, E: From<DecodeError>>(
    message: &'a [u8],
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = message;
    while !rest.is_empty() {
        let (number, wire_type) = key(&mut rest)?;
        match wire_type {
            START_GROUP => skip_group(&mut rest, number)?,
            wire_type => {
                let value = value(&mut rest, wire_type)?;
                each(number, value)?;
            }
        }
    }
    Ok(())
}

const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;

fn key(rest: &mut &[u8]) -> Result<(u32, u32), DecodeError> {
    let key = u32::try_from(varint(rest)?)
        .map_err(|_| malformed("the body is no protobuf message: a field's key is too large"))?;
    match (key >> 3, key & 7) {
        (0, _) => Err(malformed("the body is no protobuf message: a field has the number 0; is it JSON?")),
        parts => Ok(parts),
    }
}

fn value<'a>(rest: &mut &'a [u8], wire_type: u32) -> Result<Value<'a>, DecodeError> {
    match wire_type {
        0 => varint(rest).map(Value::Varint),
        1 => fixed(rest).map(|bytes| Value::Fixed64(u64::from_le_bytes(bytes))),
        2 => {
            let length = usize::try_from(varint(rest)?).map_err(|_| truncated())?;
            let (bytes, after) = rest.split_at_checked(length).ok_or_else(truncated)?;
            *rest = after;
            Ok(Value::Bytes(bytes))
        }
        5 => fixed(rest).map(|bytes| Value::Fixed32(u32::from_le_bytes(bytes))),
        _ => Err(malformed(format!("the body is no protobuf message: there is no wire type {wire_type}"))),
    }
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (bytes, after) = rest.split_first_chunk::<N>().ok_or_else(truncated)?;
    *rest = after;
    Ok(*bytes)
}

fn varint(rest: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first().ok_or_else(truncated)?;
        *rest = after;
        if shift == 63 && *byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed("the body is no protobuf message: a number has more than 64 bits"))
}

/// Skips a group, which OTLP has none of, with the groups in it.
fn skip_group(rest: &mut &[u8], number: u32) -> Result<(), DecodeError> {
    let mut open = vec![number];
    while let Some(innermost) = open.last() {
        match key(rest)? {
            (number, START_GROUP) => open.push(number),
            (number, END_GROUP) if number == *innermost => drop(open.pop()),
            (_, END_GROUP) => {
                return Err(malformed("the body is no protobuf message: a group ends that did not begin"));
            }
            (_, wire_type) => drop(value(rest, wire_type)?),
        }
    }
    Ok(())
}
