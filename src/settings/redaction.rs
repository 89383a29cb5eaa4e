//! `[redaction]`: what is cut out of spans before anything keeps them.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::problem::Problems;

/// Rules beside those that hold by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedactionSettings {
    /// Whether the rules that come with the program hold.
    pub defaults: bool,
    /// Names of attributes and of members at any depth, whose values go: names or globs.
    pub keys: Vec<String>,
    /// Regular expressions: what they match goes, or what their first group matches.
    pub patterns: Vec<String>,
}

impl Default for RedactionSettings {
    fn default() -> Self {
        Self { defaults: true, keys: Vec::new(), patterns: Vec::new() }
    }
}

/// Rules of a kind at most.
const MOST: usize = 200;

impl RedactionSettings {
    pub(super) fn check(&self, problems: &mut Problems) {
        for (key, rules) in [("redaction.keys", &self.keys), ("redaction.patterns", &self.patterns)] {
            if rules.len() > MOST {
                problems.add(key, format!("has {} rules; accepted are at most {MOST}", rules.len()));
            }
        }
        for (index, rule) in self.keys.iter().enumerate() {
            let says_nothing = !rule.chars().any(char::is_alphanumeric);
            if says_nothing || rule.len() > 128 {
                let text =
                    format!("is {rule:?}; accepted are names such as \"customer_ssn\" or \"*_iban\", up to 128 bytes");
                problems.add(format!("redaction.keys[{index}]"), text);
            }
        }
        for (index, rule) in self.patterns.iter().enumerate() {
            let key = format!("redaction.patterns[{index}]");
            match Regex::new(rule) {
                Err(error) => {
                    // The last line says what, those before it show where.
                    let text = error.to_string();
                    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                    problems.add(key, format!("is {rule:?}, which is no regular expression: {reason}"));
                }
                Ok(regex) if regex.is_match("") => {
                    problems
                        .add(key, format!("is {rule:?}, which matches nothing at all as well: everything would go"));
                }
                Ok(_) => {}
            }
        }
    }
}
