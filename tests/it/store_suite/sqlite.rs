//! What only the SQLite store promises: what its file looks like from outside.

use std::collections::BTreeSet;

use async_trait::async_trait;
use rusqlite::Connection;
use tempfile::TempDir;
use tracefall::model::span::{Field, FieldType};
use tracefall::settings::store::StoreSettings;
use tracefall::store::{self, Store, StoreError};

use super::Home;
use super::records::*;

/// A file in a directory of its own, gone with the test.
pub struct File(TempDir);

impl File {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn settings(&self) -> StoreSettings {
        StoreSettings { data_dir: self.0.path().join("deeper"), ..StoreSettings::default() }
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.settings().data_dir.join("tracefall.db")
    }

    /// Another program's view of the file.
    fn outside(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

#[async_trait]
impl Home for File {
    async fn open(&self) -> Store {
        store::open(&self.settings()).await.unwrap()
    }
}

fn texts(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn the_tables_have_a_column_for_every_field() {
    let file = File::new();
    file.ready().await;
    let outside = file.outside();
    for table in ["spans_default", "open_spans", "spans_20260105", "spans_20260107"] {
        let names = texts(&outside, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let heavy = |field: &&Field| matches!(field, Field::Inputs | Field::Outputs);
        let light: Vec<&str> = Field::ALL.iter().filter(|field| !heavy(field)).map(|field| field.name()).collect();
        let first = names.iter().position(|name| name == light[0]).unwrap();
        assert_eq!(names[first..first + light.len()], light, "{table}: in the order of the fields");
        let last = names.iter().rev().take(6).map(String::as_str).collect::<Vec<_>>();
        assert_eq!(
            last,
            ["links", "events", "outputs", "inputs", "attributes", "resource_id"],
            "{table}: heavy ones last"
        );
        for field in Field::ALL {
            let declared = if field.field_type() == FieldType::Int { "INTEGER" } else { "TEXT" };
            let found = texts(
                &outside,
                &format!("SELECT type FROM pragma_table_info('{table}') WHERE name = '{}'", field.name()),
            );
            assert_eq!(found, [declared], "{table}.{}", field.name());
        }
    }
}

#[tokio::test]
async fn a_days_table_is_a_copy_of_the_default_one_with_its_indexes() {
    let file = File::new();
    file.ready().await;
    let definitions = |table: &str| {
        let sql = format!(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = '{table}' \
             AND name <> 'spans_default_created_at' ORDER BY sql"
        );
        texts(&file.outside(), &sql).into_iter().map(|sql| sql.replace(table, "T")).collect::<Vec<_>>()
    };
    let default = definitions("spans_default");
    assert!(default.len() > 4);
    assert_eq!(definitions("spans_20260106"), default);
}

#[tokio::test]
async fn spans_go_to_their_days_table_and_those_of_strange_days_to_the_default() {
    let file = File::new();
    let store = file.ready().await;
    let outside = file.outside();
    let tables = || {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'spans_[0-9]*' ORDER BY name";
        texts(&outside, sql)
    };
    assert_eq!(tables(), ["spans_20260105", "spans_20260106", "spans_20260107"]);
    store.maintenance.prepare_days(NOW).await.unwrap();
    assert_eq!(tables().len(), 3);
    let told = [-36, -35, 0, 2, 3].into_iter().zip(1..).map(|(day, span)| whole(1, span, NOW.plus(days(day))));
    write(&store, told).await;
    assert_eq!(tables(), ["spans_20251201", "spans_20260105", "spans_20260106", "spans_20260107"]);
    let count = |table: &str| {
        outside.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    for (table, rows) in
        [("spans_default", 2), ("spans_20251201", 1), ("spans_20260105", 1), ("spans_20260106", 0), ("spans", 5)]
    {
        assert_eq!(count(table), rows, "{table}");
    }
}

#[tokio::test]
async fn a_replay_rewrites_no_row() {
    let file = File::new();
    let store = file.ready().await;
    let batch = || {
        let ended = (1..=200).map(|span| whole(1, span, NOW));
        ended.chain([full(2, 1), started(2, 2, NOW), ended_after(2, 3), whole(2, 4, NOW.plus(-days(99)))])
    };
    fn ended_after(trace: u64, span: u64) -> tracefall::model::span::Span {
        ended(trace, span, NOW)
    }
    write(&store, batch()).await;
    let outside = file.outside();
    for table in ["spans_20260105", "spans_default", "open_spans", "resources"] {
        for change in ["UPDATE", "DELETE", "INSERT"] {
            // An INSERT that meets a row fires BEFORE triggers, so only what came through is refused.
            let when = if change == "INSERT" { "AFTER" } else { "BEFORE" };
            outside
                .execute_batch(&format!(
                    "CREATE TRIGGER no_{change}_{table} {when} {change} ON {table} \
                     BEGIN SELECT RAISE(ABORT, '{table} was written'); END"
                ))
                .unwrap();
        }
    }
    write(&store, batch()).await;
    let error = store.spans.write_spans(&[whole(1, 201, NOW)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "the fence stands: {error}");
    assert_eq!(rows(&store, 1).await.len(), 200, "and nothing of a refused batch is stored");
}

#[tokio::test]
async fn the_view_trace_spans_reads_well_from_outside() {
    let file = File::new();
    let store = file.ready().await;
    write(&store, [full(1, 1), started(1, 2, NOW.plus(-days(2)))]).await;
    let outside = file.outside();
    let columns = texts(&outside, "SELECT name FROM pragma_table_info('trace_spans')");
    assert_eq!(
        columns.join(" "),
        "id trace_id span_id parent_span_id service operation started_at completed_at duration_ms status error_message \
         error_type execution_id job_id model_id region metadata created_at"
    );
    let all = "SELECT concat_ws('|', trace_id, span_id, parent_span_id, started_at, completed_at, duration_ms, status, created_at) \
               FROM trace_spans ORDER BY span_id";
    assert_eq!(
        texts(&outside, all),
        [
            "07070707070707070000000000000001|0000000000000001|7f3c0a1b2c3d4e5f60718293a4b5c6d7|\
             2026-01-05T09:59:55.000000123Z|2026-01-05T09:59:56.000000123Z|1000.0|failed|2026-01-05T10:00:00.000000000Z",
            "07070707070707070000000000000001|0000000000000002|2026-01-03T10:00:00.000000000Z|abandoned|\
             2026-01-05T10:00:00.000000000Z",
        ]
    );
}

#[tokio::test]
async fn the_file_is_made_with_its_pragmas() {
    let file = File::new();
    file.ready().await;
    let outside = file.outside();
    let pragma = |name: &str| outside.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("auto_vacuum"), pragma("page_size")), (2, 4096));
    assert_eq!(texts(&outside, "PRAGMA journal_mode"), ["wal"]);
}

#[tokio::test]
async fn way_down_leaves_nothing_of_ours() {
    let file = File::new();
    let store = file.ready().await;
    write(&store, [full(1, 1)]).await;
    store.maintenance.migrate_down().await.unwrap();
    let left: BTreeSet<String> =
        texts(&file.outside(), "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").into_iter().collect();
    assert_eq!(left, BTreeSet::new());
}

#[tokio::test]
async fn what_is_committed_reaches_the_file_itself_while_the_store_is_open() {
    let file = File::new();
    let store = file.ready().await;
    write(&store, [whole(1, 1, NOW)]).await;
    let database = file.settings().data_dir.join("tracefall.db");
    let copied = || {
        // The file without its log.
        let copy = file.0.path().join("copy.db");
        std::fs::copy(&database, &copy).unwrap();
        let copy = Connection::open(&copy).unwrap();
        copy.query_row("SELECT count(*) FROM spans", [], |row| row.get::<_, i64>(0)).unwrap_or_default()
    };
    for _ in 0..500 {
        if copied() == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the span stayed in the log");
}

#[tokio::test]
async fn a_locked_file_is_unavailable_and_heals() {
    let file = File::new();
    let mut settings = file.settings();
    settings.sqlite.busy_timeout_ms = 1;
    file.ready().await.maintenance.close().await;
    let store = store::open(&settings).await.unwrap();
    let outside = file.outside();
    outside.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.spans.write_spans(&[whole(1, 1, NOW)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(rows(&store, 1).await.is_empty(), "reading goes on");
    outside.execute_batch("ROLLBACK").unwrap();
    write(&store, [whole(1, 1, NOW)]).await;
    assert_eq!(rows(&store, 1).await.len(), 1);
}

#[tokio::test]
async fn a_stored_value_that_cannot_be_is_named_by_its_column() {
    let file = File::new();
    let store = file.ready().await;
    for (column, value) in
        [("status", "'finished?'"), ("input_tokens", "'many'"), ("events", "'{'"), ("resource_id", "x'00'")]
    {
        write(&store, [full(1, 1)]).await;
        file.outside().execute_batch(&format!("UPDATE spans_20260105 SET {column} = {value}")).unwrap();
        let read = store.traces.trace_rows(&tenant(), trace_id(1), tracefall::store::Detail::Full, 9).await;
        let Err(StoreError::Corrupt { column: named, .. }) = read else { panic!("{column}: {read:?}") };
        assert_eq!(named, column);
        file.outside().execute_batch("DELETE FROM spans_20260105").unwrap();
    }
}
