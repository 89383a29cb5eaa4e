//! What a value may be: how long, how deep, and without NUL. What had to be changed is noted, for the caller to see.

use std::borrow::Cow;

use super::Fault;
use crate::model::limits::Limits;
use crate::model::span::Field;
use crate::wire::json;

/// Bytes of an id that others gave. It is a key of indexes, whose entries PostgreSQL bounds at about 2.7 KB.
/// Source: <https://www.postgresql.org/docs/current/btree.html>.
pub(super) const MAX_ID_BYTES: usize = 1_024;

/// Whether a field holds an id that others gave, by which spans are looked up.
pub(super) fn is_id(field: Field) -> bool {
    use Field::{
        ExecutionId, JobId, ParentTraceId, QuestionId, ReleaseId, ReleaseTargetKey, SessionId, UserId, WorkflowId,
        WorkspaceId,
    };
    matches!(
        field,
        ExecutionId
            | JobId
            | ParentTraceId
            | QuestionId
            | ReleaseId
            | ReleaseTargetKey
            | SessionId
            | UserId
            | WorkflowId
            | WorkspaceId
    )
}

/// Applies the limits to the values of one span, and remembers the names of what it changed.
pub(in crate::wire) struct Bounds<'l> {
    pub limits: &'l Limits,
    /// Whether the span's text holds a backslash anywhere: most do not, and spare their values the search.
    escapes: bool,
    truncated: Vec<String>,
    nul_replaced: Vec<String>,
}

/// Attribute that lists what was cut.
pub(in crate::wire) const TRUNCATED: &str = "tracefall.truncated";
/// Attribute that lists the texts in which NUL, which PostgreSQL cannot keep, became U+FFFD.
pub(in crate::wire) const NUL_REPLACED: &str = "tracefall.nul_replaced";

impl<'l> Bounds<'l> {
    /// `escapes` must be true if any of the texts to come holds a backslash.
    pub(in crate::wire) fn new(limits: &'l Limits, escapes: bool) -> Self {
        Self { limits, escapes, truncated: Vec::new(), nul_replaced: Vec::new() }
    }

    /// The text of a field, cut between two characters.
    pub(in crate::wire) fn field<'a>(&mut self, field: Field, text: Cow<'a, str>) -> Cow<'a, str> {
        let limit =
            if is_id(field) { MAX_ID_BYTES.min(self.limits.max_value_bytes) } else { self.limits.max_value_bytes };
        self.text_within(field.name(), text, limit)
    }

    /// A text that is kept as such, cut between two characters.
    pub(in crate::wire) fn text<'a>(&mut self, name: &str, text: Cow<'a, str>) -> Cow<'a, str> {
        self.text_within(name, text, self.limits.max_value_bytes)
    }

    fn text_within<'a>(&mut self, name: &str, text: Cow<'a, str>, limit: usize) -> Cow<'a, str> {
        let mut text = text;
        // A text without escapes has none: JSON forbids control characters.
        if matches!(&text, Cow::Owned(text) if text.contains('\0')) {
            self.nul_replaced.push(name.to_owned());
            text = Cow::Owned(text.replace('\0', "\u{fffd}"));
        }
        if text.len() > limit {
            self.truncated.push(name.to_owned());
            let end = (0..=limit).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
            text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
                Cow::Owned(mut text) => {
                    text.truncate(end);
                    Cow::Owned(text)
                }
            };
        }
        text
    }

    /// A value that is kept as JSON text and stands `level` levels deep, cut at `limit` bytes. Sent as `name`, it is kept
    /// as `kept_as`.
    ///
    /// # Errors
    /// If it nests deeper than the limit, or holds a lone surrogate.
    pub(in crate::wire) fn json<'a>(
        &mut self,
        (name, kept_as): (&str, &str),
        raw: &'a str,
        level: usize,
        limit: usize,
    ) -> Result<Cow<'a, str>, Fault> {
        let levels = self.limits.max_depth;
        if json::deeper_than(raw, levels.saturating_sub(level)) {
            return Err(Fault::of(name, format_args!("nests deeper than {levels} levels (limit max_depth)")));
        }
        let mut text = Cow::Borrowed(raw);
        if self.has_escape(raw) {
            text = json::without_nul(raw).map_err(|lone| Fault::lone_surrogate(name, &lone))?;
            if matches!(text, Cow::Owned(_)) {
                self.nul_replaced.push(kept_as.to_owned());
            }
        }
        if json::is_container(&text) {
            // A stored value is one line, so that canonical spans can be.
            if let Cow::Owned(line) = json::on_one_line(&text) {
                text = Cow::Owned(line);
            }
        }
        if text.len() > limit {
            self.truncated.push(kept_as.to_owned());
            text = Cow::Owned(json::cut(&text, limit));
        }
        Ok(text)
    }

    fn has_escape(&self, raw: &str) -> bool {
        self.escapes && raw.as_bytes().contains(&b'\\')
    }

    /// Whether a value is one that no limit and no rule touches.
    pub(in crate::wire) fn is_plain(&self, raw: &str) -> bool {
        raw.len() <= self.limits.max_value_bytes && !json::is_container(raw) && !self.has_escape(raw)
    }

    /// The value of the attribute `key`: those that carry prompts or completions may be as long as inputs and outputs.
    ///
    /// # Errors
    /// As [`Bounds::json`].
    pub(in crate::wire) fn attribute<'a>(
        &mut self,
        key: &str,
        name: &str,
        raw: &'a str,
        level: usize,
    ) -> Result<Cow<'a, str>, Fault> {
        let Limits { max_value_bytes, max_content_bytes, .. } = *self.limits;
        let is_long = raw.len() > max_value_bytes;
        self.json(
            (name, name),
            raw,
            level,
            if is_long && is_content(key) { max_content_bytes } else { max_value_bytes },
        )
    }

    /// A name out of JSON text with its quotes: an attribute's key.
    ///
    /// # Errors
    /// If it is longer than a value may be, or holds a lone surrogate.
    pub(in crate::wire) fn key<'a>(&mut self, raw: &'a str) -> Result<Cow<'a, str>, Fault> {
        let key = match self.escapes {
            true => json::string(raw).map_err(|lone| Fault::lone_surrogate(json::inside(raw), &lone))?,
            false => Cow::Borrowed(json::inside(raw)),
        };
        self.plain_key(key)
    }

    /// As [`Bounds::key`], of a key as plain text.
    ///
    /// # Errors
    /// If it is longer than a value may be.
    pub(in crate::wire) fn plain_key<'a>(&mut self, key: Cow<'a, str>) -> Result<Cow<'a, str>, Fault> {
        let limit = self.limits.max_value_bytes;
        if key.len() > limit {
            let size = key.len();
            return Err(Fault::of(
                &key,
                format_args!("is a name of {size} bytes; the limit max_value_bytes is {limit}"),
            ));
        }
        match key {
            Cow::Owned(key) if key.contains('\0') => {
                let key = key.replace('\0', "\u{fffd}");
                self.nul_replaced.push(key.clone());
                Ok(Cow::Owned(key))
            }
            key => Ok(key),
        }
    }

    /// The notes as attributes. `noted` is the list that the span itself brought under a key, if it did: a span that
    /// was read before keeps what was noted then.
    pub(in crate::wire) fn into_notes(
        self,
        noted: impl Fn(&str) -> Option<Vec<String>>,
    ) -> impl Iterator<Item = (&'static str, String)> {
        [(TRUNCATED, self.truncated), (NUL_REPLACED, self.nul_replaced)]
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(move |(key, mut names)| {
                names.extend(noted(key).unwrap_or_default());
                names.sort();
                names.dedup();
                (key, serde_json::Value::from(names).to_string())
            })
    }

    /// Whether nothing had to be changed.
    pub(in crate::wire) fn kept_all(&self) -> bool {
        self.truncated.is_empty() && self.nul_replaced.is_empty()
    }
}

/// Whether an attribute carries what was said to a model or by it. Only asked for long values.
/// Sources: <https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/>,
/// <https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>.
fn is_content(key: &str) -> bool {
    const BEGINNINGS: [&str; 12] = [
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.input.",
        "gen_ai.output.",
        "gen_ai.system_instructions",
        "gen_ai.tool.call.",
        "llm.input_messages",
        "llm.output_messages",
        "llm.prompts",
        "ai.prompt",
        "ai.response.",
        "langfuse.observation.",
    ];
    const NAMES: [&str; 8] = [
        "prompt",
        "completion",
        "messages",
        "response",
        "input.value",
        "output.value",
        "traceloop.entity.input",
        "traceloop.entity.output",
    ];
    NAMES.contains(&key) || BEGINNINGS.iter().any(|beginning| key.starts_with(beginning))
}
