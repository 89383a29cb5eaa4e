//! The names: which attributes fill which fields, and how each is read. A new convention is a line here.
//!
//! Sources: <https://opentelemetry.io/docs/specs/semconv/registry/attributes/>,
//! <https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md>,
//! <https://langfuse.com/integrations/native/opentelemetry#property-mapping>, <https://ai-sdk.dev/docs/ai-sdk-core/telemetry>.

use crate::model::span::Field;

/// How a value is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
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
pub(super) const OWN: &[Field] = &[
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
pub(super) const RANKED: &[(Field, &[(&str, How)])] = &[
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
pub(super) const TOTALS: [&str; 5] = [
    "gen_ai.usage.total_tokens",
    "llm.token_count.total",
    "llm.usage.total_tokens",
    "ai.usage.totalTokens",
    "total_tokens",
];
