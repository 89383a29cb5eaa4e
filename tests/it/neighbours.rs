//! A guest in somebody else's database: what already lives there is the same afterwards, byte for byte, and three
//! roles with no more rights than they need are enough.

use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use crate::support::binary::{Server, run, tracefall};
use crate::support::psql::{Database, psql, refused};
use crate::support::{client, json};

/// The published schemas of systems whose users have spans already.
const NEIGHBOURS: [&str; 3] = [
    include_str!("../fixtures/neighbours/beacon.sql"),
    include_str!("../fixtures/neighbours/node_ai.sql"),
    include_str!("../fixtures/neighbours/ctrlplane.sql"),
];

/// What their users ask.
const QUESTIONS: &str = "
    SELECT * FROM trace_waterfall;
    SELECT total_spans, unique_traces, avg_duration_ms FROM trace_spans_health;
    SELECT * FROM diagnose_execution_trace(2291);
    SELECT * FROM identify_root_cause(2291);
    SELECT * FROM find_similar_traces('7f3c0a1b-2c3d-4e5f-8071-8293a4b5c6d7');
    SELECT trace_id, status, total_cost FROM traces;
    SELECT name, status FROM spans ORDER BY span_id;
    SELECT * FROM cost_aggregations ORDER BY period, category;
    SELECT name, phase, status FROM deployment_trace_span ORDER BY sequence;
    SELECT * FROM rejected_decisions;";

/// `tracefall` with arguments, over a database; it must succeed.
fn tracefall_on(database: &Database, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = run(tracefall().current_dir(folder.path()).args(arguments).env("DATABASE_URL", database.url()));
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Starts the service over a database, has it store and show spans, and stops it.
async fn serve(change: impl FnOnce(&mut Command)) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), change);
    let trace = "7f3c0a1b2c3d4e5f60718293a4b5c6d7";
    let span = |id: &str, status: &str, started_at: &str| {
        json!({"trace_id": trace, "span_id": id, "service": "runner", "operation": "execute_question",
            "execution_id": 2291, "status": status, "started_at": started_at, "metadata": {"question": "ö"}})
    };
    let mut retried = span("1", "completed", "2026-01-05T10:00:00.123456789Z");
    retried["duration_ms"] = json!(12);
    let mut rounded = retried.clone();
    rounded["started_at"] = json!("2026-01-05T10:00:00.123Z");
    let mut completed = span("2", "completed", "2026-01-05T10:00:00.13Z");
    completed["duration_ms"] = json!(5);
    // A span, its retry with another start, a pair of start and completion, and one that stays open.
    for batch in [
        json!([span("2", "running", "2026-01-05T10:00:00.13Z"), retried]),
        json!([rounded, completed, span("3", "running", "2026-01-05T10:00:01Z")]),
    ] {
        let post = client().post(server.url("/v1/spans?wait=stored")).header("content-type", "application/json");
        let (status, answer) = json(post.body(batch.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let (status, answer) = json(client().get(server.url("/v1/executions/2291/waterfall"))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["trace_id"], trace);
    // The roll-up follows by itself.
    let deadline = Instant::now() + Duration::from_secs(10);
    while json(client().get(server.url("/v1/traces"))).await.1["traces"][0]["span_count"] != 3 {
        assert!(Instant::now() < deadline, "the trace is not settled");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_keep_in_the_database_is_not_touched() {
    let Some(database) = Database::new("neighbours") else { return };
    database.sql(&NEIGHBOURS.concat());
    let theirs = || database.dump(&["--schema=public"]);
    let (public, whole, answers) = (theirs(), database.dump(&[]), database.sql(QUESTIONS));
    assert!(public.contains("CREATE POLICY own_traces") && public.contains("FUNCTION public.cleanup_old_traces"));

    let up = tracefall_on(&database, &["migrate", "up"]);
    assert!(up.contains("applied") && !up.contains("pending"), "{up}");
    assert_eq!(theirs(), public, "after the way up");
    let published = tracefall_on(&database, &["migrate", "up", "--compat-views"]);
    assert_eq!(published.matches("skipped").count(), 4, "{published}");
    assert_eq!(theirs(), public, "after our views were to be published");
    assert_eq!(database.sql(QUESTIONS), answers);

    serve(|command| {
        command.env("DATABASE_URL", database.url());
    })
    .await;
    tracefall_on(&database, &["maintain", "--once"]);
    assert_eq!(theirs(), public, "after spans were stored");
    assert_eq!(database.sql(QUESTIONS), answers);

    tracefall_on(&database, &["migrate", "down", "--delete-all-spans"]);
    assert_eq!(database.dump(&[]), whole, "after the way down nothing of ours is anywhere");

    tracefall_on(&database, &["migrate", "up"]);
    assert_eq!(theirs(), public, "after the second way up");
    assert_eq!(database.sql(QUESTIONS), answers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_and_a_reader_need_no_more_than_their_grants() {
    let Some(mut database) = Database::new("roles") else { return };
    let [admin, writer, reader] = ["admin", "writer", "reader"].map(|kind| database.role(kind));
    database.sql(&format!("GRANT CREATE ON DATABASE {} TO {admin}", database.name()));
    let [as_admin, as_writer, as_reader] = [&admin, &writer, &reader].map(|role| database.url_of(role));
    let folder = tempfile::tempdir().unwrap();
    let tracefall_as_admin = |arguments: &[&str]| {
        let output = run(tracefall().current_dir(folder.path()).args(arguments).env("DATABASE_URL", &as_admin));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    tracefall_as_admin(&["migrate", "up"]);
    let grants = tracefall_as_admin(&["migrate", "grants", "--writer", &writer, "--reader", &reader]);
    psql(&as_admin, &grants);
    psql(&as_admin, &grants);

    // First nobody may make partitions while it serves; then the administrator may, by a URL of its own.
    let roles = |command: &mut Command| {
        command.env("DATABASE_URL", &as_writer).env("TRACEFALL__STORE__READ_URL", &as_reader);
    };
    serve(roles).await;
    tracefall_as_admin(&["maintain", "--once"]);
    serve(|command| {
        roles(command);
        command.env("TRACEFALL__STORE__ADMIN_URL", &as_admin);
    })
    .await;

    assert_eq!(psql(&as_reader, "SELECT count(*) FROM tracefall.trace_spans WHERE execution_id = '2291'").trim(), "3");
    let partitions =
        psql(&as_reader, "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'tracefall.spans'::regclass");
    assert!(partitions.lines().count() >= 4, "those of three days and the default: {partitions}");
    for partition in partitions.lines() {
        psql(&as_reader, &format!("SELECT count(*) FROM {partition}"));
    }
    for (url, sql) in [
        (&as_reader, "DELETE FROM tracefall.open_spans"),
        (&as_reader, "INSERT INTO tracefall.leases VALUES ('x', 'y', now())"),
        (&as_reader, "UPDATE tracefall.traces SET status = status"),
        (&as_writer, "CREATE TABLE tracefall.mine (id int)"),
        (&as_writer, "DROP TABLE tracefall.open_spans"),
        (&as_writer, "TRUNCATE tracefall.spans"),
        (&as_writer, "DELETE FROM tracefall.dead_letters"),
        (&as_writer, "DROP SCHEMA tracefall CASCADE"),
    ] {
        let reason = refused(url, sql);
        assert!(reason.contains("permission denied") || reason.contains("must be owner"), "{sql}: {reason}");
    }
}
