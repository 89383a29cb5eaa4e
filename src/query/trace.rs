//! The spans of a trace, whole.

use serde::Serialize;

use crate::model::ids::TraceId;
use crate::model::tenant::TenantId;
use crate::query::Queries;
use crate::store::{Detail, StoreError};
use crate::wire::native::SpanJson;

/// Every span of a trace with all that is known of it, ordered by start, in the form in which spans are posted.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TraceSpans {
    #[schema(value_type = String)]
    pub trace_id: TraceId,
    #[schema(value_type = Vec<Object>)]
    pub spans: Vec<SpanJson>,
    /// Whether the trace has more spans than these.
    pub truncated: bool,
}

impl Queries {
    /// The spans of a trace; `None` when it is not known.
    ///
    /// # Errors
    /// What the store says.
    pub async fn trace(&self, tenant: &TenantId, trace_id: TraceId) -> Result<Option<TraceSpans>, StoreError> {
        let trace = self.load(tenant, trace_id, Detail::Full).await?;
        Ok(trace.map(|trace| TraceSpans {
            trace_id,
            truncated: trace.truncated,
            spans: trace.spans.into_iter().map(SpanJson).collect(),
        }))
    }
}
