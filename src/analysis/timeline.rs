//! When each span ran, as it is drawn: told times where there are any, the best that is known where there are none.
//!
//! Owns what is open, abandoned, unknown or absurd about times. Leaves the shape to [`super::tree`], and clocks that
//! disagree to [`super::skew`].

use crate::model::span::{End, Outcome, Span};
use crate::model::time::UnixNanos;
use crate::model::trace::Trace;

use super::tree::Tree;

/// The place of every node of a tree in time. All arithmetic is held within the range of [`UnixNanos`].
#[derive(Debug, Clone)]
pub struct Timeline {
    slots: Vec<Slot>,
}

/// One node's place in time. `start <= end` always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub start: UnixNanos,
    pub end: UnixNanos,
    /// `None` for placeholders, of which nothing is known.
    pub outcome: Option<Outcome>,
    /// Its start was not told.
    pub unknown_start: bool,
    /// It has ended, but when was not told.
    pub unknown_end: bool,
    /// One of its times cannot be right: see [`is_clock_suspect`].
    pub clock_suspect: bool,
    /// How long before its start it claims to have ended; 0 for most.
    pub backwards_ns: i64,
}

/// Before this instant (2000-01-01) no traced program ran.
const EARLIEST: UnixNanos = UnixNanos::new(946_684_800_000_000_000);

/// How far a sender's clock may be ahead of ours before a time that lies in our future is called absurd: five minutes,
/// the tolerance that Kerberos made usual (RFC 4120, section 1.3).
const AHEAD_NS: i64 = 300 * 1_000_000_000;

/// Whether a told time lies before 2000, a start more than five minutes after the service first heard of the span, or an
/// end more than five minutes after `now` (a completion may come long after its start was told).
pub fn is_clock_suspect(span: &Span, now: UnixNanos) -> bool {
    is_start_suspect(span) || is_absurd(span.ended_at(), now)
}

/// The part of [`is_clock_suspect`] that needs no clock of ours.
pub(super) fn is_start_suspect(span: &Span) -> bool {
    is_absurd(span.started_at, span.created_at)
}

fn is_absurd(told: Option<UnixNanos>, heard_at: UnixNanos) -> bool {
    told.is_some_and(|at| at < EARLIEST || at.since(heard_at) > AHEAD_NS)
}

impl Timeline {
    /// Places every node of `tree`, which must be the tree of `trace`. Linear.
    ///
    /// - An ended span runs from its start to its end; one that ends before it starts has no length.
    /// - An open span runs to `now`; one that is abandoned, to the last sign of life of itself or anything below it
    ///   (the trace's root: of anything in the trace). A parent is as alive as its children.
    /// - A span of unknown start is drawn at its end without length, or where its parent starts if it has no end
    ///   either; if it told a duration, that long.
    /// - A span that has ended at an unknown time lasts as long as its children show.
    /// - A placeholder spans its orphans, and is as suspect as all of them.
    pub fn new(trace: &Trace, tree: &Tree, now: UnixNanos, deadline_ns: i64) -> Self {
        let alive = last_signs_of_life(trace, tree, now);
        let mut slots = vec![Slot::at(now); tree.node_count()];
        for &node in tree.pre_order() {
            slots[node] = if tree.is_placeholder(node) {
                let orphans = tree.children(node);
                let clock_suspect = orphans.iter().all(|orphan| is_clock_suspect(&trace.spans[*orphan], now));
                Slot { clock_suspect, ..Slot::at(earliest_start(trace, orphans, now)) }
            } else {
                let parent_start = tree.parent(node).map(|parent| slots[parent].start);
                place(&trace.spans[node], parent_start, alive[node], now, deadline_ns)
            };
        }
        for &node in tree.pre_order().iter().rev() {
            if slots[node].unknown_end || tree.is_placeholder(node) {
                let children = tree.children(node).iter().map(|child| slots[*child]);
                let last = children.filter(|child| !child.clock_suspect).map(|child| child.end).max();
                slots[node].end = last.unwrap_or_default().max(slots[node].start);
            }
        }
        Self { slots }
    }

    pub fn slot(&self, node: usize) -> &Slot {
        &self.slots[node]
    }

    /// Start and end of the picture: of all nodes with plausible times, or of all if there are none such. `None` for an
    /// empty trace.
    pub fn extent(&self) -> Option<(UnixNanos, UnixNanos)> {
        let bounds = |keep: &dyn Fn(&Slot) -> bool| {
            let kept = || self.slots.iter().filter(|slot| keep(slot));
            Some((kept().map(|slot| slot.start).min()?, kept().map(|slot| slot.end).max()?))
        };
        bounds(&|slot| !slot.clock_suspect).or_else(|| bounds(&|_| true))
    }

    /// Moves a node by `ns`, keeping its length where the range of time allows.
    pub(super) fn shift(&mut self, node: usize, ns: i64) {
        let slot = &mut self.slots[node];
        (slot.start, slot.end) = (slot.start.plus(ns), slot.end.plus(ns));
    }
}

impl Slot {
    fn at(at: UnixNanos) -> Self {
        Self {
            start: at,
            end: at,
            outcome: None,
            unknown_start: false,
            unknown_end: false,
            clock_suspect: false,
            backwards_ns: 0,
        }
    }

    /// Its length as drawn.
    pub fn length_ns(&self) -> i64 {
        self.end.since(self.start)
    }

    /// Not ended: pending, running or abandoned.
    pub fn is_open(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Pending | Outcome::Running | Outcome::Abandoned))
    }

    pub fn is_failed(&self) -> bool {
        self.outcome == Some(Outcome::Failed)
    }
}

/// When each node, or anything below it, last gave a sign of life: an ended span its end.
fn last_signs_of_life(trace: &Trace, tree: &Tree, now: UnixNanos) -> Vec<UnixNanos> {
    let sign = |span: &Span| match span.ended_at() {
        Some(ended_at) => ended_at.min(now),
        None => span.seen_at,
    };
    let mut alive: Vec<UnixNanos> = trace.spans.iter().map(sign).collect();
    let last = alive.iter().copied().max().unwrap_or_default();
    alive.resize(tree.node_count(), UnixNanos::default());
    for &node in tree.pre_order().iter().rev() {
        if let Some(parent) = tree.parent(node) {
            alive[parent] = alive[parent].max(alive[node]);
        }
    }
    if let Some(root) = tree.root_span() {
        alive[root] = last;
    }
    alive
}

fn earliest_start(trace: &Trace, orphans: &[usize], now: UnixNanos) -> UnixNanos {
    let spans = || orphans.iter().map(|node| &trace.spans[*node]);
    let told = |keep: &dyn Fn(&Span) -> bool| {
        spans().filter(|span| keep(span)).filter_map(|span| span.started_at.or(span.ended_at())).min()
    };
    told(&|span| !is_clock_suspect(span, now))
        .or_else(|| told(&|_| true))
        .or_else(|| spans().map(|span| span.created_at).min())
        .unwrap_or_default()
}

fn place(span: &Span, parent_start: Option<UnixNanos>, alive_at: UnixNanos, now: UnixNanos, deadline_ns: i64) -> Slot {
    let start = span.started_at.or(span.ended_at()).or(parent_start).unwrap_or(span.created_at);
    let silent = !span.status.is_terminal() && now.since(alive_at) > deadline_ns;
    let end = match span.end {
        Some(End::At(at)) => at,
        Some(End::After(ns)) => start.plus(ns),
        None if span.status.is_terminal() || span.started_at.is_none() => start,
        None if silent => alive_at,
        None => now,
    };
    Slot {
        end: end.max(start),
        outcome: Some(if silent { Outcome::Abandoned } else { span.status.into() }),
        unknown_start: span.started_at.is_none(),
        unknown_end: span.status.is_terminal() && span.end.is_none(),
        clock_suspect: is_clock_suspect(span, now),
        backwards_ns: span.duration_ns().map_or(0, |ns| ns.min(0).saturating_neg()),
        ..Slot::at(start)
    }
}
