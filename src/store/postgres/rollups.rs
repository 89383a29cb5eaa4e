//! Roll-ups: which traces want one, what it is computed from, and keeping it.

use async_trait::async_trait;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, AssertSqlSafe};

use super::stored::everything;
use super::traces::{rows_of, sought};
use super::types::{Instant, below_microsecond, uuid};
use super::work::{Mode, Work};
use super::{Postgres, Schema, failed, resources};
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::tenant::TenantId;
use crate::store::columns::{Instants, ROLLUP};
use crate::store::rows::Reader;
use crate::store::{Detail, Result, RollupStore, ToSettle, Touch};

const SETTLING: &str = "read traces to settle";

#[async_trait]
impl RollupStore for Postgres {
    async fn unsettled(&self, limit: usize) -> Result<Vec<(TenantId, TraceId)>> {
        const DOING: &str = "find unsettled traces";
        let mut bound = PgArguments::default();
        let added = bound.add(i64::try_from(limit).unwrap_or(i64::MAX));
        added.map_err(sqlx::Error::Encode).map_err(failed(DOING))?;
        // Safe: a name of our own table.
        let found = self.fetch(AssertSqlSafe(select_unsettled(&self.schema)), bound, DOING).await?;
        let trace = |row| {
            let mut cells = Reader::new(row, &["tenant", "trace_id"], DOING);
            Ok((TenantId::new(cells.required_text()?), cells.trace_id()?))
        };
        found.iter().map(trace).collect()
    }

    async fn rows_to_settle(&self, traces: &[(TenantId, TraceId)], limit: usize) -> Result<ToSettle> {
        if traces.is_empty() {
            return Ok(ToSettle::default());
        }
        let read = async {
            let mut work = Work::begin(&self.readers, Mode::Read, self.limits, SETTLING).await?;
            let read = self.read_to_settle(&mut work, traces, limit).await;
            work.end(read).await
        };
        self.limits.hold(SETTLING, read).await
    }

    async fn write_rollups(&self, rollups: &[(TenantId, Touch, TraceRollup)]) -> Result<()> {
        const DOING: &str = "write roll-ups";
        if rollups.is_empty() {
            return Ok(());
        }
        let mut rollups: Vec<&(TenantId, Touch, TraceRollup)> = rollups.iter().collect();
        // All who write lock traces in the same order; of two roll-ups of a trace the newer one stands.
        rollups.sort_by(|a, b| {
            (a.2.trace_id, &a.0, a.1.since, a.1.times).cmp(&(b.2.trace_id, &b.0, b.1.since, b.1.times))
        });
        let newest = rollups.chunk_by(|a, b| (a.2.trace_id, &a.0) == (b.2.trace_id, &b.0));
        let rollups: Vec<_> = newest.filter_map(|of_trace| of_trace.last().copied()).collect();
        let bound = bind(&rollups).map_err(sqlx::Error::Encode).map_err(failed(DOING))?;
        let write = async {
            let mut work = Work::begin(&self.writer, Mode::Write, self.limits, DOING).await?;
            // Safe: names of our own table and columns, and placeholders.
            let query = sqlx::query_with(AssertSqlSafe(update(&self.schema)), bound);
            let written = query.execute(&mut *work).await.map_err(failed(DOING));
            work.end(written).await.map(|_| ())
        };
        self.limits.hold(DOING, write).await
    }
}

/// Oldest first.
pub(super) fn select_unsettled(schema: &Schema) -> String {
    format!("SELECT tenant, trace_id FROM {schema}traces WHERE unsettled ORDER BY created_at LIMIT $1")
}

impl Postgres {
    async fn read_to_settle(&self, work: &mut Work, traces: &[(TenantId, TraceId)], limit: usize) -> Result<ToSettle> {
        let mut known = sought(work, &self.schema, traces, SETTLING).await?;
        known.retain(|trace| !trace.keeping.is_cut());
        let selection = everything(Detail::Rollup);
        let found = rows_of(work, &self.schema, &known, &selection, limit, SETTLING).await?;
        let rows = resources::attach(&self.resources, work, &self.schema, found).await?;
        let traces = known.into_iter().map(|trace| (trace.tenant, trace.trace_id, trace.touch)).collect();
        Ok(ToSettle { traces, rows })
    }
}

/// The type of a roll-up's column, as it is bound.
fn bound_as(column: &str) -> &'static str {
    match column {
        "trace_id" => "uuid",
        "started_at" | "ended_at" => "timestamptz",
        "duration_ns" | "span_count" | "error_count" | "orphan_count" | "open_count" | "input_tokens"
        | "output_tokens" | "cost_pico" => "bigint",
        _ => "text",
    }
}

/// Writes roll-ups over the traces' rows, but never an older one over a newer one, nor any over a final one, nor one of a trace
/// that was deleted since its rows were read, whether or not it began anew. Each column comes as one array, in the order of
/// [`bind`]. Where nobody wrote to the trace since, all its open rows are to be seen, and `has_open` says anew whether there are
/// any.
fn update(schema: &Schema) -> String {
    let split = |name: &'static str| Instants::Split.columns(name);
    let columns: Vec<String> =
        ROLLUP.iter().flat_map(|name| split(name).split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
    let types = columns
        .iter()
        .map(|name| if name.ends_with("_ns") && name != "duration_ns" { "smallint" } else { bound_as(name) });
    let types = types.chain(["text", "bigint", "timestamptz"]).enumerate();
    let arrays: Vec<String> = types.map(|(index, of)| format!("${}::{of}[]", index + 1)).collect();
    let set = columns.iter().skip(1).map(|name| match name.as_str() {
        "services" | "regions" | "models" => {
            format!("{name} = ARRAY(SELECT json_array_elements_text(told.{name}::json))")
        }
        "metadata" => "metadata = told.metadata::json".to_owned(),
        name => format!("{name} = told.{name}"),
    });
    format!(
        "UPDATE {schema}traces AS known SET {set}, settled = told.touch, unsettled = told.touch < known.touched, \
         has_open = known.has_open AND (told.touch <> known.touched OR EXISTS (SELECT 1 FROM {schema}open_spans AS o \
         WHERE o.trace_id = known.trace_id AND o.tenant = known.tenant)) \
         FROM unnest({arrays}) AS told ({names}, tenant, touch, since) \
         WHERE known.trace_id = told.trace_id AND known.tenant = told.tenant \
         AND told.since = known.created_at AND told.touch BETWEEN known.settled AND known.touched AND NOT known.spans_partial \
         AND known.spans_expired_at IS NULL",
        names = columns.join(", "),
        arrays = arrays.join(", "),
        set = set.collect::<Vec<_>>().join(", "),
    )
}

/// In the order of [`ROLLUP`], then what belongs to its row.
fn bind(rollups: &[&(TenantId, Touch, TraceRollup)]) -> std::result::Result<PgArguments, sqlx::error::BoxDynError> {
    let mut arguments = PgArguments::default();
    let texts = |of: fn(&TraceRollup) -> Option<&String>| -> Vec<Option<String>> {
        rollups.iter().map(|(_, _, rollup)| of(rollup).cloned()).collect()
    };
    let ints = |of: fn(&TraceRollup) -> Option<i64>| -> Vec<Option<i64>> {
        rollups.iter().map(|(_, _, rollup)| of(rollup)).collect()
    };
    let lists = |of: fn(&TraceRollup) -> &Vec<String>| -> serde_json::Result<Vec<String>> {
        rollups.iter().map(|(_, _, rollup)| serde_json::to_string(of(rollup))).collect()
    };
    let each = rollups.iter().map(|(_, _, rollup)| rollup);
    arguments.add(each.clone().map(|rollup| uuid(rollup.trace_id.as_bytes())).collect::<Vec<_>>())?;
    arguments.add(texts(|rollup| rollup.root_service.as_ref()))?;
    arguments.add(texts(|rollup| rollup.root_operation.as_ref()))?;
    arguments.add(each.clone().map(|rollup| rollup.status.name()).collect::<Vec<_>>())?;
    arguments.add(each.clone().map(|rollup| Instant::of(rollup.started_at)).collect::<Vec<_>>())?;
    arguments.add(each.clone().map(|rollup| below_microsecond(rollup.started_at)).collect::<Vec<_>>())?;
    arguments.add(each.clone().map(|rollup| rollup.ended_at.map(Instant::of)).collect::<Vec<_>>())?;
    arguments.add(each.clone().map(|rollup| rollup.ended_at.map(below_microsecond)).collect::<Vec<_>>())?;
    arguments.add(ints(|rollup| rollup.duration_ns))?;
    arguments.add(texts(|rollup| rollup.error_type.as_ref()))?;
    arguments.add(texts(|rollup| rollup.error_message.as_ref()))?;
    arguments.add(texts(|rollup| rollup.error_service.as_ref()))?;
    arguments.add(ints(|rollup| Some(rollup.span_count.into())))?;
    arguments.add(ints(|rollup| Some(rollup.error_count.into())))?;
    arguments.add(ints(|rollup| Some(rollup.orphan_count.into())))?;
    arguments.add(ints(|rollup| Some(rollup.open_count.into())))?;
    arguments.add(lists(|rollup| &rollup.services)?)?;
    arguments.add(texts(|rollup| rollup.execution_id.as_ref()))?;
    arguments.add(texts(|rollup| rollup.job_id.as_ref()))?;
    arguments.add(texts(|rollup| rollup.question_id.as_ref()))?;
    arguments.add(texts(|rollup| rollup.workflow_id.as_ref()))?;
    arguments.add(texts(|rollup| rollup.session_id.as_ref()))?;
    arguments.add(texts(|rollup| rollup.user_id.as_ref()))?;
    arguments.add(lists(|rollup| &rollup.regions)?)?;
    arguments.add(lists(|rollup| &rollup.models)?)?;
    arguments.add(ints(|rollup| rollup.input_tokens))?;
    arguments.add(ints(|rollup| rollup.output_tokens))?;
    arguments.add(ints(|rollup| rollup.cost_pico))?;
    arguments.add(texts(|rollup| rollup.query.as_ref()))?;
    let metadata = each.map(|rollup| (!rollup.metadata.is_empty()).then(|| rollup.metadata.as_json()));
    arguments.add(metadata.collect::<Vec<_>>())?;
    arguments.add(rollups.iter().map(|(tenant, _, _)| tenant.as_str()).collect::<Vec<_>>())?;
    arguments.add(rollups.iter().map(|(_, touch, _)| touch.times).collect::<Vec<_>>())?;
    arguments.add(rollups.iter().map(|(_, touch, _)| Instant::of(touch.since)).collect::<Vec<_>>())?;
    Ok(arguments)
}
