//! The rules that every format shares: from what a record says to the span it means.
//!
//! A format's decoder fills a [`Draft`] in its own spelling; [`Draft::finish`] derives times and status, promotes
//! attributes to fields, and takes from the headers what is still absent.

mod attributes;
mod bounds;
mod fields;
mod promotion;
mod resource;

use std::borrow::Cow;
use std::fmt::Display;

pub(super) use attributes::{AttributeSet, Origin, pairs};
pub(super) use bounds::Bounds;
use bounds::{MAX_ID_BYTES, is_id};
pub(super) use fields::{FieldSet, Given, canonical_trace};
use promotion::{Promoter, first_field, text_of};
pub(super) use resource::{KnownResource, ResourceCache};

use super::context::Carried;
use super::{DecodeContext, json, number};
use crate::model::ids::{SpanId, TraceId};
use crate::model::span::{End, Event, Field, FieldValue, Link, OtelStatus, Span, Status};
use crate::model::time::UnixNanos;

/// Why a span cannot be taken: the member's name as it was sent, and a sentence that begins with it.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub field: Option<String>,
    pub reason: String,
}

impl Fault {
    /// `what` is the rest of a sentence whose subject is `name`.
    pub(super) fn of(name: &str, what: impl Display) -> Self {
        let shown: String = name.chars().take(64).collect();
        Self { reason: format!("{shown} {what}"), field: Some(shown) }
    }

    pub(super) fn lone_surrogate(name: &str, _: &json::LoneSurrogate) -> Self {
        Self::of(name, "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character")
    }

    fn missing(name: &str, what: &str) -> Self {
        Self { field: Some(name.to_owned()), reason: format!("{name} is missing: {what}") }
    }
}

/// What one record says about a span.
pub(super) struct Draft<'a, 'l> {
    pub trace_id: Option<Given<'a, TraceId>>,
    pub span_id: Option<Given<'a, SpanId>>,
    pub parent_span_id: Option<Given<'a, SpanId>>,
    pub started_at: Option<Given<'a, UnixNanos>>,
    pub ended_at: Option<Given<'a, UnixNanos>>,
    pub duration_ns: Option<Given<'a, i64>>,
    /// The duration as it was written.
    pub duration_raw: &'a str,
    pub status: Option<Given<'a, Status>>,
    /// The record says that the span failed, whether or not it says how.
    pub failed: bool,
    pub revision: Option<Given<'a, u64>>,
    pub fields: FieldSet<'a>,
    pub attributes: AttributeSet<'a>,
    pub events: Vec<Event>,
    pub links: Vec<Link>,
    pub resource: Option<KnownResource>,
    pub bounds: Bounds<'l>,
}

/// Two collections, empty but for the memory they hold: one draft's after the other's.
pub(super) type Memory<'a> = (FieldSet<'a>, AttributeSet<'a>);

/// A duration that differs from end minus start by less is the same one, rounded.
const SAME_DURATION_NS: u64 = 1_000_000;

impl<'a, 'l> Draft<'a, 'l> {
    /// An empty one, in the memory that an earlier one left.
    pub(super) fn new(bounds: Bounds<'l>, (fields, attributes): Memory<'a>) -> Self {
        Self {
            trace_id: None,
            span_id: None,
            parent_span_id: None,
            started_at: None,
            ended_at: None,
            duration_ns: None,
            duration_raw: "",
            status: None,
            failed: false,
            revision: None,
            fields,
            attributes,
            events: Vec::new(),
            links: Vec::new(),
            resource: None,
            bounds,
        }
    }

    /// The span that the record means.
    ///
    /// # Errors
    /// If it names no trace, with none in the headers, or no span; or if it gives an attribute twice.
    pub(super) fn finish(&mut self, context: &DecodeContext<'_>, carried: &Carried) -> Result<Span, Fault> {
        let (started_at, end) = self.times();
        let (trace_id, inherits) = match (&self.trace_id, carried.trace_id) {
            (Some(given), _) => (given.value, false),
            (None, Some(trace_id)) => (trace_id, true),
            (None, None) => {
                let where_from = "give it in the span or in a traceparent / X-Trace-ID header";
                return Err(Fault::missing("trace_id", where_from));
            }
        };
        let span_id = match &self.span_id {
            Some(given) => given.value,
            None => {
                return Err(Fault::missing("span_id", "each span needs its own, the same at its start and its end"));
            }
        };
        if inherits {
            self.inherit(span_id, carried);
        }

        self.cut_ids();
        self.note_changes();
        let Self { fields, attributes, resource, .. } = self;
        if let Some(service) = resource.as_ref().and_then(|known| known.service()) {
            fields.fill(Field::Service, service.clone());
        }
        let mut promoter = Promoter::default();
        let attributes = attributes.finish(|key, raw| promoter.look(fields, key, raw))?;
        promoter.end(fields);
        for (field, value) in resource.iter().flat_map(|known| &known.fields) {
            fields.fill(*field, value.clone());
        }

        let mut span = Span::new(context.tenant.clone(), trace_id, span_id, context.received_at);
        span.status = self.status(started_at, end);
        if self.fields.has(Field::CostPico) && !self.fields.has(Field::CostSource) {
            self.fields.fill(Field::CostSource, FieldValue::Text("provided".into()));
        }
        span.parent_span_id = self.parent_span_id.as_ref().map(|given| given.value);
        span.started_at = started_at;
        span.end = end;
        span.revision = self.revision.as_ref().map_or(0, |given| given.value);
        span.fields = self.fields.finish();
        span.attributes = attributes;
        span.resource = self.resource.take().map(|known| known.resource);
        if !self.events.is_empty() {
            span.set_events(std::mem::take(&mut self.events));
        }
        if !self.links.is_empty() {
            span.set_links(std::mem::take(&mut self.links));
        }
        Ok(span)
    }

    /// What the next draft can be made in.
    pub(super) fn into_memory(mut self) -> Memory<'a> {
        self.fields.clear();
        self.attributes.clear();
        (self.fields, self.attributes)
    }

    /// Start and end out of start, end and duration. With all three the duration gives way, and stays as an attribute
    /// where it says something else. A zero duration of a span that is said to be open is no end: it is what a struct
    /// holds that nobody filled.
    fn times(&mut self) -> (Option<UnixNanos>, Option<End>) {
        let value = |given: &Option<Given<'a, UnixNanos>>| given.as_ref().map(|given| given.value);
        let (start, end) = (value(&self.started_at), value(&self.ended_at));
        let is_open = self.status.as_ref().is_some_and(|given| !given.value.is_terminal());
        let duration = self.duration_ns.as_ref().filter(|given| given.value != 0 || !is_open);
        match (start, end, duration) {
            (Some(start), Some(end), Some(duration)) => {
                if end.since(start).abs_diff(duration.value) >= SAME_DURATION_NS {
                    self.attributes.push_known(duration.name, self.duration_raw, Origin::Span);
                }
                (Some(start), Some(End::At(end)))
            }
            (Some(start), None, Some(duration)) => (Some(start), Some(End::At(start.plus(duration.value)))),
            // A record without an operation completes what another one started, and knows its start better than a
            // duration that was rounded: the earliest start would win.
            (None, Some(end), Some(duration)) if !self.fields.has(Field::Operation) => {
                self.attributes.push_known(duration.name, self.duration_raw, Origin::Span);
                (None, Some(End::At(end)))
            }
            (None, Some(end), Some(duration)) => (Some(end.plus(duration.value.saturating_neg())), Some(End::At(end))),
            (None, None, Some(duration)) => (None, Some(End::After(duration.value))),
            (start, end, None) => (start, end.map(End::At)),
        }
    }

    /// What was said, unless the span has ended and was said to be open; else what the times and errors imply.
    fn status(&self, started_at: Option<UnixNanos>, end: Option<End>) -> Status {
        let given = self.status.as_ref().map(|given| given.value);
        match given {
            Some(status) if status.is_terminal() || end.is_none() => status,
            _ if end.is_some() => {
                let has_error = [Field::ErrorType, Field::ErrorMessage, Field::ErrorStack]
                    .into_iter()
                    .any(|field| self.fields.has(field));
                let otel_error = self.fields.int(Field::OtelStatus) == Some(OtelStatus::Error as i64);
                if self.failed || has_error || otel_error { Status::Failed } else { Status::Completed }
            }
            _ if started_at.is_some() => Status::Running,
            _ => Status::Pending,
        }
    }

    /// Takes the rest of the trace context whose trace id the span took.
    fn inherit(&mut self, span_id: SpanId, carried: &Carried) {
        if self.parent_span_id.is_none() {
            let parent = carried.parent_span_id.filter(|parent| *parent != span_id);
            self.parent_span_id = parent.map(|value| Given { value, name: "parent_span_id" });
        }
        if let Some(flags) = carried.flags {
            self.fields.fill(Field::Flags, FieldValue::Int(flags.into()));
        }
        if let Some(trace_state) = &carried.trace_state {
            self.fields.fill(Field::TraceState, FieldValue::Text(trace_state.as_str().into()));
        }
    }

    /// Fills fields from ids among the attributes that are too long to be looked up by whole: cut, and noted.
    fn cut_ids(&mut self) {
        let Self { attributes, bounds, fields, .. } = self;
        for (key, raw) in attributes.longer_than(MAX_ID_BYTES) {
            let field = first_field(key).filter(|field| is_id(*field) && !fields.has(*field));
            if let Some((field, text)) = field.and_then(|field| Some((field, text_of(field, raw)?))) {
                let text = bounds.field(field, Cow::Owned(text.into()));
                fields.fill(field, FieldValue::Text(text.into()));
            }
        }
    }

    /// Adds what was cut or replaced to the attributes that say so.
    fn note_changes(&mut self) {
        if self.bounds.kept_all() {
            return;
        }
        let fresh = Bounds::new(self.bounds.limits, true);
        let bounds = std::mem::replace(&mut self.bounds, fresh);
        let noted = |key: &str| self.attributes.get(key).and_then(|raw| serde_json::from_str(raw).ok());
        let notes: Vec<_> = bounds.into_notes(noted).collect();
        for (key, names) in notes {
            self.attributes.replace(key, names);
        }
    }
}

/// The whole number in a JSON number or string, within what the field may hold; `None` for null and an empty string.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence.
pub(super) fn int_of(field: Field, raw: &str) -> Result<Option<i64>, String> {
    let text = match raw.as_bytes().first() {
        Some(b'"') => json::inside(raw),
        Some(b'-' | b'0'..=b'9') => raw,
        Some(b'n') => return Ok(None),
        _ => return Err(format!("is {}, not a whole number", json::kind(raw))),
    };
    if text.is_empty() {
        return Ok(None);
    }
    let value = number::integer(text).map_err(|what| format!("{what}: {}", json::excerpt(text)))?;
    match field {
        Field::Depth | Field::Sequence => Ok(Some(value)),
        _ if value < 0 => Err(format!("is negative: {}", json::excerpt(text))),
        Field::Flags | Field::DroppedAttributes | Field::DroppedEvents | Field::DroppedLinks
            if value > i64::from(u32::MAX) =>
        {
            Err(format!("does not fit into 32 bits: {}", json::excerpt(text)))
        }
        _ => Ok(Some(value)),
    }
}
