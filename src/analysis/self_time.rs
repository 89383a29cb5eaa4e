//! What a span did itself, and how it lay among its siblings.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::timeline::Timeline;
use super::tree::Tree;

/// How a node lay among its siblings. Roots are siblings of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Among {
    /// From the event before its start to its start, in nanoseconds: from the latest end of a sibling that was over by
    /// then, or from the parent's start if that is later. `None` without such an event, as for the first root or a
    /// child that starts before its parent.
    pub gap_ns: Option<i64>,
    /// How many of the siblings ran at its start, itself counted: 1 when it ran alone.
    pub concurrency: u32,
}

/// Of every node, its length less the union of its children, these clipped to it: 0 to its length, in nanoseconds.
/// Placeholders have none. O(n log n).
pub fn self_times(tree: &Tree, timeline: &Timeline) -> Vec<i64> {
    let mut times = vec![0; tree.node_count()];
    let mut children: Vec<(u64, u64)> = Vec::new();
    for (node, time) in times.iter_mut().enumerate().take(tree.span_count()) {
        let slot = timeline.slot(node);
        let (from, to) = (slot.start.as_u64(), slot.end.as_u64());
        children.clear();
        children.extend(tree.children(node).iter().map(|child| {
            let slot = timeline.slot(*child);
            (slot.start.as_u64().clamp(from, to), slot.end.as_u64().clamp(from, to))
        }));
        children.sort_unstable();
        let (mut covered, mut covered_to) = (0, from);
        for (start, end) in &children {
            covered += end.saturating_sub(covered_to.max(*start));
            covered_to = covered_to.max(*end);
        }
        *time = i64::try_from(to - from - covered).unwrap_or(i64::MAX);
    }
    times
}

/// Gap and concurrency of every node. O(n log n).
pub fn among_siblings(tree: &Tree, timeline: &Timeline) -> Vec<Among> {
    let mut all = vec![Among::default(); tree.node_count()];
    place_group(&mut all, timeline, None, tree.roots());
    for &node in tree.pre_order() {
        place_group(&mut all, timeline, Some(node), tree.children(node));
    }
    all
}

fn place_group(all: &mut [Among], timeline: &Timeline, parent: Option<usize>, siblings: &[usize]) {
    let mut order = siblings.to_vec();
    order.sort_by_key(|node| timeline.slot(*node).start);
    let mut ends: Vec<_> = order.iter().map(|node| timeline.slot(*node).end).collect();
    ends.sort_unstable();
    let mut running = BinaryHeap::with_capacity(order.len());
    let mut last_end = None;
    for (index, &node) in order.iter().enumerate() {
        let slot = timeline.slot(node);
        while let Some(&Reverse(end)) = running.peek()
            && end <= slot.start
        {
            last_end = last_end.max(Some(end));
            running.pop();
        }
        running.push(Reverse(slot.end));

        let parent_start = parent.map(|parent| timeline.slot(parent).start).filter(|start| *start <= slot.start);
        all[node].gap_ns = last_end.max(parent_start).map(|event| slot.start.since(event));
        let begun = index + order[index..].partition_point(|other| timeline.slot(*other).start <= slot.start);
        let ended = ends.partition_point(|end| *end <= slot.start);
        all[node].concurrency = u32::try_from(begun.saturating_sub(ended)).unwrap_or(u32::MAX).max(1);
    }
}
