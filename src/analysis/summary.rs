//! A trace in a row: what lists, headers and searches say of it. Root, status, origin of the error, who took part.

use std::collections::BTreeSet;

use crate::model::content;
use crate::model::rollup::{Keeping, TraceRollup};
use crate::model::span::{Outcome, Span};
use crate::model::time::UnixNanos;
use crate::model::trace::Trace;

use super::timeline::Timeline;
use super::tree::Tree;
use super::usage;

/// Characters of the root's inputs that are kept as the query.
pub const QUERY_CHARS: usize = 1_000;

/// Sums a trace up, from all its spans. `deadline_ns` is the silence after which an open span reads as abandoned.
/// O(n log n).
///
/// Of an empty trace it says that it runs since `now`.
pub fn rollup(trace: &Trace, now: UnixNanos, deadline_ns: i64) -> TraceRollup {
    let tree = Tree::new(trace);
    let timeline = Timeline::new(trace, &tree, now, deadline_ns);
    let counts = Counts::of(&tree, &timeline);
    let usage = usage::total(trace, &tree);
    let root = tree.root_span().map(|node| &trace.spans[node]);
    let error = error_origin(trace, &tree, &timeline).map(|node| &trace.spans[node]);
    let told_starts = trace.spans.iter().filter_map(|span| span.started_at.or(span.ended_at()));
    let id = |of: fn(&Span) -> Option<&str>| first_of(root, trace, of);
    TraceRollup {
        trace_id: trace.trace_id,
        root_service: root.and_then(Span::service).map(str::to_owned),
        root_operation: root.and_then(Span::operation).map(str::to_owned),
        status: status(&tree, &timeline),
        started_at: told_starts.min().or(trace.spans.iter().map(|span| span.created_at).min()).unwrap_or(now),
        ended_at: trace.spans.iter().filter_map(Span::ended_at).max(),
        duration_ns: duration_ns(&tree, &timeline),
        error_type: error.and_then(Span::error_type).map(str::to_owned),
        error_message: error.and_then(error_message).map(str::to_owned),
        error_service: error.and_then(Span::service).map(str::to_owned),
        span_count: counts.spans,
        error_count: counts.errors,
        orphan_count: counts.orphans,
        open_count: counts.open,
        services: distinct(trace, Span::service),
        execution_id: id(Span::execution_id),
        job_id: id(Span::job_id),
        question_id: id(Span::question_id),
        workflow_id: id(Span::workflow_id),
        session_id: id(Span::session_id),
        user_id: id(Span::user_id),
        regions: distinct(trace, Span::region),
        models: distinct(trace, Span::model),
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cost_pico: usage.cost_pico,
        query: root.and_then(content::inputs).as_deref().map(query),
        metadata: root.map(|root| root.attributes.clone()).unwrap_or_default(),
        keeping: Keeping::default(),
    }
}

/// How many spans there are, failed, orphaned and open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub spans: u32,
    pub errors: u32,
    pub orphans: u32,
    pub open: u32,
}

impl Counts {
    pub fn of(tree: &Tree, timeline: &Timeline) -> Self {
        let count = |keep: &dyn Fn(usize) -> bool| {
            u32::try_from((0..tree.span_count()).filter(|node| keep(*node)).count()).unwrap_or(u32::MAX)
        };
        Self {
            spans: count(&|_| true),
            errors: count(&|node| timeline.slot(node).is_failed()),
            orphans: count(&|node| tree.is_orphan(node)),
            open: count(&|node| timeline.slot(node).is_open()),
        }
    }
}

/// The root's terminal status. While the root is open: running, or abandoned if nothing in the trace was heard of for
/// the deadline. A root that stands in for one that has not come says nothing while other spans are running.
pub(super) fn status(tree: &Tree, timeline: &Timeline) -> Outcome {
    let Some(root) = tree.root_span() else { return Outcome::Running };
    let is_running = |node: usize| matches!(timeline.slot(node).outcome, Some(Outcome::Pending | Outcome::Running));
    match timeline.slot(root).outcome {
        Some(Outcome::Pending) | None => Outcome::Running,
        Some(_) if !tree.has_true_root() && (0..tree.span_count()).any(is_running) => Outcome::Running,
        Some(outcome) => outcome,
    }
}

/// The root's duration; without a true root, the time that the spans cover together. `None` while the trace is open or
/// the root's start or end is unknown.
pub(super) fn duration_ns(tree: &Tree, timeline: &Timeline) -> Option<i64> {
    let root = tree.root_span()?;
    if tree.has_true_root() {
        let slot = timeline.slot(root);
        return (!slot.is_open() && !slot.unknown_start && !slot.unknown_end).then(|| slot.length_ns());
    }
    let any_open = (0..tree.span_count()).any(|node| timeline.slot(node).is_open());
    let (start, end) = timeline.extent()?;
    (!any_open).then(|| end.since(start))
}

/// The failed span that most likely caused the others to fail: one with no failed span below it. Of several, one whose
/// failure was carried up to the root comes before one that was overcome (a retry), then one with a message, then the
/// deepest, then the earliest. `None` if nothing failed.
pub(super) fn error_origin(trace: &Trace, tree: &Tree, timeline: &Timeline) -> Option<usize> {
    let failed = |node: usize| timeline.slot(node).is_failed();
    let mut failed_below = vec![false; tree.node_count()];
    for &node in tree.pre_order().iter().rev() {
        if let Some(parent) = tree.parent(node) {
            failed_below[parent] |= failed_below[node] || failed(node);
        }
    }
    let mut carried = vec![false; tree.node_count()];
    for &node in tree.pre_order() {
        let above = tree.parent(node).is_none_or(|parent| carried[parent]);
        carried[node] = above && (failed(node) || tree.is_placeholder(node));
    }
    (0..tree.span_count()).filter(|node| failed(*node) && !failed_below[*node]).min_by_key(|&node| {
        let is_silent = error_message(&trace.spans[node]).is_none();
        (
            !carried[node],
            is_silent,
            std::cmp::Reverse(tree.depth(node)),
            timeline.slot(node).start,
            trace.spans[node].span_id,
        )
    })
}

/// What a span says went wrong.
pub(super) fn error_message(span: &Span) -> Option<&str> {
    span.error_message().or(span.status_message()).filter(|message| !message.is_empty())
}

/// All values of a field, sorted, each once.
pub(super) fn distinct(trace: &Trace, of: fn(&Span) -> Option<&str>) -> Vec<String> {
    let values: BTreeSet<&str> = trace.spans.iter().filter_map(of).filter(|value| !value.is_empty()).collect();
    values.into_iter().map(str::to_owned).collect()
}

/// The root's value, else that of the first span that has one.
fn first_of(root: Option<&Span>, trace: &Trace, of: fn(&Span) -> Option<&str>) -> Option<String> {
    root.and_then(of).or_else(|| trace.spans.iter().find_map(of)).map(str::to_owned)
}

/// The first characters of what was asked: in words where there are such, else as JSON text.
fn query(inputs: &str) -> String {
    let cut = |text: &str| text.chars().take(QUERY_CHARS).collect();
    content::question(inputs).map_or_else(|| cut(inputs), |asked| cut(&asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sketch::{self, at_ms};
    use crate::model::span::{DEFAULT_DEADLINE_NS, Field};

    fn sum_up(sketch: &str, now_ms: u64) -> TraceRollup {
        rollup(&sketch::trace(sketch).unwrap(), at_ms(now_ms), DEFAULT_DEADLINE_NS)
    }

    #[test]
    fn the_status_is_the_roots() {
        const LATER: u64 = 2 * 3_600_000;
        for (sketch, now_ms, status, duration_ms) in [
            ("a[0..90](b[10..40]!)", 100, Outcome::Completed, Some(90)),
            ("a[0..90]!(b[10..40])", 100, Outcome::Failed, Some(90)),
            ("a[0..](b[10..40]!)", 100, Outcome::Running, None),
            ("a{status=pending}", 100, Outcome::Running, None),
            ("a[0..90]{status=cancelled}", 100, Outcome::Cancelled, Some(90)),
            ("a[0..](b[10..40])", LATER, Outcome::Abandoned, None),
            ("a[0..](b[10..]{heard=7000000})", LATER, Outcome::Running, None),
            ("b^f0[5..40]! c^f0[10..60]", 100, Outcome::Failed, Some(55)),
            ("b^f0[5..40]! c^f0[10..]", 100, Outcome::Running, None),
            ("b^f0[5..40]! c^f0[10..]", LATER, Outcome::Failed, None),
            ("a[..90]", 100, Outcome::Completed, None),
        ] {
            let rollup = sum_up(sketch, now_ms);
            let duration = rollup.duration_ns.map(|ns| ns / 1_000_000);
            assert_eq!((rollup.status, duration), (status, duration_ms), "{sketch} at {now_ms}");
        }
    }

    #[test]
    fn the_error_is_its_origin() {
        for (sketch, service, message) in [
            ("a[0..9]", None, None),
            (r#"r:a[0..9]!"failed: boom"(m:b[1..5]!"boom")"#, Some("m"), Some("boom")),
            (r#"r:a[0..9]!"gave up"(m:b[1..5]!)"#, Some("m"), None),
            (r#"r:a[0..9]!(m:b[1..5]! n:c[2..4]!"said why")"#, Some("n"), Some("said why")),
            (r#"r:a[0..9](m:b[1..2]!"first" n:c[3..4]!"second")"#, Some("m"), Some("first")),
            // The first attempt was overcome inside the router; what failed the root came later and higher up.
            (r#"r:a[0..9]!"x"(q:b[1..5](m:c[2..3]!"first attempt") n:d[6..7]!"no disk")"#, Some("n"), Some("no disk")),
            (r#"m:a[0..9]!{status_message="by the old way"}"#, Some("m"), Some("by the old way")),
        ] {
            let rollup = sum_up(sketch, 100);
            let found = (rollup.error_service.as_deref(), rollup.error_message.as_deref());
            assert_eq!(found, (service, message), "{sketch}");
        }
    }

    #[test]
    fn who_took_part_and_what_it_cost() {
        let rollup = sum_up(
            "runner:ask[5..90]{input_tokens=10}(router:b[10..80]{region=us-east}(modal:c[20..]{execution_id=12 \
             input_tokens=10 cost_pico=5 model=llama region=eu} router:d^99[3..4]!))",
            100,
        );
        assert_eq!(rollup.services, ["modal", "router", "runner"]);
        assert_eq!(rollup.regions, ["eu", "us-east"]);
        assert_eq!(rollup.models, ["llama"]);
        assert_eq!(rollup.execution_id.as_deref(), Some("12"));
        assert_eq!((rollup.input_tokens, rollup.output_tokens, rollup.cost_pico), (Some(10), None, Some(5)));
        assert_eq!((rollup.span_count, rollup.error_count), (4, 1));
        assert_eq!((rollup.orphan_count, rollup.open_count), (1, 1));
        assert_eq!((rollup.started_at, rollup.ended_at), (at_ms(3), Some(at_ms(90))));
        assert_eq!((rollup.root_service.as_deref(), rollup.root_operation.as_deref()), (Some("runner"), Some("ask")));
    }

    #[test]
    fn the_query_is_cut_between_characters_and_unquoted() {
        let mut trace = sketch::trace("a[0..9]").unwrap();
        for (inputs, expected) in [
            (r#""what is \"it\"?""#, r#"what is "it"?"#.to_owned()),
            (r#"{"q":1}"#, r#"{"q":1}"#.to_owned()),
            (r#""\ud800 alone""#, r#""\ud800 alone""#.to_owned()),
            (&format!("\"{}\"", "é".repeat(2_000)), "é".repeat(1_000)),
        ] {
            trace.spans[0].fields.set_text(Field::Inputs, inputs);
            assert_eq!(rollup(&trace, at_ms(10), DEFAULT_DEADLINE_NS).query, Some(expected));
        }
    }

    #[test]
    fn an_empty_trace_has_a_rollup() {
        let rollup = sum_up("", 7);
        assert_eq!((rollup.status, rollup.started_at, rollup.span_count), (Outcome::Running, at_ms(7), 0));
    }
}
