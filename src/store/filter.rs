//! Questions into SQL: pure functions from a query to a statement's text and what is bound to it. Nothing that a caller
//! said is ever part of the text.

use super::columns::{Instants, ROLLUP, keeping};
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::search::{Cursor, Page, TraceQuery};
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

/// What the dialects say differently.
pub(super) struct Dialect<'d> {
    /// What stands before the names of tables: a schema with its dot, or nothing.
    pub schema: &'d str,
    /// The tables of ended spans, by the names that reads use.
    pub ended: &'d [&'d str],
    pub instants: Instants,
    /// What a SELECT lists for the list in this column, to get JSON.
    pub list: fn(column: &str) -> String,
    /// A condition: the list in this column holds the value of this placeholder.
    pub list_holds: fn(column: &str, placeholder: &str) -> String,
    /// The function that says where in a text, its first argument, another one begins, counted from 1; else 0.
    pub position: &'static str,
    /// What a SELECT lists for the instant of a dead letter, which is kept to the microsecond where instants are split.
    pub refused_at: &'static str,
    /// What a SELECT joins to get a row, with the column `value`, for each element of the list in this column.
    pub list_rows: fn(column: &str) -> String,
}

/// A value for a placeholder.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bind {
    Text(String),
    TraceId(TraceId),
    Instant(UnixNanos),
    /// The nanoseconds of an instant below its microseconds.
    BelowMicrosecond(UnixNanos),
    Count(i64),
}

/// A statement with what is bound to `$1`, `$2` ….
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub sql: String,
    pub binds: Vec<Bind>,
}

impl Statement {
    /// Binds a value and names its placeholder.
    pub(super) fn bind(&mut self, value: Bind) -> String {
        self.binds.push(value);
        format!("${}", self.binds.len())
    }

    /// A text, its NULs as they are kept: PostgreSQL has none.
    fn text(&mut self, value: &str) -> String {
        self.bind(Bind::Text(value.replace('\0', "\u{fffd}")))
    }

    /// As many placeholders as [`Instants::columns`] gives columns.
    fn instant(&mut self, at: UnixNanos, instants: Instants) -> String {
        let whole = self.bind(Bind::Instant(at));
        match instants {
            Instants::Whole => whole,
            Instants::Split => format!("{whole},{}", self.bind(Bind::BelowMicrosecond(at))),
        }
    }
}

/// Roll-ups, newest first, one row more than the limit: whether there is a next page shows by that row.
pub(super) fn search_traces(tenant: &TenantId, query: &TraceQuery, dialect: &Dialect<'_>) -> Statement {
    let Dialect { schema, instants, .. } = dialect;
    let started_at = instants.columns("started_at");
    let mut statement = Statement::default();
    let tenant = statement.text(tenant.as_str());
    let mut conditions = vec![format!("tenant = {tenant}")];
    let mut from = String::new();
    if let Some(trace_id) = query.trace_id {
        conditions.push(format!("trace_id = {}", statement.bind(Bind::TraceId(trace_id))));
    }
    if let Some(service) = &query.service {
        let service = statement.text(service);
        let holds = (dialect.list_holds)("services", &service);
        conditions.push(if query.or_unsettled { format!("({holds} OR settled < touched)") } else { holds });
    }
    let status_as_read = match query.silent_before {
        Some(silent_before) => status_as_read(&statement.instant(silent_before, *instants), &tenant, dialect),
        None => "status".to_owned(),
    };
    if let Some(status) = query.status {
        conditions.push(format!("{status_as_read} = {}", statement.text(status.name())));
    }
    for (column, value) in [("execution_id", &query.execution_id), ("job_id", &query.job_id)] {
        if let Some(value) = value {
            let value = statement.text(value);
            let found = format!("{column}_found");
            conditions.push(format!("trace_id = {found}.id"));
            from = from + &traces_with(column, &value, &tenant, &found, dialect) + " CROSS JOIN ";
        }
    }
    if let Some(from) = query.from {
        conditions.push(format!("({started_at}) >= ({})", statement.instant(from, *instants)));
    }
    if let Some(to) = query.to {
        conditions.push(format!("({started_at}) < ({})", statement.instant(to, *instants)));
    }
    if let Some(cursor) = query.cursor {
        let before = statement.instant(cursor.started_at, *instants);
        let trace_id = statement.bind(Bind::TraceId(cursor.trace_id));
        conditions.push(format!("({started_at},trace_id) < ({before},{trace_id})"));
    }
    let limit = statement.bind(Bind::Count(i64::from(limit(query)) + 1));
    let read = |column: &'static str| match column {
        "status" => status_as_read.clone(),
        "services" | "regions" | "models" => (dialect.list)(column),
        column => instants.columns(column),
    };
    statement.sql = format!(
        "SELECT {}, {} FROM {from}{schema}traces WHERE {} ORDER BY {} LIMIT {limit}",
        ROLLUP.map(read).join(", "),
        keeping(schema, *instants),
        conditions.join(" AND "),
        newest_first(*instants),
    );
    statement
}

fn newest_first(instants: Instants) -> String {
    format!("{} DESC, trace_id DESC", instants.columns("started_at").replace(',', " DESC, "))
}

/// The status of a trace as it reads: one that runs and has open spans is abandoned when nothing was heard since
/// `silent_before` of them, nor of completions that wait for their start, and no span has ended since. Its roll-up may be
/// older than its spans, so these are looked at; only of traces that run.
fn status_as_read(silent_before: &str, tenant: &str, Dialect { schema, instants, .. }: &Dialect<'_>) -> String {
    const OPEN: &str = "IN ('pending', 'running')";
    let of_trace = format!(
        "SELECT 1 FROM {schema}open_spans WHERE open_spans.trace_id = traces.trace_id AND open_spans.tenant = {tenant}"
    );
    format!(
        "CASE WHEN status {OPEN} AND (ended_at IS NULL OR ({}) < ({silent_before})) \
         AND EXISTS ({of_trace} AND open_spans.status {OPEN}) \
         AND NOT EXISTS ({of_trace} AND ({}) >= ({silent_before})) THEN 'abandoned' ELSE status END",
        instants.columns("ended_at"),
        instants.columns("seen_at"),
    )
}

/// The services of the newest `traces` traces, each once, in no order.
pub(super) fn services(tenant: &TenantId, traces: usize, dialect: &Dialect<'_>) -> Statement {
    let mut statement = Statement::default();
    let tenant = statement.text(tenant.as_str());
    let limit = statement.bind(Bind::Count(i64::try_from(traces).unwrap_or(i64::MAX)));
    statement.sql = format!(
        "SELECT DISTINCT value AS service FROM (SELECT services FROM {}traces WHERE tenant = {tenant} \
         ORDER BY {} LIMIT {limit}) AS newest CROSS JOIN {}",
        dialect.schema,
        newest_first(dialect.instants),
        (dialect.list_rows)("newest.services"),
    );
    statement
}

/// The ids of the traces that hold a span of this execution, newest first.
pub(super) fn traces_of_execution(
    tenant: &TenantId,
    execution_id: &str,
    limit: usize,
    dialect: &Dialect<'_>,
) -> Statement {
    let mut statement = Statement::default();
    let tenant = statement.text(tenant.as_str());
    let execution_id = statement.text(execution_id);
    let limit = statement.bind(Bind::Count(i64::try_from(limit).unwrap_or(i64::MAX)));
    statement.sql = format!(
        "SELECT trace_id FROM {} CROSS JOIN {}traces WHERE tenant = {tenant} AND trace_id = found.id \
         ORDER BY {} LIMIT {limit}",
        traces_with("execution_id", &execution_id, &tenant, "found", dialect),
        dialect.schema,
        newest_first(dialect.instants),
    );
    statement
}

/// The rows that a page of this query may hold.
/// The page that a search found: the row beyond the limit tells that there is a next one.
pub(super) fn page(query: &TraceQuery, mut found: Vec<TraceRollup>) -> Page<TraceRollup> {
    let limit = limit(query) as usize;
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more);
    let next = last.map(|last| Cursor { started_at: last.started_at, trace_id: last.trace_id });
    Page { items: found, next }
}

fn limit(query: &TraceQuery) -> u32 {
    query.limit.clamp(1, TraceQuery::MAX_LIMIT)
}

/// A table of the ids of the traces with this value in a column, in their roll-up or on any span: a trace is found from
/// its first span on, and by spans that disagree with their root. It is few rows, so statements begin at it: SQLite
/// keeps the order of a CROSS JOIN.
fn traces_with(column: &str, value: &str, tenant: &str, name: &str, dialect: &Dialect<'_>) -> String {
    let Dialect { schema, ended, .. } = dialect;
    let selects: Vec<String> = ["traces", "open_spans"]
        .iter()
        .chain(*ended)
        .map(|table| format!("SELECT trace_id FROM {schema}{table} WHERE {column} = {value} AND tenant = {tenant}"))
        .collect();
    format!("(SELECT DISTINCT trace_id AS id FROM ({}) AS any_of_them) AS {name}", selects.join(" UNION ALL "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::search::Cursor;
    use crate::model::span::Outcome;

    const DIALECT: Dialect<'_> = Dialect {
        schema: "",
        ended: &["spans"],
        instants: Instants::Whole,
        list: str::to_owned,
        list_holds: |column, value| format!("{column} HOLDS {value}"),
        position: "position",
        refused_at: "refused_at",
        list_rows: |column| format!("ROWS OF {column}"),
    };

    #[test]
    fn every_condition_is_bound_and_none_is_written_into_the_text() {
        let evil = "x'; DROP TABLE spans; --";
        let query = TraceQuery {
            trace_id: None,
            service: Some(evil.to_owned()),
            or_unsettled: false,
            status: Some(Outcome::Failed),
            execution_id: Some(evil.to_owned()),
            job_id: Some(evil.to_owned()),
            from: Some(UnixNanos::new(1)),
            to: Some(UnixNanos::new(2)),
            cursor: Some(Cursor { started_at: UnixNanos::new(3), trace_id: TraceId::from_bytes([4; 16]).unwrap() }),
            silent_before: Some(UnixNanos::new(9)),
            limit: 5,
        };
        let statement = search_traces(&TenantId::new(evil), &query, &DIALECT);
        assert!(!statement.sql.contains("DROP"), "{}", statement.sql);
        assert_eq!(statement.binds.len(), 11);
        assert!(statement.sql.contains("services HOLDS $2 AND CASE WHEN status IN"), "{}", statement.sql);
        assert!(
            statement
                .sql
                .ends_with("(started_at,trace_id) < ($9,$10) ORDER BY started_at DESC, trace_id DESC LIMIT $11")
        );
        assert_eq!(statement.binds[10], Bind::Count(6));
    }

    #[test]
    fn instants_of_two_columns_are_compared_as_pairs() {
        let dialect = Dialect { schema: "\"s\".", instants: Instants::Split, ..DIALECT };
        let cursor = Cursor { started_at: UnixNanos::new(1_234), trace_id: TraceId::from_bytes([4; 16]).unwrap() };
        let query = TraceQuery { cursor: Some(cursor), ..TraceQuery::default() };
        let statement = search_traces(&TenantId::default(), &query, &dialect);
        assert!(
            statement.sql.ends_with(
                "FROM \"s\".traces WHERE tenant = $1 AND (started_at,started_ns,trace_id) < ($2,$3,$4) \
                 ORDER BY started_at DESC, started_ns DESC, trace_id DESC LIMIT $5"
            ),
            "{}",
            statement.sql
        );
        assert_eq!(statement.binds[2], Bind::BelowMicrosecond(UnixNanos::new(1_234)));
    }

    #[test]
    fn a_limit_is_held_within_its_range() {
        for (asked, given) in [(0, 1), (50, 50), (u32::MAX, TraceQuery::MAX_LIMIT)] {
            assert_eq!(limit(&TraceQuery { limit: asked, ..TraceQuery::default() }), given);
        }
    }
}
