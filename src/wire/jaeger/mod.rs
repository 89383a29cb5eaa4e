//! Jaeger's words for traces, for its readers: its UI, and Grafana's data source. Nothing is taken in by them.
//!
//! [`legacy`] writes the JSON of `/api/traces`, [`v3()`] that of `/api/v3/traces`, which is OTLP's; [`question`] reads what
//! their readers ask. Here are the ids that both write: Jaeger's span ids have 64 bits, ours may have 128.
//!
//! Source: <https://www.jaegertracing.io/docs/latest/architecture/apis/>, jaeger-idl, and Jaeger's own converters.

pub mod legacy;
pub mod question;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use crate::model::attributes::{Attributes, AttributesBuilder};
use crate::model::ids::{SpanId, TraceId};
use crate::model::span::{OtelStatus, Span, SpanKind, Status};
use crate::wire::otlp;

/// What an analysis of a whole trace knows of one of its spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub parent: Parent,
    /// What is odd about it, in sentences.
    pub warnings: Vec<String>,
}

/// Where a span hangs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    #[default]
    None,
    /// Under the span at this place of the trace.
    At(usize),
    /// Under one that is not among the trace's spans.
    Missing(SpanId),
}

/// Writes traces as OTLP in JSON, in an envelope of one member: the spans of each with what is known of them.
///
/// The spans of a trace have ids of 64 bits, each once, and name as their parent the span that is: where that is not what
/// was sent, the id that was sent is beside it as an attribute.
pub fn v3<'t>(traces: impl Iterator<Item = (&'t [Span], &'t [Seen])>) -> String {
    let spans: Vec<Span> = traces.flat_map(|(spans, seen)| as_one_trace(spans, seen)).collect();
    format!("{{\"result\":{}}}", otlp::encode(&spans))
}

fn as_one_trace(spans: &[Span], seen: &[Seen]) -> Vec<Span> {
    let ids = Ids::new(spans);
    let named = |(place, (span, seen)): (usize, (&Span, &Seen))| {
        let mut named = span.clone();
        let id = ids.at(place);
        if id != low_half(span.span_id) {
            named.span_id = id;
            named.attributes = with(&named.attributes, otlp::SPAN_ID, span.span_id);
        }
        let parent = ids.of_parent(seen.parent);
        if parent != span.parent_span_id.map(low_half) {
            named.parent_span_id = parent;
            if let Some(told) = span.parent_span_id {
                named.attributes = with(&named.attributes, otlp::PARENT_SPAN_ID, told);
            }
        }
        named
    };
    spans.iter().zip(seen).enumerate().map(named).collect()
}

fn with(attributes: &Attributes, key: &'static str, id: SpanId) -> Attributes {
    let mut all = AttributesBuilder::default();
    for (key, raw) in attributes.entries() {
        all.push_raw(key, Cow::Borrowed(raw));
    }
    all.push_str(key, &id.to_string());
    all.finish()
}

/// The ids by which the spans of a trace go out: 64 bits, each once.
///
/// An id of 128 bits goes by its low half. Where that is taken (a client and a server that share a span), the 64-bit id
/// keeps it, then the smallest, and the others go by a hash of their own, the same at every reading.
struct Ids {
    out: Vec<SpanId>,
    of: HashMap<SpanId, SpanId>,
}

impl Ids {
    fn new(spans: &[Span]) -> Self {
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by_key(|&at| (spans[at].span_id.is_long(), spans[at].span_id));
        let mut out: Vec<SpanId> = spans.iter().map(|span| span.span_id).collect();
        let mut taken = HashSet::with_capacity(spans.len());
        for at in order {
            let id = spans[at].span_id;
            out[at] = low_half(id);
            let mut tried = 0u32;
            while !taken.insert(out[at]) {
                out[at] = hashed(id, tried).unwrap_or(out[at]);
                tried += 1;
            }
        }
        let of = spans.iter().map(|span| span.span_id).zip(out.iter().copied()).collect();
        Self { out, of }
    }

    /// Of the span at this place.
    fn at(&self, place: usize) -> SpanId {
        self.out[place]
    }

    /// Of a span that is named by its id, whether or not it is there.
    fn of(&self, id: SpanId) -> SpanId {
        self.of.get(&id).copied().unwrap_or_else(|| low_half(id))
    }

    fn of_parent(&self, parent: Parent) -> Option<SpanId> {
        match parent {
            Parent::None => None,
            Parent::At(place) => Some(self.at(place)),
            Parent::Missing(id) => Some(low_half(id)),
        }
    }
}

fn low_half(id: SpanId) -> SpanId {
    let [high, low] = id.halves();
    low.or(high).unwrap_or(id)
}

fn hashed(id: SpanId, tried: u32) -> Option<SpanId> {
    let hash = Sha256::new().chain_update(id.as_bytes()).chain_update(tried.to_be_bytes()).finalize();
    SpanId::from_slice(&hash[..8]).ok()
}

/// A trace id as Jaeger prints it: 16 digits if its high half is zero.
pub fn trace_id(id: TraceId) -> String {
    let text = id.to_string();
    match text.strip_prefix("0000000000000000") {
        Some(low) => low.to_owned(),
        None => text,
    }
}

/// The service that a span is shown under.
pub fn service(span: &Span) -> &str {
    span.service().unwrap_or("unknown_service")
}

/// Whether a reader should see an error: the sender's status says so, or without one our own.
pub fn is_error(span: &Span) -> bool {
    match span.otel_status() {
        Some(status) => status == OtelStatus::Error as i64,
        None => span.status == Status::Failed,
    }
}

/// The kind of a span, which is internal unless it was told.
pub fn kind(span: &Span) -> &'static str {
    span.span_kind().unwrap_or(SpanKind::Internal).name()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tenant::TenantId;
    use crate::model::time::UnixNanos;

    fn spans(ids: &[&str]) -> Vec<Span> {
        let of = |id: &&str| {
            let trace_id = TraceId::from_bytes([1; 16]).unwrap();
            Span::new(TenantId::default(), trace_id, SpanId::parse(id).unwrap(), UnixNanos::new(1))
        };
        ids.iter().map(of).collect()
    }

    #[test]
    fn ids_go_out_by_their_low_half_each_once_and_the_same_in_any_order() {
        let shared = SpanId::parse("b2").unwrap();
        let server = shared.server_half().to_string();
        let all = ["7f3c0a1b2c3d4e5f00000000000000b2", server.as_str(), "b2", "7f3c0a1b2c3d4e5f60718293a4b5c6d7"];
        let spans_of = spans(&all);
        let ids = Ids::new(&spans_of);
        assert_eq!(ids.at(2), shared, "the 64-bit id keeps its own");
        assert_eq!(ids.at(3).to_string(), "60718293a4b5c6d7");
        let out: HashSet<SpanId> = (0..4).map(|place| ids.at(place)).collect();
        assert_eq!(out.len(), 4);
        assert!(out.iter().all(|id| !id.is_long()));
        let reversed: Vec<&str> = all.iter().rev().copied().collect();
        let again = Ids::new(&spans(&reversed));
        for span in &spans_of {
            assert_eq!(ids.of(span.span_id), again.of(span.span_id));
        }
    }

    #[test]
    fn a_trace_id_of_64_bits_is_printed_as_one() {
        for (id, printed) in [
            ("000000000000000060718293a4b5c6d7", "60718293a4b5c6d7"),
            ("7f3c0a1b2c3d4e5f60718293a4b5c6d7", "7f3c0a1b2c3d4e5f60718293a4b5c6d7"),
        ] {
            assert_eq!(trace_id(TraceId::parse(id).unwrap()), printed);
        }
    }
}
