//! Roll-ups: which traces want one, what it is computed from, and keeping it.

use async_trait::async_trait;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe};

use super::encode::{chunks, list, placeholders};
use super::{Sqlite, failed, nanos};
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::store::columns::ROLLUP;
use crate::store::rows::Reader;
use crate::store::{Detail, Result, RollupStore, Touch};

/// Oldest first.
pub(super) const SELECT_UNSETTLED: &str =
    "SELECT tenant, trace_id FROM traces WHERE settled < touched ORDER BY created_at LIMIT ?";

#[async_trait]
impl RollupStore for Sqlite {
    async fn unsettled(&self, limit: usize) -> Result<Vec<(TenantId, TraceId)>> {
        const DOING: &str = "find unsettled traces";
        let query = sqlx::query(SELECT_UNSETTLED).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        let trace = |row| {
            let mut cells = Reader::new(row, &["tenant", "trace_id"], DOING);
            Ok((TenantId::new(cells.required_text()?), cells.trace_id()?))
        };
        found.iter().map(trace).collect()
    }

    async fn rows_to_settle(
        &self,
        tenant: &TenantId,
        trace_id: TraceId,
        limit: usize,
    ) -> Result<Option<(Touch, Vec<Span>)>> {
        let failed = failed("read a trace to settle");
        let mut transaction = self.readers.begin().await.map_err(failed)?;
        let read = self.rows_of_trace(&mut transaction, tenant, trace_id, Detail::Full, limit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(read)
    }

    async fn write_rollups(&self, rollups: &[(TenantId, Touch, TraceRollup)]) -> Result<()> {
        let failed = failed("write roll-ups");
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        let mut rest = rollups;
        for size in chunks(rollups.len(), 32) {
            let (chunk, after) = rest.split_at(size);
            rest = after;
            let mut arguments = SqliteArguments::default();
            for (tenant, touch, rollup) in chunk {
                bind(&mut arguments, tenant, *touch, rollup).map_err(sqlx::Error::Encode).map_err(failed)?;
            }
            let query = sqlx::query_with(AssertSqlSafe(upsert(size)), arguments);
            query.execute(&mut *transaction).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

/// Writes roll-ups over the traces' rows, but never an older one over a newer one. Safe: names of our own columns, and
/// placeholders.
fn upsert(rows: usize) -> String {
    let set: Vec<String> =
        ROLLUP.iter().skip(1).chain(&["settled"]).map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO traces ({}, tenant, touched, settled, created_at) VALUES {} \
         ON CONFLICT (trace_id, tenant) DO UPDATE SET {} WHERE excluded.settled >= traces.settled",
        ROLLUP.join(", "),
        placeholders(ROLLUP.len() + 4, rows),
        set.join(", "),
    )
}

/// In the order of [`ROLLUP`], then what belongs to its row.
fn bind(
    arguments: &mut SqliteArguments,
    tenant: &TenantId,
    touch: Touch,
    rollup: &TraceRollup,
) -> std::result::Result<(), BoxDynError> {
    arguments.add(&rollup.trace_id.as_bytes()[..])?;
    arguments.add(rollup.root_service.as_deref())?;
    arguments.add(rollup.root_operation.as_deref())?;
    arguments.add(rollup.status.name())?;
    arguments.add(nanos(rollup.started_at))?;
    arguments.add(rollup.ended_at.map(nanos))?;
    arguments.add(rollup.duration_ns)?;
    arguments.add(rollup.error_type.as_deref())?;
    arguments.add(rollup.error_message.as_deref())?;
    arguments.add(rollup.error_service.as_deref())?;
    for count in [rollup.span_count, rollup.error_count, rollup.orphan_count, rollup.open_count] {
        arguments.add(count)?;
    }
    arguments.add(list(&rollup.services)?)?;
    for id in [
        &rollup.execution_id,
        &rollup.job_id,
        &rollup.question_id,
        &rollup.workflow_id,
        &rollup.session_id,
        &rollup.user_id,
    ] {
        arguments.add(id.as_deref())?;
    }
    arguments.add(list(&rollup.regions)?)?;
    arguments.add(list(&rollup.models)?)?;
    arguments.add(rollup.input_tokens)?;
    arguments.add(rollup.output_tokens)?;
    arguments.add(rollup.cost_pico)?;
    arguments.add(rollup.query.as_deref())?;
    arguments.add((!rollup.metadata.is_empty()).then(|| rollup.metadata.as_json()))?;
    arguments.add(tenant.as_str())?;
    arguments.add(touch.0)?;
    arguments.add(touch.0)?;
    arguments.add(nanos(rollup.started_at))
}
