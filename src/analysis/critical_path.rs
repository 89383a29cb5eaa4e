//! The chain of work that decided how long the trace took.

use super::skew::Skew;
use super::timeline::Timeline;
use super::tree::Tree;
use crate::model::span::{Outcome, SpanKind};
use crate::model::time::UnixNanos;
use crate::model::trace::Trace;

/// A stretch of the critical path: from `start` to `end` it was this node, and none of its children, that the root
/// waited for. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub node: usize,
    pub start: UnixNanos,
    pub end: UnixNanos,
}

/// A clock that counts milliseconds may show a child up to this much after its parent's end.
const ROUNDING_NS: i64 = 1_000_000;

/// The critical path of the trace whose root node is `tree.roots()[0]`, in order of time.
///
/// Walking backward from the root's end, the child that ended last is what its parent waited for; before that child's
/// start, the next one that ended last among those begun earlier, cut where the later one began; and where no child
/// ran, the parent itself. The same within each child. So the segments touch, none overlap, and their lengths sum to the
/// root's: every instant of the root's time belongs to exactly one span.
///
/// **Asynchronous children.** A child that goes on after its parent completed was not waited for, so nothing of it or
/// below it is on the path, and its parent answers for that time itself. It counts as waited for after all, up to the
/// parent's end, if the parent gave up (failed or was cancelled: a timeout looks like this), is still open, or has an
/// end that was never told; if the child's clock is known to be off; or if it outlasts the parent by no more than the
/// rounding of a millisecond clock. Spans of kind `consumer` are never waited for.
///
/// O(n log n); nothing recurses.
pub fn segments(trace: &Trace, tree: &Tree, timeline: &Timeline, skew: &Skew) -> Vec<Segment> {
    let Some(&root) = tree.roots().first() else { return Vec::new() };
    let mut path = Vec::new();
    let mut stack = vec![(root, timeline.slot(root).start, timeline.slot(root).end)];
    let mut waited: Vec<usize> = Vec::new();
    while let Some((node, from, to)) = stack.pop() {
        waited.clear();
        waited
            .extend(tree.children(node).iter().filter(|child| waited_for(trace, tree, timeline, skew, node, **child)));
        waited.sort_by_key(|child| std::cmp::Reverse(timeline.slot(*child).end));
        let mut cursor = to;
        for &child in &waited {
            let slot = timeline.slot(child);
            let (start, end) = (slot.start.max(from), slot.end.min(cursor));
            if start < end {
                push(&mut path, node, end, cursor);
                stack.push((child, start, end));
                cursor = start;
            }
        }
        push(&mut path, node, from, cursor);
    }
    path.sort_unstable_by_key(|segment| segment.start);
    path
}

fn push(path: &mut Vec<Segment>, node: usize, start: UnixNanos, end: UnixNanos) {
    if start < end {
        path.push(Segment { node, start, end });
    }
}

fn waited_for(trace: &Trace, tree: &Tree, timeline: &Timeline, skew: &Skew, parent: usize, child: usize) -> bool {
    if trace.spans[child].span_kind() == Some(SpanKind::Consumer) {
        return false;
    }
    let slot = timeline.slot(parent);
    tree.is_placeholder(parent)
        || timeline.slot(child).end.since(slot.end) <= ROUNDING_NS
        || slot.is_open()
        || slot.unknown_end
        || matches!(slot.outcome, Some(Outcome::Failed | Outcome::Cancelled))
        || skew.is_skewed(child)
}
