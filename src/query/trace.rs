//! The spans of a trace, whole.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::content;
use crate::model::ids::{SpanId, TraceId};
use crate::model::rollup::Keeping;
use crate::model::span::{Field, Outcome, Span};
use crate::model::tenant::TenantId;
use crate::model::trace::Trace;
use crate::query::{Loaded, Queries};
use crate::store::{Detail, StoreError};
use crate::wire::{native, otlp};

/// Every span of a trace with all that is known of it, ordered by start.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TraceSpans {
    #[schema(value_type = String)]
    pub trace_id: TraceId,
    /// In the form in which spans are posted: what is read here can be posted again.
    #[schema(value_type = Vec<Object>)]
    pub spans: Vec<Box<RawValue>>,
    /// Open spans that have been silent for so long that nobody waits for their end any more.
    #[schema(value_type = Vec<String>)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<SpanId>,
    /// Whether the trace has more spans than these.
    pub truncated: bool,
    #[serde(flatten)]
    pub keeping: Keeping,
}

/// A trace as one request of OTLP/JSON.
#[derive(Debug)]
pub struct OtlpTrace {
    pub text: String,
    /// Whether the trace has, or had, more spans than these.
    pub truncated: bool,
}

impl Queries {
    /// The spans of a trace; `None` when it is not known. One whose spans were removed for their age has none.
    ///
    /// # Errors
    /// What the store says.
    pub async fn trace(&self, tenant: &TenantId, trace_id: TraceId) -> Result<Option<TraceSpans>, StoreError> {
        let (trace, keeping) = match self.load(tenant, trace_id, Detail::Full).await? {
            Loaded::Unknown => return Ok(None),
            Loaded::Spans(trace, keeping) => (trace, keeping),
            Loaded::Expired(keeping) => (Trace::new(tenant.clone(), trace_id, Vec::new(), false), keeping),
        };
        Ok(Some(self.told(trace, keeping)))
    }

    /// The spans of a trace as one request of OTLP/JSON; `None` when it is not known.
    ///
    /// # Errors
    /// What the store says.
    pub async fn trace_as_otlp(&self, tenant: &TenantId, trace_id: TraceId) -> Result<Option<OtlpTrace>, StoreError> {
        let of = |spans: &[Span], truncated| Some(OtlpTrace { text: otlp::encode(spans), truncated });
        Ok(match self.load(tenant, trace_id, Detail::Full).await? {
            Loaded::Unknown => None,
            Loaded::Spans(trace, _) => of(&trace.spans, trace.truncated),
            Loaded::Expired(_) => of(&[], true),
        })
    }

    fn told(&self, trace: Trace, keeping: Keeping) -> TraceSpans {
        let now = self.clock.now();
        let is_abandoned = |outcome: Outcome| outcome == Outcome::Abandoned;
        TraceSpans {
            trace_id: trace.trace_id,
            truncated: trace.truncated,
            keeping,
            abandoned: trace
                .spans
                .iter()
                .filter(|span| is_abandoned(span.outcome(now, self.deadline_ns)))
                .map(|span| span.span_id)
                .collect(),
            // Encoding writes JSON, so reading it as such does not fail.
            spans: trace
                .spans
                .iter()
                .filter_map(|span| RawValue::from_string(native::encode(&with_content(span))).ok())
                .collect(),
        }
    }
}

/// The span with the inputs and outputs that its attributes tell, where it has none of its own.
fn with_content(span: &Span) -> Cow<'_, Span> {
    let told = [
        (Field::Inputs, span.inputs().is_none().then(|| content::inputs(span)).flatten()),
        (Field::Outputs, span.outputs().is_none().then(|| content::outputs(span)).flatten()),
    ];
    let mut span = Cow::Borrowed(span);
    for (field, content) in told {
        if let Some(content) = content {
            span.to_mut().fields.set_text(field, content);
        }
    }
    span
}
