//! An execution: one run of something, with one trace for each attempt.

use serde::Serialize;

use crate::analysis::summary;
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::span::Outcome;
use crate::model::tenant::TenantId;
use crate::query::{Loaded, Queries};
use crate::store::{Detail, StoreError};

/// Traces of one execution that are looked at; an execution is retried a handful of times.
const MAX_TRACES: usize = 50;

/// What is known of an execution, from all of its spans, at this moment; of traces of which spans were removed for their
/// age, from their last roll-up.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Execution {
    pub execution_id: String,
    /// Of the newest trace.
    pub status: Outcome,
    /// Newest first: the attempts.
    pub traces: Vec<TraceRollup>,
    /// Whether there are more traces than these.
    pub truncated: bool,
}

impl Queries {
    /// An execution with its traces; `None` when no span names it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn execution(&self, tenant: &TenantId, execution_id: &str) -> Result<Option<Execution>, StoreError> {
        let mut trace_ids = self.execution_traces(tenant, execution_id).await?;
        let truncated = trace_ids.len() > MAX_TRACES;
        trace_ids.truncate(MAX_TRACES);
        let mut traces = Vec::with_capacity(trace_ids.len());
        for trace_id in trace_ids {
            match self.load(tenant, trace_id, Detail::Outline).await? {
                Loaded::Unknown => {}
                Loaded::Spans(trace, keeping) if !keeping.is_cut() => {
                    let rollup = summary::rollup(&trace, self.clock.now(), self.deadline_ns);
                    traces.push(TraceRollup { keeping, ..rollup });
                }
                // Of all of its spans only the stored one knows.
                Loaded::Spans(..) | Loaded::Expired(_) => traces.extend(self.rollup(tenant, trace_id).await?),
            }
        }
        let Some(newest) = traces.first() else { return Ok(None) };
        Ok(Some(Execution { execution_id: execution_id.to_owned(), status: newest.status, traces, truncated }))
    }

    /// The traces of an execution, newest first, one more than are looked at when there are more.
    pub(super) async fn execution_traces(
        &self,
        tenant: &TenantId,
        execution_id: &str,
    ) -> Result<Vec<TraceId>, StoreError> {
        self.traces.traces_of_execution(tenant, execution_id, MAX_TRACES + 1).await
    }
}
