//! Traces out: the rows of one, and the roll-ups of many. Also the row of each trace that says in which days to look.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::session::Session;
use super::stored::{bounds, everything, list_ended, list_open};
use super::types::{Instant, below_microsecond, uuid};
use super::work::{Mode, Work};
use super::{Postgres, Rows, Schema, arguments, failed, resources};
use crate::model::ids::TraceId;
use crate::model::rollup::{Keeping, TraceRollup};
use crate::model::search::{Page, TraceQuery};
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::store::columns::{Instants, KEEPING, keeping};
use crate::store::filter::Statement;
use crate::store::resources::Unattached;
use crate::store::rows::{self, Reader, Selection};
use crate::store::touched::touched_by;
use crate::store::{Detail, Result, Touch, TraceReader, TraceRows, filter};

#[async_trait]
impl TraceReader for Postgres {
    async fn trace_rows(
        &self,
        tenant: &TenantId,
        trace_id: TraceId,
        detail: Detail,
        limit: usize,
    ) -> Result<TraceRows> {
        const DOING: &str = "read a trace";
        let selection = everything(detail);
        let trace = [(tenant.clone(), trace_id)];
        let read = async {
            let mut work = Work::begin(&self.readers, Mode::Read, self.limits, DOING).await?;
            let read = async {
                let known = sought(&mut work, &self.schema, &trace, DOING).await?;
                let Some(keeping) = known.first().map(|trace| trace.keeping) else {
                    return Ok(TraceRows::default());
                };
                let found = rows_of(&mut work, &self.schema, &known, &selection, limit, DOING).await?;
                let rows = resources::attach(&self.resources, &mut work, &self.schema, found).await?;
                Ok(TraceRows { rows, keeping })
            }
            .await;
            work.end(read).await
        };
        self.limits.hold(DOING, read).await
    }

    async fn traces_of_execution(&self, tenant: &TenantId, execution_id: &str, limit: usize) -> Result<Vec<TraceId>> {
        const DOING: &str = "find the traces of an execution";
        let statement = filter::traces_of_execution(tenant, execution_id, limit, &self.schema.dialect());
        let found = self.ask(statement, DOING).await?;
        found.iter().map(|row| Reader::new(row, &["trace_id"], DOING).trace_id()).collect()
    }

    async fn services(&self, tenant: &TenantId, traces: usize) -> Result<Vec<String>> {
        const DOING: &str = "list services";
        rows::services(&self.ask(filter::services(tenant, traces, &self.schema.dialect()), DOING).await?, DOING)
    }

    async fn search_traces(&self, tenant: &TenantId, query: &TraceQuery) -> Result<Page<TraceRollup>> {
        const DOING: &str = "search traces";
        let found = self.ask(filter::search_traces(tenant, query, &self.schema.dialect()), DOING).await?;
        let found = found.iter().map(|row| rows::rollup(row, DOING)).collect::<Result<_>>()?;
        Ok(filter::page(query, found))
    }
}

impl Postgres {
    /// The rows of one statement of [`filter`].
    pub(super) async fn ask(&self, statement: Statement, doing: &'static str) -> Result<Rows> {
        let bound = arguments(&statement).map_err(failed(doing))?;
        // Safe: the filter binds everything that the caller said.
        self.fetch(AssertSqlSafe(statement.sql), bound, doing).await
    }

    /// The rows of one statement that only reads.
    pub(super) async fn fetch(
        &self,
        sql: AssertSqlSafe<String>,
        bound: PgArguments,
        doing: &'static str,
    ) -> Result<Rows> {
        self.limits
            .hold(doing, async {
                let mut work = Work::begin(&self.readers, Mode::Read, self.limits, doing).await?;
                let rows = sqlx::query_with(sql, bound).fetch_all(&mut *work).await.map_err(failed(doing));
                work.end(rows).await
            })
            .await
    }
}

/// A trace with its touch and the days in which its ended spans may be.
pub(super) struct Sought {
    pub tenant: TenantId,
    pub trace_id: TraceId,
    pub touch: Touch,
    pub days: Option<RangeInclusive<u32>>,
    pub keeping: Keeping,
}

fn trace_keys<'k>(traces: impl Iterator<Item = (&'k TenantId, TraceId)> + Clone) -> (Vec<Uuid>, Vec<String>) {
    let ids = traces.clone().map(|(_, trace_id)| uuid(trace_id.as_bytes())).collect();
    (ids, traces.map(|(tenant, _)| tenant.as_str().to_owned()).collect())
}

/// Those of the traces that are known.
pub(super) async fn sought(
    connection: &mut Session,
    schema: &Schema,
    traces: &[(TenantId, TraceId)],
    doing: &'static str,
) -> Result<Vec<Sought>> {
    const COLUMNS: [&str; 9] =
        ["tenant", "trace_id", "touched", "created_at", "first_day", "last_day", KEEPING[0], KEEPING[1], KEEPING[2]];
    let (trace_ids, tenants) = trace_keys(traces.iter().map(|(tenant, trace_id)| (tenant, *trace_id)));
    // Safe: a name of our own table, and placeholders.
    let sql = AssertSqlSafe(format!(
        "SELECT tenant, trace_id, touched, created_at, 0::smallint, first_day, last_day, {} FROM unnest($1::uuid[], $2::text[]) \
         AS k (k_trace_id, k_tenant) JOIN {schema}traces ON trace_id = k_trace_id AND tenant = k_tenant",
        keeping(&schema.prefix, Instants::Split)
    ));
    let query = sqlx::query(sql).bind(trace_ids).bind(tenants);
    let rows = query.fetch_all(connection).await.map_err(failed(doing))?;
    let known = |row| {
        let mut cells = Reader::new(row, &COLUMNS, doing);
        let tenant = TenantId::new(cells.required_text()?);
        let trace_id = cells.trace_id()?;
        let touch = Touch::new(cells.required_int()?, cells.required_instant()?);
        let days = cells.day()?.zip(cells.day()?).map(|(first, last)| first..=last);
        Ok(Sought { tenant, trace_id, touch, days, keeping: cells.keeping()? })
    };
    rows.iter().map(known).collect()
}

/// The rows of these traces, open and ended: at most one more than the limit.
pub(super) async fn rows_of(
    connection: &mut Session,
    schema: &Schema,
    traces: &[Sought],
    selection: &Selection,
    limit: usize,
    doing: &'static str,
) -> Result<Unattached> {
    // Of a trace without a day all spans are open: its bounds hold nothing.
    let days = |trace: &Sought| trace.days.clone().map_or((0, 0), |days| (*days.start(), days.end() + 1));
    let whole = bounds(traces.iter().filter_map(|trace| trace.days.as_ref()))
        .map_or((0, 0), |all| (*all.start(), all.end() + 1));
    let (trace_ids, tenants) = trace_keys(traces.iter().map(|trace| (&trace.tenant, trace.trace_id)));
    // Safe: names of our own tables and columns, and placeholders.
    let query = sqlx::query(AssertSqlSafe(select_traces(schema, selection)))
        .bind(trace_ids)
        .bind(tenants)
        .bind(traces.iter().map(|trace| Instant::of_day(days(trace).0)).collect::<Vec<_>>())
        .bind(traces.iter().map(|trace| Instant::of_day(days(trace).1)).collect::<Vec<_>>())
        .bind(Instant::of_day(whole.0))
        .bind(Instant::of_day(whole.1))
        .bind(i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX));
    let rows = query.fetch_all(connection).await.map_err(failed(doing))?;
    rows.iter().map(|row| selection.span(row, doing)).collect()
}

/// The outer bounds spare the planner all other days, and the trace's own the executor.
///
/// Each trace is looked up by itself (OFFSET 0 keeps it so): a planner that sees an empty day would join all traces with
/// all rows of the day, and keep that plan as the day fills.
pub(super) fn select_traces(schema: &Schema, selection: &Selection) -> String {
    let (open, ended) = (list_open(selection), list_ended(selection));
    let of_trace = |list: &str, table: &str, within: &str| {
        format!(
            "SELECT found.* FROM k CROSS JOIN LATERAL (SELECT {list} FROM {schema}{table} \
             WHERE trace_id = k_trace_id AND tenant = k_tenant{within} OFFSET 0) AS found"
        )
    };
    let within = " AND started_at >= k_from AND started_at < k_until AND started_at >= $5 AND started_at < $6";
    format!(
        "WITH k (k_trace_id, k_tenant, k_from, k_until) AS MATERIALIZED \
         (SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[])) \
         {} UNION ALL {} UNION ALL {} LIMIT $7",
        of_trace(&open, "open_spans", ""),
        of_trace(&ended, "spans", within),
        of_trace(&ended, "spans_kept", ""),
    )
}

/// What is known of a trace that a batch does not begin.
pub(super) struct Known {
    /// The days in which its ended spans may be, the batch's among them.
    pub days: Option<RangeInclusive<u32>>,
    /// Whether any of its spans may be open.
    pub has_open: bool,
}

pub(super) type KnownTraces = HashMap<(TraceId, TenantId), Known>;

/// Makes a row for each trace of the batch, or widens its bounds; either way the trace is unsettled, and locked until the
/// transaction ends. Answers with the traces that had a row before.
pub(super) async fn touch(connection: &mut Session, schema: &Schema, batch: &[Span]) -> Result<KnownTraces> {
    const DOING: &str = "touch traces";
    const RETURNED: [&str; 6] = ["trace_id", "tenant", "touched", "first_day", "last_day", "has_open"];
    let mut touched = touched_by(batch);
    // All who write lock traces in the same order.
    touched.sort_by(|a, b| (a.trace_id, a.tenant).cmp(&(b.trace_id, b.tenant)));
    let each = touched.iter();
    let started = each.clone().map(|trace| trace.started_at.unwrap_or(trace.created_at));
    let ended = each.clone().map(|trace| trace.ended_at);
    let day = |day: u32| day.cast_signed();
    // Safe: a name of our own table, and placeholders.
    let sql =
        AssertSqlSafe(include_str!("../sql/postgres/traces_touch.sql").replace("tracefall.", &schema.to_string()));
    let query = sqlx::query(sql)
        .bind(each.clone().map(|trace| uuid(trace.trace_id.as_bytes())).collect::<Vec<_>>())
        .bind(each.clone().map(|trace| trace.tenant.as_str().to_owned()).collect::<Vec<_>>())
        .bind(each.clone().map(|trace| trace.days.as_ref().map(|days| day(*days.start()))).collect::<Vec<_>>())
        .bind(each.clone().map(|trace| trace.days.as_ref().map(|days| day(*days.end()))).collect::<Vec<_>>())
        .bind(started.clone().map(Instant::of).collect::<Vec<_>>())
        .bind(started.map(below_microsecond).collect::<Vec<_>>())
        .bind(ended.clone().map(|at| at.map(Instant::of)).collect::<Vec<_>>())
        .bind(ended.map(|at| at.map(below_microsecond)).collect::<Vec<_>>())
        .bind(each.clone().map(|trace| Instant::of(trace.created_at)).collect::<Vec<_>>())
        .bind(each.map(|trace| trace.has_open).collect::<Vec<_>>());
    let mut known = KnownTraces::new();
    for row in query.fetch_all(connection).await.map_err(failed(DOING))? {
        let mut cells = Reader::new(&row, &RETURNED, DOING);
        let trace_id = cells.trace_id()?;
        let tenant = TenantId::new(cells.required_text()?);
        if cells.required_int()? == 1 {
            continue;
        }
        let days = cells.day()?.zip(cells.day()?).map(|(first, last)| first..=last);
        known.insert((trace_id, tenant), Known { days, has_open: cells.required_int()? != 0 });
    }
    Ok(known)
}
