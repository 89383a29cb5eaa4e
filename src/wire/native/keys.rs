//! The names by which a native span's members go: the one table of every spelling that is understood.

use std::sync::LazyLock;

use crate::model::span::Field;
use crate::wire::key_table::KeyTable;
use crate::wire::normalize::Origin;
use crate::wire::number::Unit;

/// What a member of a span object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    TraceId,
    SpanId,
    ParentSpanId,
    /// A time as RFC 3339, or as a number of the unit that its name ends with.
    StartedAt(Option<Unit>),
    EndedAt(Option<Unit>),
    Duration(Unit),
    Status,
    StatusCode,
    Error,
    Tokens,
    Cost,
    Attributes(Origin),
    Events,
    Links,
    Resource,
    Scope,
    Revision,
    Field(Field),
}

use Meaning::{Attributes, Cost, Duration, EndedAt, Error, Events, Links, ParentSpanId, Resource, Revision, Scope};
use Meaning::{Field as Of, SpanId, StartedAt, Status, StatusCode, Tokens, TraceId};

/// Every name, the canonical one first. Names of times also come with a unit, see [`UNITS`]: `started_at_ms`.
/// Anything else at the top of a span becomes an attribute.
const NAMES: &[(Meaning, &[&str])] = &[
    (TraceId, &["trace_id", "traceId", "traceID"]),
    (SpanId, &["span_id", "spanId", "spanID"]),
    (ParentSpanId, &["parent_span_id", "parentSpanId", "parentSpanID", "parent_id", "parentId"]),
    (StartedAt(None), &["started_at", "startedAt", "start_time", "startTime", "start"]),
    (
        EndedAt(None),
        &[
            "completed_at",
            "completedAt",
            "ended_at",
            "endedAt",
            "end_time",
            "endTime",
            "end",
            "finished_at",
            "finishedAt",
        ],
    ),
    (Duration(Unit::Millis), &["duration_ms", "durationMs"]),
    (Duration(Unit::Nanos), &["duration_ns", "durationNs"]),
    (Duration(Unit::Micros), &["duration_us", "durationUs"]),
    (Duration(Unit::Seconds), &["duration_s", "duration_seconds", "durationSeconds"]),
    (Status, &["status"]),
    (StatusCode, &["status_code", "statusCode"]),
    (Of(Field::OtelStatus), &["otel_status", "otelStatus"]),
    (Of(Field::StatusMessage), &["status_message", "statusMessage", "status_description"]),
    (Error, &["error"]),
    (Of(Field::ErrorMessage), &["error_message", "errorMessage"]),
    (Of(Field::ErrorType), &["error_type", "errorType"]),
    (Of(Field::ErrorStack), &["error_stack", "errorStack", "stacktrace", "stack_trace", "stackTrace"]),
    (Of(Field::Service), &["service", "service_name", "serviceName", "service.name"]),
    (Of(Field::Operation), &["operation", "name", "operation_name", "operationName", "span_name"]),
    (Of(Field::SpanType), &["span_type", "spanType", "type"]),
    (Of(Field::Kind), &["kind", "span_kind", "spanKind"]),
    (Of(Field::ExecutionId), &["execution_id", "executionId"]),
    (Of(Field::JobId), &["job_id", "jobId"]),
    (Of(Field::QuestionId), &["question_id", "questionId"]),
    (Of(Field::WorkflowId), &["workflow_id", "workflowId"]),
    (Of(Field::SessionId), &["session_id", "sessionId"]),
    (Of(Field::UserId), &["user_id", "userId"]),
    (Of(Field::Region), &["region"]),
    (Of(Field::Model), &["model", "model_id", "modelId", "model_name", "modelName"]),
    (Of(Field::RequestModel), &["request_model", "requestModel"]),
    (Of(Field::Provider), &["provider"]),
    (Tokens, &["tokens", "token_usage", "tokenUsage", "usage"]),
    (Of(Field::InputTokens), &["input_tokens", "inputTokens", "prompt_tokens", "promptTokens"]),
    (Of(Field::OutputTokens), &["output_tokens", "outputTokens", "completion_tokens", "completionTokens"]),
    (Of(Field::CacheReadTokens), &["cache_read_tokens", "cacheReadTokens", "cache_read_input_tokens", "cached_tokens"]),
    (Of(Field::CacheWriteTokens), &["cache_write_tokens", "cacheWriteTokens", "cache_creation_input_tokens"]),
    (Of(Field::CacheWrite1hTokens), &["cache_write_1h_tokens"]),
    (Of(Field::ReasoningTokens), &["reasoning_tokens", "reasoningTokens"]),
    (Of(Field::AudioTokens), &["audio_tokens", "audioTokens"]),
    (Cost, &["cost_usd", "costUsd", "cost", "total_cost", "totalCost"]),
    (Of(Field::CostPico), &["cost_pico"]),
    (Of(Field::CostSource), &["cost_source"]),
    (Of(Field::CostStatus), &["cost_status"]),
    (Of(Field::CostRole), &["cost_role"]),
    (Of(Field::PriceRef), &["price_ref"]),
    (Of(Field::UsageBasis), &["usage_basis"]),
    (Of(Field::Inputs), &["inputs", "input", "query"]),
    (Of(Field::Outputs), &["outputs", "output"]),
    (Of(Field::RetryCount), &["retry_count", "retryCount", "retries"]),
    (Of(Field::WorkspaceId), &["workspace_id", "workspaceId"]),
    (Of(Field::ReleaseTargetKey), &["release_target_key", "releaseTargetKey"]),
    (Of(Field::ReleaseId), &["release_id", "releaseId"]),
    (Of(Field::ParentTraceId), &["parent_trace_id", "parentTraceId"]),
    (Of(Field::Phase), &["phase"]),
    (Of(Field::NodeType), &["node_type", "nodeType"]),
    (Of(Field::Decision), &["decision"]),
    (Of(Field::Result), &["result"]),
    (Of(Field::Trigger), &["trigger"]),
    (Of(Field::Depth), &["depth"]),
    (Of(Field::Sequence), &["sequence"]),
    (Of(Field::TraceState), &["trace_state", "traceState", "tracestate"]),
    (Of(Field::Flags), &["flags"]),
    (Of(Field::DroppedAttributes), &["dropped_attributes", "dropped_attributes_count", "droppedAttributesCount"]),
    (Of(Field::DroppedEvents), &["dropped_events", "dropped_events_count", "droppedEventsCount"]),
    (Of(Field::DroppedLinks), &["dropped_links", "dropped_links_count", "droppedLinksCount"]),
    (Attributes(Origin::Attributes), &["attributes"]),
    (Attributes(Origin::Metadata), &["metadata"]),
    (Attributes(Origin::Tags), &["tags"]),
    (Events, &["events", "logs"]),
    (Links, &["links"]),
    (Resource, &["resource"]),
    (Scope, &["scope", "instrumentation_scope", "instrumentationScope"]),
    (Revision, &["revision"]),
];

/// What the name of a time ends with when its value is a number: the unit, counted from 1970. The longest first.
pub(super) const UNITS: &[(&str, Unit)] = &[
    ("_unix_nano", Unit::Nanos),
    ("_unix_ns", Unit::Nanos),
    ("_unix_us", Unit::Micros),
    ("_unix_ms", Unit::Millis),
    ("_unix_s", Unit::Seconds),
    ("UnixNano", Unit::Nanos),
    ("UnixMs", Unit::Millis),
    ("_unix", Unit::Seconds),
    ("_ns", Unit::Nanos),
    ("_us", Unit::Micros),
    ("_ms", Unit::Millis),
    ("_s", Unit::Seconds),
    ("Ns", Unit::Nanos),
    ("Us", Unit::Micros),
    ("Ms", Unit::Millis),
];

/// What a member of the span's own object says; `None` for one that becomes an attribute.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    static TABLE: LazyLock<KeyTable<Meaning>> = LazyLock::new(|| {
        KeyTable::new(NAMES.iter().flat_map(|(meaning, names)| names.iter().map(|name| (*name, *meaning))))
    });
    if let Some(meaning) = TABLE.get(name) {
        return Some(meaning);
    }
    if !name.starts_with(['s', 'e', 'c', 'f']) {
        return None;
    }
    let (stem, unit) = split_unit(name)?;
    match TABLE.get(stem)? {
        StartedAt(None) => Some(StartedAt(Some(unit))),
        EndedAt(None) => Some(EndedAt(Some(unit))),
        _ => None,
    }
}

/// The canonical name of what a member says; `None` for one that becomes an attribute. A time keeps its name without the
/// unit: `start_time_ms` is `started_at`.
pub fn canonical_name(name: &str) -> Option<&'static str> {
    let plain = match meaning(name)? {
        StartedAt(_) => StartedAt(None),
        EndedAt(_) => EndedAt(None),
        other => other,
    };
    NAMES.iter().find(|(of, _)| *of == plain).and_then(|(_, names)| names.first().copied())
}

/// A name that ends with a unit, without it.
pub(super) fn split_unit(name: &str) -> Option<(&str, Unit)> {
    UNITS.iter().find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, *unit)))
}

/// What a member of `tokens` says.
pub(super) fn token_field(name: &str) -> Option<Field> {
    match name {
        "input" | "prompt" => Some(Field::InputTokens),
        "output" | "completion" => Some(Field::OutputTokens),
        "cache_read" | "cached" => Some(Field::CacheReadTokens),
        "cache_write" => Some(Field::CacheWriteTokens),
        "cache_write_1h" => Some(Field::CacheWrite1hTokens),
        "reasoning" => Some(Field::ReasoningTokens),
        "audio" => Some(Field::AudioTokens),
        _ => match meaning(name) {
            Some(Of(field)) if field.name().ends_with("_tokens") => Some(field),
            _ => None,
        },
    }
}

impl Meaning {
    /// One bit for each meaning, however it is spelled.
    pub(super) fn bit(self) -> u128 {
        let place = match self {
            TraceId => 0,
            SpanId => 1,
            ParentSpanId => 2,
            StartedAt(_) => 3,
            EndedAt(_) => 4,
            Duration(_) => 5,
            Status => 6,
            StatusCode => 7,
            Error => 8,
            Tokens => 9,
            Cost => 10,
            Attributes(_) => 11,
            Events => 12,
            Links => 13,
            Resource => 14,
            Scope => 15,
            Revision => 16,
            Of(field) => FIELD_BITS + field as u32,
        };
        1 << place
    }

    /// Whether it may stand beside `spans` and then holds for each span that does not say otherwise: what spans of one
    /// run have in common, not what is one span's own.
    pub(super) fn is_shared(self) -> bool {
        match self {
            TraceId | Resource | Scope | Attributes(_) => true,
            Of(field) => SHARED.contains(&field),
            _ => false,
        }
    }
}

const FIELD_BITS: u32 = 17;
const _: () = assert!(FIELD_BITS as usize + Field::ALL.len() <= 128, "one bit for each meaning");

/// The fields that spans of one run have in common.
pub(super) const SHARED: &[Field] = &[
    Field::Service,
    Field::ExecutionId,
    Field::JobId,
    Field::QuestionId,
    Field::WorkflowId,
    Field::SessionId,
    Field::UserId,
    Field::Region,
    Field::Model,
    Field::WorkspaceId,
    Field::ReleaseTargetKey,
    Field::ReleaseId,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_goes_by_its_own_name() {
        for field in Field::ALL {
            assert_eq!(meaning(field.name()), Some(Of(*field)), "{}", field.name());
        }
    }

    #[test]
    fn the_api_document_tells_every_spelling() {
        let document = include_str!("../../../docs/api.md");
        let spellings = NAMES.iter().flat_map(|(_, names)| names.iter()).chain(UNITS.iter().map(|(suffix, _)| suffix));
        for spelling in spellings {
            assert!(document.contains(&format!("`{spelling}`")), "docs/api.md does not tell of {spelling}");
        }
    }

    #[test]
    fn a_spelling_has_one_canonical_name() {
        for (name, canonical) in [
            ("spanID", Some("span_id")),
            ("name", Some("operation")),
            ("start_time_ms", Some("started_at")),
            ("durationNs", Some("duration_ns")),
            ("tags", Some("tags")),
            ("child_spans", None),
        ] {
            assert_eq!(canonical_name(name), canonical, "{name}");
        }
    }

    #[test]
    fn no_name_is_listed_twice() {
        let mut names: Vec<&str> = NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn names_of_times_carry_their_unit() {
        for (name, expected) in [
            ("started_at", Some(StartedAt(None))),
            ("start_time_unix_nano", Some(StartedAt(Some(Unit::Nanos)))),
            ("startTimeUnixNano", Some(StartedAt(Some(Unit::Nanos)))),
            ("endTimeUnixNano", Some(EndedAt(Some(Unit::Nanos)))),
            ("start_ms", Some(StartedAt(Some(Unit::Millis)))),
            ("startTimeMs", Some(StartedAt(Some(Unit::Millis)))),
            ("completed_at_unix_ms", Some(EndedAt(Some(Unit::Millis)))),
            ("completed_at_us", Some(EndedAt(Some(Unit::Micros)))),
            ("end_unix", Some(EndedAt(Some(Unit::Seconds)))),
            ("service_ns", None),
            ("starts", None),
            ("_s", None),
        ] {
            assert_eq!(meaning(name), expected, "{name}");
        }
    }

    #[test]
    fn bits_are_distinct() {
        let mut seen = 0;
        let mut last = None;
        for (meaning, _) in NAMES {
            let bit = meaning.bit();
            let same = matches!(meaning, Duration(_) | Attributes(_)) && last == Some(bit);
            assert!(same || seen & bit == 0, "{meaning:?}");
            seen |= bit;
            last = Some(bit);
        }
    }
}
