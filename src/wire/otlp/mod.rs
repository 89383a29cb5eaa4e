//! OTLP's traces, in both encodings: `POST /v1/traces`, `TraceService/Export`, files of exported traces, and the way back.
//!
//! `protobuf` and `json` read a body into one `Record` a span, borrowing what stands in the body as it is to be
//! kept; `map` makes our span of a record, so that both encodings mean the same; `encode` is the way back, and `transcode`
//! says the same in protobuf.
//!
//! A value of an attribute is kept as JSON. What JSON has no word for is written as OTLP/JSON writes it, as an object of
//! one member: `{"bytesValue": "<base64>"}` and `{"doubleValue": "NaN"}` (or an infinity). A sender's own map that looks
//! like one of these is wrapped in `{"kvlistValue": …}`, so that the way back is never in doubt. A double always shows a
//! point or an exponent, and an integer never does.
//!
//! Not kept: fields that this version of OTLP's schema does not name, entity references, the second of two equal events
//! or links, all but the last of equal keys, and what a limit cuts (noted in `tracefall.truncated`, or counted as dropped).
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/>, opentelemetry-proto 1.11.

pub mod answer;
mod encode;
mod json;
mod map;
mod origin;
mod protobuf;
mod record;
mod transcode;
mod values;

pub use self::encode::encode;
pub(in crate::wire) use self::encode::{PARENT_SPAN_ID, SPAN_ID, beside};
use self::map::Mapper;
pub use self::transcode::encode_protobuf;
use super::normalize::Fault;
use super::{DecodeContext, DecodeError, Decoded, Rejected};

/// How a body of OTLP is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

/// Reads the spans of an `ExportTraceServiceRequest` (or a `TracesData`, which is the same on the wire). A span that
/// cannot be taken never costs its neighbours. A body without spans, the empty protobuf message included, is in order.
///
/// [`Rejected::index`] counts the spans of the body from 0.
///
/// # Errors
/// [`DecodeError`] if the body is not of its encoding, or holds too many spans.
pub fn decode(body: &[u8], encoding: Encoding, context: &DecodeContext<'_>) -> Result<Decoded, DecodeError> {
    let mut spans = Spans { mapper: Mapper::new(*context), decoded: Decoded::default(), count: 0, items: 0 };
    match encoding {
        Encoding::Protobuf => protobuf::read(body, &mut spans)?,
        Encoding::Json => json::read(body, &mut spans)?,
    }
    Ok(spans.decoded)
}

/// Where both encodings put their spans.
struct Spans<'c> {
    mapper: Mapper<'c>,
    decoded: Decoded,
    /// Spans seen, good and bad.
    count: usize,
    /// Events and links of those taken.
    items: usize,
}

/// Why reading a span ended.
enum Stop {
    /// The body is broken: nothing of it is taken.
    Body(DecodeError),
    /// This span cannot be taken.
    Span(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Span(fault)
    }
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Stop::Body(error)
    }
}

impl Spans<'_> {
    /// Takes the resource and scope that the spans to come belong to, as [`origin`] writes them, or what is wrong with
    /// them, which is then the fault of these spans and of no others.
    fn of(&mut self, resource: &str, scope: &str, fault: Option<Fault>) {
        self.mapper.resource(resource, scope, fault);
    }

    /// Reads a span of `bytes` bytes into the record with `fill`, and takes it.
    fn take<'a>(
        &mut self,
        record: &mut record::Record<'a>,
        bytes: usize,
        fill: impl FnOnce(&mut record::Record<'a>) -> Result<(), Stop>,
    ) -> Result<(), DecodeError> {
        let limits = self.mapper.limits();
        if self.count == limits.max_spans {
            return Err(DecodeError::TooManySpans { limit: limits.max_spans });
        }
        let index = self.count;
        self.count += 1;
        record.clear(limits.max_items);
        let filled = match bytes > limits.max_span_bytes {
            true => Err(Stop::Span(Fault {
                field: None,
                reason: format!("the span has {bytes} bytes; the limit max_span_bytes is {}", limits.max_span_bytes),
            })),
            false => fill(record),
        };
        let taken = match filled {
            Ok(()) => self.mapper.span(record),
            Err(Stop::Span(fault)) => Err(fault),
            Err(Stop::Body(error)) => return Err(error),
        };
        match taken {
            Ok(span) => {
                self.items += span.events().len() + span.links().len();
                if self.items > limits.max_items_of_request() {
                    return Err(DecodeError::TooManyItems { limit: limits.max_items_of_request() });
                }
                self.decoded.spans.push(span);
            }
            Err(Fault { field, reason }) => {
                let span_id = record.span_id.map(|id| id.to_string());
                self.decoded.rejected.push(Rejected { index, span_id, field, reason });
            }
        }
        Ok(())
    }
}

/// What is wrong with a part that belongs to some of the spans, if that is all that is wrong.
fn fault_of(outcome: Result<(), Stop>) -> Result<Option<Fault>, DecodeError> {
    match outcome {
        Ok(()) => Ok(None),
        Err(Stop::Span(fault)) => Ok(Some(fault)),
        Err(Stop::Body(error)) => Err(error),
    }
}

fn malformed(text: impl Into<String>) -> DecodeError {
    DecodeError::Malformed(text.into())
}
