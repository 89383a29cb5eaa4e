//! Spans that come in parts: a start now, a completion later, with rules between.
//!
//! A start comes before anybody knows that its span fails. One that a rule drops is therefore set aside for a while: a
//! completion that fails takes it along, so that a failed span is kept whole; a completion that tells nothing but its end
//! is recognised by it, and dropped with it. And a minimum duration must not drop the completion of a start that was kept,
//! which would read as abandoned: operations that are seen to come in parts are left alone by it.
//!
//! What is remembered is bounded and this process's own. Where it is lost or on another replica, a failed completion is
//! kept by itself, and a bare completion of a dropped start is kept too: too much, not too little. Of a minimum duration that
//! is not true: a replica that has seen only completions of an operation takes them for whole spans, and drops the short
//! ones, though another may have stored their starts, which then read as abandoned.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::sieve::{Sieve, Spared, Verdict};
use crate::model::merge::merge;
use crate::model::span::{Span, SpanKey};
use crate::model::time::UnixNanos;

/// Memory for starts that are set aside.
const MAX_BYTES: usize = 8 << 20;
/// How long they are: that of an open span.
const MAX_AGE_NS: i64 = crate::model::span::DEFAULT_DEADLINE_NS;
/// Operations that are known to come in parts.
const MAX_OPERATIONS: usize = 16_384;

/// What is remembered from one request to the next.
#[derive(Debug)]
pub struct Sift {
    aside: Aside,
    in_parts: HashSet<u64>,
    /// Since when operations are watched: of spans that began before, nobody knows how they come.
    watched_since: UnixNanos,
}

/// How often a rule said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub verdict: Verdict,
    pub spans: u64,
}

impl Sift {
    /// Remembers nothing yet. `now`: whatever begins later is watched.
    pub fn new(now: UnixNanos) -> Self {
        Self { aside: Aside::default(), in_parts: HashSet::new(), watched_since: now }
    }

    /// Whether a completion may come for something that was set aside.
    pub fn is_idle(&self) -> bool {
        self.aside.spans.is_empty()
    }

    /// Takes what is not to be kept out of `spans`, puts in what was set aside and is to be kept after all, and counts what
    /// the rules said. The order of those that stay is theirs. Doing it again with the same spans gives the same.
    pub fn apply(&mut self, sieve: &Sieve, spans: Vec<Span>) -> (Vec<Span>, Vec<Count>) {
        let mut counts: Vec<Count> = Vec::new();
        let mut kept = Vec::with_capacity(spans.len());
        for span in spans {
            self.aside.forget_before(span.seen_at.plus(-MAX_AGE_NS));
            let mut before = self.aside.spans.get(&span.key()).map(|(_, start)| start.clone());
            // All that is known of it decides.
            let whole = before.as_ref().map(|start| merge(start.clone(), span.clone()));
            let whole_span = whole.as_ref().unwrap_or(&span);
            let mut verdict = sieve.judge(whole_span);
            self.watch(whole_span, &mut verdict);
            match counts.iter_mut().find(|count| count.verdict == verdict) {
                Some(count) => count.spans += 1,
                None if verdict != Verdict::Free => counts.push(Count { verdict, spans: 1 }),
                None => {}
            }
            match verdict {
                Verdict::Dropped(..) if whole_span.status.is_terminal() && before.is_none() => {}
                Verdict::Dropped(..) => self.aside.put(whole.unwrap_or(span)),
                Verdict::Free | Verdict::Spared(..) => {
                    // What was said of it by now counts as heard of with the first word: if its trace was deleted since, no part
                    // of what was deleted comes back.
                    before.iter_mut().for_each(|start| start.seen_at = start.created_at);
                    kept.extend(before);
                    kept.push(span);
                    // It stays aside until its time is over: a request that is refused for want of room comes again, and a
                    // later word about a span that failed belongs to it.
                    if let Some(whole) = whole {
                        self.aside.put(whole);
                    }
                }
            }
        }
        (kept, counts)
    }

    /// Learns which operations come in parts, and spares them from a minimum duration.
    fn watch(&mut self, span: &Span, verdict: &mut Verdict) {
        match *verdict {
            Verdict::Spared(_, Spared::Unknown) => {
                if self.in_parts.len() >= MAX_OPERATIONS {
                    self.in_parts.clear();
                    self.watched_since = span.created_at;
                }
                self.in_parts.insert(operation(span));
            }
            Verdict::Dropped(rule, super::Reason::Short) => {
                let is_watched = span.started_at.is_some_and(|begun| begun >= self.watched_since);
                if !is_watched || self.in_parts.contains(&operation(span)) {
                    *verdict = Verdict::Spared(rule, Spared::InParts);
                }
            }
            _ => {}
        }
    }
}

fn operation(span: &Span) -> u64 {
    let mut hasher = DefaultHasher::new();
    (span.service(), span.operation()).hash(&mut hasher);
    hasher.finish()
}

/// Starts that were dropped, oldest first, within [`MAX_BYTES`].
#[derive(Debug, Default)]
struct Aside {
    spans: HashMap<SpanKey, (u64, Span)>,
    /// Keys in the order in which they came; one that came again counts by its last number.
    order: VecDeque<(u64, SpanKey)>,
    next: u64,
    bytes: usize,
}

impl Aside {
    fn put(&mut self, span: Span) {
        let key = span.key();
        self.bytes += span.weight();
        if let Some((_, old)) = self.spans.insert(key.clone(), (self.next, span)) {
            self.bytes = self.bytes.saturating_sub(old.weight());
        }
        self.order.push_back((self.next, key));
        self.next += 1;
        while self.bytes > MAX_BYTES || self.order.len() > 2 * self.spans.len() + 64 {
            if !self.forget_oldest() {
                return;
            }
        }
    }

    fn forget_before(&mut self, instant: UnixNanos) {
        while let Some((number, key)) = self.order.front() {
            let is_young = self.spans.get(key).is_some_and(|(of, span)| of == number && span.seen_at >= instant);
            if is_young || !self.forget_oldest() {
                return;
            }
        }
    }

    /// `false` when there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some((number, key)) = self.order.pop_front() else { return false };
        if self.spans.get(&key).is_some_and(|(of, _)| *of == number)
            && let Some((_, span)) = self.spans.remove(&key)
        {
            self.bytes = self.bytes.saturating_sub(span.weight());
        }
        true
    }
}
