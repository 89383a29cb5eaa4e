//! A trace: the spans of one id, one of each identity, in a bounded number.

use super::ids::TraceId;
use super::merge::fold;
use super::span::Span;
use super::tenant::TenantId;

/// The spans of one trace of one tenant, each known span once, ordered by start (spans of unknown start last), then id.
/// Of a span that has ended no sign of life is kept but its first: `seen_at` is its `created_at`.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub tenant: TenantId,
    pub trace_id: TraceId,
    pub spans: Vec<Span>,
    /// Whether there are more spans than were read.
    pub truncated: bool,
}

impl Trace {
    /// Folds the rows of a trace, open ones and ended ones alike, into its spans. Rows of other traces must not be among
    /// them.
    pub fn new(tenant: TenantId, trace_id: TraceId, rows: Vec<Span>, truncated: bool) -> Self {
        debug_assert!(rows.iter().all(|row| row.trace_id == trace_id && row.tenant == tenant));
        let mut spans = fold(rows);
        // Rows of ended spans do not hold it, and what twins would make of it depends on how many there are.
        spans.iter_mut().filter(|span| span.is_ended()).for_each(|span| span.seen_at = span.created_at);
        spans.sort_by_key(|span| {
            (span.started_at.or(span.ended_at()).is_none(), span.started_at.or(span.ended_at()), span.span_id)
        });
        Self { tenant, trace_id, spans, truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::SpanId;
    use crate::model::span::{End, Status};
    use crate::model::time::UnixNanos;

    #[test]
    fn twins_and_the_one_row_of_them_are_the_same_span() {
        let (tenant, trace_id) = (TenantId::default(), TraceId::from_bytes([1; 16]).unwrap());
        let told = |heard_at: u64, started_at: u64| {
            let heard_at = UnixNanos::new(heard_at);
            let mut span = Span::new(tenant.clone(), trace_id, SpanId::parse("1").unwrap(), heard_at);
            (span.status, span.end) = (Status::Completed, Some(End::After(5)));
            span.started_at = Some(UnixNanos::new(started_at));
            span
        };
        let read = |rows: &[Span]| Trace::new(tenant.clone(), trace_id, rows.to_vec(), false).spans;
        let twins = read(&[told(10, 3), told(99, 2)]);
        assert_eq!(twins.len(), 1);
        assert_eq!(twins[0].seen_at, UnixNanos::new(10));
        assert_eq!(read(&twins), twins);
    }
}
