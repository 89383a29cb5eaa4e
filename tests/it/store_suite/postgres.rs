//! What only the PostgreSQL store promises: what its schema looks like from outside, and how it behaves among others.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor, Row};
use tracefall::model::merge::fold;
use tracefall::model::span::{Field, FieldType, Span};
use tracefall::settings::store::PreparedStatements;
use tracefall::store::error::Cause;
use tracefall::store::{Detail, Owner, Store, StoreError};

use super::Home;
use super::records::*;
use crate::support::postgres::{Database, settings};

/// The one column of a query of the test's own, as text.
async fn texts(outside: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows = outside.fetch_all(AssertSqlSafe(format!("SELECT c::text FROM ({sql}) AS q (c)"))).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn execute(outside: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(outside).await.unwrap();
}

#[tokio::test]
async fn the_tables_have_a_column_for_every_field() {
    let Some(database) = Database::new() else { return };
    database.ready().await;
    let mut outside = database.outside().await;
    for table in ["spans", "spans_kept", "open_spans", "spans_20260105", "spans_default"] {
        let columns = format!(
            "SELECT attname || ' ' || format_type(atttypid, NULL) FROM pg_attribute \
             WHERE attrelid = 'tracefall.{table}'::regclass AND attnum > 0 ORDER BY attnum"
        );
        let columns = texts(&mut outside, &columns).await;
        for field in Field::ALL {
            let held = match field.field_type() {
                FieldType::Int => "bigint",
                FieldType::Text => "text",
                FieldType::Json => "json",
            };
            let column = format!("{} {held}", field.name());
            assert!(columns.contains(&column), "{table} has no {column}: {columns:?}");
        }
        let variable = |column: &String| ["text", "bytea", "json"].iter().any(|held| column.ends_with(held));
        let first = columns.iter().position(variable).unwrap();
        assert!(columns[first..].iter().all(variable), "{table}: those of a fixed width come first: {columns:?}");
    }
}

async fn partitions(outside: &mut PgConnection) -> Vec<String> {
    texts(
        outside,
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid \
         WHERE inhparent = 'tracefall.spans'::regclass ORDER BY relname",
    )
    .await
}

#[tokio::test]
async fn spans_go_to_their_days_partition_and_those_of_strange_days_to_the_default() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let mut outside = database.outside().await;
    let prepared = ["spans_20260105", "spans_20260106", "spans_20260107", "spans_default"];
    assert_eq!(partitions(&mut outside).await, prepared);
    let told = [-36, -35, 0, 2, 3].into_iter().zip(1..).map(|(day, span)| whole(1, span, NOW.plus(days(day))));
    write(&store, told).await;
    assert_eq!(partitions(&mut outside).await, [&["spans_20251201"], &prepared[..]].concat());
    for (table, rows) in [
        ("spans_default", "2"),
        ("spans_20251201", "1"),
        ("spans_20260105", "1"),
        ("spans_20260106", "0"),
        ("spans", "5"),
    ] {
        assert_eq!(texts(&mut outside, &format!("SELECT count(*) FROM tracefall.{table}")).await, [rows], "{table}");
    }
    let indexes = |table: &str| format!("SELECT count(*) FROM pg_indexes WHERE tablename = '{table}'");
    let of_default = texts(&mut outside, &indexes("spans_default")).await;
    assert_eq!(texts(&mut outside, &indexes("spans_20251201")).await, of_default);
}

#[tokio::test]
async fn a_day_with_rows_in_the_default_partition_stays_there() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    // Two days ahead of the window when it came, and today when the next one comes.
    let late = NOW.plus(days(4));
    write(&store, [whole(1, 1, late)]).await;
    let mut on_the_day = whole(1, 2, late);
    on_the_day.seen_at = late;
    write(&store, [on_the_day]).await;
    store.maintenance.prepare_days(late).await.unwrap();
    let mut outside = database.outside().await;
    assert!(!partitions(&mut outside).await.contains(&"spans_20260109".to_owned()));
    assert!(partitions(&mut outside).await.contains(&"spans_20260110".to_owned()));
    assert_eq!(rows(&store, 1).await.len(), 2);
}

#[tokio::test]
async fn a_replay_rewrites_no_row() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let batch = || -> Vec<Span> {
        let ended_ones = (1..=200).map(|span| whole(1, span, NOW));
        ended_ones.chain([full(2, 1), started(2, 2, NOW), ended(2, 3, NOW), whole(2, 4, NOW.plus(-days(99)))]).collect()
    };
    write(&store, batch()).await;
    let mut outside = database.outside().await;
    let places = "SELECT tableoid::regclass::text || ctid::text || xmin::text FROM tracefall.spans \
                  UNION ALL SELECT 'open' || ctid::text || xmin::text FROM tracefall.open_spans \
                  UNION ALL SELECT 'resource' || ctid::text || xmin::text FROM tracefall.resources ORDER BY 1";
    let before = texts(&mut outside, places).await;
    assert_eq!(before.len(), 205);
    write(&store, batch()).await;
    write(&store, batch()).await;
    assert_eq!(texts(&mut outside, places).await, before);
}

#[tokio::test]
async fn twins_of_a_start_told_twice_become_one_row_with_the_next_record() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let tellings = [whole(1, 1, NOW), whole(1, 1, NOW.plus(-5_000)), ended(1, 1, NOW.plus(7 * SECOND))];
    for telling in tellings.clone() {
        write(&store, [telling]).await;
        assert!(!spans(&store, 1).await.is_empty());
    }
    assert_eq!(rows(&store, 1).await.len(), 1);
    assert_eq!(spans(&store, 1).await, expected(tellings));
}

#[tokio::test]
async fn replicas_that_write_the_same_spans_at_once_agree() {
    let Some(database) = Database::new() else { return };
    let stores = [database.ready().await, database.open().await, database.open().await];
    let batch = |seed: u64| {
        let mut dice = Dice(seed);
        let records = (0..400).map(|_| {
            let (trace, span) = (1 + dice.below(40), 1 + dice.below(6));
            match dice.below(3) {
                0 => started(trace, span, NOW),
                1 => ended(trace, span, NOW.plus(SECOND)),
                _ => whole(trace, span, NOW),
            }
        });
        fold(records.collect())
    };
    for round in 0..4 {
        let writes = stores.iter().zip(0..).map(|(store, replica)| patiently(store, batch(round * 3 + replica)));
        futures_util::future::join_all(writes).await;
    }
    let everything: Vec<Span> = (0..12).flat_map(batch).collect();
    for trace in 1..=40 {
        let told: Vec<Span> = everything.iter().filter(|span| span.trace_id == trace_id(trace)).cloned().collect();
        let read = rows(&stores[0], trace).await;
        let identities: BTreeSet<_> = read.iter().map(Span::key).collect();
        assert_eq!(read.len(), identities.len(), "no record was lost, none is there twice");
        assert_eq!(spans(&stores[0], trace).await, expected(told));
    }
}

/// As the pipeline does it.
async fn patiently(store: &Store, batch: Vec<Span>) {
    while let Err(error) = store.spans.write_spans(&batch).await {
        assert!(error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_nothing_and_its_store_lives() {
    let Some(database) = Database::new() else { return };
    database.ready().await.maintenance.close().await;
    let mut settings = database.settings();
    settings.postgres.writer_connections = 1;
    let store = database.open_with(&settings).await;
    let batch: Vec<Span> = (1..=2_000).map(|span| whole(1, span, NOW)).collect();
    let mut given_up = 0;
    for micros in (0..12_000).step_by(400) {
        let write = store.spans.write_spans(&batch);
        given_up += u32::from(tokio::time::timeout(Duration::from_micros(micros), write).await.is_err());
        let read = rows(&store, 1).await.len();
        assert!(read == 0 || read == batch.len(), "{read} rows of a batch");
    }
    assert!(given_up > 0);
    write(&store, batch.clone()).await;
    assert_eq!(rows(&store, 1).await.len(), batch.len());
}

#[tokio::test]
async fn what_no_text_can_hold_is_refused_as_data() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let mut poison = whole(1, 2, NOW);
    poison.fields.set_text(Field::Operation, "a\0b");
    let error = store.spans.write_spans(&[whole(1, 1, NOW), poison]).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(rows(&store, 1).await.is_empty(), "nothing of a refused batch is stored");
    write(&store, [whole(1, 1, NOW)]).await;
}

#[tokio::test]
async fn nothing_relies_on_prepared_statements_and_any_schema_will_do() {
    let Some(database) = Database::new() else { return };
    let mut settings = database.settings();
    settings.schema = "select".into();
    settings.postgres.prepared_statements = PreparedStatements::Never;
    let store = database.open_with(&settings).await;
    store.maintenance.migrate_up().await.unwrap();
    let told = [full(1, 1), started(1, 2, NOW), ended(1, 3, NOW)];
    for _ in 0..2 {
        write(&store, told.clone()).await;
    }
    assert_eq!(spans(&store, 1).await, expected(told));
    let execution = full(1, 1).execution_id().unwrap().to_owned();
    assert_eq!(store.traces.traces_of_execution(&tenant(), &execution, 9).await.unwrap(), [trace_id(1)]);
    let mut outside = database.outside().await;
    let elsewhere = "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
                     WHERE nspname NOT IN ('select', 'pg_catalog', 'pg_toast', 'information_schema')";
    assert!(texts(&mut outside, elsewhere).await.is_empty());
}

#[tokio::test]
async fn the_way_down_leaves_nothing_of_ours_and_all_of_others() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    write(&store, [full(1, 1)]).await;
    let mut outside = database.outside().await;
    execute(
        &mut outside,
        "CREATE TABLE tracefall.notes (x int); CREATE VIEW public.mine AS SELECT trace_id FROM tracefall.traces",
    )
    .await;
    store.maintenance.migrate_down().await.unwrap_err();
    assert_eq!(rows(&store, 1).await.len(), 1, "what others built on ours is in the way");
    execute(&mut outside, "DROP VIEW public.mine").await;
    store.maintenance.migrate_down().await.unwrap();
    let left = "SELECT relname FROM pg_class WHERE relnamespace = 'tracefall'::regnamespace";
    assert_eq!(texts(&mut outside, left).await, ["notes"]);
    execute(&mut outside, "DROP TABLE tracefall.notes").await;
    store.maintenance.migrate_up().await.unwrap();
    store.maintenance.migrate_down().await.unwrap();
    assert!(texts(&mut outside, "SELECT 1 FROM pg_namespace WHERE nspname = 'tracefall'").await.is_empty());
}

#[tokio::test]
async fn a_writer_without_the_right_to_make_tables_fills_the_default_partition() {
    let Some(database) = Database::new() else { return };
    database.ready().await.maintenance.close().await;
    let role = format!("tracefall_test_{}", &tracefall::clock::random_hex_128()[..12]);
    let mut outside = database.outside().await;
    execute(
        &mut outside,
        &format!(
            "CREATE ROLE {role}; GRANT {role} TO current_user; GRANT USAGE ON SCHEMA tracefall TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tracefall TO {role}"
        ),
    )
    .await;
    let url = database.url();
    let separator = if url.contains('?') { '&' } else { '?' };
    let settings = settings(&format!("{url}{separator}options=-c%20role%3D{role}"));
    let store = database.open_with(&settings).await;
    store.maintenance.migrate_up().await.unwrap();
    write(&store, [whole(1, 1, NOW), whole(1, 2, NOW.plus(-days(1)))]).await;
    assert_eq!(rows(&store, 1).await.len(), 2);
    assert_eq!(texts(&mut outside, "SELECT count(*) FROM tracefall.spans_default").await, ["1"]);
    store.maintenance.close().await;
    execute(&mut outside, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

/// Waits for locks of traces' deletions: those that are held, or waited for.
async fn locks(outside: &mut PgConnection, granted: bool, count: usize) {
    let locks = format!(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted = {granted} AND pid <> pg_backend_pid() \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    for _ in 0..1_000 {
        if texts(outside, &locks).await.len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("never {count} locks, granted: {granted}");
}

#[tokio::test]
async fn traces_are_barred_beside_a_backup_and_after_the_writes_that_did_not_know() {
    let Some(database) = Database::new() else { return };
    database.ready().await.maintenance.close().await;
    let mut outside = database.outside().await;
    execute(
        &mut outside,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''', \
         current_database()); END $$",
    )
    .await;
    let store = database.open_with(&database.settings()).await;
    let mut watch = database.outside().await;
    execute(&mut watch, "SET default_transaction_isolation = 'read committed'").await;
    write(&store, [whole(1, 1, NOW), whole(2, 1, NOW)]).await;
    execute(&mut outside, "BEGIN; LOCK TABLE tracefall.deletions, tracefall.traces IN ACCESS SHARE MODE").await;
    store.erasure.bar(&tenant(), &[trace_id(1)], NOW).await.unwrap();
    execute(&mut outside, "ROLLBACK").await;

    // A write that is under way ends first.
    execute(&mut outside, "BEGIN; SELECT 1 FROM tracefall.traces FOR UPDATE").await;
    let writer = store.spans.clone();
    let writing = tokio::spawn(async move { writer.write_spans(&[whole(2, 2, NOW)]).await });
    locks(&mut watch, true, 1).await;
    let eraser = store.erasure.clone();
    let barring = tokio::spawn(async move { eraser.bar(&tenant(), &[trace_id(2)], NOW).await });
    locks(&mut watch, false, 1).await;
    execute(&mut outside, "ROLLBACK").await;
    writing.await.unwrap().unwrap();
    barring.await.unwrap().unwrap();
    assert_eq!(rows(&store, 2).await.len(), 2, "and is there to be removed");

    // One that waited knows.
    execute(
        &mut outside,
        "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('tracefall deletions tracefall', 0)); \
         INSERT INTO tracefall.deletions SELECT trace_id, now(), 0, tenant FROM tracefall.traces \
         ON CONFLICT (trace_id, tenant) DO UPDATE SET deleted_at = now()",
    )
    .await;
    let writer = store.spans.clone();
    let writing = tokio::spawn(async move { writer.write_spans(&[whole(1, 3, NOW), whole(2, 3, NOW)]).await });
    locks(&mut watch, false, 1).await;
    execute(&mut outside, "COMMIT").await;
    writing.await.unwrap().unwrap();
    assert_eq!((rows(&store, 1).await.len(), rows(&store, 2).await.len()), (1, 2));
}

#[tokio::test]
async fn in_a_day_that_is_gone_nothing_is_anybodys() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let owner = Owner::User("ann".into());
    assert_eq!(store.erasure.traces_of(&tenant(), &owner, "spans_19990105", None, 9).await.unwrap(), []);
    execute(&mut database.outside().await, "DROP TABLE tracefall.open_spans CASCADE").await;
    let error = store.erasure.traces_of(&tenant(), &owner, "open_spans", None, 9).await.unwrap_err();
    assert_eq!(error.cause(), Cause::Schema, "{error}");
}

#[tokio::test]
async fn the_view_trace_spans_reads_well_from_outside() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    write(&store, [full(1, 1), started(1, 2, NOW.plus(-days(2)))]).await;
    let mut outside = database.outside().await;
    execute(&mut outside, "SET TimeZone = 'UTC'").await;
    let columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute \
                   WHERE attrelid = 'tracefall.trace_spans'::regclass";
    assert_eq!(
        texts(&mut outside, columns).await,
        [
            "id trace_id span_id parent_span_id service operation started_at completed_at duration_ms status error_message \
          error_type execution_id job_id model_id region metadata created_at"
        ]
    );
    let all = "SELECT concat_ws('|', id, span_id, parent_span_id, started_at, completed_at, duration_ms, status, created_at) \
               FROM tracefall.trace_spans WHERE trace_id = '07070707070707070000000000000001' ORDER BY span_id";
    assert_eq!(
        texts(&mut outside, all).await,
        [
            "07070707070707070000000000000001-0000000000000001|0000000000000001|7f3c0a1b2c3d4e5f60718293a4b5c6d7|\
             2026-01-05 09:59:55+00|2026-01-05 09:59:56+00|1000|failed|2026-01-05 10:00:00+00",
            "07070707070707070000000000000001-0000000000000002|0000000000000002|2026-01-03 10:00:00+00|abandoned|\
             2026-01-05 10:00:00+00",
        ]
    );
}

#[tokio::test]
async fn a_locked_trace_is_unavailable_and_heals() {
    let Some(database) = Database::new() else { return };
    database.ready().await.maintenance.close().await;
    let mut settings = database.settings();
    settings.postgres.statement_timeout_secs = 1;
    let store = database.open_with(&settings).await;
    write(&store, [whole(1, 1, NOW)]).await;
    let mut outside = database.outside().await;
    execute(&mut outside, "BEGIN; SELECT 1 FROM tracefall.traces FOR UPDATE").await;
    let error = store.spans.write_spans(&[whole(1, 2, NOW)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert_eq!(rows(&store, 1).await.len(), 1, "reading goes on");
    execute(&mut outside, "ROLLBACK").await;
    write(&store, [whole(1, 2, NOW)]).await;
    assert_eq!(rows(&store, 1).await.len(), 2);
}

#[tokio::test]
async fn a_stored_value_that_cannot_be_is_named_by_its_column() {
    let Some(database) = Database::new() else { return };
    let store = database.ready().await;
    let mut outside = database.outside().await;
    for (column, value) in [
        ("status", "'finished?'"),
        ("events", "'{}'"),
        ("resource_id", "gen_random_uuid()"),
        ("span_id", "'x'"),
        ("created_at", "'1969-01-01'"),
    ] {
        write(&store, [full(1, 1)]).await;
        execute(&mut outside, &format!("UPDATE tracefall.spans SET {column} = {value}")).await;
        let read = store.traces.trace_rows(&tenant(), trace_id(1), Detail::Full, 9).await;
        let Err(StoreError::Corrupt { column: named, .. }) = read else { panic!("{column}: {read:?}") };
        assert_eq!(named, column);
        execute(&mut outside, "DELETE FROM tracefall.spans").await;
    }
}
