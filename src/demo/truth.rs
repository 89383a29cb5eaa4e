//! What is true of a trace of the demo: which rule should find what in it, and which must not. Nothing of it is in the
//! spans; it is written beside them, for scoring.

use serde::Serialize;

use crate::model::ids::{SpanId, TraceId};
use crate::model::time::UnixNanos;

/// What a trace is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It shows the scenario's pattern.
    Fault,
    /// It resembles it, and differs in the deciding fact.
    LookAlike,
    /// Nothing is wrong.
    Healthy,
}

/// Where the cause is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Culprit {
    pub service: &'static str,
    pub operation: String,
    /// The spans that show it: of those that were told of.
    pub span_ids: Vec<SpanId>,
}

/// The truth about one trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    pub scenario: &'static str,
    pub role: Role,
    pub trace_id: TraceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// The rule that should speak; `None`: none should.
    pub rule: Option<&'static str>,
    /// Rules that say the same with other words, or a part of it.
    pub also: &'static [&'static str],
    /// Rules that would be wrong.
    pub must_not: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub culprit: Option<Culprit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'static str>,
    /// Spans that happened and of which nobody was told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_span_ids: Vec<SpanId>,
    pub started_at: UnixNanos,
    /// When the last of it happened.
    pub last_at: UnixNanos,
    /// The deciding fact, in a sentence.
    pub why: &'static str,
}

/// The truth about a time in which a scenario played.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Incident {
    pub scenario: &'static str,
    /// Always `incident`: what tells these lines from those about traces.
    pub role: &'static str,
    pub rule: &'static str,
    pub also: &'static [&'static str],
    /// The service and operation of most of the culprits.
    pub service: &'static str,
    pub operation: String,
    pub from: UnixNanos,
    pub to: UnixNanos,
    /// Healthy traffic only, before any scenario.
    pub baseline_from: UnixNanos,
    pub baseline_to: UnixNanos,
    pub fault_traces: usize,
    pub look_alike_traces: usize,
}
