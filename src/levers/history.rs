//! How the levers changed: the next state out of a wish, joining what two replicas know, and, for who reads traces later,
//! when what was not kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Action, Change, Levers, MAX_CHANGES, MAX_HISTORY_BYTES, Rule, State, Wish};
use crate::model::ids::TraceId;
use crate::model::time::UnixNanos;

/// A stretch of time in which spans were not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Period {
    #[schema(value_type = String)]
    pub from: UnixNanos,
    /// Absent: no end is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub to: Option<UnixNanos>,
    /// Absent: ingest was switched off, and nothing that came was kept, failed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

impl Levers {
    /// The changes, newest first; at most [`MAX_CHANGES`], and none behind [`MAX_HISTORY_BYTES`] of newer ones.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Where older changes are forgotten: the time of the oldest that is not. Of the time before, nothing is known.
    pub fn forgotten_before(&self) -> Option<UnixNanos> {
        self.changes.last().filter(|oldest| oldest.version > 1).map(|oldest| oldest.at)
    }

    /// What they say now.
    pub fn state(&self) -> State {
        self.changes.first().map(|change| change.state.clone()).unwrap_or_default()
    }

    /// Names the present state, for `If-Match`.
    pub fn tag(&self) -> String {
        self.changes.first().map_or("0".to_owned(), |change| {
            let short: String = change.id.chars().take(8).collect();
            format!("{}-{short}", change.version)
        })
    }

    /// The levers after a wish, or `None` if it changes nothing. A rule that stays holds since it did; one that is over
    /// goes. `id`: random.
    pub fn amended(&self, wish: Wish, at: UnixNanos, by: &str, id: &str) -> Option<Self> {
        let before = self.state();
        let mut state = before.clone();
        if let Some(enabled) = wish.enabled {
            (state.enabled, state.until) = (enabled, wish.until);
        } else if before.until.is_some_and(|until| until <= at) {
            // Over, so that it is not said again.
            (state.enabled, state.until) = (true, None);
        }
        if let Some(rules) = wish.rules {
            state.rules = rules;
        }
        state.rules.retain(|rule| rule.until.is_none_or(|until| at < until));
        for rule in &mut state.rules {
            let is_on = |old: &&Rule| old.until.is_none_or(|until| at < until);
            if let Some(old) = before.rules.iter().filter(is_on).find(|old| is_same(old, rule)) {
                rule.since = old.since;
            }
        }
        let what = differences(&before, &state, at);
        if what.is_empty() {
            return None;
        }
        let version = self.changes.first().map_or(0, |change| change.version) + 1;
        let change = Change { version, id: id.to_owned(), at, by: by.to_owned(), note: wish.note, what, state };
        Some(self.joined(&Self { changes: vec![change] }))
    }

    /// What two replicas know, together. Commutative, associative and idempotent.
    pub fn joined(&self, other: &Self) -> Self {
        let mut changes: Vec<Change> = self.changes.iter().chain(&other.changes).cloned().collect();
        changes.sort_by(|a, b| (b.version, b.at, &b.id).cmp(&(a.version, a.at, &a.id)));
        changes.dedup_by(|a, b| (a.version, a.at, &a.id) == (b.version, b.at, &b.id));
        // What is newer decides alone, and once bytes are short what stays fills them: so it does not matter who forgets
        // first, which a change left out for its own size would undo.
        let mut newer = 0_usize;
        let remembered = changes.iter().take(MAX_CHANGES).take_while(|change| {
            let has_room = newer < MAX_HISTORY_BYTES;
            newer = newer.saturating_add(serde_json::to_vec(change).map_or(usize::MAX, |json| json.len()));
            has_room
        });
        let remembered = remembered.count();
        changes.truncate(remembered);
        Self { changes }
    }

    /// When what was not kept, newest first, as far back as changes are remembered.
    pub fn periods(&self) -> Vec<Period> {
        let mut periods: Vec<Period> = Vec::new();
        let mut later: Option<UnixNanos> = None;
        for change in &self.changes {
            let ends = |until: Option<UnixNanos>| match (until, later) {
                (Some(until), Some(later)) => Some(until.min(later)),
                (until, later) => until.or(later),
            };
            if !change.state.enabled {
                let (from, to) = (change.at, ends(change.state.until));
                match periods.iter_mut().find(|period| period.rule.is_none() && to == Some(period.from)) {
                    Some(next) => next.from = from,
                    None => periods.push(Period { from, to, rule: None }),
                }
            }
            for rule in &change.state.rules {
                // One that stayed over several changes is met at the last of them first.
                let is_known = periods
                    .iter()
                    .any(|period| period.rule.as_ref().is_some_and(|of| is_same(of, rule) && of.since == rule.since));
                if !is_known {
                    periods.push(Period { from: rule.since, to: ends(rule.until), rule: Some(rule.clone()) });
                }
            }
            later = Some(change.at);
        }
        periods.retain(|period| period.to.is_none_or(|to| period.from < to));
        periods.sort_by_key(|period| std::cmp::Reverse(period.from));
        periods
    }

    /// The periods in which spans of a trace that ran from `from` to `to` may have been left out: of the names that the
    /// rule matches ([`Rule::matches`]), unless they failed. A rule that keeps this trace has left out nothing of it. Nothing is
    /// known of the time before the oldest change that is remembered.
    pub fn left_out(&self, trace_id: TraceId, from: UnixNanos, to: UnixNanos) -> Vec<Period> {
        let mut periods = self.periods();
        periods.retain(|period| {
            let is_then = period.from <= to && period.to.is_none_or(|end| from < end);
            let keeps_trace = period.rule.as_ref().is_some_and(|rule| match rule.action {
                Action::KeepFraction { fraction } => super::is_kept(trace_id, fraction),
                Action::Off | Action::MinimumDuration { .. } => false,
            });
            is_then && !keeps_trace
        });
        periods
    }
}

/// What was left out and when, as a sentence without its full stop.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, rule } = self;
        let to = to.map_or("now".to_owned(), |to| to.to_string());
        match rule {
            None => write!(f, "ingest was switched off from {from} to {to}: what came then is missing"),
            Some(Rule { name, service, operation, region, action, .. }) => {
                let which = super::names(service, operation, region);
                write!(f, "of {which} spans may be missing that began from {from} to {to}: rule {name} ({action})")
            }
        }
    }
}

/// Whether a rule is one that was there before: since when and until when it holds aside.
fn is_same(old: &Rule, new: &Rule) -> bool {
    old.name == new.name
        && old.action == new.action
        && (&old.service, &old.operation, &old.region) == (&new.service, &new.operation, &new.region)
}

fn differences(before: &State, after: &State, at: UnixNanos) -> Vec<String> {
    let mut what = Vec::new();
    let switch = |state: &State| match (state.is_off(at), state.until) {
        (false, _) => "on".to_owned(),
        (true, None) => "off".to_owned(),
        (true, Some(until)) => format!("off until {until}"),
    };
    let (was, is) = (switch(before), switch(after));
    if was != is {
        what.push(format!("ingest: {was} -> {is}"));
    }
    let find = |state: &State, name: &str| state.rules.iter().find(|rule| rule.name == name).cloned();
    for rule in &before.rules {
        match find(after, &rule.name) {
            None => what.push(format!("rule {}: {rule} -> removed", rule.name)),
            Some(new) if new != *rule => what.push(format!("rule {}: {rule} -> {new}", rule.name)),
            Some(_) => {}
        }
    }
    for rule in after.rules.iter().filter(|rule| find(before, &rule.name).is_none()) {
        what.push(format!("rule {}: added, {rule}", rule.name));
    }
    let order = |state: &State, other: &State| -> Vec<String> {
        let names = state.rules.iter().map(|rule| rule.name.clone());
        names.filter(|name| find(other, name).is_some()).collect()
    };
    let (was, is) = (order(before, after), order(after, before));
    if was != is {
        what.push(format!("order of rules: {} -> {}", was.join(", "), is.join(", ")));
    }
    what
}
