//! What is odd about a trace, in plain sentences.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::ids::SpanId;
use crate::model::rollup::{Keeping, TraceRollup};
use crate::model::span::Outcome;
use crate::model::trace::Trace;

use super::duration::human;
use super::skew::{Offset, Skew};
use super::timeline::{Slot, Timeline};
use super::tree::{Cut, Tree};

/// Something that the reader of a waterfall should know before trusting it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Note {
    pub code: NoteCode,
    /// One sentence, without a final dot. May quote names that traced programs chose.
    pub message: String,
    /// The spans it is about, the first [`MAX_IDS`] of them.
    #[schema(value_type = Vec<String>)]
    pub span_ids: Vec<SpanId>,
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoteCode {
    /// Not all spans of the trace were read.
    Incomplete,
    /// Spans name a parent that is not among the spans.
    MissingParent,
    /// A span names itself as its parent.
    SelfParent,
    /// Spans are each other's ancestors.
    Cycle,
    SeveralRoots,
    /// A span told an end that is before its start.
    EndsBeforeStart,
    /// Times before 2000, or later than they can be.
    ClockSuspect,
    /// One clock offset explains why spans stick out of their parents.
    ClockSkew,
    /// Spans start before their parents, and no clock offset explains it.
    StartsBeforeParent,
    /// Spans end after their parents.
    OutlivesParent,
    UnknownStart,
    UnknownEnd,
    Abandoned,
    /// Some of the trace's spans were removed for their age.
    SpansPartial,
    /// All of the trace's spans were removed for their age.
    SpansExpired,
    /// Spans of that time were not taken, as an operator wanted.
    LeftOut,
}

/// Span ids that one note lists at most.
pub const MAX_IDS: usize = 10;

/// Notes of one code that are spelled out; the rest are counted in one more.
const MAX_OF_A_CODE: usize = 10;

/// By how much a child must stick out of its parent to be worth a sentence: less is rounding.
const WORTH_SAYING_NS: i64 = 1_000_000;

/// All that is odd about the trace, from the shape to the times, at most a few dozen notes.
pub fn collect(
    trace: &Trace,
    tree: &Tree,
    told: &Timeline,
    skew: &Skew,
    options: &super::waterfall::Options,
) -> Vec<Note> {
    let notes = Notes { trace, tree, told };
    let mut all = Vec::new();
    if trace.truncated {
        let message = format!("the trace has more than {} spans; only these were read", tree.span_count());
        all.push(Note { code: NoteCode::Incomplete, message, span_ids: Vec::new() });
    }
    all.extend(notes.missing_parents());
    all.extend(notes.cuts());
    all.extend(notes.several_roots());
    all.extend(notes.backwards());
    all.extend(notes.suspects());
    all.extend(notes.skews(skew, options.correct_skew));
    all.extend(notes.sticking_out(skew));
    all.extend(notes.unknown_times());
    all.extend(notes.abandoned(options.deadline_ns));
    all
}

/// What became of the trace's spans with the time.
pub fn keeping(keeping: &Keeping) -> Option<Note> {
    let (code, message) = match (keeping.spans_expired_at, keeping.spans_partial) {
        (Some(at), _) => {
            let day = at.date();
            (
                NoteCode::SpansExpired,
                format!("its spans were removed for their age on {day}; this summary is what is left"),
            )
        }
        (None, true) => {
            let message = "some of its spans were removed for their age; lists have the summary of all of them";
            (NoteCode::SpansPartial, message.to_owned())
        }
        (None, false) => return None,
    };
    Some(Note { code, message, span_ids: Vec::new() })
}

/// What went wrong in a trace that has no spans any more.
pub fn last_error(rollup: &TraceRollup) -> Option<Note> {
    let why = rollup.error_message.as_deref().or(rollup.error_type.as_deref())?;
    let whose = rollup.error_service.as_deref().map_or(String::new(), |service| format!(" in {service}"));
    let message = format!("it failed{whose}: {why}");
    Some(Note { code: NoteCode::SpansExpired, message, span_ids: Vec::new() })
}

struct Notes<'a> {
    trace: &'a Trace,
    tree: &'a Tree,
    told: &'a Timeline,
}

impl Notes<'_> {
    fn missing_parents(&self) -> Vec<Note> {
        let placeholders = self.tree.roots().iter().filter_map(|node| Some((*node, self.tree.missing_id(*node)?)));
        let (spelled, rest): (Vec<_>, Vec<_>) = placeholders.enumerate().partition(|(index, _)| *index < MAX_OF_A_CODE);
        let mut notes: Vec<Note> = spelled
            .into_iter()
            .map(|(_, (node, id))| {
                let orphans = self.tree.children(node);
                let message = format!("{} parent {id}, which has not arrived", self.who(orphans, "names", "name"));
                self.note(NoteCode::MissingParent, message, orphans)
            })
            .collect();
        if !rest.is_empty() {
            let orphans: Vec<usize> =
                rest.iter().flat_map(|(_, (node, _))| self.tree.children(*node)).copied().collect();
            let message = format!(
                "{} {} further parents, which have not arrived either",
                self.who(&orphans, "names", "name"),
                rest.len()
            );
            notes.push(self.note(NoteCode::MissingParent, message, &orphans));
        }
        notes
    }

    fn cuts(&self) -> Vec<Note> {
        let (spelled, rest) = self.tree.cuts().split_at(self.tree.cuts().len().min(MAX_OF_A_CODE));
        let mut notes: Vec<Note> = spelled.iter().map(|cut| self.cut(cut)).collect();
        if !rest.is_empty() {
            let nodes: Vec<usize> = rest.iter().map(|cut| cut.node).collect();
            let message = format!("{} further circles of spans that are each other's ancestors were cut", rest.len());
            notes.push(self.note(NoteCode::Cycle, message, &nodes));
        }
        notes
    }

    fn cut(&self, cut: &Cut) -> Note {
        let name = self.name(cut.node);
        if cut.circle.len() == 1 {
            let message = format!("{name} names itself as its parent; drawn as a root");
            return self.note(NoteCode::SelfParent, message, &cut.circle);
        }
        let message =
            format!("{} spans are each other's ancestors; drawn as if {name} had no parent", cut.circle.len());
        self.note(NoteCode::Cycle, message, &cut.circle)
    }

    fn several_roots(&self) -> Option<Note> {
        let has_parent_id = |node: usize| self.trace.spans[node].parent_span_id.is_some();
        let roots: Vec<usize> =
            self.tree.roots().iter().copied().filter(|n| !self.tree.is_placeholder(*n) && !has_parent_id(*n)).collect();
        let message = format!("{} spans have no parent; the trace is named after the first", roots.len());
        (roots.len() > 1).then(|| self.note(NoteCode::SeveralRoots, message, &roots))
    }

    fn backwards(&self) -> Option<Note> {
        let (nodes, most) = self.select(|_, slot| slot.backwards_ns);
        if nodes.is_empty() {
            return None;
        }
        let they = if nodes.len() == 1 { "it starts" } else { "they start" };
        let message = format!("{} before {they}; drawn without length", self.by_how_much(&nodes, "ends", "end", most));
        Some(self.note(NoteCode::EndsBeforeStart, message, &nodes))
    }

    fn suspects(&self) -> Option<Note> {
        let (nodes, _) = self.select(|_, slot| i64::from(slot.clock_suspect));
        let message = format!(
            "{} times that cannot be right (before the year 2000, or later than the span was last heard of)",
            self.who(&nodes, "has", "have")
        );
        (!nodes.is_empty()).then(|| self.note(NoteCode::ClockSuspect, message, &nodes))
    }

    fn skews(&self, skew: &Skew, corrected: bool) -> Vec<Note> {
        let sentence = |offset: &Offset, ahead_ns: i64| {
            let by = human(ahead_ns.saturating_abs());
            let way = if ahead_ns < 0 { "behind" } else { "ahead of" };
            let moved = if corrected { "; its spans were moved into their parents" } else { "" };
            format!("the clock of {} seems {by} {way} {}{moved}", offset.service, offset.reference)
        };
        skew.offsets
            .iter()
            .filter_map(|offset| Some((offset, offset.ahead_ns?)))
            .take(MAX_OF_A_CODE)
            .map(|(offset, ahead_ns)| self.note(NoteCode::ClockSkew, sentence(offset, ahead_ns), &offset.nodes))
            .collect()
    }

    fn sticking_out(&self, skew: &Skew) -> Vec<Note> {
        let outside = |node: usize, by: &dyn Fn(&Slot, &Slot) -> i64| {
            let parent = self.tree.parent(node).filter(|parent| !self.tree.is_placeholder(*parent));
            parent.filter(|_| !skew.is_skewed(node)).map_or(0, |parent| {
                let ns = by(self.told.slot(node), self.told.slot(parent));
                if ns > WORTH_SAYING_NS { ns } else { 0 }
            })
        };
        let is_plain = |slot: &Slot| !slot.clock_suspect && !slot.unknown_start && slot.backwards_ns == 0;
        let (early, most_early) =
            self.select(
                |node, slot| {
                    if is_plain(slot) { outside(node, &|slot, parent| parent.start.since(slot.start)) } else { 0 }
                },
            );
        let (late, most_late) = self.select(|node, slot| {
            let has_ended = is_plain(slot) && !slot.is_open();
            if has_ended { outside(node, &|slot, parent| slot.end.since(parent.end)) } else { 0 }
        });
        let mut notes = Vec::new();
        if !early.is_empty() {
            let message =
                format!("{} before {}", self.by_how_much(&early, "starts", "start", most_early), parents(&early));
            notes.push(self.note(NoteCode::StartsBeforeParent, message, &early));
        }
        if !late.is_empty() {
            let message = format!("{} after {}", self.by_how_much(&late, "ends", "end", most_late), parents(&late));
            notes.push(self.note(NoteCode::OutlivesParent, message, &late));
        }
        notes
    }

    fn unknown_times(&self) -> Vec<Note> {
        let (starts, _) = self.select(|_, slot| i64::from(slot.unknown_start));
        let (ends, _) = self.select(|_, slot| i64::from(slot.unknown_end));
        let mut notes = Vec::new();
        if !starts.is_empty() {
            let message = format!("{} without a start; drawn at the end", self.who(&starts, "came", "came"));
            notes.push(self.note(NoteCode::UnknownStart, message, &starts));
        }
        if !ends.is_empty() {
            let message = format!(
                "{} at a time that was not told; drawn as long as the children",
                self.who(&ends, "ended", "ended")
            );
            notes.push(self.note(NoteCode::UnknownEnd, message, &ends));
        }
        notes
    }

    fn abandoned(&self, deadline_ns: i64) -> Option<Note> {
        let (nodes, _) = self.select(|_, slot| i64::from(slot.outcome == Some(Outcome::Abandoned)));
        let message = format!(
            "{} ended, and nothing was heard of {} for more than {}",
            self.who(&nodes, "never", "never"),
            if nodes.len() == 1 { "it" } else { "them" },
            human(deadline_ns)
        );
        (!nodes.is_empty()).then(|| self.note(NoteCode::Abandoned, message, &nodes))
    }

    /// The spans for which `amount` is above 0, from the top of the picture down, and the greatest amount.
    fn select(&self, amount: impl Fn(usize, &Slot) -> i64) -> (Vec<usize>, i64) {
        let (mut nodes, mut most) = (Vec::new(), 0);
        for &node in self.tree.pre_order().iter().filter(|node| !self.tree.is_placeholder(**node)) {
            let ns = amount(node, self.told.slot(node));
            if ns > 0 {
                nodes.push(node);
                most = most.max(ns);
            }
        }
        (nodes, most)
    }

    fn note(&self, code: NoteCode, message: String, nodes: &[usize]) -> Note {
        let span_ids = nodes.iter().take(MAX_IDS).map(|node| self.trace.spans[*node].span_id).collect();
        Note { code, message, span_ids }
    }

    /// `modal.inference (00f0…) names`, `3 spans name`.
    fn who(&self, nodes: &[usize], singular: &str, plural: &str) -> String {
        match nodes {
            [one] => format!("{} {singular}", self.name(*one)),
            several => format!("{} spans {plural}", several.len()),
        }
    }

    /// `modal.inference (00f0…) ends 5 ms`, `3 spans end up to 5 ms`.
    fn by_how_much(&self, nodes: &[usize], singular: &str, plural: &str, most_ns: i64) -> String {
        let up_to = if nodes.len() == 1 { "" } else { "up to " };
        format!("{} {up_to}{}", self.who(nodes, singular, plural), human(most_ns))
    }

    fn name(&self, node: usize) -> String {
        let span = &self.trace.spans[node];
        match span.operation() {
            Some(operation) => format!("{operation} ({})", span.span_id),
            None => format!("span {}", span.span_id),
        }
    }
}

fn parents(nodes: &[usize]) -> &'static str {
    if nodes.len() == 1 { "its parent" } else { "their parents" }
}
