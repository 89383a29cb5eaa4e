//! Jaeger's read interfaces, asked as its UI of three generations and Grafana ask them, on both stores.

mod envelopes;
mod limits;
mod readers;
mod refusals;
mod search;

use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::postgres::Database;

/// Of the shop, by OTLP.
pub const SHOP: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Of a client and a server that share a span, by Zipkin.
pub const SHARED: &str = "60718293a4b5c6d7";
/// Of a run, in our own words.
pub const RUN: &str = "7f3c0a1b2c3d4e5f60718293a4b5c6d7";
/// 2026-01-05T10:00:00Z in microseconds.
pub const T0: u64 = 1_767_607_200_000_000;
/// All of that day, for `/api/traces`.
pub const DAY: &str = "start=1767571200000000&end=1767657600000000";
/// And for `/api/v3`.
pub const DAY_V3: &str = "query.startTimeMin=2026-01-05T00:00:00Z&query.startTimeMax=2026-01-06T00:00:00Z";

/// Runs a test against a server of each store that there is.
pub async fn on_each_store(check: impl AsyncFn(&TestServer)) {
    let server = TestServer::start().await;
    check(&server).await;
    server.stop().await;
    let Some(database) = Database::new() else { return };
    database.empty().await;
    let server = TestServer::with(|settings| settings.store.url = database.settings().url).await;
    check(&server).await;
    server.stop().await;
}

/// A trace from each interface, stored and settled.
pub async fn three_traces(server: &TestServer) {
    let answer = server.post("/v1/traces", shop().to_string()).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "{}");
    let answer = server.post("/api/v2/spans", shared().to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    server.store(&run()).await;
    let is_settled = |list: &Value| {
        let counts: Vec<u64> =
            list["traces"].as_array().unwrap().iter().map(|trace| trace["span_count"].as_u64().unwrap()).collect();
        counts.iter().sum::<u64>() == 8
    };
    server.read_until("/v1/traces", is_settled).await;
}

/// Every type of attribute, events, links, a scope, an error; and service names that are hard to put into a path.
fn shop() -> Value {
    let text = |key: &str, text: &str| json!({"key": key, "value": {"stringValue": text}});
    let resource = |service: &str| json!({"attributes": [text("service.name", service), text("host.name", "h1")]});
    let root = json!({
        "traceId": SHOP, "spanId": "00f067aa0ba902b7", "name": "GET /cart/{id}", "kind": 2, "traceState": "a=1", "flags": 257,
        "startTimeUnixNano": "1767607200000000999", "endTimeUnixNano": "1767607200250000999", "status": {"code": 1},
        "attributes": [
            text("http.route", "/cart/{id}"), {"key": "http.response.status_code", "value": {"intValue": "200"}},
            {"key": "big", "value": {"intValue": "9007199254740993"}}, {"key": "ratio", "value": {"doubleValue": 0.5}},
            {"key": "nan", "value": {"doubleValue": "NaN"}}, {"key": "cached", "value": {"boolValue": true}},
            {"key": "blob", "value": {"bytesValue": "AAEC"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}},
            {"key": "map", "value": {"kvlistValue": {"values": [text("a", "b")]}}},
        ],
        "events": [{"timeUnixNano": "1767607200100000000", "name": "cache miss", "attributes": [text("key", "cart:7")]}],
        "links": [{"traceId": "1".repeat(32), "spanId": "2222222222222222"}],
    });
    let call = json!({
        "traceId": SHOP, "spanId": "00f067aa0ba902b8", "parentSpanId": "00f067aa0ba902b7", "name": "charge", "kind": 3,
        "startTimeUnixNano": "1767607200050000000", "endTimeUnixNano": "1767607200150000000",
        "status": {"code": 2, "message": "card declined"},
    });
    json!({"resourceSpans": [
        {"resource": resource("shop/éclair app"), "scopeSpans": [
            {"scope": {"name": "http", "version": "1.2"}, "spans": [root]}]},
        {"resource": resource("payments"), "scopeSpans": [{"spans": [call]}]},
    ]})
}

/// A client, the server that took its id, and what the server did.
fn shared() -> Value {
    let span = |id: &str, parent: Option<&str>, service: &str, kind: Option<&str>, at: u64| {
        json!({"traceId": SHARED, "id": id, "parentId": parent, "name": "get", "kind": kind, "timestamp": T0 + at,
            "duration": 900 - at, "shared": kind == Some("SERVER"), "localEndpoint": {"serviceName": service}})
    };
    json!([
        span("b2", None, "web", Some("CLIENT"), 0),
        span("b2", None, "api", Some("SERVER"), 100),
        span("c3", Some("b2"), "api", None, 200),
    ])
}

/// Ids of 128 bits, fields of our own, a span that has not ended, and one whose parent never came.
fn run() -> Value {
    json!([
        {"trace_id": RUN, "span_id": "11111111-2222-3333-4444-555555555555", "service": "runner",
         "operation": "execute_question", "execution_id": 123, "started_at": "2026-01-05T11:00:00Z",
         "completed_at": "2026-01-05T11:00:02Z", "status": "completed", "metadata": {"question_id": "q1"}},
        {"trace_id": RUN, "span_id": "b2", "parent_span_id": "11111111-2222-3333-4444-555555555555", "service": "modal",
         "operation": "infer", "started_at": "2026-01-05T11:00:01Z", "status": "running", "model_id": "llama-3.2-1b"},
        {"trace_id": RUN, "span_id": "c3", "parent_span_id": "dead", "service": "modal", "operation": "lost",
         "started_at": "2026-01-05T11:00:01Z", "duration_ms": 1.5, "status": "failed", "error": "CUDA out of memory"},
    ])
}
