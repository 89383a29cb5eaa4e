//! Where the time of a trace went: its spans in the order of the tree, each with its place in time.
//!
//! [`Waterfall`] is the JSON contract of `GET /v1/traces/{id}/waterfall`. Times are RFC 3339; offsets and durations are
//! integers of nanoseconds. Members that a span does not have are left out, unless their absence says something.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::ids::{SpanId, TraceId};
use crate::model::rollup::{Keeping, TraceRollup};
use crate::model::span::{DEFAULT_DEADLINE_NS, Outcome, Span, SpanKind};
use crate::model::time::UnixNanos;
use crate::model::trace::Trace;

use super::layout::Layout;
use super::notes::{self, Note};
use super::summary::{self, Counts, error_message};
use super::usage::{self, Tokens};

/// How to build a waterfall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Rows at most. Beyond it the root, the critical path and failed spans stay first.
    pub max_rows: usize,
    /// Move spans whose service's clock is off into the middle of their parents. The notes say so either way.
    pub correct_skew: bool,
    /// Nanoseconds of silence after which an open span reads as abandoned.
    pub deadline_ns: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_rows: 10_000, correct_skew: false, deadline_ns: DEFAULT_DEADLINE_NS }
    }
}

/// A trace as it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Waterfall {
    #[schema(value_type = String)]
    pub trace_id: TraceId,
    /// Of the span that names no parent; while none has come, of the earliest orphan.
    #[schema(value_type = Option<String>)]
    pub root_span_id: Option<SpanId>,
    pub root_service: Option<String>,
    pub root_operation: Option<String>,
    /// `running`, `completed`, `failed`, `cancelled`, `skipped` or `abandoned`: the root's.
    #[schema(value_type = String)]
    pub status: Outcome,
    /// Where offsets count from: the earliest start.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: UnixNanos,
    /// The root's duration; the time so far while it is open.
    pub duration_ns: i64,
    /// From `started_at` to the latest end: the width of the picture. Longer than the duration where spans outlive the
    /// root.
    pub extent_ns: i64,
    pub span_count: u32,
    pub error_count: u32,
    /// Spans that have not ended.
    pub open_count: u32,
    /// Spans whose parent is not among the trace's spans.
    pub orphan_count: u32,
    /// Sorted.
    pub services: Vec<String>,
    /// Sorted; more than one only where runs share a trace.
    pub execution_ids: Vec<String>,
    /// What the trace spent. A parent that repeats what its children spent is not counted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// A decimal number of US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<String>,
    /// The failed span that most likely caused the others to fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorOrigin>,
    /// Parents before children, siblings by start.
    pub rows: Vec<Row>,
    /// In order of time, touching, and together as long as the root, except for stretches of rows that are left out.
    pub critical_path: Vec<Stretch>,
    pub notes: Vec<Note>,
    /// Present if spans are missing from the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated: Option<Truncated>,
    #[serde(flatten)]
    pub keeping: Keeping,
}

impl Waterfall {
    /// Says what became of the trace's spans with the time.
    pub fn kept(mut self, keeping: Keeping) -> Self {
        self.notes.extend(notes::keeping(&keeping));
        Self { keeping, ..self }
    }
}

/// One span, or a placeholder for a span that others name as their parent and that has not come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Row {
    #[schema(value_type = String)]
    pub span_id: SpanId,
    /// The row that this one hangs under; for a span whose link was cut (flag `cycle`), the parent it names.
    #[schema(value_type = Option<String>)]
    pub parent_span_id: Option<SpanId>,
    /// 0 for roots.
    pub depth: u32,
    pub service: Option<String>,
    pub operation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<SpanKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_type: Option<String>,
    /// `pending`, `running`, `completed`, `failed`, `cancelled`, `skipped` or `abandoned`; `null` for a placeholder.
    #[schema(value_type = Option<String>)]
    pub status: Option<Outcome>,
    /// From the waterfall's start to where this row is drawn. Negative only where a clock is off by years.
    pub offset_ns: i64,
    /// How long it is drawn.
    pub length_ns: i64,
    /// As told: `null` while open or unknown; 0 if it claims to have ended before it started.
    pub duration_ns: Option<i64>,
    /// Of an open span: the time so far; of an abandoned one, up to its last sign of life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ns: Option<i64>,
    /// Its length without the times when its children ran.
    pub self_ns: i64,
    /// The part of the critical path that is its own.
    pub critical_ns: i64,
    /// Waiting before its start: since the last sibling that was over by then, or since the parent's start.
    pub gap_ns: Option<i64>,
    /// How many of its siblings ran when it started, itself included.
    pub concurrency: u32,
    pub flags: Vec<Flag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RowError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As the span reports them, whether or not they repeat its children's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<i64>,
    /// Direct children, shown or not.
    pub child_count: u32,
    /// Rows below it that are not shown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

/// What is odd about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// Its parent is not among the spans.
    Orphan,
    /// It stands for a parent that has not come.
    Placeholder,
    /// Its service's clock is off from its parent's.
    Skewed,
    Open,
    /// Open, and silent for too long.
    Abandoned,
    /// Its start was not told; drawn at its end.
    UnknownStart,
    /// It ended at a time that was not told.
    UnknownEnd,
    /// It claims to have ended before it started.
    Backwards,
    /// A time before 2000, or later than it can be.
    ClockSuspect,
    /// Its link to its parent closed a circle and was cut.
    Cycle,
    /// It starts before its parent.
    Early,
    /// It ends after its parent.
    Late,
    /// Rows below it are not shown.
    Truncated,
}

/// What a span says went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RowError {
    #[serde(rename = "type")]
    pub error_type: Option<String>,
    pub message: Option<String>,
}

/// Where the trouble began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorOrigin {
    #[schema(value_type = String)]
    pub span_id: SpanId,
    pub service: Option<String>,
    pub operation: Option<String>,
    #[serde(rename = "type")]
    pub error_type: Option<String>,
    pub message: Option<String>,
}

/// A stretch of time during which the trace waited for this span itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stretch {
    #[schema(value_type = String)]
    pub span_id: SpanId,
    pub offset_ns: i64,
    pub duration_ns: i64,
}

/// What an answer leaves out, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Truncated {
    pub what: String,
    pub next: Option<String>,
    /// Rows that are not shown, of the spans that were read.
    pub rows: u32,
    /// Failed spans among them.
    pub errors: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Lays `trace` out as it looks at `now`. O(n log n); a trace without spans has no rows.
pub fn build(trace: &Trace, now: UnixNanos, options: &Options) -> Waterfall {
    let layout = Layout::new(trace, now, options);
    let Layout { tree, timeline, .. } = &layout;

    let counts = Counts::of(tree, timeline);
    let usage = usage::total(trace, tree);
    let root = tree.root_span().map(|node| &trace.spans[node]);
    Waterfall {
        trace_id: trace.trace_id,
        root_span_id: root.map(|root| root.span_id),
        root_service: root.and_then(Span::service).map(str::to_owned),
        root_operation: root.and_then(Span::operation).map(str::to_owned),
        status: summary::status(tree, timeline),
        started_at: layout.started_at,
        duration_ns: summary::duration_ns(tree, timeline).unwrap_or_else(|| layout.time_so_far()),
        extent_ns: layout.extent_ns,
        span_count: counts.spans,
        error_count: counts.errors,
        open_count: counts.open,
        orphan_count: counts.orphans,
        services: summary::distinct(trace, Span::service),
        execution_ids: summary::distinct(trace, Span::execution_id),
        tokens: usage.tokens(),
        cost_usd: usage.cost_usd(),
        error: summary::error_origin(trace, tree, timeline).map(|node| origin(&trace.spans[node])),
        rows: layout.rows(),
        critical_path: layout.stretches(),
        notes: notes::collect(trace, tree, &layout.told, &layout.skew, options),
        truncated: layout.truncated(),
        keeping: Keeping::default(),
    }
}

/// What is left of a trace whose spans were removed for their age: its head, without rows.
pub fn of_rollup(rollup: &TraceRollup) -> Waterfall {
    let usage = usage::Usage {
        input_tokens: rollup.input_tokens,
        output_tokens: rollup.output_tokens,
        cost_pico: rollup.cost_pico,
    };
    let extent_ns = rollup.ended_at.map_or(0, |at| at.since(rollup.started_at).max(0));
    Waterfall {
        trace_id: rollup.trace_id,
        root_span_id: None,
        root_service: rollup.root_service.clone(),
        root_operation: rollup.root_operation.clone(),
        status: rollup.status,
        started_at: rollup.started_at,
        duration_ns: rollup.duration_ns.unwrap_or(extent_ns),
        extent_ns,
        span_count: rollup.span_count,
        error_count: rollup.error_count,
        open_count: rollup.open_count,
        orphan_count: rollup.orphan_count,
        services: rollup.services.clone(),
        execution_ids: rollup.execution_id.iter().cloned().collect(),
        tokens: usage.tokens(),
        cost_usd: usage.cost_usd(),
        error: None,
        rows: Vec::new(),
        critical_path: Vec::new(),
        notes: notes::last_error(rollup).into_iter().collect(),
        truncated: None,
        keeping: Keeping::default(),
    }
    .kept(rollup.keeping)
}

fn origin(span: &Span) -> ErrorOrigin {
    ErrorOrigin {
        span_id: span.span_id,
        service: span.service().map(str::to_owned),
        operation: span.operation().map(str::to_owned),
        error_type: span.error_type().map(str::to_owned),
        message: error_message(span).map(str::to_owned),
    }
}
