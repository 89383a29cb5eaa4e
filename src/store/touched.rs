//! What a batch says of its traces: the bounds by which reads know where to look for their spans.

use std::ops::RangeInclusive;

use crate::model::ids::TraceId;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// A trace of a batch, with the bounds of the batch's spans.
pub(super) struct Touched<'b> {
    pub trace_id: TraceId,
    pub tenant: &'b TenantId,
    /// The days on which its spans of the batch began.
    pub days: Option<RangeInclusive<u32>>,
    pub started_at: Option<UnixNanos>,
    pub ended_at: Option<UnixNanos>,
    pub created_at: UnixNanos,
    /// Whether one of them is to be open, or to wait for its start.
    pub has_open: bool,
}

/// The traces of a batch, which is ordered by trace.
pub(super) fn touched_by(batch: &[Span]) -> Vec<Touched<'_>> {
    let mut touched: Vec<Touched<'_>> = Vec::new();
    for span in batch {
        let of_trace = touched.iter_mut().rev().take_while(|trace| trace.trace_id == span.trace_id);
        let days = span.started_at.map(|at| at.day()..=at.day());
        match of_trace.into_iter().find(|trace| *trace.tenant == span.tenant) {
            Some(trace) => {
                trace.days = match (trace.days.take(), days) {
                    (Some(a), Some(b)) => Some(*a.start().min(b.start())..=*a.end().max(b.end())),
                    (a, b) => a.or(b),
                };
                trace.started_at = [trace.started_at, span.started_at].into_iter().flatten().min();
                trace.ended_at = trace.ended_at.max(span.ended_at());
                trace.created_at = trace.created_at.min(span.created_at);
                trace.has_open |= !span.is_ended();
            }
            None => touched.push(Touched {
                trace_id: span.trace_id,
                tenant: &span.tenant,
                days,
                started_at: span.started_at,
                ended_at: span.ended_at(),
                created_at: span.created_at,
                has_open: !span.is_ended(),
            }),
        }
    }
    touched
}
