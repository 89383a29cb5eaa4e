//! The JSON encoding: proto3's JSON with OTLP's exceptions, read leniently where senders are known to differ.
//!
//! Ids are hex digits of either case (base64 of the right length is recognised); names are lowerCamelCase or snake_case;
//! enums are numbers or names; 64-bit integers are texts or numbers; `null` is absent; what is unknown is ignored at any
//! level. A bad value costs its span.
//! Source: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::origin::Origin;
use super::record::{Event, Link, Pair, Record, Text};
use super::{Spans, Stop, malformed, values};
use crate::model::ids::{IdError, SpanId, TraceId};
use crate::model::span::{OtelStatus, SpanKind};
use crate::wire::DecodeError;
use crate::wire::json;
use crate::wire::normalize::Fault;
use crate::wire::number;

/// Reads an `ExportTraceServiceRequest`.
pub(super) fn read(body: &[u8], spans: &mut Spans<'_>) -> Result<(), DecodeError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = std::str::from_utf8(body).map_err(|error| {
        malformed(format!("the body is not UTF-8: byte {} belongs to no character", error.valid_up_to()))
    })?;
    let text = text.trim_ascii();
    json::check(text).map_err(|error| malformed(format!("the body is not valid JSON: {error}")))?;
    if !text.starts_with('{') {
        return Err(malformed(format!("the body is {}, not an ExportTraceServiceRequest object", json::kind(text))));
    }
    let mut record = Record::default();
    let (mut resource, mut scope) = (String::new(), String::new());
    for (_, list) in members(text).filter(|(name, _)| matches!(&**name, "resourceSpans" | "resource_spans")) {
        for envelope in entries("resourceSpans", list)? {
            resource_spans(envelope, spans, &mut record, (&mut resource, &mut scope))?;
        }
    }
    Ok(())
}

fn resource_spans<'a>(
    envelope: &'a str,
    spans: &mut Spans<'_>,
    record: &mut Record<'a>,
    (resource, scope): (&mut String, &mut String),
) -> Result<(), DecodeError> {
    let of_resource = origin(envelope, "resource", resource).err();
    for (_, list) in members(envelope).filter(|(name, _)| {
        // The last name is that of the protocol before version 0.15.
        matches!(&**name, "scopeSpans" | "scope_spans" | "instrumentationLibrarySpans")
    }) {
        for envelope in entries("scopeSpans", list)? {
            let of_scope = origin(envelope, "scope", scope).err();
            spans.of(resource, scope, of_resource.clone().or(of_scope));
            for (_, list) in members(envelope).filter(|(name, _)| name == "spans") {
                for raw in entries("spans", list)? {
                    spans.take(record, raw.len(), |record| span(raw, record))?;
                }
            }
        }
    }
    Ok(())
}

fn span<'a>(raw: &'a str, record: &mut Record<'a>) -> Result<(), Stop> {
    record.escapes |= raw.contains('\\');
    let mut wrong = Ok(());
    for (name, value) in members(raw) {
        let read = member(&name, value, record);
        // The ids are still looked for, so that the answer can name the span.
        wrong = wrong.and(read);
    }
    wrong?;
    if record.trace_id.is_none() {
        return Err(Fault::of("traceId", "is missing").into());
    }
    if record.span_id.is_none() {
        return Err(Fault::of("spanId", "is missing").into());
    }
    Ok(())
}

fn member<'a>(name: &str, raw: &'a str, record: &mut Record<'a>) -> Result<(), Fault> {
    match name {
        "traceId" | "trace_id" => record.trace_id = Some(trace_id(name, raw)?),
        "spanId" | "span_id" => record.span_id = Some(span_id(name, raw)?),
        "parentSpanId" | "parent_span_id" => {
            record.parent_span_id = match id_bytes(name, raw, 8)? {
                Some(bytes) if bytes.iter().all(|byte| *byte == 0) => None,
                Some(bytes) => Some(SpanId::from_slice(&bytes).map_err(|error| Fault::of(name, error))?),
                None => None,
            }
        }
        "traceState" | "trace_state" => record.trace_state = text(name, raw, record)?,
        "name" => record.name = text(name, raw, record)?,
        "kind" => record.kind = kind(name, raw)?,
        "startTimeUnixNano" | "start_time_unix_nano" => record.start = integer(name, raw)?,
        "endTimeUnixNano" | "end_time_unix_nano" => record.end = integer(name, raw)?,
        "attributes" => {
            for raw in list(name, raw)? {
                if record.has_room_for_attribute() {
                    let pair = pair(name, raw, record)?;
                    record.attributes.extend(pair);
                }
            }
        }
        "droppedAttributesCount" | "dropped_attributes_count" => {
            let told: u32 = integer(name, raw)?;
            record.dropped_attributes = record.dropped_attributes.saturating_add(told);
        }
        "events" => {
            for raw in list(name, raw)? {
                if record.has_room_for_event() {
                    event(raw, record)?;
                }
            }
        }
        "droppedEventsCount" | "dropped_events_count" => {
            let told: u32 = integer(name, raw)?;
            record.dropped_events = record.dropped_events.saturating_add(told);
        }
        "links" => {
            for raw in list(name, raw)? {
                if record.has_room_for_link() {
                    link(raw, record)?;
                }
            }
        }
        "droppedLinksCount" | "dropped_links_count" => {
            let told: u32 = integer(name, raw)?;
            record.dropped_links = record.dropped_links.saturating_add(told);
        }
        "status" => {
            for (name, raw) in object(name, raw)? {
                match &*name {
                    "message" => record.status_message = text("status.message", raw, record)?,
                    "code" => record.status_code = status_code(raw)?,
                    _ => {}
                }
            }
        }
        "flags" => record.flags = integer(name, raw)?,
        _ => {}
    }
    Ok(())
}

fn event<'a>(raw: &'a str, record: &mut Record<'a>) -> Result<(), Fault> {
    let mut event = Event::default();
    let start = record.inner.len();
    for (name, raw) in object("events", raw)? {
        match &*name {
            "timeUnixNano" | "time_unix_nano" => event.time = integer("events.timeUnixNano", raw)?,
            "name" => event.name = text("events.name", raw, record)?,
            "attributes" => inner("events.attributes", raw, record, start, &mut event.dropped_attributes)?,
            "droppedAttributesCount" | "dropped_attributes_count" => {
                let told: u32 = integer("events.droppedAttributesCount", raw)?;
                event.dropped_attributes = event.dropped_attributes.saturating_add(told);
            }
            _ => {}
        }
    }
    event.attributes = start..record.inner.len();
    record.events.push(event);
    Ok(())
}

fn link<'a>(raw: &'a str, record: &mut Record<'a>) -> Result<(), Fault> {
    let mut link = Link::default();
    let start = record.inner.len();
    for (name, raw) in object("links", raw)? {
        match &*name {
            "traceId" | "trace_id" => link.trace_id = trace_id("links.traceId", raw).ok(),
            "spanId" | "span_id" => link.span_id = span_id("links.spanId", raw).ok(),
            "traceState" | "trace_state" => link.trace_state = text("links.traceState", raw, record)?,
            "attributes" => inner("links.attributes", raw, record, start, &mut link.dropped_attributes)?,
            "droppedAttributesCount" | "dropped_attributes_count" => {
                let told: u32 = integer("links.droppedAttributesCount", raw)?;
                link.dropped_attributes = link.dropped_attributes.saturating_add(told);
            }
            "flags" => link.flags = integer("links.flags", raw)?,
            _ => {}
        }
    }
    link.attributes = start..record.inner.len();
    record.links.push(link);
    Ok(())
}

/// The attributes of an event or a link, whose first stands at `start`.
fn inner<'a>(name: &str, raw: &'a str, record: &mut Record<'a>, start: usize, dropped: &mut u32) -> Result<(), Fault> {
    for raw in list(name, raw)? {
        if record.has_room_for_inner(start, dropped) {
            let pair = pair(name, raw, record)?;
            record.inner.extend(pair);
        }
    }
    Ok(())
}

/// A `KeyValue`; `None` for null.
fn pair<'a>(name: &str, raw: &'a str, record: &mut Record<'a>) -> Result<Option<Pair<'a>>, Fault> {
    if json::is_null(raw) {
        return Ok(None);
    }
    let (mut key, mut value) = (Text::default(), Text::Body("null"));
    for (member, raw) in object(name, raw)? {
        match &*member {
            "key" => key = text(name, raw, record)?,
            "value" => {
                value = match plain(raw) {
                    Some(raw) => Text::Body(raw),
                    None => record.try_write(|memory| any_value(name, raw, memory, MAX_DEPTH))?,
                }
            }
            _ => {}
        }
    }
    Ok(Some(Pair { key, value }))
}

/// The text or boolean that an `AnyValue` holds and nothing else, which is kept as it was written.
fn plain(raw: &str) -> Option<&str> {
    let mut members = raw.starts_with('{').then(|| members(raw))?;
    let (name, value) = members.next()?;
    let is_plain = match &*name {
        "stringValue" | "string_value" => value.starts_with('"'),
        "boolValue" | "bool_value" => value.starts_with(['t', 'f']),
        _ => false,
    };
    (is_plain && members.next().is_none()).then_some(value)
}

/// Levels of values within a value. The limit `max_depth` is applied to the text; this one guards the stack.
const MAX_DEPTH: usize = 128;

/// Writes an `AnyValue` as JSON.
fn any_value(place: &str, raw: &str, into: &mut String, depth: usize) -> Result<(), Fault> {
    // Of several the last one counts, as in protobuf.
    let mut told = None;
    for (name, value) in object(place, raw)? {
        if is_kind_of_value(&name) {
            told = Some((name, value));
        }
    }
    let Some((name, raw)) = told else {
        into.push_str("null");
        return Ok(());
    };
    match &*name {
        "stringValue" | "string_value" => match raw.starts_with('"') {
            true => into.push_str(raw),
            false => return Err(Fault::of(place, format_args!("has a stringValue that is {}", json::kind(raw)))),
        },
        "boolValue" | "bool_value" => match raw {
            "true" | "false" => into.push_str(raw),
            _ => return Err(Fault::of(place, format_args!("has a boolValue that is {}", json::kind(raw)))),
        },
        "intValue" | "int_value" => values::integer(into, integer(place, raw)?),
        "doubleValue" | "double_value" => values::double(into, double(place, raw)?),
        "bytesValue" | "bytes_value" => values::bytes(into, &bytes(place, raw)?),
        "arrayValue" | "array_value" | "kvlistValue" | "kvlist_value" if depth == 0 => {
            return Err(Fault::of(place, "nest too deep"));
        }
        "arrayValue" | "array_value" => array(place, raw, into, depth - 1)?,
        "kvlistValue" | "kvlist_value" => map(place, raw, into, depth - 1)?,
        _ => into.push_str("null"),
    }
    Ok(())
}

fn is_kind_of_value(name: &str) -> bool {
    matches!(
        name,
        "stringValue"
            | "string_value"
            | "boolValue"
            | "bool_value"
            | "intValue"
            | "int_value"
            | "doubleValue"
            | "double_value"
            | "bytesValue"
            | "bytes_value"
            | "arrayValue"
            | "array_value"
            | "kvlistValue"
            | "kvlist_value"
    )
}

fn array(place: &str, raw: &str, into: &mut String, depth: usize) -> Result<(), Fault> {
    into.push('[');
    let start = into.len();
    for (_, raw) in object(place, raw)?.filter(|(name, _)| name == "values") {
        for raw in list(place, raw)? {
            if into.len() > start {
                into.push(',');
            }
            match json::is_null(raw) {
                true => into.push_str("null"),
                false => any_value(place, raw, into, depth)?,
            }
        }
    }
    into.push(']');
    Ok(())
}

fn map(place: &str, raw: &str, into: &mut String, depth: usize) -> Result<(), Fault> {
    let start = into.len();
    let (mut members, mut reserved) = (0, false);
    into.push('{');
    for (_, raw) in object(place, raw)?.filter(|(name, _)| name == "values") {
        for raw in list(place, raw)?.filter(|raw| !json::is_null(raw)) {
            let (mut key, mut value) = (Cow::Borrowed(""), None);
            for (name, raw) in object(place, raw)? {
                match &*name {
                    "key" => key = string(place, raw)?,
                    "value" => value = Some(raw).filter(|raw| !json::is_null(raw)),
                    _ => {}
                }
            }
            if members > 0 {
                into.push(',');
            }
            values::string(into, &key);
            into.push(':');
            match value {
                Some(raw) => any_value(place, raw, into, depth)?,
                None => into.push_str("null"),
            }
            members += 1;
            reserved |= values::is_reserved(&key);
        }
    }
    into.push('}');
    if members == 1 && reserved {
        into.insert_str(start, &format!("{{\"{}\":", values::MAP));
        into.push('}');
    }
    Ok(())
}

/// Writes the resource or the scope of an envelope, and its schema's URL.
fn origin(envelope: &str, place: &str, into: &mut String) -> Result<(), Fault> {
    let (mut name, mut version, mut schema_url) = (Cow::Borrowed(""), Cow::Borrowed(""), Cow::Borrowed(""));
    let (mut attributes, mut dropped_attributes) = (String::new(), 0);
    for (member, raw) in members(envelope) {
        match &*member {
            "schemaUrl" | "schema_url" => schema_url = string("schemaUrl", raw)?,
            of if of == place || (place == "scope" && of == "instrumentationLibrary") => {
                for (member, raw) in object(place, raw)? {
                    match &*member {
                        "name" => name = string("scope.name", raw)?,
                        "version" => version = string("scope.version", raw)?,
                        "attributes" => pairs(place, raw, &mut attributes)?,
                        "droppedAttributesCount" | "dropped_attributes_count" => {
                            dropped_attributes = integer("droppedAttributesCount", raw)?;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let texts = [("name", &*name), ("version", &*version), ("schema_url", &*schema_url)];
    Origin { texts, attributes: &attributes, dropped_attributes }.write(into);
    Ok(())
}

/// Writes a list of `KeyValue`s as one object.
fn pairs(place: &str, raw: &str, into: &mut String) -> Result<(), Fault> {
    for raw in list(place, raw)?.filter(|raw| !json::is_null(raw)) {
        let (mut key, mut value) = (Cow::Borrowed(""), None);
        for (name, raw) in object(place, raw)? {
            match &*name {
                "key" => key = string(place, raw)?,
                "value" => value = Some(raw).filter(|raw| !json::is_null(raw)),
                _ => {}
            }
        }
        into.push(if into.is_empty() { '{' } else { ',' });
        values::string(into, &key);
        into.push(':');
        match value {
            Some(raw) => any_value(place, raw, into, MAX_DEPTH)?,
            None => into.push_str("null"),
        }
    }
    if !into.is_empty() {
        into.push('}');
    }
    Ok(())
}

fn trace_id(name: &str, raw: &str) -> Result<TraceId, Fault> {
    match id_bytes(name, raw, 16)? {
        Some(bytes) => TraceId::from_slice(&bytes).map_err(|error| Fault::of(name, error)),
        None => Err(Fault::of(name, IdError::Empty)),
    }
}

fn span_id(name: &str, raw: &str) -> Result<SpanId, Fault> {
    match id_bytes(name, raw, 8)? {
        Some(bytes) => SpanId::from_slice(&bytes).map_err(|error| Fault::of(name, error)),
        None => Err(Fault::of(name, IdError::Empty)),
    }
}

/// The bytes of an id of this length, from hex digits or base64; `None` for an empty text and null.
fn id_bytes(name: &str, raw: &str, length: usize) -> Result<Option<Vec<u8>>, Fault> {
    if json::is_null(raw) {
        return Ok(None);
    }
    let text = string(name, raw)?;
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() == 2 * length {
        let digits = |at: usize| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(bytes) = (0..2 * length).step_by(2).map(digits).collect::<Option<Vec<u8>>>().filter(|_| is_hex) {
            return Ok(Some(bytes));
        }
    } else if let Some(bytes) = base64_of(&text).filter(|bytes| bytes.len() == length) {
        return Ok(Some(bytes));
    }
    Err(Fault::of(name, format_args!("is {}; accepted are {} hex digits", json::excerpt(&text), 2 * length)))
}

/// Bytes from base64, in the standard or the URL's alphabet, padded or not.
fn base64_of(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const PLAIN: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    PLAIN.decode(text).or_else(|_| URL.decode(text)).ok()
}

fn bytes(name: &str, raw: &str) -> Result<Vec<u8>, Fault> {
    let text = string(name, raw)?;
    base64_of(&text)
        .ok_or_else(|| Fault::of(name, format_args!("has a bytesValue that is not base64: {}", json::excerpt(&text))))
}

/// A number of OTLP's, or the name that proto3's JSON has for it.
fn kind(name: &str, raw: &str) -> Result<i32, Fault> {
    match json::inside(raw) {
        _ if !raw.starts_with('"') => integer(name, raw),
        "SPAN_KIND_UNSPECIFIED" => Ok(0),
        text => match SpanKind::parse(text) {
            Some(kind) => Ok(kind as i32),
            None => integer(name, raw),
        },
    }
}

fn status_code(raw: &str) -> Result<i32, Fault> {
    match OtelStatus::parse(json::inside(raw)) {
        Some(code) if raw.starts_with('"') => Ok(code as i32),
        _ => integer("status.code", raw),
    }
}

/// An integer as a number or as its text; null is 0.
fn integer<T: TryFrom<i128> + Default>(name: &str, raw: &str) -> Result<T, Fault> {
    let text = match raw.as_bytes().first() {
        Some(b'"') => json::inside(raw),
        Some(b'n') => return Ok(T::default()),
        Some(b'-' | b'0'..=b'9') => raw,
        _ => return Err(Fault::of(name, format_args!("is {}, not a whole number", json::kind(raw)))),
    };
    number::wide_integer(text)
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| Fault::of(name, format_args!("is no whole number of its range: {}", json::excerpt(text))))
}

fn double(name: &str, raw: &str) -> Result<f64, Fault> {
    let text = if raw.starts_with('"') { json::inside(raw) } else { raw };
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        text => text
            .parse()
            .ok()
            .filter(|_| text.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']))
            .ok_or_else(|| {
                Fault::of(name, format_args!("has a doubleValue that is no number: {}", json::excerpt(text)))
            }),
    }
}

/// A text, in the body where it holds no escape; null is an empty one.
fn text<'a>(name: &str, raw: &'a str, record: &mut Record<'a>) -> Result<Text<'a>, Fault> {
    string(name, raw).map(|text| record.keep(text))
}

fn string<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
    match raw.as_bytes().first() {
        Some(b'"') => json::string(raw).map_err(|lone| Fault::lone_surrogate(name, &lone)),
        Some(b'n') => Ok(Cow::Borrowed("")),
        _ => Err(Fault::of(name, format_args!("is {}, not a string", json::kind(raw)))),
    }
}

/// The members of an object that are not null, by their plain names.
fn members(object: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    json::Members::of(object).filter(|(_, raw)| !json::is_null(raw)).map(|(name, raw)| {
        // A name that is no text is no name of ours.
        (json::string(name).unwrap_or_default(), raw)
    })
}

/// As [`members`], of what may be something else.
fn object<'a>(name: &str, raw: &'a str) -> Result<impl Iterator<Item = (Cow<'a, str>, &'a str)>, Fault> {
    match raw.as_bytes().first() {
        Some(b'{' | b'n') => Ok(members(raw)),
        _ => Err(Fault::of(name, format_args!("is {}, not an object", json::kind(raw)))),
    }
}

/// The elements of a list.
fn list<'a>(name: &str, raw: &'a str) -> Result<impl Iterator<Item = &'a str>, Fault> {
    match raw.as_bytes().first() {
        Some(b'[' | b'n') => Ok(json::Elements::of(raw)),
        _ => Err(Fault::of(name, format_args!("is {}, not a list", json::kind(raw)))),
    }
}

/// The objects of a list of the envelopes'; null is an empty one.
fn entries<'a>(name: &str, raw: &'a str) -> Result<impl Iterator<Item = &'a str>, DecodeError> {
    let elements = list(name, raw).map_err(|fault| malformed(fault.reason))?;
    let mut elements = elements.filter(|raw| !json::is_null(raw)).peekable();
    match elements.peek() {
        Some(raw) if !raw.starts_with('{') => Err(malformed(format!("{name} holds {}, not objects", json::kind(raw)))),
        _ => Ok(elements),
    }
}
