//! Retention as those see it who use the service: pins, answers, and a store that is full.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tracefall::model::time::DAY_NS;
use tracefall::settings::Secret;

use super::*;
use crate::support::{TestServer, json as answered, problem};

fn spans(status: &str) -> Value {
    json!([
        {"trace_id": "0a0b0c0d0e0f00010203040506070809", "span_id": "01", "operation": "run", "service": "runner",
         "execution_id": "e1", "started_at": "2026-01-05T10:00:00Z", "duration_ms": 20, "status": status,
         "error": if status == "failed" { json!("out of memory") } else { Value::Null }},
        {"trace_id": "0a0b0c0d0e0f00010203040506070809", "span_id": "02", "parent_span_id": "01", "operation": "load",
         "service": "model", "started_at": "2026-01-05T10:00:00.005Z", "duration_ms": 5, "status": "completed"}
    ])
}

const TRACE: &str = "/v1/traces/0a0b0c0d0e0f00010203040506070809";

async fn clean(server: &TestServer, clock: &Clock) {
    let data_dir = server.folder.path().join("data");
    let settings = tracefall::settings::store::StoreSettings { data_dir, ..Default::default() };
    let store = tracefall::store::open(&settings).await.unwrap();
    let ran = Retention::new(&store, &RetentionSettings::default(), clock.clone()).run().await.unwrap();
    assert!(matches!(ran, Ran::Done(_)));
    store.maintenance.close().await;
}

#[tokio::test]
async fn a_trace_without_spans_is_answered_with_its_summary() {
    let clock = Clock::manual(NOW);
    let server = TestServer::at(clock.clone(), |_| {}).await;
    server.store(&spans("completed")).await;
    let settled = |list: &Value| list["traces"][0]["span_count"] == 2;
    let before = server.read_until("/v1/traces", settled).await;
    clock.advance(31 * DAY_NS);
    clean(&server, &clock).await;

    let gone = "2026-02-05T10:00:00Z";
    let list = server.read("/v1/traces").await;
    let mut expected = before.clone();
    expected["traces"][0]["spans_expired_at"] = json!(gone);
    assert_eq!(list, expected);
    let waterfall = server.read(&format!("{TRACE}/waterfall")).await;
    assert_eq!((&waterfall["rows"], &waterfall["span_count"]), (&json!([]), &json!(2)));
    assert_eq!(waterfall["spans_expired_at"], gone);
    assert_eq!(waterfall["notes"][0]["code"], "spans_expired");
    let drawn = server.draw("/v1/executions/e1/waterfall").await;
    assert!(drawn.contains("its spans were removed for their age on 2026-02-05"), "{drawn}");
    let trace = server.read(TRACE).await;
    assert_eq!((&trace["spans"], &trace["spans_expired_at"]), (&json!([]), &json!(gone)));
    let execution = server.read("/v1/executions/e1").await;
    assert_eq!(execution["traces"], expected["traces"]);
}

#[tokio::test]
async fn pins_are_set_by_those_who_may() {
    let clock = Clock::manual(NOW);
    let key = |text: &str| Some(Secret::new(text));
    let server = TestServer::at(clock.clone(), |settings| {
        settings.access.ingest_key = key("ingest_key_0123456789");
        settings.access.read_key = key("read_key_0123456789");
        settings.access.admin_key = key("admin_key_0123456789");
    })
    .await;
    let with = |request: reqwest::RequestBuilder, key: &str| request.bearer_auth(format!("{key}_key_0123456789"));
    let url = |path: &str| server.url(path);
    let pin = || server.client.put(url(&format!("{TRACE}/pin")));
    problem(with(pin(), "admin").send().await.unwrap(), 404).await;
    let posted = with(server.post("/v1/spans?wait=stored", spans("completed").to_string()), "ingest");
    assert_eq!(answered(posted).await.0, StatusCode::OK);
    for who in ["ingest", "read"] {
        problem(with(pin(), who).send().await.unwrap(), 403).await;
    }
    let (status, answer) = answered(with(pin(), "admin")).await;
    assert_eq!(
        (status, &answer["pinned"], &answer["pinned_at"]),
        (StatusCode::OK, &json!(true), &json!(NOW.to_string()))
    );
    let read = |path: &'static str| answered(with(server.get(path), "read"));
    assert_eq!(read("/v1/pins").await.1["pins"][0]["trace_id"], "0a0b0c0d0e0f00010203040506070809");
    for path in [TRACE, "/v1/traces/0a0b0c0d0e0f00010203040506070809/waterfall"] {
        assert_eq!(read(path).await.1["pinned"], true);
    }
    assert_eq!(read("/v1/executions/e1").await.1["traces"][0]["pinned"], true);
    let unpin = || with(server.client.delete(url(&format!("{TRACE}/pin"))), "admin");
    assert_eq!(answered(unpin()).await.1["pinned"], false);
    problem(unpin().send().await.unwrap(), 404).await;
    assert_eq!(read(TRACE).await.1.get("pinned"), None);
}

#[tokio::test]
async fn a_full_store_refuses_politely_and_is_read_all_the_same() {
    let server = TestServer::with(|settings| settings.storage.capacity_bytes = 1 << 20).await;
    let mut large = spans("failed");
    let filler: Vec<String> = (0..30).map(|n| format!("{n}{}", "x".repeat(60_000))).collect();
    large[0]["metadata"] = json!(
        filler.iter().enumerate().map(|(n, text)| (n.to_string(), json!(text))).collect::<serde_json::Map<_, _>>()
    );
    server.store(&large).await;
    // Upkeep measures behind the flush.
    let until_full = async {
        loop {
            let response = server.post("/v1/spans", spans("completed").to_string()).send().await.unwrap();
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                return response;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let response = tokio::time::timeout(std::time::Duration::from_secs(20), until_full).await.unwrap();
    assert_eq!(response.headers()["retry-after"], "60");
    let said = problem(response, 503).await;
    assert!(said["detail"].as_str().unwrap().contains("storage.capacity_bytes"), "{said}");
    let (status, ready) = answered(server.get("/readyz")).await;
    assert_eq!((status, &ready["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("full")), "{ready}");
    assert!(ready["notes"][0].as_str().unwrap().contains("no room left"), "{ready}");
    assert_eq!(server.read(TRACE).await["spans"].as_array().unwrap().len(), 2);
    let metrics = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("tracefall_store_capacity_bytes"), "{metrics}");
}
