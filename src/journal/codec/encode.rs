//! Spans to a payload. Appends to the caller's buffer and allocates nothing else.

use std::sync::Arc;

use super::protobuf::{put_bytes, put_fixed64, put_message, put_sint, put_uint};
use super::{event_tag, link_tag, payload_tag, span_tag};
use crate::model::attributes::Attributes;
use crate::model::span::{End, Event, FieldValue, Link, Resource, Span, Status};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// Resources that are remembered while encoding; one that comes again later than that is written again.
const REMEMBERED: usize = 16;

/// Appends these spans. Tenant and time of hearing are written where they change, a resource once.
pub fn encode(spans: &[Span], bytes: &mut Vec<u8>) {
    let mut state = State { tenant: None, heard_at: None, resources: [None; REMEMBERED], written: 0 };
    for span in spans {
        state.span(span, bytes);
    }
}

/// Appends the names of the services that spans came by way of, before the spans themselves; nothing if there are none.
pub fn encode_via(via: &str, bytes: &mut Vec<u8>) {
    if !via.is_empty() {
        put_bytes(bytes, payload_tag::VIA, via.as_bytes());
    }
}

/// What the spans so far have set.
struct State<'a> {
    tenant: Option<&'a TenantId>,
    heard_at: Option<UnixNanos>,
    /// The last resources, each at its number modulo their count.
    resources: [Option<&'a Arc<Resource>>; REMEMBERED],
    written: usize,
}

impl<'a> State<'a> {
    fn span(&mut self, span: &'a Span, bytes: &mut Vec<u8>) {
        if self.tenant != Some(&span.tenant) {
            put_bytes(bytes, payload_tag::TENANT, span.tenant.as_str().as_bytes());
            self.tenant = Some(&span.tenant);
        }
        if self.heard_at != Some(span.created_at) {
            put_fixed64(bytes, payload_tag::HEARD_AT, span.created_at.as_u64());
            self.heard_at = Some(span.created_at);
        }
        let resource = span.resource.as_ref().map(|resource| self.resource(resource, bytes));
        put_message(bytes, payload_tag::SPAN, |bytes| {
            put_span(span, bytes);
            if let Some(number) = resource {
                put_uint(bytes, span_tag::RESOURCE, number as u64);
            }
        });
    }

    /// The number of a resource, which is written first if that is long ago.
    fn resource(&mut self, resource: &'a Arc<Resource>, bytes: &mut Vec<u8>) -> usize {
        let newest = self.written.wrapping_sub(1) % REMEMBERED;
        let same = |known: &Option<&Arc<Resource>>| known.is_some_and(|known| Arc::ptr_eq(known, resource));
        let found = if same(&self.resources[newest]) { Some(newest) } else { self.resources.iter().position(same) };
        if let Some(place) = found {
            // The last number that fell on this place.
            return self.written - 1 - (self.written - 1 - place) % REMEMBERED;
        }
        put_bytes(bytes, payload_tag::RESOURCE, resource.content().as_bytes());
        self.resources[self.written % REMEMBERED] = Some(resource);
        self.written += 1;
        self.written - 1
    }
}

fn put_span(span: &Span, bytes: &mut Vec<u8>) {
    put_bytes(bytes, span_tag::TRACE_ID, span.trace_id.as_bytes());
    put_bytes(bytes, span_tag::SPAN_ID, span.span_id.as_bytes());
    if let Some(parent) = &span.parent_span_id {
        put_bytes(bytes, span_tag::PARENT_SPAN_ID, parent.as_bytes());
    }
    if let Some(at) = span.started_at {
        put_fixed64(bytes, span_tag::STARTED_AT, at.as_u64());
    }
    match (span.end, span.started_at) {
        (None, _) => {}
        (Some(End::After(ns)), _) => put_sint(bytes, span_tag::END_AFTER, ns),
        (Some(End::At(at)), Some(start)) => {
            put_sint(bytes, span_tag::DURATION, at.as_u64().wrapping_sub(start.as_u64()) as i64);
        }
        (Some(End::At(at)), None) => put_fixed64(bytes, span_tag::ENDED_AT, at.as_u64()),
    }
    put_uint(bytes, span_tag::STATUS, status_number(span.status));
    put_count(bytes, span_tag::REVISION, span.revision);
    if span.seen_at != span.created_at {
        put_fixed64(bytes, span_tag::SEEN_AT, span.seen_at.as_u64());
    }
    for (field, value) in span.fields.iter() {
        let tag = span_tag::FIELDS + field as u32;
        match value {
            FieldValue::Text(text) => put_bytes(bytes, tag, text.as_bytes()),
            FieldValue::Int(number) => put_sint(bytes, tag, *number),
        }
    }
    put_attributes(bytes, span_tag::ATTRIBUTES, &span.attributes);
    for event in span.events() {
        put_message(bytes, span_tag::EVENT, |bytes| put_event(event, bytes));
    }
    for link in span.links() {
        put_message(bytes, span_tag::LINK, |bytes| put_link(link, bytes));
    }
    if !span.weaker.is_empty()
        && let Some(provenance) = span.provenance().and_then(|provenance| serde_json::to_vec(&provenance).ok())
    {
        put_bytes(bytes, span_tag::PROVENANCE, &provenance);
    }
}

fn put_event(event: &Event, bytes: &mut Vec<u8>) {
    if let Some(at) = event.timestamp {
        put_fixed64(bytes, event_tag::TIMESTAMP, at.as_u64());
    }
    put_text(bytes, event_tag::NAME, &event.name);
    put_attributes(bytes, event_tag::ATTRIBUTES, &event.attributes);
    put_count(bytes, event_tag::DROPPED_ATTRIBUTES, u64::from(event.dropped_attributes));
}

fn put_link(link: &Link, bytes: &mut Vec<u8>) {
    put_bytes(bytes, link_tag::TRACE_ID, link.trace_id.as_bytes());
    put_bytes(bytes, link_tag::SPAN_ID, link.span_id.as_bytes());
    put_text(bytes, link_tag::TRACE_STATE, &link.trace_state);
    put_attributes(bytes, link_tag::ATTRIBUTES, &link.attributes);
    put_count(bytes, link_tag::FLAGS, u64::from(link.flags));
    put_count(bytes, link_tag::DROPPED_ATTRIBUTES, u64::from(link.dropped_attributes));
}

fn put_text(bytes: &mut Vec<u8>, tag: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(bytes, tag, text.as_bytes());
    }
}

fn put_attributes(bytes: &mut Vec<u8>, tag: u32, attributes: &Attributes) {
    if !attributes.is_empty() {
        put_bytes(bytes, tag, attributes.as_json().as_bytes());
    }
}

fn put_count(bytes: &mut Vec<u8>, tag: u32, count: u64) {
    if count != 0 {
        put_uint(bytes, tag, count);
    }
}

fn status_number(status: Status) -> u64 {
    match status {
        Status::Pending => 1,
        Status::Running => 2,
        Status::Completed => 3,
        Status::Failed => 4,
        Status::Cancelled => 5,
        Status::Skipped => 6,
    }
}
