//! What OTLP's words mean here: from a [`Record`] to our span, for both encodings.
//!
//! - An error status is `failed`; a span that has ended otherwise is `completed`; without an end it is `running`.
//! - A failed span takes its error from its last `exception` event, and else from the status's message.
//! - A start of 0, which is none, is taken to be the end: the span is known to have been, and not for how long.
//! - A link that names no span is counted as dropped.
//! - A resource without `service.name` is that of `unknown_service`, as OpenTelemetry calls it.

use std::borrow::Cow;

use super::encode;
use super::record::{Event, Link, Pair, Record, Text};
use crate::model::attributes::Attributes;
use crate::model::ids::SpanId;
use crate::model::limits::Limits;
use crate::model::span::{self, Field, FieldValue, OtelStatus, Span, Status};
use crate::model::time::UnixNanos;
use crate::wire::normalize::{AttributeSet, Bounds, Draft, Fault, Given, KnownResource, Memory, Origin, ResourceCache};
use crate::wire::{Carried, DecodeContext, json};

/// Makes spans of records, one resource after the other.
pub(super) struct Mapper<'c> {
    context: DecodeContext<'c>,
    /// The resource and scope of the spans to come; a fault of theirs is their spans'.
    resource: Result<Option<KnownResource>, Fault>,
}

impl<'c> Mapper<'c> {
    pub fn new(context: DecodeContext<'c>) -> Self {
        Self { context, resource: Ok(None) }
    }

    pub fn limits(&self) -> &'c Limits {
        self.context.limits
    }

    /// Takes the resource and the scope of the spans to come, each an object as `origin` writes it, or nothing.
    /// `fault`: what is wrong with them, where they could not be read.
    pub fn resource(&mut self, resource: &str, scope: &str, fault: Option<Fault>) {
        let known = || ResourceCache::default().get(self.context.limits, ("resource", resource), ("scope", scope));
        self.resource = match (fault, resource.is_empty() && scope.is_empty()) {
            (Some(fault), _) => Err(fault),
            (None, true) => Ok(None),
            (None, false) => known().map(Some),
        };
    }

    /// The span that a record means.
    ///
    /// # Errors
    /// If its ids are missing, or a value nests too deep.
    pub fn span(&self, record: &Record<'_>) -> Result<Span, Fault> {
        let known = self.resource.as_ref().map_err(Fault::clone)?;
        let mut draft = Draft::new(Bounds::new(self.context.limits, record.escapes), Memory::default());
        draft.trace_id = record.trace_id.map(|value| Given { value, name: "traceId" });
        draft.span_id = record.span_id.map(|value| Given { value, name: "spanId" });
        draft.parent_span_id = record.parent_span_id.map(|value| Given { value, name: "parentSpanId" });
        times(record, &mut draft);
        for pair in &record.attributes {
            push(record, pair, 2, &mut draft.bounds, &mut draft.attributes, "")?;
        }
        for event in &record.events {
            let event = event_of(record, event, &mut draft.bounds)?;
            draft.events.push(event);
        }
        told_by_us(&mut draft);
        let mut lost_links = 0;
        for link in &record.links {
            match link_of(record, link, &mut draft.bounds)? {
                Some(link) => draft.links.push(link),
                None => lost_links += 1,
            }
        }
        fields(record, lost_links, &mut draft);
        draft.resource = known.clone();
        let mut span = draft.finish(&self.context, &Carried::default())?;
        if span.service().is_none() {
            span.fields.set_text(Field::Service, "unknown_service");
        }
        Ok(span)
    }
}

fn times(record: &Record<'_>, draft: &mut Draft<'_, '_>) {
    let start = if record.start == 0 { record.end } else { record.start };
    let at = |nanos: u64, name| (nanos != 0).then(|| Given { value: UnixNanos::new(nanos), name });
    draft.started_at = at(start, "startTimeUnixNano");
    draft.ended_at = at(record.end, "endTimeUnixNano");
    let is_error = record.status_code == OtelStatus::Error as i32;
    draft.status = match record.end {
        _ if is_error => Some(Status::Failed),
        0 => None,
        _ => Some(Status::Completed),
    }
    .map(|value| Given { value, name: "status" });
}

/// What OTLP has no place for and [`super::encode`] wrote down; and ctrlplane's word for how a span ended.
fn told_by_us(draft: &mut Draft<'_, '_>) {
    let text = |key: &str| draft.attributes.get(key).and_then(|raw| json::string(raw).ok());
    let id = |key: &str, short: &Option<Given<'_, SpanId>>| {
        let long = SpanId::parse(&text(key)?).ok()?;
        let halves = long.halves();
        let short = short.as_ref()?.value;
        (halves[1].or(halves[0]) == Some(short)).then_some(long)
    };
    let (span_id, parent) = (id(encode::SPAN_ID, &draft.span_id), id(encode::PARENT_SPAN_ID, &draft.parent_span_id));
    let status = text(encode::STATUS).or_else(|| text("ctrlplane.status")).and_then(|text| Status::parse(&text));
    let is_open = draft.ended_at.is_none();
    if let (Some(given), Some(long)) = (&mut draft.span_id, span_id) {
        given.value = long;
    }
    if let (Some(given), Some(long)) = (&mut draft.parent_span_id, parent) {
        given.value = long;
    }
    // An error stays one, and a span that has ended is not said to run.
    let is_failed = draft.status.as_ref().is_some_and(|given| given.value == Status::Failed);
    if let Some(status) = status.filter(|status| !is_failed && (status.is_terminal() || is_open)) {
        draft.status = Some(Given { value: status, name: "status" });
    }
}

/// The plain fields; 0 and an empty text are how OTLP says nothing.
fn fields<'r>(record: &'r Record<'_>, lost_links: u32, draft: &mut Draft<'r, '_>) {
    let Draft { fields, bounds, events, .. } = draft;
    let mut text = |field: Field, text: &Text<'_>| {
        let text = bounds.field(field, without_nul(record.text(text)));
        if !text.is_empty() {
            fields.fill(field, FieldValue::Text(text.into()));
        }
    };
    text(Field::Operation, &record.name);
    text(Field::TraceState, &record.trace_state);
    text(Field::StatusMessage, &record.status_message);
    for (field, number) in [
        (Field::Kind, i64::from(record.kind)),
        (Field::OtelStatus, i64::from(record.status_code)),
        (Field::Flags, i64::from(record.flags)),
        (Field::DroppedAttributes, i64::from(record.dropped_attributes)),
        (Field::DroppedEvents, i64::from(record.dropped_events)),
        (Field::DroppedLinks, i64::from(record.dropped_links) + i64::from(lost_links)),
    ] {
        if number != 0 {
            fields.fill(field, FieldValue::Int(number));
        }
    }
    if record.status_code == OtelStatus::Error as i32 {
        let exception = events.iter().rev().find(|event| event.name == "exception");
        for (key, field) in [
            ("exception.type", Field::ErrorType),
            ("exception.message", Field::ErrorMessage),
            ("exception.stacktrace", Field::ErrorStack),
        ] {
            let told = exception.and_then(|event| event.attributes.get(key)).and_then(|raw| json::string(raw).ok());
            if let Some(told) = told.filter(|told| !told.is_empty()) {
                fields.fill(field, FieldValue::Text(bounds.field(field, Cow::Owned(told.into_owned())).into()));
            }
        }
        let message = bounds.field(Field::ErrorMessage, without_nul(record.text(&record.status_message)));
        if !message.is_empty() {
            fields.fill(Field::ErrorMessage, FieldValue::Text(message.into()));
        }
    }
}

fn event_of(record: &Record<'_>, event: &Event<'_>, bounds: &mut Bounds<'_>) -> Result<span::Event, Fault> {
    Ok(span::Event {
        timestamp: (event.time != 0).then(|| UnixNanos::new(event.time)),
        name: bounds.text("events.name", without_nul(record.text(&event.name))).into_owned(),
        attributes: inner(record, &record.inner[event.attributes.clone()], "events", bounds)?,
        dropped_attributes: event.dropped_attributes,
    })
}

fn link_of(record: &Record<'_>, link: &Link<'_>, bounds: &mut Bounds<'_>) -> Result<Option<span::Link>, Fault> {
    let (Some(trace_id), Some(span_id)) = (link.trace_id, link.span_id) else { return Ok(None) };
    Ok(Some(span::Link {
        trace_id,
        span_id,
        trace_state: bounds.text("links.traceState", without_nul(record.text(&link.trace_state))).into_owned(),
        attributes: inner(record, &record.inner[link.attributes.clone()], "links", bounds)?,
        flags: link.flags,
        dropped_attributes: link.dropped_attributes,
    }))
}

fn inner(record: &Record<'_>, pairs: &[Pair<'_>], place: &str, bounds: &mut Bounds<'_>) -> Result<Attributes, Fault> {
    let mut attributes = AttributeSet::default();
    for pair in pairs {
        push(record, pair, 4, bounds, &mut attributes, place)?;
    }
    attributes.finish(|_, _| {})
}

fn push<'r>(
    record: &'r Record<'_>,
    pair: &'r Pair<'_>,
    level: usize,
    bounds: &mut Bounds<'_>,
    attributes: &mut AttributeSet<'r>,
    place: &str,
) -> Result<(), Fault> {
    let key = bounds.plain_key(without_nul(record.text(&pair.key)))?;
    let value = record.text(&pair.value);
    match place {
        "" => attributes.push(bounds, key, value, level, Origin::Attributes),
        place => attributes.push_within(bounds, place, (key, value), level, Origin::Attributes),
    }
}

/// A text that the limits look at for NUL only where there is one.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.to_owned()) } else { Cow::Borrowed(text) }
}
