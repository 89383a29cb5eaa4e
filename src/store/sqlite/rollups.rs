//! Roll-ups: which traces want one, what it is computed from, and keeping it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::encode::{chunks, list, placeholders};
use super::stored::select_by_trace;
use super::tables::{Table, Tables};
use super::{Sqlite, failed, nanos, resources};
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::span::{ResourceId, Span};
use crate::model::tenant::TenantId;
use crate::store::columns::ROLLUP;
use crate::store::rows::{Reader, Selection};
use crate::store::{Detail, Result, RollupStore, ToSettle, Touch};

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

    async fn rows_to_settle(&self, traces: &[(TenantId, TraceId)], limit: usize) -> Result<ToSettle> {
        let mut transaction = self.readers.begin().await.map_err(failed(SETTLING))?;
        let tables = Tables::load(&mut transaction, SETTLING).await?;
        let mut to_settle = ToSettle::default();
        let mut found = Vec::new();
        let mut rest = traces;
        for size in chunks(traces.len(), TRACES) {
            let (chunk, after) = rest.split_at(size);
            rest = after;
            let known = known(&mut transaction, chunk).await?;
            for (table, traces) in by_table(&known, &tables) {
                let left = limit.saturating_add(1).saturating_sub(found.len());
                found.extend(rows_of(&mut transaction, table, &tables, &traces, left).await?);
            }
            to_settle.traces.extend(known.into_iter().map(|trace| (trace.tenant, trace.trace_id, trace.touch)));
        }
        to_settle.rows = resources::attach(&self.resources, &mut transaction, found).await?;
        transaction.commit().await.map_err(failed(SETTLING))?;
        Ok(to_settle)
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

const SETTLING: &str = "read traces to settle";
/// Traces in one SELECT.
const TRACES: usize = 64;

/// A trace with its touch and the days in which its ended spans may be.
struct Known {
    tenant: TenantId,
    trace_id: TraceId,
    touch: Touch,
    days: Option<RangeInclusive<u32>>,
}

pub(super) fn select_known(count: usize) -> String {
    format!(
        "WITH k (k_trace_id, k_tenant) AS (VALUES {}) SELECT tenant, trace_id, touched, created_at, first_day, last_day \
         FROM k CROSS JOIN traces ON trace_id = k_trace_id AND tenant = k_tenant \
         WHERE NOT spans_partial AND spans_expired_at IS NULL",
        placeholders(2, count)
    )
}

async fn known(connection: &mut SqliteConnection, traces: &[(TenantId, TraceId)]) -> Result<Vec<Known>> {
    let keys = traces.iter().map(|(tenant, trace_id)| (tenant, *trace_id));
    let arguments = trace_keys(keys).map_err(failed(SETTLING))?;
    // Safe: nothing but placeholders is put into the text.
    let query = sqlx::query_with(AssertSqlSafe(select_known(traces.len())), arguments);
    let rows = query.fetch_all(connection).await.map_err(failed(SETTLING))?;
    let known = |row| {
        let mut cells =
            Reader::new(row, &["tenant", "trace_id", "touched", "created_at", "first_day", "last_day"], SETTLING);
        let tenant = TenantId::new(cells.required_text()?);
        let trace_id = cells.trace_id()?;
        let touch = Touch::new(cells.required_int()?, cells.required_instant()?);
        let days = cells.day()?.zip(cells.day()?).map(|(first, last)| first..=last);
        Ok(Known { tenant, trace_id, touch, days })
    };
    rows.iter().map(known).collect()
}

/// The tables in which rows of the traces may be, each with the traces to look for.
fn by_table<'k>(known: &'k [Known], tables: &Tables) -> BTreeMap<Table, Vec<&'k Known>> {
    let mut by_table: BTreeMap<Table, Vec<&Known>> = BTreeMap::from([(Table::Open, known.iter().collect())]);
    for trace in known {
        for table in trace.days.iter().flat_map(|days| tables.between(days)) {
            by_table.entry(table).or_default().push(trace);
        }
    }
    by_table
}

async fn rows_of(
    connection: &mut SqliteConnection,
    table: Table,
    tables: &Tables,
    traces: &[&Known],
    limit: usize,
) -> Result<Vec<(Span, Option<ResourceId>)>> {
    let selection = Selection::new(tables.filled(table), Detail::Rollup);
    let mut found = Vec::new();
    let mut rest = traces;
    for size in chunks(traces.len(), TRACES) {
        let (chunk, after) = rest.split_at(size);
        rest = after;
        let left = i64::try_from(limit.saturating_sub(found.len())).unwrap_or(i64::MAX);
        let mut arguments =
            trace_keys(chunk.iter().map(|trace| (&trace.tenant, trace.trace_id))).map_err(failed(SETTLING))?;
        arguments.add(left).map_err(sqlx::Error::Encode).map_err(failed(SETTLING))?;
        // Safe: names of our own tables and columns, and placeholders.
        let query = sqlx::query_with(AssertSqlSafe(select_by_trace(table, &selection, size)), arguments);
        for row in query.fetch_all(&mut *connection).await.map_err(failed(SETTLING))? {
            found.push(selection.span(&row, SETTLING)?);
        }
    }
    Ok(found)
}

fn trace_keys<'k>(traces: impl Iterator<Item = (&'k TenantId, TraceId)>) -> sqlx::Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for (tenant, trace_id) in traces {
        arguments
            .add(&trace_id.as_bytes()[..])
            .and_then(|()| arguments.add(tenant.as_str()))
            .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Writes roll-ups over the traces' rows, but never an older one over a newer one, nor any over a final one, nor one of a trace
/// that was deleted since its rows were read, whether or not it began anew. Safe: names of our own columns, and placeholders.
fn upsert(rows: usize) -> String {
    let set: Vec<String> =
        ROLLUP.iter().skip(1).chain(&["settled"]).map(|name| format!("{name} = excluded.{name}")).collect();
    format!(
        "INSERT INTO traces ({}, tenant, touched, settled, created_at) SELECT * FROM (VALUES {}) \
         WHERE EXISTS (SELECT 1 FROM traces WHERE trace_id = column1 AND tenant = column{}) ON CONFLICT (trace_id, tenant) DO UPDATE SET {} \
         WHERE excluded.created_at / 1000 = traces.created_at / 1000 AND excluded.settled BETWEEN traces.settled AND traces.touched AND NOT traces.spans_partial AND traces.spans_expired_at IS NULL",
        ROLLUP.join(", "),
        placeholders(ROLLUP.len() + 4, rows),
        ROLLUP.len() + 1,
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
    arguments.add(touch.times)?;
    arguments.add(touch.times)?;
    arguments.add(nanos(touch.since))
}
