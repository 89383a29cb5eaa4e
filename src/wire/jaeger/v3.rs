//! Traces as `GET /api/v3/traces` tells them: OTLP in JSON, in an envelope of one member.

use std::borrow::Cow;

use super::{Ids, Seen, low_half};
use crate::model::attributes::{Attributes, AttributesBuilder};
use crate::model::ids::SpanId;
use crate::model::span::Span;
use crate::wire::otlp;

/// Writes traces, the spans of each with what is known of them. The spans of a trace have ids of 64 bits, each once, and
/// name as their parent the span that is: where that is not what was sent, the id that was is beside it as an attribute.
pub fn traces<'t>(traces: impl Iterator<Item = (&'t [Span], &'t [Seen])>) -> String {
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
