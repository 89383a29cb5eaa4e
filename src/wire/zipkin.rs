//! Zipkin's spans, version 2, in JSON: `POST /api/v2/spans`.
//!
//! As Zipkin takes them, all or none: one bad span costs the body, with a sentence that names it. What Zipkin says about
//! its two halves of one span is kept apart: a server's span that is `shared`, or has a parent, gets an id of its own
//! ([`SpanId::server_half`]), which is a function of that record alone.
//!
//! | Zipkin | here |
//! |---|---|
//! | `localEndpoint.serviceName`, `remoteEndpoint.serviceName` | service, attribute `peer.service` |
//! | addresses and ports of the endpoints | `network.local.address`, `.port`, `network.peer.address`, `.port` |
//! | `timestamp`, `duration`, times of annotations (microseconds; negative ones are none) | start, end, events |
//! | `tags` | attributes, which are texts all |
//! | tag `error` | the span failed; its value is the message |
//! | `otel.status_code`, `otel.status_description`, `otel.scope.*`, `otel.library.*` | back to their fields |
//! | `debug` | attribute `zipkin.debug` |
//! | no `duration` | the span has not ended yet |
//!
//! Source: <https://github.com/openzipkin/zipkin-api/blob/master/zipkin2-api.yaml>,
//! <https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/>.

use std::borrow::Cow;

use super::context::Carried;
use super::normalize::{Bounds, Draft, Fault, Given, Memory, Origin, ResourceCache};
use super::{DecodeContext, DecodeError, Decoded, json, number};
use crate::model::attributes::Attributes;
use crate::model::ids::{SpanId, TraceId};
use crate::model::span::{Event, Field, FieldValue, OtelStatus, Span, SpanKind, Status};
use crate::model::time::UnixNanos;

/// Reads a list of spans. An empty body is an empty list.
///
/// # Errors
/// [`DecodeError`] if the body is no such list, if any of its spans cannot be taken, or if there are too many.
pub fn decode(body: &[u8], context: &DecodeContext<'_>) -> Result<Decoded, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        malformed(format!("the body is not UTF-8: byte {} belongs to no character", error.valid_up_to()))
    })?;
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(Decoded::default());
    }
    json::check(text).map_err(|error| malformed(format!("the body is not valid JSON: {error}")))?;
    if !text.starts_with('[') {
        return Err(malformed(format!("the body is {}, not a list of spans", json::kind(text))));
    }
    let mut decoded = Decoded::default();
    let (mut items, most) = (0, context.limits.max_items_of_request());
    for (index, raw) in json::Elements::of(text).enumerate() {
        if index == context.limits.max_spans {
            return Err(DecodeError::TooManySpans { limit: context.limits.max_spans });
        }
        let span = span(raw, context).map_err(|fault| malformed(format!("span {index}: {}", fault.reason)))?;
        items += span.events().len();
        if items > most {
            return Err(DecodeError::TooManyItems { limit: most });
        }
        decoded.spans.push(span);
    }
    Ok(decoded)
}

fn malformed(text: String) -> DecodeError {
    DecodeError::Malformed(text)
}

/// What a span says beside what a [`Draft`] holds.
#[derive(Default)]
struct Rest<'a> {
    is_server: bool,
    is_shared: bool,
    start_us: Option<u64>,
    duration_us: Option<u64>,
    peer_service: Option<&'a str>,
    scope: [Option<&'a str>; 2],
}

fn span(raw: &str, context: &DecodeContext<'_>) -> Result<Span, Fault> {
    if !raw.starts_with('{') {
        return Err(Fault { field: None, reason: format!("is {}, not an object", json::kind(raw)) });
    }
    let limit = context.limits.max_span_bytes;
    if raw.len() > limit {
        let reason = format!("the span has {} bytes; the limit max_span_bytes is {limit}", raw.len());
        return Err(Fault { field: None, reason });
    }
    let bounds = Bounds::new(context.limits, raw.contains('\\'));
    let mut draft = Draft::new(bounds, Memory::default());
    let mut rest = Rest::default();
    for (key, raw) in json::Members::of(raw) {
        member(json::inside(key), raw, &mut draft, &mut rest)?;
    }
    let span_id = draft.span_id.as_mut().ok_or_else(|| Fault::of("id", "is missing"))?;
    if draft.trace_id.is_none() {
        return Err(Fault::of("traceId", "is missing"));
    }
    if rest.is_server && (rest.is_shared || draft.parent_span_id.is_some()) {
        span_id.value = span_id.value.server_half();
    }
    finish(&mut draft, rest, context)
}

fn member<'a>(name: &'a str, raw: &'a str, draft: &mut Draft<'a, '_>, rest: &mut Rest<'a>) -> Result<(), Fault> {
    match name {
        "traceId" => {
            let id = hex(name, raw, 32)?;
            let id = TraceId::parse(&format!("{id:0>32}")).map_err(|error| Fault::of(name, error))?;
            Given::put(&mut draft.trace_id, name, id)
        }
        "id" => {
            let id = SpanId::parse(hex(name, raw, 16)?).map_err(|error| Fault::of(name, error))?;
            Given::put(&mut draft.span_id, name, id)
        }
        // v1 has these, and means other things by what it shares with v2.
        "binaryAnnotations" => Err(Fault::of(name, "is of Zipkin's version 1; send version 2")),
        _ if json::is_null(raw) => Ok(()),
        "parentId" => {
            let id = hex(name, raw, 16)?;
            match SpanId::parse(id).ok().filter(|_| id.bytes().any(|digit| digit != b'0')) {
                Some(id) => Given::put(&mut draft.parent_span_id, name, id),
                None => Ok(()),
            }
        }
        "name" => text(Field::Operation, name, raw, draft),
        "kind" => kind(name, raw, draft, rest),
        "timestamp" => micros(name, raw).map(|at| rest.start_us = at),
        "duration" => micros(name, raw).map(|length| rest.duration_us = length),
        "shared" => boolean(name, raw).map(|shared| rest.is_shared = shared),
        "debug" => match boolean(name, raw)? {
            true => draft.attributes.push(&mut draft.bounds, Cow::Borrowed("zipkin.debug"), "true", 1, Origin::Tags),
            false => Ok(()),
        },
        "localEndpoint" => endpoint(raw, name, ["network.local.address", "network.local.port"], draft)?
            .map_or(Ok(()), |service| text(Field::Service, "localEndpoint.serviceName", service, draft)),
        "remoteEndpoint" => {
            rest.peer_service = endpoint(raw, name, ["network.peer.address", "network.peer.port"], draft)?;
            Ok(())
        }
        "annotations" => annotations(raw, draft),
        "tags" => tags(raw, draft, rest),
        _ => Ok(()),
    }
}

/// Lower-case hex digits, as many as that at most.
fn hex<'a>(name: &str, raw: &'a str, most: usize) -> Result<&'a str, Fault> {
    let text = json::inside(raw);
    let is_hex = raw.starts_with('"') && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match is_hex && (1..=most).contains(&text.len()) {
        true => Ok(text),
        false => Err(Fault::of(
            name,
            format_args!("is {}; accepted are 1 to {most} lower-case hex digits", json::excerpt(text)),
        )),
    }
}

fn kind<'a>(name: &'a str, raw: &str, draft: &mut Draft<'a, '_>, rest: &mut Rest<'_>) -> Result<(), Fault> {
    let kind = match json::inside(raw) {
        "CLIENT" => SpanKind::Client,
        "SERVER" => SpanKind::Server,
        "PRODUCER" => SpanKind::Producer,
        "CONSUMER" => SpanKind::Consumer,
        other => {
            let what = format!("is {}; accepted are CLIENT, SERVER, PRODUCER and CONSUMER", json::excerpt(other));
            return Err(Fault::of(name, what));
        }
    };
    rest.is_server = kind == SpanKind::Server;
    draft.fields.put(Field::Kind, name, FieldValue::Int(kind as i64))
}

/// Whole microseconds; a negative number is how some tracers say that they do not know, and so is 0 of a start.
fn micros(name: &str, raw: &str) -> Result<Option<u64>, Fault> {
    let number = match raw.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => number::wide_integer(raw),
        _ => None,
    };
    let number = number
        .ok_or_else(|| Fault::of(name, format_args!("is {}; expected whole microseconds", json::excerpt(raw))))?;
    Ok(u64::try_from(number.clamp(-1, i128::from(u64::MAX / 1_000))).ok())
}

fn boolean(name: &str, raw: &str) -> Result<bool, Fault> {
    match raw {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Fault::of(name, format_args!("is {}, not a boolean", json::kind(raw)))),
    }
}

fn text<'a>(field: Field, name: &'a str, raw: &'a str, draft: &mut Draft<'a, '_>) -> Result<(), Fault> {
    let text = string(name, raw)?;
    if text.is_empty() {
        return Ok(());
    }
    let text = draft.bounds.field(field, text);
    draft.fields.put(field, name, FieldValue::Text(text.into()))
}

fn string<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
    match raw.starts_with('"') {
        true => json::string(raw).map_err(|lone| Fault::lone_surrogate(name, &lone)),
        false => Err(Fault::of(name, format_args!("is {}, not a string", json::kind(raw)))),
    }
}

/// Keeps an endpoint's address and port; hands out its service's name as it was written.
fn endpoint<'a>(
    raw: &'a str,
    name: &str,
    [address, port]: [&'static str; 2],
    draft: &mut Draft<'a, '_>,
) -> Result<Option<&'a str>, Fault> {
    if !raw.starts_with('{') {
        return Err(Fault::of(name, format_args!("is {}, not an object", json::kind(raw))));
    }
    let mut service = None;
    let Draft { attributes, bounds, .. } = draft;
    for (key, raw) in json::Members::of(raw).filter(|(_, raw)| !json::is_null(raw)) {
        match json::inside(key) {
            "serviceName" if raw != "\"\"" => service = Some(raw),
            // Of two addresses the one of version 4 is kept as the address.
            "ipv4" => attributes.push(bounds, Cow::Borrowed(address), raw, 2, Origin::Tags)?,
            "ipv6" => attributes.push(bounds, Cow::Borrowed(address), raw, 2, Origin::Span)?,
            "port" if raw != "0" => attributes.push(bounds, Cow::Borrowed(port), raw, 2, Origin::Tags)?,
            _ => {}
        }
    }
    Ok(service)
}

fn annotations(raw: &str, draft: &mut Draft<'_, '_>) -> Result<(), Fault> {
    if !raw.starts_with('[') {
        return Err(Fault::of("annotations", format_args!("is {}, not a list", json::kind(raw))));
    }
    for raw in json::Elements::of(raw) {
        let (mut at, mut name) = (None, None);
        for (key, raw) in json::Members::of(raw) {
            match json::inside(key) {
                "timestamp" if !json::is_null(raw) => at = micros("annotations.timestamp", raw)?,
                "value" if !json::is_null(raw) => name = Some(string("annotations.value", raw)?),
                "endpoint" => {
                    return Err(Fault::of("annotations.endpoint", "is of Zipkin's version 1; send version 2"));
                }
                _ => {}
            }
        }
        let at = at.ok_or_else(|| Fault::of("annotations.timestamp", "is missing"))?;
        let most = draft.bounds.limits.max_items;
        if draft.events.len() == most {
            return Err(Fault::of("annotations", format_args!("has more than {most} entries (limit max_items)")));
        }
        let name = name.ok_or_else(|| Fault::of("annotations.value", "is missing"))?;
        draft.events.push(Event {
            timestamp: Some(UnixNanos::new(at.saturating_mul(1_000))),
            name: draft.bounds.text("annotations.value", name).into_owned(),
            attributes: Attributes::default(),
            dropped_attributes: 0,
        });
    }
    Ok(())
}

fn tags<'a>(raw: &'a str, draft: &mut Draft<'a, '_>, rest: &mut Rest<'a>) -> Result<(), Fault> {
    if !raw.starts_with('{') {
        return Err(Fault::of("tags", format_args!("is {}, not an object", json::kind(raw))));
    }
    for (quoted, raw) in json::Members::of(raw) {
        let key = draft.bounds.key(quoted)?;
        let value = string(&format!("tags.{key}"), raw)?;
        match &*key {
            "error" => {
                draft.failed = true;
                if !value.is_empty() && value != "true" {
                    let message = draft.bounds.field(Field::ErrorMessage, value);
                    draft.fields.fill(Field::ErrorMessage, FieldValue::Text(message.into()));
                }
            }
            "otel.status_code" => {
                if let Some(code) = OtelStatus::parse(&value) {
                    draft.fields.fill(Field::OtelStatus, FieldValue::Int(code as i64));
                    draft.failed |= code == OtelStatus::Error;
                }
            }
            "otel.status_description" => {
                let message = draft.bounds.field(Field::StatusMessage, value);
                draft.fields.fill(Field::StatusMessage, FieldValue::Text(message.into()));
            }
            "otel.scope.name" | "otel.library.name" => rest.scope[0] = Some(raw),
            "otel.scope.version" | "otel.library.version" => rest.scope[1] = Some(raw),
            _ => {}
        }
        draft.attributes.push(&mut draft.bounds, key, raw, 2, Origin::Attributes)?;
    }
    Ok(())
}

fn finish<'a>(draft: &mut Draft<'a, '_>, rest: Rest<'a>, context: &DecodeContext<'_>) -> Result<Span, Fault> {
    if let Some(service) = rest.peer_service.filter(|_| draft.attributes.get("peer.service").is_none()) {
        draft.attributes.push(&mut draft.bounds, Cow::Borrowed("peer.service"), service, 2, Origin::Tags)?;
    }
    let start = rest.start_us.filter(|start| *start > 0).map(|start| start.saturating_mul(1_000));
    let length = rest.duration_us.map(|length| length.saturating_mul(1_000));
    draft.started_at = start.map(|start| Given { value: UnixNanos::new(start), name: "timestamp" });
    draft.duration_ns =
        length.map(|length| Given { value: i64::try_from(length).unwrap_or(i64::MAX), name: "duration" });
    if draft.failed && length.is_some() {
        draft.status = Some(Given { value: Status::Failed, name: "tags.error" });
    }
    if !draft.fields.has(Field::Kind) {
        draft.fields.fill(Field::Kind, FieldValue::Int(SpanKind::Internal as i64));
    }
    if let [Some(name), version] = rest.scope {
        let version = version.map(|version| format!(",\"version\":{version}")).unwrap_or_default();
        let scope = format!("{{\"name\":{name}{version}}}");
        draft.resource = Some(ResourceCache::default().get(context.limits, ("resource", ""), ("scope", &scope))?);
    }
    draft.finish(context, &Carried::default())
}
