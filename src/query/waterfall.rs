//! The waterfall of a trace, and of the execution a trace belongs to.

use crate::analysis::notes::{Note, NoteCode};
use crate::analysis::waterfall::{self, Waterfall};
use crate::levers::Period;
use crate::model::ids::TraceId;
use crate::model::tenant::TenantId;
use crate::query::{Loaded, Queries};
use crate::store::{Detail, StoreError};

pub use crate::analysis::waterfall::Options as WaterfallOptions;

/// Notes on what was left out, the newest first.
const MAX_LEFT_OUT: usize = 10;

impl Queries {
    /// The waterfall of a trace; `None` when the trace is not known. Of one whose spans were removed for their age it has
    /// no rows, and says so.
    ///
    /// # Errors
    /// What the store says.
    pub async fn waterfall(
        &self,
        tenant: &TenantId,
        trace_id: TraceId,
        options: &WaterfallOptions,
    ) -> Result<Option<Waterfall>, StoreError> {
        let options = WaterfallOptions { deadline_ns: self.deadline_ns, ..*options };
        Ok(match self.load(tenant, trace_id, Detail::Outline).await? {
            Loaded::Unknown => None,
            Loaded::Spans(trace, keeping) => {
                let mut waterfall = waterfall::build(&trace, self.clock.now(), &options).kept(keeping);
                waterfall.notes.extend(self.left_out(&waterfall));
                Some(waterfall)
            }
            Loaded::Expired(_) => self.rollup(tenant, trace_id).await?.as_ref().map(waterfall::of_rollup),
        })
    }

    /// What of the trace was not taken, as an operator wanted.
    pub(super) fn left_out(&self, waterfall: &Waterfall) -> Vec<Note> {
        let Some(levers) = &self.levers else { return Vec::new() };
        let (from, to) = (waterfall.started_at, waterfall.started_at.plus(waterfall.extent_ns));
        let periods = levers().left_out(waterfall.trace_id, from, to);
        let note = |period: Period| Note { code: NoteCode::LeftOut, message: period.to_string(), span_ids: Vec::new() };
        periods.into_iter().take(MAX_LEFT_OUT).map(note).collect()
    }

    /// The waterfall of an execution: of its trace `chosen`, else of its newest. `None` when the execution is not known
    /// or does not have the chosen trace.
    ///
    /// # Errors
    /// What the store says.
    pub async fn execution_waterfall(
        &self,
        tenant: &TenantId,
        execution_id: &str,
        chosen: Option<TraceId>,
        options: &WaterfallOptions,
    ) -> Result<Option<Waterfall>, StoreError> {
        let traces = self.execution_traces(tenant, execution_id).await?;
        let trace_id = match chosen {
            Some(chosen) => traces.into_iter().find(|trace_id| *trace_id == chosen),
            None => traces.into_iter().next(),
        };
        match trace_id {
            Some(trace_id) => self.waterfall(tenant, trace_id, options).await,
            None => Ok(None),
        }
    }
}
