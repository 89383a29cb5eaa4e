//! A payload to spans. Whatever a newer version added is skipped.

use std::sync::Arc;

use super::protobuf::{Fields, Value};
use super::{event_tag, link_tag, payload_tag, span_tag};
use crate::model::attributes::Attributes;
use crate::model::ids::{SpanId, TraceId};
use crate::model::span::{End, Event, Field, FieldType, FieldValue, Link, Resource, Span, Status};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// What no version of this program writes, although the checksum is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a payload cannot be read: {what} of span {index}")]
pub struct PayloadError {
    what: &'static str,
    /// Counted from 0; the number of spans so far, for what stands between spans.
    index: usize,
}

/// Appends the spans of a payload, in their order.
///
/// # Errors
/// [`PayloadError`]; the spans before it are there.
pub fn decode(payload: &[u8], spans: &mut Vec<Span>) -> Result<(), PayloadError> {
    let before = spans.len();
    let mut context = Context { tenant: TenantId::default(), heard_at: UnixNanos::default(), resources: Vec::new() };
    let mut fields = Fields::new(payload);
    while let Some(field) = fields.next() {
        let read = field.ok_or("a field").and_then(|(tag, value)| match (tag, value) {
            (payload_tag::TENANT, Value::Bytes(name)) => {
                let name = text(name)?;
                if name != context.tenant.as_str() {
                    context.tenant = TenantId::new(name);
                }
                Ok(())
            }
            (payload_tag::HEARD_AT, Value::Fixed64(at)) => {
                context.heard_at = UnixNanos::new(at);
                Ok(())
            }
            (payload_tag::RESOURCE, Value::Bytes(content)) => {
                context.resources.push(Arc::new(Resource::new(text(content)?)));
                Ok(())
            }
            (payload_tag::SPAN, Value::Bytes(message)) => {
                spans.push(span(message, &context)?);
                Ok(())
            }
            _ => Ok(()),
        });
        read.map_err(|what| PayloadError { what, index: spans.len() - before })?;
    }
    Ok(())
}

/// The number of spans in a payload, without reading them.
pub fn count_spans(payload: &[u8]) -> u64 {
    let mut fields = Fields::new(payload);
    let mut count = 0;
    while let Some(Some((tag, _))) = fields.next() {
        count += u64::from(tag == payload_tag::SPAN);
    }
    count
}

/// The services that the spans of a payload came by way of; nothing if they were named by nobody.
pub fn via(payload: &[u8]) -> &str {
    match Fields::new(payload).next() {
        Some(Some((payload_tag::VIA, Value::Bytes(via)))) => text(via).unwrap_or_default(),
        _ => "",
    }
}

type Read<T> = Result<T, &'static str>;

/// What stands between the spans.
struct Context {
    tenant: TenantId,
    heard_at: UnixNanos,
    resources: Vec<Arc<Resource>>,
}

fn span(message: &[u8], context: &Context) -> Read<Span> {
    let mut fields = Fields::new(message);
    let ids = (fields.next().flatten(), fields.next().flatten());
    let (Some((span_tag::TRACE_ID, Value::Bytes(trace_id))), Some((span_tag::SPAN_ID, Value::Bytes(span_id)))) = ids
    else {
        return Err("the ids");
    };
    let mut span = Span::new(context.tenant.clone(), trace(trace_id)?, id(span_id)?, context.heard_at);
    let mut plain = Vec::with_capacity(16);
    let (mut duration, mut events, mut links, mut provenance) = (None, Vec::new(), Vec::new(), None);
    while let Some(field) = fields.next() {
        match field.ok_or("a field")? {
            (span_tag::PARENT_SPAN_ID, Value::Bytes(parent)) => span.parent_span_id = Some(id(parent)?),
            (span_tag::STARTED_AT, Value::Fixed64(at)) => span.started_at = Some(UnixNanos::new(at)),
            (span_tag::DURATION, Value::Varint(ns)) => duration = Some(Value::sint(ns)),
            (span_tag::ENDED_AT, Value::Fixed64(at)) => span.end = Some(End::At(UnixNanos::new(at))),
            (span_tag::END_AFTER, Value::Varint(ns)) => span.end = Some(End::After(Value::sint(ns))),
            (span_tag::STATUS, Value::Varint(number)) => span.status = status(number)?,
            (span_tag::REVISION, Value::Varint(revision)) => span.revision = revision,
            (span_tag::CREATED_AT, Value::Fixed64(at)) => span.created_at = UnixNanos::new(at),
            (span_tag::SEEN_AT, Value::Fixed64(at)) => span.seen_at = UnixNanos::new(at),
            (span_tag::ATTRIBUTES, Value::Bytes(json)) => span.attributes = attributes(json)?,
            (span_tag::RESOURCE, Value::Varint(number)) => {
                let number = usize::try_from(number).ok();
                let resource = number.and_then(|number| context.resources.get(number));
                span.resource = Some(resource.ok_or("the resource")?.clone());
            }
            (span_tag::EVENT, Value::Bytes(message)) => events.push(event(message)?),
            (span_tag::LINK, Value::Bytes(message)) => links.push(link(message)?),
            (span_tag::PROVENANCE, Value::Bytes(json)) => {
                provenance = Some(serde_json::from_slice(json).map_err(|_| "the provenance")?);
            }
            (tag, value) => plain.extend(plain_field(tag, value)?),
        }
    }
    if !plain.is_sorted_by(|a: &(Field, FieldValue), b| a.0 < b.0) {
        return Err("the order of fields");
    }
    // It may stay in memory for long, and its weight counts what it needs.
    plain.shrink_to_fit();
    span.fields = crate::model::span::Fields::from_sorted(plain);
    if let (Some(ns), Some(start)) = (duration, span.started_at) {
        span.end = Some(End::At(UnixNanos::new(start.as_u64().wrapping_add(ns as u64))));
    }
    if !events.is_empty() {
        span.set_events(events);
    }
    if !links.is_empty() {
        span.set_links(links);
    }
    if provenance.is_some() {
        let times = (span.started_at, span.end);
        span.restore(None, None, provenance);
        (span.started_at, span.end) = times;
    }
    Ok(span)
}

/// One of `Field::ALL`; `None` for one that this version does not know.
fn plain_field(tag: u32, value: Value<'_>) -> Read<Option<(Field, FieldValue)>> {
    let place = tag.checked_sub(span_tag::FIELDS).and_then(|place| usize::try_from(place).ok());
    let Some(field) = place.and_then(|place| Field::ALL.get(place)).copied() else { return Ok(None) };
    let value = match (field.field_type(), value) {
        (FieldType::Int, Value::Varint(number)) => FieldValue::Int(Value::sint(number)),
        (FieldType::Text | FieldType::Json, Value::Bytes(bytes)) => FieldValue::Text(text(bytes)?.into()),
        _ => return Err("the type of a field"),
    };
    Ok(Some((field, value)))
}

fn event(message: &[u8]) -> Read<Event> {
    let mut event =
        Event { timestamp: None, name: String::new(), attributes: Attributes::default(), dropped_attributes: 0 };
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next() {
        match field.ok_or("a field of an event")? {
            (event_tag::TIMESTAMP, Value::Fixed64(at)) => event.timestamp = Some(UnixNanos::new(at)),
            (event_tag::NAME, Value::Bytes(name)) => event.name = text(name)?.to_owned(),
            (event_tag::ATTRIBUTES, Value::Bytes(json)) => event.attributes = attributes(json)?,
            (event_tag::DROPPED_ATTRIBUTES, Value::Varint(number)) => event.dropped_attributes = count(number)?,
            _ => {}
        }
    }
    Ok(event)
}

fn link(message: &[u8]) -> Read<Link> {
    let (mut trace_id, mut span_id) = (None, None);
    let (mut trace_state, mut kept, mut flags, mut dropped_attributes) = (String::new(), Attributes::default(), 0, 0);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next() {
        match field.ok_or("a field of a link")? {
            (link_tag::TRACE_ID, Value::Bytes(bytes)) => trace_id = Some(trace(bytes)?),
            (link_tag::SPAN_ID, Value::Bytes(bytes)) => span_id = Some(id(bytes)?),
            (link_tag::TRACE_STATE, Value::Bytes(bytes)) => trace_state = text(bytes)?.to_owned(),
            (link_tag::ATTRIBUTES, Value::Bytes(json)) => kept = attributes(json)?,
            (link_tag::FLAGS, Value::Varint(number)) => flags = count(number)?,
            (link_tag::DROPPED_ATTRIBUTES, Value::Varint(number)) => dropped_attributes = count(number)?,
            _ => {}
        }
    }
    match (trace_id, span_id) {
        (Some(trace_id), Some(span_id)) => {
            Ok(Link { trace_id, span_id, trace_state, attributes: kept, flags, dropped_attributes })
        }
        _ => Err("the ids of a link"),
    }
}

fn text(bytes: &[u8]) -> Read<&str> {
    std::str::from_utf8(bytes).map_err(|_| "a text that is not UTF-8")
}

fn attributes(json: &[u8]) -> Read<Attributes> {
    text(json).map(Attributes::from_kept)
}

fn trace(bytes: &[u8]) -> Read<TraceId> {
    TraceId::from_slice(bytes).map_err(|_| "a trace id")
}

fn id(bytes: &[u8]) -> Read<SpanId> {
    SpanId::from_slice(bytes).map_err(|_| "a span id")
}

fn count(number: u64) -> Read<u32> {
    u32::try_from(number).map_err(|_| "a count")
}

fn status(number: u64) -> Read<Status> {
    Ok(match number {
        1 => Status::Pending,
        2 => Status::Running,
        3 => Status::Completed,
        4 => Status::Failed,
        5 => Status::Cancelled,
        6 => Status::Skipped,
        _ => return Err("the status"),
    })
}
