//! The rows of a waterfall: all that is known of each node, put together.
//!
//! Leaves what the answer looks like to [`super::waterfall`], whose types it fills.

use crate::model::ids::SpanId;
use crate::model::span::{Outcome, Span};
use crate::model::time::UnixNanos;
use crate::model::trace::Trace;

use super::critical_path::{self, Segment};
use super::self_time::{Among, among_siblings, self_times};
use super::skew::Skew;
use super::summary::{self, error_message};
use super::timeline::{Slot, Timeline};
use super::tree::Tree;
use super::usage::Usage;
use super::waterfall::{Flag, Options, Row, RowError, Stretch, Truncated};
use super::window;

/// All that is known of the nodes, by node.
pub(super) struct Layout<'a> {
    trace: &'a Trace,
    pub tree: Tree,
    /// Times as drawn.
    pub timeline: Timeline,
    /// Times before skew was corrected.
    pub told: Timeline,
    pub skew: Skew,
    pub started_at: UnixNanos,
    pub extent_ns: i64,
    path: Vec<Segment>,
    self_ns: Vec<i64>,
    critical_ns: Vec<i64>,
    among: Vec<Among>,
    chosen: Vec<bool>,
    left_out: Vec<u32>,
}

impl<'a> Layout<'a> {
    pub fn new(trace: &'a Trace, now: UnixNanos, options: &Options) -> Self {
        let tree = Tree::new(trace);
        let told = Timeline::new(trace, &tree, now, options.deadline_ns);
        let skew = Skew::find(trace, &tree, &told);
        let mut timeline = told.clone();
        if options.correct_skew {
            skew.correct(&tree, &mut timeline);
        }
        let path = critical_path::segments(trace, &tree, &timeline, &skew);
        let critical_ns = critical_times(&tree, &path);
        let origin = summary::error_origin(trace, &tree, &timeline);
        let failed: Vec<bool> = (0..tree.node_count()).map(|node| timeline.slot(node).is_failed()).collect();
        let chosen = window::choose(&tree, origin, &critical_ns, &failed, options.max_rows);
        let (started_at, ended_at) = timeline.extent().unwrap_or((now, now));
        Self {
            trace,
            self_ns: self_times(&tree, &timeline),
            critical_ns,
            among: among_siblings(&tree, &timeline),
            left_out: window::left_out(&tree, &chosen),
            chosen,
            tree,
            timeline,
            told,
            skew,
            started_at,
            extent_ns: ended_at.since(started_at),
            path,
        }
    }

    /// Of a trace whose duration is not known yet.
    pub fn time_so_far(&self) -> i64 {
        match self.tree.root_span().map(|root| self.timeline.slot(root)) {
            Some(root) if self.tree.has_true_root() && !root.unknown_start => root.length_ns(),
            _ => self.extent_ns,
        }
    }

    /// The rows that are shown, in pre-order.
    pub fn rows(&self) -> Vec<Row> {
        self.tree.pre_order().iter().filter(|node| self.chosen[**node]).map(|node| self.row(*node)).collect()
    }

    fn row(&self, node: usize) -> Row {
        match self.trace.spans.get(node) {
            Some(span) => self.span_row(node, span),
            None => self.bare_row(node),
        }
    }

    fn span_row(&self, node: usize, span: &Span) -> Row {
        let slot = self.timeline.slot(node);
        let usage = Usage::of(span);
        let (error_type, message) = (span.error_type(), error_message(span));
        let is_error = slot.is_failed() || span.error_message().is_some() || error_type.is_some();
        let told_ns = span.duration_ns().map(|ns| ns.max(0));
        Row {
            span_id: span.span_id,
            parent_span_id: self.tree.parent(node).map(|parent| self.id(parent)).or(span.parent_span_id),
            service: span.service().map(str::to_owned),
            operation: span.operation().map(str::to_owned),
            kind: span.span_kind(),
            span_type: span.span_type().map(str::to_owned),
            status: slot.outcome,
            duration_ns: told_ns.filter(|_| !slot.is_open()),
            elapsed_ns: slot.is_open().then(|| slot.length_ns()),
            error: is_error
                .then(|| RowError { error_type: error_type.map(str::to_owned), message: message.map(str::to_owned) }),
            region: span.region().map(str::to_owned),
            model: span.model().map(str::to_owned),
            tokens: usage.tokens(),
            cost_usd: usage.cost_usd(),
            retry_count: span.retry_count(),
            ..self.bare_row(node)
        }
    }

    /// What is known of any node, placeholders too.
    fn bare_row(&self, node: usize) -> Row {
        let slot = self.timeline.slot(node);
        Row {
            span_id: self.id(node),
            parent_span_id: None,
            depth: self.tree.depth(node),
            service: None,
            operation: None,
            kind: None,
            span_type: None,
            status: None,
            offset_ns: slot.start.since(self.started_at),
            length_ns: slot.length_ns(),
            duration_ns: None,
            elapsed_ns: None,
            self_ns: self.self_ns[node],
            critical_ns: self.critical_ns[node],
            gap_ns: self.among[node].gap_ns,
            concurrency: self.among[node].concurrency,
            flags: self.flags(node, slot),
            error: None,
            region: None,
            model: None,
            tokens: None,
            cost_usd: None,
            retry_count: None,
            child_count: u32::try_from(self.tree.children(node).len()).unwrap_or(u32::MAX),
            left_out: self.left_out[node],
        }
    }

    fn flags(&self, node: usize, slot: &Slot) -> Vec<Flag> {
        let parent = self.tree.parent(node).filter(|parent| !self.tree.is_placeholder(*parent));
        let parent = parent.map(|parent| self.timeline.slot(parent));
        let was_cut = node < self.tree.span_count()
            && self.tree.parent(node).is_none()
            && self.trace.spans[node].parent_span_id.is_some();
        [
            (Flag::Orphan, self.tree.is_orphan(node)),
            (Flag::Placeholder, self.tree.is_placeholder(node)),
            (Flag::Skewed, self.skew.is_skewed(node)),
            (Flag::Open, slot.is_open()),
            (Flag::Abandoned, slot.outcome == Some(Outcome::Abandoned)),
            (Flag::UnknownStart, slot.unknown_start),
            (Flag::UnknownEnd, slot.unknown_end),
            (Flag::Backwards, slot.backwards_ns > 0),
            (Flag::ClockSuspect, slot.clock_suspect),
            (Flag::Cycle, was_cut),
            (Flag::Early, parent.is_some_and(|parent| slot.start < parent.start)),
            (Flag::Late, parent.is_some_and(|parent| slot.end > parent.end)),
            (Flag::Truncated, self.left_out[node] > 0),
        ]
        .into_iter()
        .filter_map(|(flag, is_set)| is_set.then_some(flag))
        .collect()
    }

    fn id(&self, node: usize) -> SpanId {
        self.tree.missing_id(node).unwrap_or_else(|| self.trace.spans[node].span_id)
    }

    /// The critical path over the rows that are shown.
    pub fn stretches(&self) -> Vec<Stretch> {
        self.path
            .iter()
            .filter(|segment| self.chosen[segment.node])
            .map(|segment| Stretch {
                span_id: self.id(segment.node),
                offset_ns: segment.start.since(self.started_at),
                duration_ns: segment.end.since(segment.start),
            })
            .collect()
    }

    /// What is missing from the rows, if anything is: spans that were not read, rows that are not shown.
    pub fn truncated(&self) -> Option<Truncated> {
        let hidden: Vec<usize> = (0..self.tree.node_count()).filter(|node| !self.chosen[*node]).collect();
        let count = |nodes: usize| u32::try_from(nodes).unwrap_or(u32::MAX);
        let rows = count(hidden.len());
        let errors = count(hidden.iter().filter(|node| self.timeline.slot(**node).is_failed()).count());
        let unread = self.trace.truncated.then(|| format!("the trace has more than {} spans", self.tree.span_count()));
        let hidden = (rows > 0)
            .then(|| format!("{rows} of {} rows are not shown, {errors} of them failed", self.tree.node_count()));
        let what: Vec<String> = [unread, hidden].into_iter().flatten().collect();
        (!what.is_empty()).then(|| Truncated {
            what: what.join("; "),
            next: Some(format!("GET /v1/traces/{} lists the spans", self.trace.trace_id)),
            rows,
            errors,
        })
    }
}

fn critical_times(tree: &Tree, path: &[Segment]) -> Vec<i64> {
    let mut times = vec![0_i64; tree.node_count()];
    for segment in path {
        times[segment.node] = times[segment.node].saturating_add(segment.end.since(segment.start));
    }
    times
}
