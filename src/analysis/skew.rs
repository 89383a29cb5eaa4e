//! Clocks that disagree: found by what cannot have happened, named per pair of services, moved only on request.

use std::collections::BTreeMap;

use crate::model::span::{Outcome, SpanKind};
use crate::model::trace::Trace;

use super::timeline::{Slot, Timeline};
use super::tree::Tree;

/// What the times of calls between services say about their clocks.
#[derive(Debug, Clone, Default)]
pub struct Skew {
    skewed: Vec<bool>,
    /// One for each pair of services with evidence, in the order of their names.
    pub offsets: Vec<Offset>,
}

/// The clock of one service against another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    pub service: String,
    pub reference: String,
    /// How far `service`'s clock is ahead of `reference`'s, in nanoseconds (negative: behind): the middle of what fits
    /// every call between them. `None` if no one offset fits them all, so that something else is the matter.
    pub ahead_ns: Option<i64>,
    /// Spans that stick out of their parents.
    pub nodes: Vec<usize>,
}

/// Less than this is rounding (clocks that count milliseconds) and the usual error of synchronised hosts, not skew.
const TOLERANCE_NS: i64 = 1_000_000;

impl Skew {
    /// Looks at every call between two services whose times are known.
    ///
    /// A call fits an offset d of the callee's clock if the callee, moved by -d, lies within its caller; so each call
    /// allows a range of d, and a pair of services the range common to its calls. Evidence is a callee that starts
    /// before its caller, or, between a client and a server whose client completed, ends after it; by more than a
    /// millisecond, and short enough to fit in. Without evidence there is no skew, and a callee that merely ends late
    /// is asynchronous. Messages (producer, consumer) are left out.
    pub fn find(trace: &Trace, tree: &Tree, timeline: &Timeline) -> Self {
        let mut pairs: BTreeMap<(&str, &str), Range> = BTreeMap::new();
        for child in 0..tree.span_count() {
            let Some(call) = Call::of(trace, tree, timeline, child) else { continue };
            // Both directions of a pair share an entry: the offset of the second name's clock against the first's.
            let forward = call.caller < call.callee;
            let key = if forward { (call.caller, call.callee) } else { (call.callee, call.caller) };
            let (low, high) = if forward { call.range } else { (negate(call.range.1), negate(call.range.0)) };
            let range = pairs.entry(key).or_insert_with(Range::any);
            (range.low, range.high) = (range.low.max(low), range.high.min(high));
            if call.is_evidence {
                range.nodes.push(child);
            }
        }

        let mut skew = Self { skewed: vec![false; tree.node_count()], offsets: Vec::new() };
        for ((reference, service), range) in pairs.into_iter().filter(|(_, range)| !range.nodes.is_empty()) {
            let fits = range.low <= range.high;
            let middle = (i128::from(range.low) + i128::from(range.high)) / 2;
            if fits {
                range.nodes.iter().for_each(|node| skew.skewed[*node] = true);
            }
            skew.offsets.push(Offset {
                service: service.to_owned(),
                reference: reference.to_owned(),
                ahead_ns: i64::try_from(middle).ok().filter(|_| fits),
                nodes: range.nodes,
            });
        }
        skew
    }

    /// Whether the span sticks out of its parent by an offset that explains all calls between the two services.
    pub fn is_skewed(&self, node: usize) -> bool {
        self.skewed.get(node).copied().unwrap_or(false)
    }

    /// Moves every skewed span, with all below it, to the middle of its parent. Lengths stay.
    pub fn correct(&self, tree: &Tree, timeline: &mut Timeline) {
        let told = timeline.clone();
        let mut shifts = vec![0_i64; tree.node_count()];
        for &node in tree.pre_order() {
            let Some(parent) = tree.parent(node) else { continue };
            let (slot, outer) = (told.slot(node), told.slot(parent));
            let own = if self.is_skewed(node) {
                let slack = outer.length_ns().saturating_sub(slot.length_ns()) / 2;
                outer.start.plus(slack).since(slot.start)
            } else {
                0
            };
            shifts[node] = shifts[parent].saturating_add(own);
            timeline.shift(node, shifts[node]);
        }
    }
}

/// Offsets that fit all calls seen so far, and the spans that give evidence of one.
struct Range {
    low: i64,
    high: i64,
    nodes: Vec<usize>,
}

impl Range {
    fn any() -> Self {
        Self { low: i64::MIN, high: i64::MAX, nodes: Vec::new() }
    }
}

/// One span and its parent in another service.
struct Call<'a> {
    caller: &'a str,
    callee: &'a str,
    /// Offsets of the callee's clock that put it inside its caller.
    range: (i64, i64),
    is_evidence: bool,
}

impl<'a> Call<'a> {
    /// `None` if the span's and its parent's times say nothing about clocks.
    fn of(trace: &'a Trace, tree: &Tree, timeline: &Timeline, child: usize) -> Option<Self> {
        let parent = tree.parent(child).filter(|parent| !tree.is_placeholder(*parent))?;
        let (outer, inner) = (&trace.spans[parent], &trace.spans[child]);
        let (caller, callee) = (outer.service()?, inner.service()?);
        let (outer_slot, inner_slot) = (timeline.slot(parent), timeline.slot(child));
        let is_message = outer.span_kind() == Some(SpanKind::Producer) || inner.span_kind() == Some(SpanKind::Consumer);
        let fits = inner_slot.length_ns() <= outer_slot.length_ns();
        if caller == callee || is_message || !fits || !is_timed(outer_slot) || !is_timed(inner_slot) {
            return None;
        }

        let (low, high) = (inner_slot.end.since(outer_slot.end), inner_slot.start.since(outer_slot.start));
        let is_rpc = outer.span_kind() == Some(SpanKind::Client) && inner.span_kind() == Some(SpanKind::Server);
        let waited = is_rpc && outer_slot.outcome == Some(Outcome::Completed);
        let is_evidence = high < -TOLERANCE_NS || (low > TOLERANCE_NS && waited);
        // A callee that ends late without being evidence is asynchronous: its end says nothing.
        let low = if low > 0 && !is_evidence { i64::MIN } else { low };
        Some(Self { caller, callee, range: (low, high), is_evidence })
    }
}

fn is_timed(slot: &Slot) -> bool {
    !slot.is_open() && !slot.unknown_start && !slot.unknown_end && !slot.clock_suspect && slot.backwards_ns == 0
}

fn negate(ns: i64) -> i64 {
    // The ends of the range stand for "no bound" and stay so.
    if ns == i64::MIN {
        i64::MAX
    } else if ns == i64::MAX {
        i64::MIN
    } else {
        -ns
    }
}
