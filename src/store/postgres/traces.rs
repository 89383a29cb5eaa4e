//! Traces out: the rows of one, and the roll-ups of many. Also the row of each trace that says in which days to look.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::stored::{everything, list_ended, list_open};
use super::types::{Instant, below_microsecond, uuid};
use super::work::{Mode, Work};
use super::{Postgres, Rows, Schema, arguments, failed, resources};
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::search::{Cursor, Page, TraceQuery};
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::store::filter::Statement;
use crate::store::rows::{self, Reader, Selection};
use crate::store::touched::touched_by;
use crate::store::{Detail, Result, TraceReader, filter};

#[async_trait]
impl TraceReader for Postgres {
    async fn trace_rows(
        &self,
        tenant: &TenantId,
        trace_id: TraceId,
        detail: Detail,
        limit: usize,
    ) -> Result<Vec<Span>> {
        const DOING: &str = "read a trace";
        let selection = everything(detail);
        let mut bound = PgArguments::default();
        bound
            .add(uuid(trace_id.as_bytes()))
            .and_then(|()| bound.add(tenant.as_str()))
            .and_then(|()| bound.add(i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX)))
            .map_err(sqlx::Error::Encode)
            .map_err(failed(DOING))?;
        self.limits
            .hold(DOING, async {
                let mut work = Work::begin(&self.readers, Mode::Read, self.limits, DOING).await?;
                let read = async {
                    // Safe: names of our own tables and columns, and placeholders.
                    let query = sqlx::query_with(AssertSqlSafe(select_trace(&self.schema, &selection)), bound);
                    let rows = query.fetch_all(&mut *work).await.map_err(failed(DOING))?;
                    let found = rows.iter().map(|row| selection.span(row, DOING)).collect::<Result<_>>()?;
                    resources::attach(&self.resources, &mut work, &self.schema, found).await
                }
                .await;
                work.end(read).await
            })
            .await
    }

    async fn traces_of_execution(&self, tenant: &TenantId, execution_id: &str, limit: usize) -> Result<Vec<TraceId>> {
        const DOING: &str = "find the traces of an execution";
        let statement = filter::traces_of_execution(tenant, execution_id, limit, &self.schema.dialect());
        let found = self.ask(statement, DOING).await?;
        found.iter().map(|row| Reader::new(row, &["trace_id"], DOING).trace_id()).collect()
    }

    async fn search_traces(&self, tenant: &TenantId, query: &TraceQuery) -> Result<Page<TraceRollup>> {
        const DOING: &str = "search traces";
        let found = self.ask(filter::search_traces(tenant, query, &self.schema.dialect()), DOING).await?;
        let mut items = found.iter().map(|row| rows::rollup(row, DOING)).collect::<Result<Vec<_>>>()?;
        let limit = filter::limit(query) as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more);
        let next = next.map(|last| Cursor { started_at: last.started_at, trace_id: last.trace_id });
        Ok(Page { items, next })
    }
}

impl Postgres {
    /// The rows of one statement of [`filter`].
    async fn ask(&self, statement: Statement, doing: &'static str) -> Result<Rows> {
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

/// One statement, so that the days to look in and the rows are of one state. The days are read first and spare the
/// executor the partitions of all others.
pub(super) fn select_trace(schema: &Schema, selection: &Selection) -> String {
    let (open, ended) = (list_open(selection), list_ended(selection));
    let is_trace = "trace_id = $1 AND tenant = $2";
    let day = |day: &str| {
        format!(
            "(SELECT ({day})::timestamp AT TIME ZONE 'UTC' FROM {schema}traces WHERE trace_id = $1 AND tenant = $2)"
        )
    };
    format!(
        "SELECT {open} FROM {schema}open_spans WHERE {is_trace} \
         UNION ALL SELECT {ended} FROM {schema}spans WHERE {is_trace} AND started_at >= {} AND started_at < {} \
         UNION ALL SELECT {ended} FROM {schema}spans_kept WHERE {is_trace} LIMIT $3",
        day("first_day"),
        day("last_day + 1"),
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
pub(super) async fn touch(connection: &mut PgConnection, schema: &Schema, batch: &[Span]) -> Result<KnownTraces> {
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
