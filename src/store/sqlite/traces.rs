//! Traces out: the rows of one, and the roll-ups of many. Also the row of each trace that says in which days to look.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use super::encode::{chunks, placeholders};
use super::stored::select_list;
use super::tables::{Table, Tables};
use super::{DIALECT, Sqlite, arguments, failed, nanos, resources};
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::search::{Page, TraceQuery};
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::store::columns::{Filled, KEEPING};
use crate::store::rows::{self, Reader, Selection};
use crate::store::touched::{Touched, touched_by};
use crate::store::{Detail, Result, TraceReader, TraceRows, filter};

/// Tables in one SELECT, well below SQLite's limit on a compound one.
const TABLES: usize = 64;

/// What became of a trace, on a row for each of the tables in which its spans may be.
pub(super) const SELECT_TABLES: &str = "SELECT spans_partial, spans_expired_at, \
     (SELECT count(*) FROM pins WHERE pins.trace_id = traces.trace_id AND pins.tenant = traces.tenant) AS pinned, \
     name, day, filled FROM traces \
     JOIN span_tables ON day IS NULL OR day BETWEEN first_day AND last_day WHERE trace_id = ? AND tenant = ?";

#[async_trait]
impl TraceReader for Sqlite {
    async fn trace_rows(
        &self,
        tenant: &TenantId,
        trace_id: TraceId,
        detail: Detail,
        limit: usize,
    ) -> Result<TraceRows> {
        let failed = failed("read a trace");
        let mut transaction = self.readers.begin().await.map_err(failed)?;
        let read = self.rows_of_trace(&mut transaction, tenant, trace_id, detail, limit).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(read)
    }

    async fn traces_of_execution(&self, tenant: &TenantId, execution_id: &str, limit: usize) -> Result<Vec<TraceId>> {
        const DOING: &str = "find the traces of an execution";
        let statement = filter::traces_of_execution(tenant, execution_id, limit, &DIALECT);
        let bound = arguments(&statement).map_err(failed(DOING))?;
        // Safe: the filter binds everything that the caller said.
        let query = sqlx::query_with(AssertSqlSafe(statement.sql), bound);
        let found = query.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        found.iter().map(|row| Reader::new(row, &["trace_id"], DOING).trace_id()).collect()
    }

    async fn services(&self, tenant: &TenantId, traces: usize) -> Result<Vec<String>> {
        const DOING: &str = "list services";
        let statement = filter::services(tenant, traces, &DIALECT);
        let bound = arguments(&statement).map_err(failed(DOING))?;
        // Safe: the filter binds everything that the caller said.
        let found = sqlx::query_with(AssertSqlSafe(statement.sql), bound);
        let found = found.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        rows::services(&found, DOING)
    }

    async fn search_traces(&self, tenant: &TenantId, query: &TraceQuery) -> Result<Page<TraceRollup>> {
        const DOING: &str = "search traces";
        let statement = filter::search_traces(tenant, query, &DIALECT);
        let bound = arguments(&statement).map_err(failed(DOING))?;
        // Safe: the filter binds everything that the caller said.
        let found = sqlx::query_with(AssertSqlSafe(statement.sql), bound);
        let found = found.fetch_all(&self.readers).await.map_err(failed(DOING))?;
        let found = found.iter().map(|row| rows::rollup(row, DOING)).collect::<Result<_>>()?;
        Ok(filter::page(query, found))
    }
}

impl Sqlite {
    /// The rows of a trace. To be called inside a transaction: the days to look in and the rows must be of one state.
    async fn rows_of_trace(
        &self,
        connection: &mut SqliteConnection,
        tenant: &TenantId,
        trace_id: TraceId,
        detail: Detail,
        limit: usize,
    ) -> Result<TraceRows> {
        const DOING: &str = "read a trace";
        const COLUMNS: [&str; 6] = [KEEPING[0], KEEPING[1], KEEPING[2], "name", "day", "filled"];
        let query = sqlx::query(SELECT_TABLES).bind(&trace_id.as_bytes()[..]).bind(tenant.as_str());
        let mut keeping = None;
        let (mut tables, mut filled) = (Vec::new(), Filled::default());
        for row in query.fetch_all(&mut *connection).await.map_err(failed(DOING))? {
            let mut cells = Reader::new(&row, &COLUMNS, DOING);
            keeping = Some(cells.keeping()?);
            let (table, by_its_rows) = Tables::entry(&mut cells)?;
            tables.push(table);
            filled = filled.union(by_its_rows);
        }
        let Some(keeping) = keeping else { return Ok(TraceRows::default()) };

        let selection = Selection::new(filled, detail);
        let mut found = Vec::new();
        for tables in tables.chunks(TABLES) {
            let left = limit.saturating_add(1).saturating_sub(found.len());
            // Safe: names of our own tables and columns.
            let query = sqlx::query(AssertSqlSafe(select_trace(tables, &selection)))
                .bind(&trace_id.as_bytes()[..])
                .bind(tenant.as_str())
                .bind(i64::try_from(left).unwrap_or(i64::MAX));
            for row in query.fetch_all(&mut *connection).await.map_err(failed(DOING))? {
                found.push(selection.span(&row, DOING)?);
            }
        }
        Ok(TraceRows { rows: resources::attach(&self.resources, connection, found).await?, keeping })
    }
}

pub(super) fn select_trace(tables: &[Table], selection: &Selection) -> String {
    let select = |table: &Table| {
        format!("SELECT {} FROM {table} WHERE trace_id = $1 AND tenant = $2", select_list(selection, *table))
    };
    format!("{} LIMIT $3", tables.iter().map(select).collect::<Vec<_>>().join(" UNION ALL "))
}

/// What is known of a trace that a batch does not begin.
pub(super) struct Known {
    /// The days in which its ended spans may be, the batch's among them.
    pub days: Option<RangeInclusive<u32>>,
    /// Whether any of its spans is open.
    pub has_open: bool,
}

/// Makes a row for each trace of the batch, or widens its bounds; either way the trace is unsettled. Answers with the
/// traces that had a row before.
pub(super) async fn touch(
    connection: &mut SqliteConnection,
    batch: &[Span],
) -> Result<HashMap<(TraceId, TenantId), Known>> {
    const DOING: &str = "touch traces";
    const RETURNED: [&str; 6] = ["trace_id", "tenant", "touched", "first_day", "last_day", "has_open"];
    let touched = touched_by(batch);
    let mut rest = touched.as_slice();
    let mut known = HashMap::new();
    for size in chunks(touched.len(), 64) {
        let (chunk, after) = rest.split_at(size);
        rest = after;
        // Safe: nothing but placeholders is put into the text.
        let sql = AssertSqlSafe(format!(
            "INSERT INTO traces (trace_id, tenant, first_day, last_day, started_at, ended_at, created_at) VALUES {} {}",
            placeholders(7, size),
            include_str!("../sql/sqlite/traces_touch.sql"),
        ));
        let query = sqlx::query_with(sql, bind_touched(chunk).map_err(failed(DOING))?);
        for row in query.fetch_all(&mut *connection).await.map_err(failed(DOING))? {
            let mut cells = Reader::new(&row, &RETURNED, DOING);
            let trace_id = cells.trace_id()?;
            let tenant = TenantId::new(cells.required_text()?);
            if cells.required_int()? == 1 {
                continue;
            }
            let days = cells.day()?.zip(cells.day()?).map(|(first, last)| first..=last);
            known.insert((trace_id, tenant), Known { days, has_open: cells.required_int()? != 0 });
        }
    }
    Ok(known)
}

fn bind_touched(traces: &[Touched<'_>]) -> sqlx::Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for trace in traces {
        let days = trace.days.as_ref();
        arguments
            .add(&trace.trace_id.as_bytes()[..])
            .and_then(|()| arguments.add(trace.tenant.as_str()))
            .and_then(|()| arguments.add(days.map(|days| *days.start())))
            .and_then(|()| arguments.add(days.map(|days| *days.end())))
            .and_then(|()| arguments.add(nanos(trace.started_at.unwrap_or(trace.created_at))))
            .and_then(|()| arguments.add(trace.ended_at.map(nanos)))
            .and_then(|()| arguments.add(nanos(trace.created_at)))
            .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
