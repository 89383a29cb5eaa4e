//! Redaction: secrets are cut out of spans before anything keeps them. Pure: from settings and a span to a span.
//!
//! Two kinds of rules. A key rule takes the value of a member, at any depth, by the member's name; a pattern takes what it
//! matches out of any text. What they take becomes [`MARK`]; nothing else changes, and JSON stays JSON.
//!
//! Most spans hold nothing of the kind, and what they cost is a look by `sieve`: literal words, without one of which no
//! rule can match, searched for many at a time. Only behind a find are the texts read member by member (`json`). All of
//! it takes time linear in the texts: the patterns are regular expressions without backtracking.

mod card;
mod defaults;
mod json;
mod keys;
mod patterns;
mod sieve;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::attributes::Attributes;
use crate::model::span::{Field, FieldType, Resource, ResourceId, Span};
use crate::settings::redaction::RedactionSettings;

use keys::Keys;
use patterns::Patterns;
use sieve::Sieve;

/// What stands where a secret stood.
pub const MARK: &str = "[redacted]";

/// The rules, ready for use. Cloning is for sharing: hold it in an `Arc`.
#[derive(Debug)]
pub struct Redactor {
    keys: Keys,
    patterns: Patterns,
    sieve: Sieve,
    /// Fields whose names are key rules'.
    fields: Vec<(Field, usize)>,
    /// Of each rule, for metrics; those of keys first.
    names: Vec<String>,
}

/// A rule that cannot be used: settings that were checked have none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the redaction rule {rule:?} cannot be used: {reason}")]
pub struct RuleError {
    pub rule: String,
    pub reason: String,
}

/// How often each rule took something, by the rule's place.
#[derive(Debug, Default)]
struct Hits(Vec<u64>);

impl Hits {
    fn add(&mut self, rule: usize) {
        if self.0.len() <= rule {
            self.0.resize(rule + 1, 0);
        }
        self.0[rule] += 1;
    }
}

/// Texts in which rules may match, whatever they carry.
const TEXTS: [Field; 6] =
    [Field::Operation, Field::StatusMessage, Field::ErrorMessage, Field::ErrorStack, Field::Decision, Field::Result];
const JSONS: [Field; 2] = [Field::Inputs, Field::Outputs];

impl Redactor {
    /// `None` where there are no rules.
    ///
    /// # Errors
    /// [`RuleError`] for a rule that `settings` would have refused.
    pub fn new(settings: &RedactionSettings) -> Result<Option<Self>, RuleError> {
        let keys = Keys::new(settings)?;
        let patterns = Patterns::new(settings)?;
        if keys.is_empty() && patterns.is_empty() {
            return Ok(None);
        }
        let sieve = Sieve::new(&keys, &patterns)?;
        let names = keys.names().chain(patterns.names()).map(str::to_owned).collect();
        let named = |field: &Field| keys.rule_of_field(field.name()).map(|rule| (*field, rule));
        let fields = Field::ALL.iter().filter(|field| field.field_type() != FieldType::Int).filter_map(named).collect();
        Ok(Some(Self { keys, patterns, sieve, fields, names }))
    }

    /// Cuts secrets out of spans. Answers with the rules that took something, by name, and how often.
    pub fn spans(&self, spans: &mut [Span]) -> Vec<(&str, u64)> {
        let mut hits = Hits::default();
        let mut buffer = Vec::new();
        // Spans of a request mostly share one.
        let mut resources: HashMap<ResourceId, Arc<Resource>> = HashMap::new();
        let mut last: Option<ResourceId> = None;
        for span in spans.iter_mut() {
            if let Some(resource) = &span.resource
                && (last != Some(resource.id()) || !resources.is_empty())
            {
                last = Some(resource.id());
                if let Some(clean) = self.resource(resource, &mut resources, &mut buffer, &mut hits) {
                    span.resource = Some(clean);
                }
            }
            self.span(span, &mut buffer, &mut hits);
        }
        let found = hits.0.into_iter().enumerate().filter(|(_, count)| *count > 0);
        found.filter_map(|(rule, count)| Some((self.names.get(rule)?.as_str(), count))).collect()
    }

    /// A JSON text without its secrets; `None` where it has none.
    pub fn json(&self, text: &str) -> Option<String> {
        self.json_counting(text, &mut Hits::default())
    }

    /// A plain text without its secrets; `None` where it has none.
    pub fn text(&self, text: &str) -> Option<String> {
        self.patterns.apply(text, self.keys.len(), &mut Hits::default())
    }

    fn span(&self, span: &mut Span, buffer: &mut Vec<u8>, hits: &mut Hits) {
        for (field, rule) in &self.fields {
            let (field, rule) = (*field, *rule);
            let Some(text) = span.fields.text(field) else { continue };
            let mark = if field.field_type() == FieldType::Json { QUOTED } else { MARK };
            if text != mark {
                span.fields.set_text(field, mark);
                hits.add(rule);
            }
        }
        buffer.clear();
        for field in TEXTS.into_iter().chain(JSONS) {
            if let Some(text) = span.fields.text(field) {
                sieve::gather(buffer, text);
            }
        }
        if !span.attributes.is_empty() {
            sieve::gather(buffer, span.attributes.as_json());
        }
        for event in span.events() {
            sieve::gather(buffer, &event.name);
            sieve::gather(buffer, event.attributes.as_json());
        }
        for link in span.links() {
            sieve::gather(buffer, link.attributes.as_json());
        }
        if self.sieve.may_match(buffer) {
            self.look(span, hits);
        }
    }

    /// Reads every text.
    fn look(&self, span: &mut Span, hits: &mut Hits) {
        for field in TEXTS {
            let clean = span.fields.text(field).and_then(|text| self.patterns.apply(text, self.keys.len(), hits));
            if let Some(clean) = clean {
                span.fields.set_text(field, clean);
            }
        }
        for field in JSONS {
            if let Some(clean) = span.fields.text(field).and_then(|text| self.json_counting(text, hits)) {
                span.fields.set_text(field, clean);
            }
        }
        self.attributes(&mut span.attributes, hits);
        if !span.events().is_empty() {
            let mut events = span.events().to_vec();
            for event in &mut events {
                if let Some(clean) = self.patterns.apply(&event.name, self.keys.len(), hits) {
                    event.name = clean;
                }
                self.attributes(&mut event.attributes, hits);
            }
            span.set_events(events);
        }
        if !span.links().is_empty() {
            let mut links = span.links().to_vec();
            links.iter_mut().for_each(|link| self.attributes(&mut link.attributes, hits));
            span.set_links(links);
        }
    }

    fn attributes(&self, attributes: &mut Attributes, hits: &mut Hits) {
        if !attributes.is_empty()
            && let Some(clean) = self.json_counting(attributes.as_json(), hits)
        {
            // Keys stay as they are, in their order.
            *attributes = Attributes::from_kept(&clean);
        }
    }

    fn resource(
        &self,
        resource: &Arc<Resource>,
        known: &mut HashMap<ResourceId, Arc<Resource>>,
        buffer: &mut Vec<u8>,
        hits: &mut Hits,
    ) -> Option<Arc<Resource>> {
        if let Some(clean) = known.get(&resource.id()) {
            return Some(clean.clone());
        }
        buffer.clear();
        sieve::gather(buffer, resource.content());
        let clean = self.sieve.may_match(buffer).then(|| self.json_counting(resource.content(), hits)).flatten()?;
        let clean = Arc::new(Resource::new(clean));
        known.insert(resource.id(), clean.clone());
        Some(clean)
    }

    fn json_counting(&self, text: &str, hits: &mut Hits) -> Option<String> {
        json::redact(text, &self.keys, &self.patterns, hits)
    }
}

/// The mark as JSON text.
const QUOTED: &str = "\"[redacted]\"";
