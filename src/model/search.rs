//! Questions about many traces: filters, pages and cursors.

use std::fmt;

use serde::{Serialize, Serializer};

use super::ids::TraceId;
use super::span::Outcome;
use super::time::UnixNanos;

/// Which traces. All conditions must hold; an absent one does not restrict. Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceQuery {
    /// This one alone.
    pub trace_id: Option<TraceId>,
    /// Any span of the trace is of this service.
    pub service: Option<String>,
    /// With `service`, also traces that were written to since their roll-up was computed: it may not know all of their
    /// services yet.
    pub or_unsettled: bool,
    pub status: Option<Outcome>,
    pub execution_id: Option<String>,
    pub job_id: Option<String>,
    /// Started at or after this instant.
    pub from: Option<UnixNanos>,
    /// Started before this instant.
    pub to: Option<UnixNanos>,
    /// Running traces with open spans of which nothing was heard since this instant read as abandoned.
    pub silent_before: Option<UnixNanos>,
    /// Continue after this one.
    pub cursor: Option<Cursor>,
    /// Rows in the answer, 1 to [`TraceQuery::MAX_LIMIT`].
    pub limit: u32,
}

impl TraceQuery {
    pub const DEFAULT_LIMIT: u32 = 50;
    pub const MAX_LIMIT: u32 = 1_000;
}

/// Which traces by their spans: those with a span for which all conditions hold. An absent one does not restrict.
/// Newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanQuery {
    pub service: Option<String>,
    pub operation: Option<String>,
    /// Keys and values, as text, of the span's attributes or of its resource's.
    pub tags: Vec<(String, String)>,
    pub min_duration_ns: Option<i64>,
    pub max_duration_ns: Option<i64>,
    /// Started at or after this instant.
    pub from: UnixNanos,
    /// Started before this instant.
    pub to: UnixNanos,
    /// Traces in the answer, at least 1.
    pub limit: usize,
}

/// A place in a list that is ordered by start, newest first, then trace id. Stays valid while rows come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub started_at: UnixNanos,
    pub trace_id: TraceId,
}

/// Part of a list. `next` is absent on the last page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

impl Cursor {
    /// Reads what [`Cursor`]'s `Display` wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (nanos, trace_id) = text.split_once('-')?;
        let started_at = UnixNanos::new(nanos.parse().ok()?);
        Some(Self { started_at, trace_id: TraceId::parse(trace_id).ok()? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.started_at.as_u64(), self.trace_id)
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        let cursor = Cursor { started_at: UnixNanos::new(17), trace_id: TraceId::from_bytes([9; 16]).unwrap() };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for text in ["", "17", "17-", "x-09", "-1-09090909090909090909090909090909"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}
