//! Which traces have a span like this? Until spans have an index for it, by looking: candidates come from the roll-ups,
//! newest first, and their spans are read and compared, within bounds. An answer that ended at a bound says so.
//!
//! This is the one place that searches by looking; an index replaces [`Queries::find`] from inside.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::model::rollup::{Keeping, TraceRollup};
use crate::model::search::{SpanQuery, TraceQuery};
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::trace::Trace;
use crate::query::{Loaded, Queries};
use crate::store::{Detail, StoreError};
use crate::wire::jaeger::{self, legacy};

/// An answer, and if it was ended at a bound, which and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounded<T> {
    pub answer: T,
    /// A sentence.
    pub cut: Option<String>,
}

/// Where to look, and how far at most.
pub(super) struct Scope {
    pub candidates: TraceQuery,
    pub detail: Detail,
    /// Traces whose spans are read.
    pub traces: usize,
    pub time: Duration,
}

impl Scope {
    /// As far as a search goes.
    pub fn wide(candidates: TraceQuery, detail: Detail) -> Self {
        Self { candidates, detail, traces: 5_000, time: Duration::from_secs(10) }
    }

    /// As far as a list for a menu goes, which is asked for again and again.
    pub fn narrow(candidates: TraceQuery, detail: Detail) -> Self {
        Self { candidates, detail, traces: 500, time: Duration::from_secs(3) }
    }
}

/// The room of an answer that holds whole traces. One trace always fits.
#[derive(Debug, Default)]
pub(super) struct Room {
    spans: usize,
    bytes: usize,
    /// Whether a trace did not fit.
    is_full: bool,
}

impl Room {
    /// Whether there is room for this trace as well, which it then has.
    pub fn takes(&mut self, trace: &Trace) -> bool {
        let spans = self.spans + trace.spans.len();
        let bytes = self.bytes + trace.spans.iter().map(Span::weight).sum::<usize>();
        self.is_full |= self.spans > 0 && (spans > HELD_SPANS || bytes > HELD_BYTES);
        if !self.is_full {
            (self.spans, self.bytes) = (spans, bytes);
        }
        !self.is_full
    }

    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// What to say of an answer whose room did not suffice.
    pub fn cut(&self) -> Option<String> {
        let mib = HELD_BYTES >> 20;
        self.is_full.then(|| format!("an answer holds at most {HELD_SPANS} spans and {mib} MiB; ask for fewer traces"))
    }
}

/// Roll-ups that are asked for at once.
const PAGE: u32 = 200;
/// Roll-ups that are looked at.
const ROLLUPS: usize = 50_000;
/// Spans that are read.
const SPANS: usize = 400_000;
/// Spans in an answer.
const HELD_SPANS: usize = 100_000;
/// And how much they hold.
const HELD_BYTES: usize = 64 << 20;
/// A span in a window belongs to a trace that began at most so many nanoseconds before it: one hour.
const LONG_TRACE_NS: i64 = 3_600 * 1_000_000_000;

impl Queries {
    /// Hands the traces that hold a span for which all conditions of `query` hold to `each`, whole and at this detail, newest
    /// first, at most `query.limit`, until that breaks off. Of traces that began more than an hour before the window none
    /// is found. Says where it ended if there was more to look at.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn find(
        &self,
        tenant: &TenantId,
        query: &SpanQuery,
        detail: Detail,
        mut each: impl FnMut(Trace, Keeping) -> ControlFlow<()> + Send,
    ) -> Result<Option<String>, StoreError> {
        let candidates = TraceQuery {
            service: query.service.clone(),
            from: Some(query.from.plus(-LONG_TRACE_NS)),
            to: Some(query.to),
            ..TraceQuery::default()
        };
        let worth =
            |rollup: &TraceRollup| rollup.started_at >= query.from || rollup.ended_at.is_none_or(|at| at >= query.from);
        let mut found = 0;
        self.scan(tenant, Scope::wide(candidates, detail), worth, |trace, keeping| {
            if !trace.spans.iter().any(|span| matches(span, query)) {
                return ControlFlow::Continue(());
            }
            found += 1;
            each(trace, keeping)?;
            if found < query.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await
    }

    /// Hands the spans of each candidate that is `worth` it to `each`, newest first, until that breaks off. Says where it
    /// ended if there was more to look at.
    pub(super) async fn scan(
        &self,
        tenant: &TenantId,
        scope: Scope,
        worth: impl Fn(&TraceRollup) -> bool + Send,
        mut each: impl FnMut(Trace, Keeping) -> ControlFlow<()> + Send,
    ) -> Result<Option<String>, StoreError> {
        let begun = Instant::now();
        let (mut looked, mut read, mut spans) = (0, 0, 0);
        let mut query = TraceQuery { or_unsettled: true, limit: PAGE, ..scope.candidates };
        loop {
            let page = self.traces.search_traces(tenant, &query).await?;
            for rollup in page.items {
                looked += 1;
                let spent = looked > ROLLUPS || read >= scope.traces || spans >= SPANS || begun.elapsed() >= scope.time;
                if spent {
                    return Ok(Some(format!(
                        "only the newest {read} traces were looked at, those that began after {}; ask for less, by time or \
                         by service",
                        rollup.started_at
                    )));
                }
                if !worth(&rollup) {
                    continue;
                }
                read += 1;
                let Loaded::Spans(trace, keeping) = self.load(tenant, rollup.trace_id, scope.detail).await? else {
                    continue;
                };
                spans += trace.spans.len();
                if each(trace, keeping).is_break() {
                    return Ok(None);
                }
                // Comparing is work: others have their turn between two traces.
                tokio::task::yield_now().await;
            }
            match page.next {
                Some(next) => query.cursor = Some(next),
                None => return Ok(None),
            }
        }
    }
}

fn matches(span: &Span, query: &SpanQuery) -> bool {
    let started_at = span.started_at.or(span.ended_at()).unwrap_or(span.created_at);
    let within = |bound: Option<i64>, holds: fn(i64, i64) -> bool| {
        bound.is_none_or(|bound| span.duration_ns().is_some_and(|duration| holds(duration, bound)))
    };
    query.service.as_deref().is_none_or(|service| jaeger::service(span) == service)
        && query.operation.as_deref().is_none_or(|operation| span.operation() == Some(operation))
        && (query.from..query.to).contains(&started_at)
        && within(query.min_duration_ns, |duration, min| duration >= min)
        && within(query.max_duration_ns, |duration, max| duration <= max)
        && query.tags.iter().all(|(key, value)| legacy::has_tag(span, key, value))
}
