//! The plans of the hot statements: each goes by an index, none walks through a table of spans.

use sqlx::{AssertSqlSafe, Row};

use super::rollups::{SELECT_UNSETTLED, select_known};
use super::stored::{delete_by_key, select_by_key, select_by_trace};
use super::tables::Table;
use super::traces::{SELECT_TABLES, select_trace};
use super::{DIALECT, at, reading};
use crate::model::ids::TraceId;
use crate::model::search::{Cursor, TraceQuery};
use crate::model::span::Outcome;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::settings::store::SqliteSettings;
use crate::store::columns::Filled;
use crate::store::rows::Selection;
use crate::store::{Detail, filter};

/// 2026-01-05T10:00:00Z.
const NOW: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);

fn searches() -> Vec<(&'static str, String)> {
    let tenant = TenantId::default();
    let all = TraceQuery { limit: 50, ..TraceQuery::default() };
    let cursor = Some(Cursor { started_at: NOW, trace_id: TraceId::from_bytes([1; 16]).unwrap() });
    let queries = [
        ("recent", all.clone()),
        ("next page", TraceQuery { cursor, ..all.clone() }),
        ("failed since", TraceQuery { status: Some(Outcome::Failed), from: Some(NOW), ..all.clone() }),
        ("service", TraceQuery { service: Some("x".into()), or_unsettled: true, ..all.clone() }),
        ("execution", TraceQuery { execution_id: Some("x".into()), ..all.clone() }),
        ("job", TraceQuery { job_id: Some("x".into()), to: Some(NOW), ..all }),
    ];
    let searches = queries.map(|(name, query)| (name, filter::search_traces(&tenant, &query, &DIALECT).sql));
    searches
        .into_iter()
        .chain([
            ("traces of an execution", filter::traces_of_execution(&tenant, "x", 9, &DIALECT).sql),
            ("services", filter::services(&tenant, 9, &DIALECT).sql),
        ])
        .collect()
}

#[tokio::test]
async fn no_hot_statement_walks_through_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let (path, settings) = (directory.path().join("plans.db"), SqliteSettings::default());
    let store = at(&path, &settings);
    store.maintenance.migrate_up().await.unwrap();
    store.maintenance.prepare_days(NOW).await.unwrap();
    let tables = [Table::Open, Table::Default, Table::Day(NOW.day()), Table::Day(NOW.day() + 2)];
    let filled = Filled::parse("parent_span_id service inputs attributes").unwrap();
    let selection = Selection::new(filled, Detail::Full);

    let mut statements = searches();
    statements.push(("tables of a trace", SELECT_TABLES.to_owned()));
    statements.push(("unsettled", SELECT_UNSETTLED.to_owned()));
    statements.push(("trace", select_trace(&tables, &selection)));
    statements.push(("traces to settle", select_known(8)));
    for table in tables {
        statements.push(("rows to settle", select_by_trace(table, &selection, 8)));
        statements.push(("by key", select_by_key(table, &selection, 8)));
        statements.push(("delete by key", delete_by_key(table, 8)));
    }
    let pool = sqlx::SqlitePool::connect_with(reading(&path, &settings)).await.unwrap();
    for (name, sql) in statements {
        // Safe: the statements under test, with nothing bound.
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&pool).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get::<String, _>(3)).collect();
        // Scans of what the statement itself made, and of the index that holds just the unsettled.
        let made =
            ["k", "any_of_them", "found", "newest", "execution_id_found", "job_id_found", "json_each", "span_tables"];
        let walks = |step: &&String| {
            let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            scanned.is_some_and(|name| !made.contains(&name) && !name.ends_with("-ROW") && name != "8")
                && **step != "SCAN traces USING INDEX traces_unsettled"
        };
        assert_eq!(steps.iter().find(walks), None, "{name}: {steps:#?}\n{sql}");
        let sorts = steps.iter().any(|step| step.contains("TEMP B-TREE"));
        assert_eq!(sorts, name.contains("execution") || matches!(name, "job" | "services"), "{name}: {steps:#?}");
    }
}
