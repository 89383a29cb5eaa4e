//! Which attributes fill which fields: the names of the fields themselves, Beacon's and ctrlplane's, OpenTelemetry's
//! conventions with their older spellings, and those of OpenInference, OpenLLMetry, Langfuse and the Vercel AI SDK. The
//! attribute stays as well.
//!
//! Of several attributes for one field the one of the lowest rank counts. `inputs` and `outputs` are not filled, so that no
//! prompt is stored twice.

mod names;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::LazyLock;

use self::names::How::{self, BeforePoint, Dollars, DollarsMember, Is, Member, Plain, SpanType};
use self::names::{OWN, RANKED, TOTALS};
use super::{FieldSet, canonical_trace, int_of};
use crate::model::span::{Field, FieldType, FieldValue};
use crate::wire::json;
use crate::wire::key_table::KeyTable;
use crate::wire::number;

/// One field that an attribute may fill.
#[derive(Clone, Copy, Debug)]
struct Promotion {
    /// `None` for the sum of all tokens, which no field holds.
    field: Option<Field>,
    /// 1 and up; 0 is the field's own name.
    rank: u8,
    how: How,
}

/// What attributes say of fields, while they go by.
#[derive(Default)]
pub(super) struct Promoter {
    total_tokens: Option<i64>,
}

impl Promoter {
    /// Looks at an attribute, and fills what it says and nothing better has said.
    pub(super) fn look(&mut self, fields: &mut FieldSet<'_>, key: &str, raw: &str) {
        for promotion in promotions(key) {
            let Promotion { field, rank, how } = *promotion;
            let Some(field) = field else {
                self.total_tokens = int_of(Field::InputTokens, raw).ok().flatten().or(self.total_tokens);
                continue;
            };
            if !fields.is_open(field, rank) {
                continue;
            }
            if let Some(value) = value(field, how, raw) {
                fields.promote(field, rank, value);
            }
        }
    }

    /// Brings token counts to one form, in which the input holds what was cached and the output what was reasoned, and
    /// says whose they are. Some senders count those apart, which shows by the sum, or by a part larger than its whole.
    /// What the span's own members told is taken at its word.
    pub(super) fn end(self, fields: &mut FieldSet<'_>) {
        let mut usage = [Field::InputTokens, Field::OutputTokens, Field::CostPico].into_iter();
        if !usage.any(|field| fields.is_promoted(field)) {
            return;
        }
        let count = |field| fields.int(field);
        let (input, output) = (count(Field::InputTokens), count(Field::OutputTokens));
        let cached = [Field::CacheReadTokens, Field::CacheWriteTokens]
            .into_iter()
            .filter_map(count)
            .try_fold(0i64, i64::checked_add)
            .unwrap_or_default();
        let reasoned = count(Field::ReasoningTokens).unwrap_or_default();
        let sum = |parts: [i64; 3]| parts.into_iter().try_fold(0i64, i64::checked_add);
        let total_is = |parts| self.total_tokens.is_some() && sum(parts) == self.total_tokens;
        let (told_input, told_output) = (input.unwrap_or_default(), output.unwrap_or_default());
        let mut basis = (cached > 0 || reasoned > 0).then_some("inclusive");
        if input.is_some() && cached > 0 && (cached > told_input || total_is([told_input, told_output, cached])) {
            fields.replace(Field::InputTokens, FieldValue::Int(told_input.saturating_add(cached)));
            basis = Some("exclusive_detected");
        }
        if output.is_some() && reasoned > 0 && total_is([told_input, told_output, reasoned]) {
            fields.replace(Field::OutputTokens, FieldValue::Int(told_output.saturating_add(reasoned)));
            basis = Some("exclusive_detected");
        }
        if let Some(basis) = basis {
            fields.fill(Field::UsageBasis, FieldValue::Text(basis.into()));
        }
        if input.is_some() || output.is_some() || fields.has(Field::CostPico) {
            let role = match fields.text(Field::SpanType) {
                Some("llm" | "embedding" | "reranker") => Some("own"),
                Some("agent" | "chain" | "tool" | "workflow" | "task" | "retriever" | "guardrail" | "evaluator") => {
                    Some("aggregate")
                }
                _ => None,
            };
            if let Some(role) = role {
                fields.fill(Field::CostRole, FieldValue::Text(role.into()));
            }
        }
    }
}

/// The field that an attribute of ids fills before any other, if it does.
pub(super) fn first_field(key: &str) -> Option<Field> {
    promotions(key).first().and_then(|promotion| promotion.field)
}

fn promotions(key: &str) -> &'static [Promotion] {
    static LIST: LazyLock<Vec<(&'static str, Promotion)>> = LazyLock::new(|| {
        let own = OWN.iter().map(|&field| (field.name(), Promotion { field: Some(field), rank: 0, how: Plain }));
        let ranked = RANKED.iter().flat_map(|(field, names)| {
            (1..).zip(*names).map(|(rank, (name, how))| (*name, Promotion { field: Some(*field), rank, how: *how }))
        });
        let totals = TOTALS.iter().map(|name| (*name, Promotion { field: None, rank: 1, how: Plain }));
        let mut list: Vec<_> = own.chain(ranked).chain(totals).collect();
        list.sort_by_key(|(name, _)| *name);
        list
    });
    static PROMOTIONS: LazyLock<Vec<Promotion>> =
        LazyLock::new(|| LIST.iter().map(|(_, promotion)| *promotion).collect());
    static TABLE: LazyLock<KeyTable<(usize, usize)>> = LazyLock::new(|| {
        let names = LIST.chunk_by(|a, b| a.0 == b.0).scan(0, |start, same| {
            let place = (*start, *start + same.len());
            *start = place.1;
            Some((same[0].0, place))
        });
        KeyTable::new(names.collect::<Vec<_>>())
    });
    TABLE.get(key).map_or(&[], |(start, end)| &PROMOTIONS[start..end])
}

fn value(field: Field, how: How, raw: &str) -> Option<FieldValue> {
    match how {
        Plain => plain(field, raw),
        Dollars => dollars(raw),
        Is(what) => (!json::is_null(raw)).then(|| FieldValue::Text(what.into())),
        SpanType => span_type(&text(raw)?).map(|name| FieldValue::Text(name.into())),
        BeforePoint => {
            let text = text(raw)?;
            let name = text.split('.').next().filter(|name| !name.is_empty())?;
            Some(FieldValue::Text(name.into()))
        }
        Member(names) => member(raw, names, |raw| plain(field, raw)),
        DollarsMember(names) => member(raw, names, dollars),
    }
}

/// A value as the field's type takes it.
fn plain(field: Field, raw: &str) -> Option<FieldValue> {
    match field.field_type() {
        FieldType::Int => int_of(field, raw).ok().flatten().map(FieldValue::Int),
        FieldType::Text => text_of(field, raw).map(FieldValue::Text),
        FieldType::Json => None,
    }
}

/// The text of a string, number or boolean; `None` for anything else and for an empty string.
pub(super) fn text_of(field: Field, raw: &str) -> Option<Box<str>> {
    let text = text(raw)?;
    let text = if field == Field::ParentTraceId { canonical_trace(text) } else { text };
    Some(text.into())
}

fn text(raw: &str) -> Option<Cow<'_, str>> {
    if raw.starts_with('"') {
        return json::string(raw).ok().filter(|text| !text.is_empty());
    }
    (!json::is_null(raw) && !json::is_container(raw)).then_some(Cow::Borrowed(raw))
}

fn dollars(raw: &str) -> Option<FieldValue> {
    number::pico_dollars(&text(raw)?).ok().map(FieldValue::Int)
}

/// The first of these members that an object has; the object may be the content of a string.
fn member(raw: &str, names: &[&str], read: impl Fn(&str) -> Option<FieldValue>) -> Option<FieldValue> {
    let text = text(raw).unwrap_or(Cow::Borrowed(raw));
    let object = text.trim_ascii();
    if !object.starts_with('{') || json::check(object).is_err() {
        return None;
    }
    names.iter().find_map(|name| {
        let (_, raw) = json::Members::of(object).find(|(key, _)| json::inside(key) == *name)?;
        read(raw)
    })
}

/// Our word for a class of span, by what the conventions call it; `None` for a plain span.
fn span_type(told: &str) -> Option<String> {
    let told = told.trim().to_ascii_lowercase();
    let name = match &*told {
        "chat" | "text_completion" | "generate_content" | "completion" | "generation" | "llm" => "llm",
        "embeddings" | "embedding" => "embedding",
        "retrieval" | "retriever" => "retriever",
        "rerank" | "reranker" => "reranker",
        "execute_tool" | "tool" | "ai.toolcall" => "tool",
        "invoke_agent" | "create_agent" | "agent" => "agent",
        "invoke_workflow" | "workflow" => "workflow",
        "" | "span" | "unknown" => return None,
        told if told.starts_with("ai.embed") => {
            if told.contains(".doembed") {
                "embedding"
            } else {
                "chain"
            }
        }
        // The outer spans of the AI SDK repeat what the inner ones, `….doGenerate` and `….doStream`, used.
        told if told.starts_with("ai.") => {
            if told.contains(".do") {
                "llm"
            } else {
                "chain"
            }
        }
        told => told,
    };
    Some(name.to_owned())
}
