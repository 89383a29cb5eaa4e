//! Bounds on what one request and one span may hold. A limit that was reached is named in the answer.

use serde::{Deserialize, Serialize};

/// The limits of ingest. Bytes are bytes of JSON text as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request's body as sent. Beyond it: 413.
    pub max_wire_bytes: usize,
    /// The same of a request of OTLP, for which the specification recommends no less than this default.
    pub max_otlp_wire_bytes: usize,
    /// Bytes of a request's body after decompression. Beyond it: 413.
    pub max_inflated_bytes: usize,
    /// Spans in one request. Beyond it: 413.
    pub max_spans: usize,
    /// Attributes, events and links of one span, each, and attributes of one event or link. More are left out and counted
    /// as dropped, or, in our own format, cost the span. All spans of a request together hold ten times
    /// [`Limits::max_spans`] events and links at the most. Beyond it: 413.
    pub max_items: usize,
    /// Levels of nesting in a span, its own object being the first. A deeper span is rejected.
    pub max_depth: usize,
    /// Bytes of one attribute's value, and of every text field. Longer values are cut.
    pub max_value_bytes: usize,
    /// Bytes of `inputs` and `outputs` and of attributes that carry prompts or completions. Longer values are cut.
    pub max_content_bytes: usize,
    /// Bytes of one span as sent. A larger span is rejected.
    pub max_span_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_wire_bytes: 16 << 20,
            max_otlp_wire_bytes: 64 << 20,
            max_inflated_bytes: 64 << 20,
            max_spans: 50_000,
            max_items: 10_000,
            max_depth: 64,
            max_value_bytes: 64 << 10,
            max_content_bytes: 1 << 20,
            max_span_bytes: 4 << 20,
        }
    }
}

impl Limits {
    /// Events and links that all spans of a request may have together: they take more memory than room in the body.
    pub fn max_items_of_request(&self) -> usize {
        self.max_spans.saturating_mul(10)
    }
}
