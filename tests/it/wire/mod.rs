//! What `wire` takes in, and what it says about the rest.

mod bad_input;
mod fixtures;
mod jaeger;
mod otlp;
mod roundtrip;
mod shapes;
mod spellings;
mod zipkin;

use tracefall::model::limits::Limits;
use tracefall::model::span::{Field, Span};
use tracefall::model::tenant::TenantId;
use tracefall::model::time::UnixNanos;
use tracefall::wire::{Carried, DecodeContext, DecodeError, Decoded, Framing, Rejected, native};

pub const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub const SPAN: &str = "00f067aa0ba902b7";

/// Decodes with the given limits and headers.
pub fn decode_with(body: &[u8], framing: Framing, limits: &Limits, carried: &Carried) -> Result<Decoded, DecodeError> {
    let tenant = TenantId::default();
    let context = DecodeContext { tenant: &tenant, received_at: UnixNanos::new(1_767_607_200_000_000_000), limits };
    native::decode(body, framing, &context, carried)
}

/// Decodes a JSON body with the usual limits and no headers.
pub fn decode(body: impl AsRef<[u8]>) -> Result<Decoded, DecodeError> {
    decode_with(body.as_ref(), Framing::Json, &Limits::default(), &Carried::default())
}

pub fn decode_lines(body: impl AsRef<[u8]>) -> Decoded {
    decode_with(body.as_ref(), Framing::Ndjson, &Limits::default(), &Carried::default()).unwrap()
}

/// A span object with ids and the given members, which may overwrite nothing.
pub fn object(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(r#"{{"trace_id":"{TRACE}","span_id":"{SPAN}"{comma}{members}}}"#)
}

/// The span with these members beside its ids.
pub fn span(members: &str) -> Span {
    let decoded = decode(object(members)).unwrap_or_else(|error| panic!("{members:.200}: {error}"));
    assert!(decoded.rejected.is_empty(), "{members:.200}: {:?}", decoded.rejected);
    decoded.spans.into_iter().next().unwrap()
}

/// Why the span with these members beside its ids is rejected.
pub fn rejected(members: &str) -> Rejected {
    refused(&object(members))
}

/// Why the only span of this body is rejected.
pub fn refused(body: &str) -> Rejected {
    let decoded = decode(body).unwrap_or_else(|error| panic!("{body:.200}: {error}"));
    assert!(decoded.spans.is_empty(), "{body:.200} is taken: {:?}", decoded.spans);
    decoded.rejected.into_iter().next().unwrap()
}

pub fn attributes(span: &Span) -> &str {
    span.attributes.as_json()
}
