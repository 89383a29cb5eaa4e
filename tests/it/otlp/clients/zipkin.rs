//! Reporters of Zipkin's format: OpenTelemetry's exporters, and py_zipkin, which knows nothing of OpenTelemetry.

use serde_json::{Value, json};
use tracefall::model::time::UnixNanos;

use super::{installed, node, python, spans};
use crate::recipes::run;
use crate::support::TestServer;

/// Zipkin's format has texts for attributes, microseconds for times, and no place for links and for the attributes of
/// events: the exporters of OpenTelemetry say there what they can.
#[tokio::test(flavor = "multi_thread")]
async fn opentelemetrys_zipkin_exporters_arrive_with_what_zipkin_can_say() {
    let Some(installed) = installed() else { return };
    let server = TestServer::start().await;
    let mut node = node(&installed, server.folder.path(), "trace.mjs");
    node.env("OTEL_TRACES_EXPORTER", "zipkin");
    for mut command in [python(&installed, &["trace.py", "zipkin"]), node] {
        command.env("OTEL_EXPORTER_ZIPKIN_ENDPOINT", server.url("/api/v2/spans"));
        let (told, _) = run(&mut command);
        let at = |nanos: u64| UnixNanos::new(told["base"].as_u64().unwrap() + nanos).to_string();
        let read = spans(&server, &told["trace_id"], 2).await;
        for (field, value) in [
            ("span_id", told["parent"].clone()),
            ("service", "shop".into()),
            ("operation", "parent".into()),
            ("span_type", "http".into()),
            ("kind", "server".into()),
            ("status", "failed".into()),
            ("otel_status", "error".into()),
            ("error_message", "it failed".into()),
            ("session_id", "s-1".into()),
            ("user_id", "u-1".into()),
            ("started_at", at(0).into()),
            ("duration_ms", 1.into()),
        ] {
            assert_eq!(read[0][field], value, "{command:?}: {field}");
        }
        for (field, value) in [
            ("span_id", told["child"].clone()),
            ("parent_span_id", told["parent"].clone()),
            ("kind", "client".into()),
            ("status", "completed".into()),
            ("started_at", at(2_000).into()),
            ("completed_at", at(502_000).into()),
        ] {
            assert_eq!(read[1][field], value, "{command:?}: {field}");
        }
        let attributes = &read[0]["attributes"];
        for (key, value) in [
            ("text", "a \"quoted\" text\u{7} é 🦀"),
            ("yes", "true"),
            ("no", "false"),
            ("http.request.method", "GET"),
            ("otel.status_code", "ERROR"),
        ] {
            assert_eq!(attributes[key], value, "{command:?}: {key}");
        }
        let events = read[0]["events"].as_array().unwrap();
        for (event, (nanos, name)) in events.iter().zip([(600_000, "cache miss"), (700_000, "exception")]) {
            assert_eq!(event["timestamp"], at(nanos), "{command:?}");
            assert!(event["name"].as_str().unwrap().contains(name), "{event}");
        }
        assert_eq!(events.len(), 2);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_that_share_a_span_by_zipkin_are_one_tree() {
    let Some(installed) = installed() else { return };
    let server = TestServer::start().await;
    let mut command = python(&installed, &["two_services.py"]);
    let (told, _) = run(command.env("ZIPKIN_URL", server.url("/api/v2/spans")));
    let read = spans(&server, &told["trace_id"], 3).await;
    let of = |operation: &str| read.iter().find(|span| span["operation"] == operation).unwrap();
    let (page, fetch, get) = (of("page"), of("fetch"), of("get /item"));
    assert_eq!((&page["span_id"], &fetch["span_id"]), (&told["parent"], &told["child"]));
    assert_eq!((&fetch["parent_span_id"], &fetch["kind"]), (&told["parent"], &json!("client")));
    assert_eq!((&get["service"], &get["kind"]), (&json!("api"), &json!("server")));
    assert_eq!(fetch["events"], json!([{"timestamp": "2026-01-05T10:00:00.500Z", "name": "cache miss"}]));
    for (key, value) in [
        ("http.method", json!("GET")),
        ("peer.service", json!("api")),
        ("network.peer.address", json!("10.0.0.7")),
        ("network.peer.port", json!(80)),
    ] {
        assert_eq!(fetch["attributes"][key], value, "{key}");
    }
    let path = format!("/v1/traces/{}/waterfall", told["trace_id"].as_str().unwrap());
    let waterfall = server.read(&path).await;
    let tree: Vec<(&Value, &Value)> =
        waterfall["rows"].as_array().unwrap().iter().map(|row| (&row["depth"], &row["operation"])).collect();
    let (zero, one, two) = (json!(0), json!(1), json!(2));
    assert_eq!(tree, [(&zero, &json!("page")), (&one, &json!("fetch")), (&two, &json!("get /item"))]);
    server.stop().await;
}
