//! Key rules: names whose values are secrets.
//!
//! A rule is a name or a glob (`*` is any text). It is compared without regard to case with the whole name or with what
//! follows any dot in it; `_` and `-` in it stand for `_`, `-`, a space, or nothing (`api_key` is `apiKey` and `API-Key` too).

use regex::bytes::{RegexSet, RegexSetBuilder};

use super::defaults::{DEFAULT_KEYS, KeyRule};
use super::{MARK, RuleError};
use crate::settings::redaction::RedactionSettings;

#[derive(Debug)]
pub(super) struct Keys {
    rules: Vec<Rule>,
    set: RegexSet,
}

#[derive(Debug)]
struct Rule {
    name: String,
    /// Of the defaults: which values are no secrets, whatever their name.
    least: Option<usize>,
}

/// Bytes of the longest name that is looked at whole; a longer one is none of a rule's.
const LONGEST: usize = 1_024;

impl Keys {
    pub fn new(settings: &RedactionSettings) -> Result<Self, RuleError> {
        let defaults: &[KeyRule] = if settings.defaults { DEFAULT_KEYS } else { &[] };
        let own = settings.keys.iter().map(|key| Rule { name: key.clone(), least: None });
        let rules: Vec<Rule> = own
            .chain(defaults.iter().map(|rule| Rule { name: rule.name.to_owned(), least: Some(rule.least) }))
            .collect();
        let set = RegexSetBuilder::new(rules.iter().map(|rule| expression(&rule.name)))
            .case_insensitive(true)
            .unicode(false)
            .build()
            .map_err(|error| RuleError { rule: "keys".into(), reason: error.to_string() })?;
        Ok(Self { rules, set })
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }

    /// The operator's own rule that a field's name is, if any: the defaults know no field.
    pub fn rule_of_field(&self, name: &str) -> Option<usize> {
        self.set.matches(name.as_bytes()).iter().next().filter(|rule| self.rules[*rule].least.is_none())
    }

    /// The rule that takes the value of this name, which is JSON text.
    pub fn rule(&self, name: &str, value: &str) -> Option<usize> {
        if self.is_empty() || name.len() > LONGEST || matches!(value, "null" | "\"\"" | super::QUOTED) {
            return None;
        }
        let takes = |rule: &usize| match self.rules[*rule].least {
            None => true,
            // No secret is a number or a yes.
            Some(least) => match value.as_bytes().first() {
                Some(b'"') => value.len() - 2 >= least && value.trim_matches('"') != MARK,
                Some(b'{' | b'[') => true,
                _ => false,
            },
        };
        self.set.matches(name.as_bytes()).iter().find(takes)
    }

    /// Texts in lower case, one of which is in every object that has a member of a rule's; `None` where that cannot be said.
    pub fn literals(&self) -> Option<Vec<String>> {
        let mut literals = Vec::new();
        for rule in &self.rules {
            literals.extend(literals_of(&rule.name)?);
        }
        Some(literals)
    }
}

/// A rule as a regular expression.
fn expression(rule: &str) -> String {
    let mut text = r"^(?s:.*\.)?".to_owned();
    for c in rule.chars() {
        match c {
            '*' => text.push_str("(?s:.*)"),
            '_' | '-' => text.push_str("[-_ ]?"),
            c => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    text.push('$');
    text
}

/// What names of a rule hold at their end, with the quote behind them; of a rule that ends in `*`, its longest word.
fn literals_of(rule: &str) -> Option<Vec<String>> {
    const LEAST: usize = 3;
    const SHORT: usize = 5;
    let rule = rule.to_lowercase();
    if !rule.is_ascii() {
        // Outside of ASCII the case of letters is not known here.
        return None;
    }
    if rule.ends_with('*') {
        let word = rule.split(['*', '_', '-']).max_by_key(|word| word.len()).filter(|word| word.len() >= LEAST)?;
        return Some(vec![word.to_owned()]);
    }
    let end = rule.rsplit('*').next().unwrap_or_default();
    let (before, last) = end.rsplit_once(['_', '-']).map_or(("", end), |(before, last)| (before, last));
    let word = before.rsplit(['_', '-']).next().unwrap_or_default();
    match (last.len(), word) {
        (SHORT.., _) => Some(vec![format!("{last}\"")]),
        (_, "") if last.len() >= LEAST => Some(vec![format!("{last}\"")]),
        (_, "") => None,
        (_, word) => Some(["_", "-", " ", ""].map(|between| format!("{word}{between}{last}\"")).to_vec()),
    }
}
