//! Whether anything in a span may be a secret: a look that costs little, is never wrong when it says no, and is wrong
//! seldom when it says yes.

use aho_corasick::packed::Searcher;
use aho_corasick::{AhoCorasick, packed};

use super::RuleError;
use super::card;
use super::keys::Keys;
use super::patterns::{Patterns, defaults};

#[derive(Debug)]
pub(super) struct Sieve {
    /// Of patterns, in their own case.
    exact: Option<Words>,
    /// Of keys and patterns, in lower case.
    lower: Option<Words>,
    own: Vec<regex::bytes::Regex>,
    /// Whether passwords in URLs and cards are looked for.
    defaults: bool,
    /// Whether some rule says nothing of what must be there.
    blind: bool,
}

/// Many words at once.
#[derive(Debug)]
enum Words {
    /// By vector instructions, where there are not too many.
    Packed(Searcher),
    Automaton(AhoCorasick),
}

impl Words {
    fn new(words: &[String]) -> Result<Option<Self>, RuleError> {
        if words.is_empty() {
            return Ok(None);
        }
        if let Some(searcher) = packed::Builder::new().extend(words).build() {
            return Ok(Some(Words::Packed(searcher)));
        }
        let automaton = AhoCorasick::new(words);
        let refused = |error: aho_corasick::BuildError| RuleError { rule: "keys".into(), reason: error.to_string() };
        Ok(Some(Words::Automaton(automaton.map_err(refused)?)))
    }

    fn is_in(&self, text: &[u8]) -> bool {
        match self {
            Words::Packed(searcher) => searcher.find(text).is_some(),
            Words::Automaton(automaton) => automaton.is_match(text),
        }
    }
}

/// Adds a text to those that are looked at together. What ends in one does not begin in another.
pub(super) fn gather(buffer: &mut Vec<u8>, text: &str) {
    buffer.push(b'\n');
    buffer.extend_from_slice(text.as_bytes());
}

impl Sieve {
    pub fn new(keys: &Keys, patterns: &Patterns) -> Result<Self, RuleError> {
        let rules = defaults(patterns.has_cards());
        let literals = |any_case: bool| {
            let of_case = rules.iter().filter(move |rule| rule.any_case == any_case);
            of_case.flat_map(|rule| rule.literals).map(|literal| (*literal).to_owned())
        };
        let of_keys = keys.literals();
        let blind = of_keys.is_none();
        let mut lower: Vec<String> = literals(true).chain(of_keys.unwrap_or_default()).collect();
        if !keys.is_empty() {
            // A name may be written with escapes.
            lower.push("\\u00".to_owned());
        }
        // A word within a word says no more.
        let all = lower.clone();
        lower.retain(|word| !all.iter().any(|other| other != word && word.contains(other.as_str())));
        lower.sort();
        lower.dedup();
        let own = patterns.own().map(|regex| regex::bytes::Regex::new(regex.as_str()));
        let own = own.collect::<Result<_, _>>();
        Ok(Self {
            exact: Words::new(&literals(false).collect::<Vec<_>>())?,
            lower: Words::new(&lower)?,
            own: own.map_err(|error| RuleError { rule: "patterns".into(), reason: error.to_string() })?,
            defaults: patterns.has_cards(),
            blind,
        })
    }

    /// Whether a rule may match in the gathered texts, which are spoilt by it.
    pub fn may_match(&self, buffer: &mut [u8]) -> bool {
        // The operator's patterns are said of texts, not of their JSON: what is written with an escape is looked at.
        let of_own =
            !self.own.is_empty() && (buffer.contains(&b'\\') || self.own.iter().any(|regex| regex.is_match(buffer)));
        if self.blind || of_own || self.exact.as_ref().is_some_and(|words| words.is_in(buffer)) {
            return true;
        }
        if self.defaults && (buffer.contains(&b'@') || card::may_hold(buffer)) {
            return true;
        }
        buffer.make_ascii_lowercase();
        self.lower.as_ref().is_some_and(|words| words.is_in(buffer))
    }
}
