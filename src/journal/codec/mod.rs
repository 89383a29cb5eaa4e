//! Spans to bytes and back: the payload of a record. Pure.
//!
//! The bytes are those of a protobuf message (<https://protobuf.dev/programming-guides/encoding/>), so that
//! `protoc --decode_raw` shows them and unknown fields are skipped. Field numbers are for ever: a field that is no longer
//! written keeps its number, a new one takes the next.
//!
//! ```text
//! payload      1 tenant: text       of the spans behind it, until the next
//!              2 heard_at: fixed64  when they were heard of, until the next; Unix nanoseconds
//!              3 resource: text     the content of the next resource, counted from 0
//!              4 span: message
//!              5 via: text          before all others: the services that forwarded the spans before they came here
//! span         1 trace_id: 16 bytes        2 span_id: 8 or 16 bytes      3 parent_span_id: 8 or 16 bytes
//!              4 started_at: fixed64       5 duration: sint64            end minus start, both instants; wrapping
//!              6 ended_at: fixed64, where the start is unknown           7 end_after: sint64, told as a duration
//!              8 status: 1 pending, 2 running, 3 completed, 4 failed, 5 cancelled, 6 skipped
//!              9 revision: uint64         10 created_at: fixed64 if it is not heard_at
//!             11 seen_at: fixed64 if it is not heard_at                  12 attributes: JSON text
//!             13 resource: number         14 event: message              15 link: message
//!             16 provenance: JSON, see `model::merge`; only of spans that were merged already
//!             32 + n: the field at place n of `model::span::Field`, text or sint64
//! event        1 timestamp: fixed64        2 name         3 attributes   4 dropped_attributes
//! link         1 trace_id: 16 bytes        2 span_id      3 trace_state  4 attributes   5 flags   6 dropped_attributes
//! ```
//!
//! A value that is absent or zero is not written. Attributes and the resource's content are taken back unread: the
//! record's checksum guards them.

mod decode;
mod encode;
mod protobuf;

pub use decode::{PayloadError, count_spans, decode, via};
pub use encode::{encode, encode_via};

/// Field numbers of a payload.
mod payload_tag {
    pub const TENANT: u32 = 1;
    pub const HEARD_AT: u32 = 2;
    pub const RESOURCE: u32 = 3;
    pub const SPAN: u32 = 4;
    pub const VIA: u32 = 5;
}

/// Field numbers of a span.
mod span_tag {
    pub const TRACE_ID: u32 = 1;
    pub const SPAN_ID: u32 = 2;
    pub const PARENT_SPAN_ID: u32 = 3;
    pub const STARTED_AT: u32 = 4;
    pub const DURATION: u32 = 5;
    pub const ENDED_AT: u32 = 6;
    pub const END_AFTER: u32 = 7;
    pub const STATUS: u32 = 8;
    pub const REVISION: u32 = 9;
    pub const CREATED_AT: u32 = 10;
    pub const SEEN_AT: u32 = 11;
    pub const ATTRIBUTES: u32 = 12;
    pub const RESOURCE: u32 = 13;
    pub const EVENT: u32 = 14;
    pub const LINK: u32 = 15;
    pub const PROVENANCE: u32 = 16;
    /// That of the first of `Field::ALL`.
    pub const FIELDS: u32 = 32;
}

/// Field numbers of an event.
mod event_tag {
    pub const TIMESTAMP: u32 = 1;
    pub const NAME: u32 = 2;
    pub const ATTRIBUTES: u32 = 3;
    pub const DROPPED_ATTRIBUTES: u32 = 4;
}

/// Field numbers of a link.
mod link_tag {
    pub const TRACE_ID: u32 = 1;
    pub const SPAN_ID: u32 = 2;
    pub const TRACE_STATE: u32 = 3;
    pub const ATTRIBUTES: u32 = 4;
    pub const FLAGS: u32 = 5;
    pub const DROPPED_ATTRIBUTES: u32 = 6;
}

#[cfg(test)]
mod tests;
