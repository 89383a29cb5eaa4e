//! A trace: the spans of one id, one of each identity, in a bounded number.

use super::ids::TraceId;
use super::merge::fold;
use super::span::Span;
use super::tenant::TenantId;

/// The spans of one trace of one tenant, each known span once, ordered by start (spans of unknown start last), then id.
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
        spans.sort_by_key(|span| {
            (span.started_at.or(span.ended_at()).is_none(), span.started_at.or(span.ended_at()), span.span_id)
        });
        Self { tenant, trace_id, spans, truncated }
    }
}
