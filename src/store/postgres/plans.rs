//! The plans of the hot statements: each goes by an index, none reads a table from end to end. Needs a server, see
//! `tests/it/support/postgres.rs`.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::rollups::select_unsettled;
use super::stored::{delete_ended, delete_open, everything, list_ended, list_open, select_ended, select_open};
use super::traces::select_traces;
use super::work::{Limits, Mode};
use super::{PostgresLocation, PostgresSettings, Schema};
use crate::model::ids::TraceId;
use crate::model::search::{Cursor, TraceQuery};
use crate::model::span::Outcome;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::store::{Detail, Store, filter};

/// 2026-01-05T10:00:00Z.
const NOW: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);
const SCHEMA: &str = "tracefall_plans";

fn statements(schema: &Schema) -> Vec<(&'static str, String)> {
    let tenant = TenantId::default();
    let all = TraceQuery { limit: 50, ..TraceQuery::default() };
    let cursor = Some(Cursor { started_at: NOW, trace_id: TraceId::from_bytes([1; 16]).unwrap() });
    let queries = [
        ("recent", all.clone()),
        ("next page", TraceQuery { cursor, ..all.clone() }),
        ("failed since", TraceQuery { status: Some(Outcome::Failed), from: Some(NOW), ..all.clone() }),
        (
            "service",
            TraceQuery { service: Some("x".into()), or_unsettled: true, silent_before: Some(NOW), ..all.clone() },
        ),
        ("execution", TraceQuery { execution_id: Some("x".into()), ..all.clone() }),
        ("job", TraceQuery { job_id: Some("x".into()), to: Some(NOW), ..all }),
    ];
    let searches = queries.map(|(name, query)| (name, filter::search_traces(&tenant, &query, &schema.dialect()).sql));
    let selection = everything(Detail::Full);
    let (ended, open) = (list_ended(&selection), list_open(&selection));
    let others = [
        ("traces of an execution", filter::traces_of_execution(&tenant, "x", 9, &schema.dialect()).sql),
        ("services", filter::services(&tenant, 9, &schema.dialect()).sql),
        ("rows of traces", select_traces(schema, &selection)),
        ("unsettled", select_unsettled(schema)),
        ("ended by key", select_ended(schema, &ended)),
        ("open by key", select_open(schema, &open)),
        ("delete ended", delete_ended(schema)),
        ("delete open", delete_open(schema)),
    ];
    searches.into_iter().chain(others).collect()
}

#[tokio::test]
async fn no_hot_statement_reads_a_table_from_end_to_end() {
    // The integration tests say what is skipped, and fail in CI.
    let Ok(url) = std::env::var("TRACEFALL_TEST_POSTGRES") else { return };
    let store = emptied(&url, SCHEMA).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for (name, sql) in statements(&Schema::new(SCHEMA).unwrap()) {
        // Safe: the statements under test, with nothing bound.
        sqlx::raw_sql(AssertSqlSafe(Mode::Write.begin(Limits::new(10)))).execute(&mut connection).await.unwrap();
        let places = (1..=20).rev().find(|place| sql.contains(&format!("${place}"))).unwrap();
        let mut values = vec!["NULL"; places];
        // Where a partition is to be seen.
        let bounds = match name {
            "rows of traces" => 4..6,
            "ended by key" => 5..7,
            _ => 0..0,
        };
        let is_bounded = !bounds.is_empty();
        values[bounds].fill("'2026-01-05 10:00:00+00'");
        let values = values.join(",");
        connection.execute(AssertSqlSafe(format!("PREPARE hot AS {sql}"))).await.unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE hot({values})");
        let plan = connection.fetch_all(AssertSqlSafe(explain)).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let walks = |step: &&String| ["Seq Scan", "Hash", "Merge Join"].iter().any(|kind| step.contains(kind));
        let grouped = |step: &String| step.contains("HashAggregate");
        let found = steps.iter().filter(|step| !grouped(step)).find(walks);
        assert_eq!(found, None, "{name}: {steps:#?}\n{sql}");
        // On empty tables too, whose plans are kept as they fill: nobody reads all rows of a day to find those of a key.
        let mut conditions = steps.iter().filter(|step| is_bounded && step.contains("Cond:"));
        assert!(conditions.all(|step| step.contains("trace_id =")), "{name}: {steps:#?}\n{sql}");
        // Few rows at the most are sorted: those of one execution or job.
        let sorts = steps.iter().any(|step| step.contains("Sort"));
        assert!(!sorts || name.contains("execution") || matches!(name, "job" | "services"), "{name}: {steps:#?}");
        connection.execute("ROLLBACK; DEALLOCATE hot").await.unwrap();
    }
    store.maintenance.migrate_down().await.unwrap();
    store.maintenance.close().await;
}

/// Removing ended rows is planned each time (`remove_ended`): on a day without statistics, too, they are found by key, be it
/// by the index or by one pass, and never by a pass for each.
#[tokio::test]
async fn ended_rows_are_removed_by_key_from_a_day_without_statistics() {
    let Ok(url) = std::env::var("TRACEFALL_TEST_POSTGRES") else { return };
    let store = emptied(&url, "tracefall_removal").await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let keys = "SELECT md5(n::text)::uuid, decode(md5(n::text), 'hex'), 'default', \
                '2026-01-05 10:00:00+00'::timestamptz + n * interval '1 ms' FROM generate_series(1, 20000) AS n";
    let fill = format!(
        "ALTER TABLE tracefall_removal.spans_20260105 SET (autovacuum_enabled = false); INSERT INTO tracefall_removal.spans \
         (trace_id, span_id, tenant, started_at, status, kind, started_ns, created_at, created_ns, revision) \
         SELECT *, 'completed', 0, 0, '2026-01-05 10:00:00+00', 0, 0 FROM ({keys}) AS keys"
    );
    // Safe: constants.
    connection.execute(AssertSqlSafe(fill)).await.unwrap();
    let arrays: String = connection
        .fetch_one(AssertSqlSafe(format!(
            "SELECT format('%L::uuid[], %L::bytea[], %L::text[], %L::timestamptz[], %L, %L', array_agg(a), array_agg(b), \
             array_agg(c), array_agg(d), min(d), max(d)) FROM ({keys} LIMIT 500) AS keys (a, b, c, d)"
        )))
        .await
        .unwrap()
        .get(0);
    let sql = delete_ended(&Schema::new("tracefall_removal").unwrap());
    connection.execute(AssertSqlSafe(format!("PREPARE removal AS {sql}"))).await.unwrap();
    let plan = connection.fetch_all(AssertSqlSafe(format!("EXPLAIN EXECUTE removal({arrays})"))).await.unwrap();
    let steps: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let by_key = |step: &String| {
        ["Index Cond:", "Hash Cond:"].iter().any(|kind| step.contains(kind)) && step.contains("trace_id")
    };
    assert!(steps.iter().any(by_key) && !steps.iter().any(|step| step.contains("Join Filter")), "{steps:#?}");
    store.maintenance.migrate_down().await.unwrap();
    store.maintenance.close().await;
}

/// A store with nothing in it but the days about [`NOW`].
async fn emptied(url: &str, schema: &str) -> Store {
    let at = || crate::settings::DatabaseUrl::new(url.to_owned());
    let location = PostgresLocation { write_url: at(), read_url: at(), admin_url: at(), schema: schema.into() };
    let store = super::at(&location, &PostgresSettings::default()).unwrap();
    store.maintenance.migrate_down().await.unwrap();
    store.maintenance.migrate_up().await.unwrap();
    store.maintenance.prepare_days(NOW).await.unwrap();
    store
}
