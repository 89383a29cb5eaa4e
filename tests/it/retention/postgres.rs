//! What only PostgreSQL has: partitions that others use, the function for psql, and pg_dump.

use sqlx::{Connection, Executor, Row};

use super::*;

async fn count(connection: &mut sqlx::PgConnection, sql: &'static str) -> i64 {
    connection.fetch_one(sql).await.unwrap().get(0)
}

#[tokio::test]
async fn a_day_that_others_use_is_left_to_the_next_run() {
    let Some(home) = Database::new() else { return };
    let store = home.ready().await;
    write(&store, [done(1, 1, NOW), failed(2, 1, NOW)]).await;
    settle(&store, NOW).await;
    let mut outside = home.outside().await;
    outside.execute("BEGIN; SELECT count(*) FROM tracefall.spans").await.unwrap();
    let report = run(&store, NOW.plus(days(31))).await;
    assert_eq!((report.days.len(), report.busy_days.len()), (0, 1));
    assert_eq!((ids(&store, 1).await, ids(&store, 2).await), (vec![1], vec![1]), "nothing is lost meanwhile");
    assert_eq!(read(&store, 1).await.keeping, PARTIAL, "it is about to go");
    outside.execute("ROLLBACK").await.unwrap();
    assert_eq!(run(&store, NOW.plus(days(31))).await.days.len(), 1);
    assert_eq!((ids(&store, 1).await, ids(&store, 2).await), (vec![], vec![1]));
    outside.close().await.unwrap();
}

#[tokio::test]
async fn a_detached_day_that_was_not_dropped_is_found_again() {
    let Some(home) = Database::new() else { return };
    let store = home.ready().await;
    write(&store, [done(1, 1, NOW), failed(2, 1, NOW)]).await;
    settle(&store, NOW).await;
    store.retention.close_days(NOW.plus(days(1)).day()).await.unwrap();
    let mut outside = home.outside().await;
    // A process that died behind the DETACH, and a row that had come in just before it.
    outside.execute("ALTER TABLE tracefall.spans DETACH PARTITION tracefall.spans_20260105").await.unwrap();
    assert_eq!(run(&store, NOW.plus(days(31))).await.days, ["2026-01-05"]);
    assert_eq!((ids(&store, 1).await, ids(&store, 2).await), (vec![], vec![1]));
    outside.close().await.unwrap();
}

#[tokio::test]
async fn cleanup_old_traces_removes_completed_ones_and_counts() {
    let Some(home) = Database::new() else { return };
    let store = home.ready().await;
    let now = tracefall::clock::Clock::system().now();
    let ago = |count: i64| now.plus(-days(count));
    write(&store, [done(1, 1, ago(100)), done(1, 2, ago(100)), failed(2, 1, ago(100)), open(3, 1, ago(100))]).await;
    write(&store, [done(4, 1, ago(100)), done(5, 1, ago(80)), done(6, 1, ago(100))]).await;
    settle(&store, now).await;
    write(&store, [done(6, 2, ago(100))]).await;
    store.pins.pin(&tenant(), trace_id(4), now).await.unwrap().unwrap();
    let mut outside = home.outside().await;
    outside.execute("SET search_path = ''").await.unwrap();
    assert_eq!(count(&mut outside, "SELECT tracefall.cleanup_old_traces()::bigint").await, 2);
    assert_eq!(count(&mut outside, "SELECT tracefall.cleanup_old_traces(90)::bigint").await, 0);
    for (trace, there) in [(1, vec![]), (2, vec![1]), (3, vec![1]), (4, vec![1]), (5, vec![1]), (6, vec![1, 2])] {
        assert_eq!(ids(&store, trace).await, there, "{trace}");
    }
    assert!(read(&store, 1).await.keeping.spans_expired_at.is_some());
    assert_eq!(count(&mut outside, "SELECT tracefall.cleanup_old_traces(79)::bigint").await, 1);
    // The bounded form counts traces, so one whose spans are gone already does not end a loop: the first of these.
    write(&store, (10..15).map(|trace| done(trace, 1, ago(100)))).await;
    settle(&store, now).await;
    let gone = sqlx::query("DELETE FROM tracefall.spans WHERE trace_id = $1::uuid").bind(trace_id(10).to_string());
    assert_eq!(gone.execute(&mut outside).await.unwrap().rows_affected(), 1);
    assert_eq!(ids(&store, 10).await, Vec::<u64>::new());
    for handled in [1, 1] {
        assert_eq!(
            count(&mut outside, "SELECT traces_handled::bigint FROM tracefall.cleanup_old_traces(90, 1)").await,
            handled
        );
    }
    // The loop of the documentation, a transaction each.
    outside
        .execute("DO $$ BEGIN WHILE tracefall.cleanup_old_traces(90, 2) > 0 LOOP COMMIT; END LOOP; END $$")
        .await
        .unwrap();
    assert_eq!(count(&mut outside, "SELECT tracefall.cleanup_old_traces(90, 2)::bigint").await, 0);
    for trace in 10..15 {
        assert!(read(&store, trace).await.keeping.spans_expired_at.is_some(), "{trace}");
    }
    // The form with days alone does all of it in one call, as it always did.
    write(&store, (20..25).map(|trace| done(trace, 1, ago(100)))).await;
    settle(&store, now).await;
    assert_eq!(count(&mut outside, "SELECT tracefall.cleanup_old_traces(90)::bigint").await, 5);
    let refused = outside.execute("SELECT tracefall.cleanup_old_traces(90, 0)").await.unwrap_err().to_string();
    assert!(refused.contains("at least 1"), "{refused}");
    let refused = outside.execute("SELECT tracefall.cleanup_old_traces(-1)").await.unwrap_err().to_string();
    assert!(refused.contains("no number of days"), "{refused}");
    outside.close().await.unwrap();
}

#[tokio::test]
async fn a_dump_of_the_schema_is_restored_into_another_database_and_goes_on() {
    let (Some(from), Some(to)) = (Database::new(), Database::new()) else { return };
    let store = from.ready().await;
    write(&store, [full(1, 1), done(2, 1, NOW), open(3, 1, NOW)]).await;
    settle(&store, NOW).await;
    store.pins.pin(&tenant(), trace_id(2), NOW).await.unwrap().unwrap();
    to.empty().await;
    let dump =
        std::process::Command::new("pg_dump").args(["--schema=tracefall", "--no-owner", &from.url()]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tracefall.sql");
    std::fs::write(&file, dump.stdout).unwrap();
    let restore = std::process::Command::new("psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-1", "-f"])
        .arg(&file)
        .arg(to.url())
        .output()
        .unwrap();
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));

    let restored = to.open().await;
    restored.maintenance.migrate_up().await.unwrap();
    for trace in 1..=3 {
        assert_eq!(rows(&restored, trace).await, rows(&store, trace).await, "{trace}");
    }
    write(&restored, [full(1, 1), done(2, 1, NOW), done(3, 1, NOW)]).await;
    settle(&restored, NOW).await;
    assert_eq!((ids(&restored, 1).await, ids(&restored, 3).await), (vec![1], vec![1]));
    run(&restored, NOW.plus(days(31))).await;
    assert_eq!((ids(&restored, 2).await, ids(&restored, 3).await), (vec![1], vec![]), "pinned, and not");
}
