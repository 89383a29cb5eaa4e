//! The roll-up of a trace: what lists and searches know of it without reading its spans.

use serde::{Deserialize, Serialize};

use super::attributes::Attributes;
use super::ids::TraceId;
use super::span::Outcome;
use super::time::UnixNanos;

/// One trace in a row. Always computed anew from all spans of the trace, never incremented, so late and repeated spans
/// leave it right. Lists are sorted and without repetition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TraceRollup {
    #[schema(value_type = String)]
    pub trace_id: TraceId,
    /// The root's service; the earliest orphan's while the root has not come.
    pub root_service: Option<String>,
    pub root_operation: Option<String>,
    /// The root's terminal status; else running, or abandoned: see `analysis::summary`.
    pub status: Outcome,
    /// The earliest start of any span, or the time the trace was first heard of.
    #[schema(value_type = String)]
    pub started_at: UnixNanos,
    /// The latest end of any span, absent while none has ended.
    #[schema(value_type = Option<String>)]
    pub ended_at: Option<UnixNanos>,
    /// The root's duration; absent while it is open. Without a root, the time that the spans cover together.
    pub duration_ns: Option<i64>,
    /// Of the failed span that no other failed span caused: see `analysis::summary`.
    pub error_type: Option<String>,
    pub error_message: Option<String>,
    pub error_service: Option<String>,
    pub span_count: u32,
    pub error_count: u32,
    /// Spans whose parent is not among the trace's spans.
    pub orphan_count: u32,
    pub open_count: u32,
    pub services: Vec<String>,
    pub execution_id: Option<String>,
    pub job_id: Option<String>,
    pub question_id: Option<String>,
    pub workflow_id: Option<String>,
    pub session_id: Option<String>,
    pub user_id: Option<String>,
    pub regions: Vec<String>,
    pub models: Vec<String>,
    /// Sums over the spans that spent, so a parent that repeats its children's tokens is not counted twice.
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    /// 1e-12 USD; in JSON a decimal number of dollars as text.
    #[serde(rename = "cost_usd", with = "super::money::serde_usd")]
    #[schema(value_type = Option<String>)]
    pub cost_pico: Option<i64>,
    /// The root's inputs, cut: what was asked.
    pub query: Option<String>,
    /// The root's attributes.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Attributes,
    /// The store's word on its spans, which no computation changes.
    #[serde(flatten)]
    pub keeping: Keeping,
}

/// What became of a trace's spans with the time. Members that say nothing are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Keeping {
    /// Whether some of its spans were removed for their age and others are still there. The roll-up is of all of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spans_partial: bool,
    /// When the last of its spans were removed for their age; the roll-up is what is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub spans_expired_at: Option<UnixNanos>,
    /// Whether somebody pinned it: what is there of it stays until it is unpinned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

impl Keeping {
    /// Whether spans of it are gone: then its roll-up is final.
    pub fn is_cut(&self) -> bool {
        self.spans_partial || self.spans_expired_at.is_some()
    }
}
