//! Patterns: shapes of secrets in any text.

use std::ops::Range;

use regex::Regex;

use super::card;
use super::defaults::{DEFAULT_PATTERNS, PatternRule};
use super::{Hits, MARK, RuleError};
use crate::settings::redaction::RedactionSettings;

#[derive(Debug)]
pub(super) struct Patterns {
    rules: Vec<Rule>,
    /// The operator's own, which come first.
    own: usize,
    cards: bool,
}

#[derive(Debug)]
struct Rule {
    name: String,
    regex: Regex,
}

impl Patterns {
    pub fn new(settings: &RedactionSettings) -> Result<Self, RuleError> {
        let refused = |rule: &str, error: regex::Error| RuleError { rule: rule.into(), reason: error.to_string() };
        let mut rules = Vec::new();
        for (index, text) in settings.patterns.iter().enumerate() {
            let regex = Regex::new(text).map_err(|error| refused(text, error))?;
            rules.push(Rule { name: format!("patterns[{index}]"), regex });
        }
        let own = rules.len();
        for PatternRule { name, expression, .. } in defaults(settings.defaults) {
            let regex = Regex::new(expression).map_err(|error| refused(name, error))?;
            rules.push(Rule { name: (*name).to_owned(), regex });
        }
        Ok(Self { rules, own, cards: settings.defaults })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str()).chain(self.cards.then_some("card number"))
    }

    /// Those of the operator, in any of which a text may match whatever it holds.
    pub fn own(&self) -> impl Iterator<Item = &Regex> {
        self.rules[..self.own].iter().map(|rule| &rule.regex)
    }

    pub fn has_cards(&self) -> bool {
        self.cards
    }

    /// The text without what the rules match; `None` where that is nothing. Rules count from `first` on.
    pub fn apply(&self, text: &str, first: usize, hits: &mut Hits) -> Option<String> {
        let mut clean: Option<String> = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let ranges = matches(&rule.regex, clean.as_deref().unwrap_or(text));
            cut(&mut clean, text, &ranges, first + index, hits);
        }
        if self.cards {
            let ranges = card::numbers(clean.as_deref().unwrap_or(text));
            cut(&mut clean, text, &ranges, first + self.rules.len(), hits);
        }
        clean
    }
}

pub(super) fn defaults(wanted: bool) -> &'static [PatternRule] {
    if wanted { DEFAULT_PATTERNS } else { &[] }
}

/// Where the first group matches, or, of a pattern without one, all of it.
fn matches(regex: &Regex, text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    if regex.captures_len() == 1 {
        ranges.extend(regex.find_iter(text).map(|found| found.range()));
    } else if regex.is_match(text) {
        ranges.extend(
            regex.captures_iter(text).filter_map(|found| found.get(1).or(found.get(0))).map(|found| found.range()),
        );
    }
    ranges.retain(|range| !range.is_empty() && text.get(range.clone()) != Some(MARK));
    ranges
}

fn cut(clean: &mut Option<String>, text: &str, ranges: &[Range<usize>], rule: usize, hits: &mut Hits) {
    if ranges.is_empty() {
        return;
    }
    let before = clean.as_deref().unwrap_or(text);
    let mut after = String::with_capacity(before.len());
    let mut copied = 0;
    for range in ranges {
        after.push_str(&before[copied..range.start]);
        after.push_str(MARK);
        copied = range.end;
        hits.add(rule);
    }
    after.push_str(&before[copied..]);
    *clean = Some(after);
}
