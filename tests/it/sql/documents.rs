//! Every SELECT of docs/sql.md is run, on the store or stores that it is shown for, over data that it finds something in.

use std::time::Duration;

use serde_json::{Value, json};
use tracefall::clock::Clock;

use super::{ask_postgres, ask_sqlite};
use crate::support::TestServer;
use crate::support::postgres::Database;

const DOCUMENT: &str = include_str!("../../../docs/sql.md");
const DEPLOYMENT: &str = include_str!("../../fixtures/native/ctrlplane.json");

/// The questions of blocks fenced as `sql`, `sql sqlite` or `sql both`.
fn questions(fences: &[&str]) -> Vec<String> {
    let blocks = DOCUMENT.split("\n```").skip(1).step_by(2);
    let shown = blocks.filter_map(|block| {
        let (fence, text) = block.split_once('\n')?;
        fences.contains(&fence).then(|| text.trim().trim_end_matches(';').to_owned())
    });
    shown.collect()
}

/// What somebody might have sent in the last minute: an execution that failed at its second attempt, one that is an orphan,
/// one that runs; and a deployment.
async fn send(server: &TestServer) {
    let at = |ms: i64| Clock::system().now().plus((ms - 60_000) * 1_000_000).to_string();
    let trace = "7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7";
    let job = "bias-detection-1767607199";
    server
        .store(&json!([
            {"trace_id": trace, "span_id": "1", "service": "runner", "operation": "execute_question", "status": "failed",
             "started_at": at(0), "duration_ms": 900, "execution_id": 2291, "job_id": job, "error": "gave up",
             "metadata": {"question": "who?"}},
            {"trace_id": trace, "span_id": "2", "parent_span_id": "1", "service": "router", "operation": "route",
             "status": "failed", "started_at": at(10), "duration_ms": 800, "execution_id": 2291, "job_id": job},
            {"trace_id": trace, "span_id": "3", "parent_span_id": "2", "service": "modal", "operation": "infer",
             "status": "failed", "started_at": at(20), "duration_ms": 700, "execution_id": 2291, "job_id": job,
             "error": {"type": "ProviderError", "message": "500"}, "region": "us-east", "model_id": "llama-3.2-1b",
             "tokens": {"input": 100, "output": 20}, "cost": 0.25},
            {"trace_id": "8a4d1b2c3d4e4f60918293a4b5c6d7e8", "span_id": "2", "parent_span_id": "99", "service": "modal",
             "operation": "infer", "started_at": at(30), "duration_ms": 70, "execution_id": 2292, "job_id": job,
             "region": "eu-west", "model_id": "llama-3.2-1b", "tokens": {"input": 7, "output": 2}, "cost": "0.01"},
            {"trace_id": "9a4d1b2c3d4e4f60918293a4b5c6d7e8", "span_id": "1", "service": "runner", "operation": "wait",
             "status": "running", "started_at": at(40), "execution_id": 2293},
        ]))
        .await;
    server.store(&serde_json::from_str(DEPLOYMENT).unwrap()).await;
    let settled = |list: &Value| {
        let traces = list["traces"].as_array().unwrap();
        traces.len() == 5 && traces.iter().all(|trace| trace["span_count"] != 0)
    };
    server.read_until("/v1/traces", settled).await;
}

/// Those that find nothing where all is well.
fn may_be_empty(question: &str) -> bool {
    question.contains("FROM dead_letters")
}

fn check(questions: &[String], ask: impl Fn(&str) -> Vec<Value>) {
    assert!(questions.len() > 15, "{questions:#?}");
    for question in questions {
        let answer = ask(question);
        assert!(!answer.is_empty() || may_be_empty(question), "nothing is found by:\n{question}");
    }
}

fn check_health(health: &Value) {
    let spans = 5 + serde_json::from_str::<Vec<Value>>(DEPLOYMENT).unwrap().len();
    assert_eq!(health.as_object().unwrap().len(), 7);
    for column in ["total_spans", "spans_last_24h", "spans_last_hour"] {
        assert_eq!(health[column], spans, "{column}: {health}");
    }
    assert_eq!(health["unique_traces"], 5);
    assert!(health["avg_duration_ms"].as_f64().is_some_and(|ms| ms > 100.0), "{health}");
    assert!(health["total_size_with_indexes"].as_str().is_some_and(|size| size.ends_with("kB")), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_select_works_on_postgresql() {
    let Some(database) = Database::new() else { return };
    database.empty().await;
    let server = TestServer::with(|settings| settings.store = database.settings()).await;
    send(&server).await;
    check(&questions(&["sql", "sql both"]), |question| ask_postgres(&database.url(), question));
    check_health(&ask_postgres(&database.url(), "SELECT * FROM trace_spans_health")[0]);
    let cost = ask_postgres(&database.url(), "SELECT sum(cost_usd) AS usd FROM trace_waterfall");
    assert_eq!(cost[0]["usd"], 0.26);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_select_works_on_sqlite() {
    let server = TestServer::start().await;
    send(&server).await;
    let file = server.folder.path().join("data/tracefall.db");
    let connection = rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    check(&questions(&["sql sqlite", "sql both"]), |question| ask_sqlite(&connection, question));
    check_health(&ask_sqlite(&connection, "SELECT * FROM trace_spans_health")[0]);
    let cost = ask_sqlite(&connection, "SELECT sum(cost_usd) AS usd FROM trace_waterfall");
    assert_eq!(cost[0]["usd"], 0.26);
}
