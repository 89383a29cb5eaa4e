//! Which attributes fill which fields: the names of the fields themselves, Beacon's and ctrlplane's, OpenTelemetry's
//! conventions with their older spellings, and those of OpenInference, OpenLLMetry, Langfuse and the Vercel AI SDK. The
//! attribute stays as well.
//!
//! Of several attributes for one field the one of the lowest rank counts. `inputs` and `outputs` are not filled, so that no
//! prompt is stored twice.
//!
//! Sources: <https://opentelemetry.io/docs/specs/semconv/registry/attributes/>,
//! <https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>,
//! <https://langfuse.com/integrations/native/opentelemetry#property-mapping>, <https://ai-sdk.dev/docs/ai-sdk-core/telemetry>.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{FieldSet, canonical_trace, int_of};
use crate::model::span::{Field, FieldType, FieldValue};
use crate::wire::json;
use crate::wire::key_table::KeyTable;
use crate::wire::number;

/// One field that an attribute may fill.
#[derive(Clone, Copy, Debug)]
struct Promotion {
    field: Field,
    /// 1 and up; 0 is the field's own name.
    rank: u8,
    how: How,
}

/// How a value is read.
#[derive(Clone, Copy, Debug)]
enum How {
    /// As it is.
    Plain,
    /// US dollars.
    Dollars,
    /// A class of span, by a convention's name for it.
    SpanType,
    /// That the attribute is there says it.
    Is(&'static str),
    /// What stands before the first point: `openai.responses` is openai's.
    BeforePoint,
    /// A member of a JSON object, which may be written as a text.
    Member(&'static [&'static str]),
    /// As [`How::Member`], in US dollars.
    DollarsMember(&'static [&'static str]),
}

use How::{BeforePoint, Dollars, DollarsMember, Is, Member, Plain, SpanType};

/// Fields that an attribute of their own name fills.
const OWN: &[Field] = &[
    Field::Service,
    Field::Operation,
    Field::SpanType,
    Field::ErrorType,
    Field::ErrorMessage,
    Field::ErrorStack,
    Field::ExecutionId,
    Field::JobId,
    Field::QuestionId,
    Field::WorkflowId,
    Field::SessionId,
    Field::UserId,
    Field::Region,
    Field::Model,
    Field::RequestModel,
    Field::Provider,
    Field::InputTokens,
    Field::OutputTokens,
    Field::CacheReadTokens,
    Field::CacheWriteTokens,
    Field::CacheWrite1hTokens,
    Field::ReasoningTokens,
    Field::AudioTokens,
    Field::CostPico,
    Field::CostSource,
    Field::CostStatus,
    Field::CostRole,
    Field::PriceRef,
    Field::UsageBasis,
    Field::RetryCount,
    Field::WorkspaceId,
    Field::ReleaseTargetKey,
    Field::ReleaseId,
    Field::ParentTraceId,
    Field::Phase,
    Field::NodeType,
    Field::Decision,
    Field::Result,
    Field::Trigger,
    Field::Depth,
    Field::Sequence,
];

/// For each field the attributes that fill it, the first present one.
const RANKED: &[(Field, &[(&str, How)])] = &[
    (Field::Service, &[("service.name", Plain)]),
    (
        Field::SpanType,
        &[
            ("gen_ai.operation.name", SpanType),
            ("openinference.span.kind", SpanType),
            ("langfuse.observation.type", SpanType),
            ("traceloop.span.kind", SpanType),
            ("langsmith.span.kind", SpanType),
            ("ai.operationId", SpanType),
            ("llm.request.type", SpanType),
            ("db.system.name", Is("db")),
            ("db.system", Is("db")),
            ("messaging.system", Is("messaging")),
            ("rpc.system.name", Is("rpc")),
            ("rpc.system", Is("rpc")),
            ("http.request.method", Is("http")),
            ("http.method", Is("http")),
        ],
    ),
    (Field::ErrorType, &[("error.type", Plain), ("exception.type", Plain)]),
    (Field::ErrorMessage, &[("error.message", Plain), ("exception.message", Plain)]),
    (Field::ErrorStack, &[("exception.stacktrace", Plain)]),
    (Field::JobId, &[("ctrlplane.job_id", Plain), ("cicd.pipeline.run.id", Plain)]),
    (
        Field::WorkflowId,
        &[
            ("workflow.id", Plain),
            ("gen_ai.workflow.name", Plain),
            ("traceloop.workflow.name", Plain),
            ("langfuse.trace.name", Plain),
            ("gen_ai.agent.name", Plain),
            ("agent.name", Plain),
        ],
    ),
    (
        Field::SessionId,
        &[
            ("gen_ai.conversation.id", Plain),
            ("session.id", Plain),
            ("langfuse.session.id", Plain),
            ("traceloop.association.properties.session_id", Plain),
            ("langsmith.trace.session_id", Plain),
            ("ai.telemetry.metadata.sessionId", Plain),
        ],
    ),
    (
        Field::UserId,
        &[
            ("user.id", Plain),
            ("enduser.id", Plain),
            ("langfuse.user.id", Plain),
            ("gen_ai.user", Plain),
            ("traceloop.association.properties.user_id", Plain),
            ("ai.telemetry.metadata.userId", Plain),
        ],
    ),
    (Field::Region, &[("cloud.region", Plain)]),
    (
        Field::Model,
        &[
            ("model_id", Plain),
            ("langfuse.observation.model.name", Plain),
            ("gen_ai.response.model", Plain),
            ("llm.response.model_name", Plain),
            ("llm.model_name", Plain),
            ("ai.response.model", Plain),
            ("gen_ai.request.model", Plain),
            ("embedding.model_name", Plain),
            ("reranker.model_name", Plain),
            ("llm.request.model_name", Plain),
            ("ai.model.id", Plain),
            // All that OpenInference tells of a request that failed.
            (PARAMETERS, Member(&["model"])),
        ],
    ),
    (
        Field::RequestModel,
        &[
            ("gen_ai.request.model", Plain),
            ("llm.request.model_name", Plain),
            ("ai.model.id", Plain),
            (PARAMETERS, Member(&["model"])),
        ],
    ),
    (
        Field::Provider,
        &[
            ("gen_ai.provider.name", Plain),
            // The AI SDK writes the same into `gen_ai.system`, where other senders' points belong to the name.
            ("ai.model.provider", BeforePoint),
            ("gen_ai.system", Plain),
            ("llm.provider", Plain),
            ("llm.system", Plain),
        ],
    ),
    (
        Field::InputTokens,
        &[
            ("gen_ai.usage.input_tokens", Plain),
            ("gen_ai.usage.prompt_tokens", Plain),
            ("llm.token_count.prompt", Plain),
            ("llm.usage.prompt_tokens", Plain),
            ("ai.usage.inputTokens", Plain),
            ("ai.usage.promptTokens", Plain),
            (USAGE, Member(&["input", "prompt_tokens", "input_tokens"])),
        ],
    ),
    (
        Field::OutputTokens,
        &[
            ("gen_ai.usage.output_tokens", Plain),
            ("gen_ai.usage.completion_tokens", Plain),
            ("llm.token_count.completion", Plain),
            ("llm.usage.completion_tokens", Plain),
            ("ai.usage.outputTokens", Plain),
            ("ai.usage.completionTokens", Plain),
            (USAGE, Member(&["output", "completion_tokens", "output_tokens"])),
        ],
    ),
    (
        Field::CacheReadTokens,
        &[
            ("gen_ai.usage.cache_read.input_tokens", Plain),
            ("gen_ai.usage.cache_read_input_tokens", Plain),
            ("gen_ai.usage.cached_input_tokens", Plain),
            ("llm.token_count.prompt_details.cache_read", Plain),
            ("ai.usage.cachedInputTokens", Plain),
            ("ai.usage.inputTokenDetails.cacheReadTokens", Plain),
            (USAGE, Member(&["input_cached_tokens", "cache_read_input_tokens", "input_cache_read"])),
        ],
    ),
    (
        Field::CacheWriteTokens,
        &[
            ("gen_ai.usage.cache_write.input_tokens", Plain),
            ("gen_ai.usage.cache_creation.input_tokens", Plain),
            ("gen_ai.usage.cache_creation_input_tokens", Plain),
            ("gen_ai.usage.cache_write_tokens", Plain),
            ("llm.token_count.prompt_details.cache_write", Plain),
            ("ai.usage.inputTokenDetails.cacheWriteTokens", Plain),
            (USAGE, Member(&["input_cache_creation", "cache_creation_input_tokens", "input_cache_creation_5m"])),
        ],
    ),
    (Field::CacheWrite1hTokens, &[(USAGE, Member(&["input_cache_creation_1h"]))]),
    (
        Field::ReasoningTokens,
        &[
            ("gen_ai.usage.reasoning.output_tokens", Plain),
            ("gen_ai.usage.reasoning_tokens", Plain),
            ("llm.token_count.completion_details.reasoning", Plain),
            ("ai.usage.reasoningTokens", Plain),
            ("ai.usage.outputTokenDetails.reasoningTokens", Plain),
            (USAGE, Member(&["output_reasoning_tokens", "reasoning_tokens"])),
        ],
    ),
    (
        Field::AudioTokens,
        &[
            ("gen_ai.usage.audio.input_tokens", Plain),
            ("llm.token_count.prompt_details.audio", Plain),
            ("llm.token_count.completion_details.audio", Plain),
            (USAGE, Member(&["input_audio_tokens"])),
        ],
    ),
    (
        Field::CostPico,
        &[
            ("langfuse.observation.cost_details", DollarsMember(&["total"])),
            ("gen_ai.usage.cost", Dollars),
            ("llm.cost.total", Dollars),
            ("operation.cost", Dollars),
        ],
    ),
    (Field::RetryCount, &[("http.request.resend_count", Plain)]),
    (Field::WorkspaceId, &[("ctrlplane.workspace_id", Plain)]),
    (
        Field::ReleaseTargetKey,
        &[
            ("ctrlplane.release_target_key", Plain),
            ("deployment.environment.name", Plain),
            ("deployment.environment", Plain),
        ],
    ),
    (Field::ReleaseId, &[("ctrlplane.release_id", Plain), ("deployment.id", Plain)]),
    (Field::ParentTraceId, &[("ctrlplane.parent_trace_id", Plain)]),
    (Field::Phase, &[("ctrlplane.phase", Plain)]),
    (Field::NodeType, &[("ctrlplane.node_type", Plain)]),
    (Field::Decision, &[("ctrlplane.decision", Plain)]),
    (Field::Result, &[("ctrlplane.result", Plain)]),
    (Field::Trigger, &[("ctrlplane.trigger", Plain)]),
    (Field::Depth, &[("ctrlplane.depth", Plain)]),
    (Field::Sequence, &[("ctrlplane.sequence", Plain)]),
];

const PARAMETERS: &str = "llm.invocation_parameters";
const USAGE: &str = "langfuse.observation.usage_details";

/// Attributes that tell the sum of all tokens, by which it is seen how they were counted.
const TOTALS: [&str; 5] = [
    "gen_ai.usage.total_tokens",
    "llm.token_count.total",
    "llm.usage.total_tokens",
    "ai.usage.totalTokens",
    "total_tokens",
];

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
            if !fields.is_open(field, rank) {
                continue;
            }
            if let Some(value) = value(field, how, raw) {
                fields.promote(field, rank, value);
            }
        }
        if key.ends_with("okens") && TOTALS.contains(&key) || key == TOTALS[1] {
            self.total_tokens = int_of(Field::InputTokens, raw).ok().flatten().or(self.total_tokens);
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
    promotions(key).first().map(|promotion| promotion.field)
}

fn promotions(key: &str) -> &'static [Promotion] {
    static LIST: LazyLock<Vec<(&'static str, Promotion)>> = LazyLock::new(|| {
        let own = OWN.iter().map(|&field| (field.name(), Promotion { field, rank: 0, how: Plain }));
        let ranked = RANKED.iter().flat_map(|(field, names)| {
            (1..).zip(*names).map(|(rank, (name, how))| (*name, Promotion { field: *field, rank, how: *how }))
        });
        let mut list: Vec<_> = own.chain(ranked).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn promoted(attributes: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let mut fields = FieldSet::default();
        let mut promoter = Promoter::default();
        for (key, raw) in attributes {
            promoter.look(&mut fields, key, raw);
        }
        promoter.end(&mut fields);
        let told = |value: &FieldValue| match value {
            FieldValue::Int(number) => number.to_string(),
            FieldValue::Text(text) => text.to_string(),
        };
        fields.finish().iter().map(|(field, value)| (field.name(), told(value))).collect()
    }

    fn of(field: &str, attributes: &[(&str, &str)]) -> Option<String> {
        promoted(attributes).into_iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    #[test]
    fn the_better_name_counts_in_any_order() {
        let (old, new) = (("gen_ai.request.model", "\"asked\""), ("gen_ai.response.model", "\"answered\""));
        for attributes in [[old, new], [new, old]] {
            assert_eq!(of("model", &attributes).as_deref(), Some("answered"));
            assert_eq!(of("request_model", &attributes).as_deref(), Some("asked"));
        }
        assert_eq!(of("model", &[new, ("model", "\"own\"")]).as_deref(), Some("own"));
    }

    #[test]
    fn a_request_that_failed_still_names_its_model() {
        let parameters = ("llm.invocation_parameters", r#""{\"model\": \"asked\", \"temperature\": 0.5}""#);
        let model = |attributes: &[_]| [of("model", attributes), of("request_model", attributes)];
        assert_eq!(model(&[parameters]), [Some("asked".into()), Some("asked".into())]);
        let answered = ("llm.model_name", "\"answered\"");
        assert_eq!(model(&[parameters, answered]), [Some("answered".into()), Some("asked".into())]);
        assert_eq!(model(&[("llm.invocation_parameters", "\"[]\"")]), [None, None]);
    }

    #[test]
    fn a_value_of_the_wrong_kind_leaves_the_field_to_others() {
        let attributes = [("gen_ai.usage.input_tokens", "\"many\""), ("llm.token_count.prompt", "12")];
        assert_eq!(of("input_tokens", &attributes).as_deref(), Some("12"));
        assert_eq!(promoted(&[("gen_ai.response.model", "null"), ("user.id", "\"\""), ("region", "{}")]), []);
    }

    #[test]
    fn tokens_that_were_counted_apart_are_added() {
        let anthropic = [("gen_ai.usage.input_tokens", "10"), ("gen_ai.usage.cache_read_input_tokens", "90")];
        assert_eq!(of("input_tokens", &anthropic).as_deref(), Some("100"));
        assert_eq!(of("usage_basis", &anthropic).as_deref(), Some("exclusive_detected"));
        let by_sum = [
            ("llm.token_count.prompt", "50"),
            ("llm.token_count.completion", "5"),
            ("llm.token_count.prompt_details.cache_read", "20"),
            ("llm.token_count.total", "75"),
        ];
        assert_eq!(of("input_tokens", &by_sum).as_deref(), Some("70"));
        let inclusive = [
            ("llm.token_count.prompt", "50"),
            ("llm.token_count.completion", "5"),
            ("llm.token_count.prompt_details.cache_read", "20"),
            ("llm.token_count.total", "55"),
        ];
        assert_eq!(of("input_tokens", &inclusive).as_deref(), Some("50"));
        assert_eq!(of("usage_basis", &inclusive).as_deref(), Some("inclusive"));
        let gemini = [
            ("gen_ai.usage.input_tokens", "7"),
            ("gen_ai.usage.output_tokens", "3"),
            ("gen_ai.usage.reasoning_tokens", "40"),
            ("gen_ai.usage.total_tokens", "50"),
        ];
        assert_eq!(of("output_tokens", &gemini).as_deref(), Some("43"));
    }

    #[test]
    fn money_is_exact_and_langfuse_comes_first() {
        assert_eq!(of("cost_pico", &[("gen_ai.usage.cost", "0.000123456789")]).as_deref(), Some("123456789"));
        let both =
            [("gen_ai.usage.cost", "1"), ("langfuse.observation.cost_details", r#""{\"input\":0.1,\"total\":0.25}""#)];
        assert_eq!(of("cost_pico", &both).as_deref(), Some("250000000000"));
    }

    #[test]
    fn a_provider_has_one_name_whichever_span_of_the_ai_sdk_tells_it() {
        let outer = [("ai.model.provider", "\"openai.chat\"")];
        let inner = [("gen_ai.system", "\"openai.chat\""), outer[0]];
        assert_eq!((of("provider", &outer), of("provider", &inner)), (Some("openai".into()), Some("openai".into())));
        assert_eq!(of("provider", &[("gen_ai.system", "\"aws.bedrock\"")]).as_deref(), Some("aws.bedrock"));
    }

    #[test]
    fn classes_of_spans_go_by_one_word() {
        for (key, told, word) in [
            ("gen_ai.operation.name", "chat", Some("llm")),
            ("openinference.span.kind", "LLM", Some("llm")),
            ("langfuse.observation.type", "generation", Some("llm")),
            ("langfuse.observation.type", "span", None),
            ("traceloop.span.kind", "workflow", Some("workflow")),
            ("ai.operationId", "ai.generateText", Some("chain")),
            ("ai.operationId", "ai.generateText.doGenerate", Some("llm")),
            ("ai.operationId", "ai.toolCall", Some("tool")),
            ("http.request.method", "GET", Some("http")),
        ] {
            assert_eq!(of("span_type", &[(key, &format!("\"{told}\""))]).as_deref(), word, "{key} {told}");
        }
    }

    #[test]
    fn an_outer_span_repeats_what_the_inner_ones_spent() {
        let outer = [("openinference.span.kind", "\"AGENT\""), ("llm.token_count.prompt", "9")];
        assert_eq!(of("cost_role", &outer).as_deref(), Some("aggregate"));
        let inner = [("openinference.span.kind", "\"LLM\""), ("llm.token_count.prompt", "9")];
        assert_eq!(of("cost_role", &inner).as_deref(), Some("own"));
    }
}
