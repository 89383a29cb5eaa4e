//! The read path: one file per question, each load -> analyse -> answer. Answers are what HTTP, CLI and every later face
//! hand out; none of them has another truth.

mod checkup;
mod execution;
mod jaeger;
mod pins;
mod scan;
mod services;
mod trace;
mod waterfall;

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Clock;
use crate::levers::Levers;
use crate::model::ids::TraceId;
use crate::model::rollup::{Keeping, TraceRollup};
use crate::model::search::{Cursor, TraceQuery};
use crate::model::tenant::TenantId;
use crate::model::trace::Trace;
use crate::store::{Detail, Pins, StoreError, TraceReader, TraceRows};

pub use checkup::{Doctor, Thoroughly};
pub use execution::Execution;
pub use jaeger::{Asked, ServiceSummary, Summary};
pub use pins::PinList;
pub use scan::Bounded;
pub use services::{Dependency, Operation};
pub use trace::{OtlpTrace, TraceSpans};
pub use waterfall::WaterfallOptions;

/// Answers questions for any tenant. Cloning shares the store.
#[derive(Clone)]
pub struct Queries {
    traces: Arc<dyn TraceReader>,
    pins: Arc<dyn Pins>,
    clock: Clock,
    deadline_ns: i64,
    levers: Option<Arc<dyn Fn() -> Arc<Levers> + Send + Sync>>,
}

/// Spans of one trace that a question reads at most; beyond it the answer says that it is truncated.
pub const MAX_TRACE_SPANS: usize = 100_000;

/// What is there of a trace.
enum Loaded {
    Unknown,
    /// Its spans were removed for their age; its roll-up is what is left.
    Expired(Keeping),
    Spans(Trace, Keeping),
}

/// Part of the list of traces, newest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TraceList {
    pub traces: Vec<TraceRollup>,
    /// Give it as `cursor` to read on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub next: Option<Cursor>,
}

impl Queries {
    /// Spans silent for `deadline_ns` nanoseconds while open read as abandoned.
    pub fn new(traces: Arc<dyn TraceReader>, pins: Arc<dyn Pins>, clock: Clock, deadline_ns: i64) -> Self {
        Self { traces, pins, clock, deadline_ns, levers: None }
    }

    /// With the history of what was not taken, so that answers tell it from what is missing.
    pub fn knowing(self, levers: impl Fn() -> Arc<Levers> + Send + Sync + 'static) -> Self {
        Self { levers: Some(Arc::new(levers)), ..self }
    }

    /// The traces that `query` asks for.
    ///
    /// # Errors
    /// What the store says.
    pub async fn traces(&self, tenant: &TenantId, query: &TraceQuery) -> Result<TraceList, StoreError> {
        let silent_before = Some(self.clock.now().plus(-self.deadline_ns));
        let page = self.traces.search_traces(tenant, &TraceQuery { silent_before, ..query.clone() }).await?;
        Ok(TraceList { traces: page.items, next: page.next })
    }

    /// The spans of a trace.
    async fn load(&self, tenant: &TenantId, trace_id: TraceId, detail: Detail) -> Result<Loaded, StoreError> {
        let TraceRows { mut rows, keeping } = self.traces.trace_rows(tenant, trace_id, detail, MAX_TRACE_SPANS).await?;
        if rows.is_empty() {
            return Ok(if keeping.is_cut() { Loaded::Expired(keeping) } else { Loaded::Unknown });
        }
        let truncated = rows.len() > MAX_TRACE_SPANS;
        rows.truncate(MAX_TRACE_SPANS);
        Ok(Loaded::Spans(Trace::new(tenant.clone(), trace_id, rows, truncated), keeping))
    }

    /// What the store keeps of a trace beside its spans.
    async fn rollup(&self, tenant: &TenantId, trace_id: TraceId) -> Result<Option<TraceRollup>, StoreError> {
        let query = TraceQuery { trace_id: Some(trace_id), limit: 1, ..TraceQuery::default() };
        Ok(self.traces(tenant, &query).await?.traces.into_iter().next())
    }
}
