//! Bytes to spans and back: one file per format, decoding and encoding side by side. Pure: no I/O, no clock.

pub mod context;
pub mod hops;
pub mod inflate;
pub mod jaeger;
mod json;
mod key_table;
pub mod media;
pub mod native;
mod normalize;
mod number;
pub mod otlp;
pub mod zipkin;

pub use context::Carried;
pub use media::Framing;

use crate::model::limits::Limits;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// What a request's body held.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The good spans, in the body's order; two of the same key are two records.
    pub spans: Vec<Span>,
    /// The others, in the body's order, each with its reason.
    pub rejected: Vec<Rejected>,
}

/// A span that cannot be taken. It never costs its neighbours.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Rejected {
    /// Place in the request, counted from 0: of the element, or in NDJSON of the line.
    pub index: usize,
    /// As sent, if it could be read, cut at 64 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// The member that is wrong, by the name it was sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub reason: String,
}

/// A body of which nothing can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not what the media type says. The text says where and what to do.
    #[error("{0}")]
    Malformed(String),
    /// More spans than a request may hold.
    #[error("the request holds more than {limit} spans (limit max_spans); send it in parts")]
    TooManySpans { limit: usize },
    /// More events and links than all spans of a request may have.
    #[error(
        "the spans of the request have more than {limit} events and links (ten times the limit max_spans); send it in parts"
    )]
    TooManyItems { limit: usize },
}

/// What decoding needs to know beside the bytes.
#[derive(Debug, Clone, Copy)]
pub struct DecodeContext<'a> {
    pub tenant: &'a TenantId,
    /// When the request arrived.
    pub received_at: UnixNanos,
    pub limits: &'a Limits,
}
