//! OpenTelemetry's SDKs for Python and for Node: what they send is read back and compared field by field.

use std::process::Command;

use serde_json::{Value, json};
use tracefall::model::time::UnixNanos;

use super::{configured, guarded, installed, node, python, spans};
use crate::recipes::run;
use crate::support::TestServer;

/// What is particular to a language's SDK.
struct Sdk {
    language: &'static str,
    error_type: &'static str,
    flags: u64,
    /// Of the link to a span elsewhere.
    link_flags: u64,
    /// Python does not send it.
    link_state: Option<&'static str>,
    attributes: Value,
    escaped: Option<&'static str>,
}

fn python_sdk() -> Sdk {
    Sdk {
        language: "python",
        error_type: "ValueError",
        flags: 256,
        link_flags: 768,
        link_state: None,
        attributes: json!({
            "whole": i64::MAX, "negative": i64::MIN, "part": 1.0, "parts": [0.5, 2.0],
            "bytes": {"bytesValue": "AP8="}, "map": {"inner": {"list": [1, "two", null]}}, "mixed": ["a", 1, true],
            "none": null, "not_a_number": {"doubleValue": "NaN"}, "infinite": {"doubleValue": "-Infinity"},
        }),
        escaped: Some("False"),
    }
}

fn node_sdk() -> Sdk {
    Sdk {
        language: "nodejs",
        error_type: "TypeError",
        flags: 257,
        link_flags: 769,
        link_state: Some("vendor=x"),
        attributes: json!({"whole": 9_007_199_254_740_991_i64, "negative": -5, "part": 1.5, "parts": [0.5, 2.5]}),
        escaped: None,
    }
}

fn merged(base: Value, more: &Value) -> Value {
    let mut base = base;
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

/// What a program of that SDK sent by OTLP, as it is read back.
fn expected(sdk: &Sdk, told: &Value) -> [Value; 2] {
    let at = |nanos: u64| UnixNanos::new(told["base"].as_u64().unwrap() + nanos).to_string();
    let resource = json!({
        "attributes": {"service.name": "shop", "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.language": sdk.language},
        "scope": {"name": "the-library", "version": "1.2.3", "attributes": {}},
    });
    let common = json!({
        "text": "a \"quoted\" text\u{7} é 🦀", "empty": "", "yes": true, "no": false, "small": 5e-324,
        "texts": ["a", "b"], "wholes": [1, 2], "truths": [true, false], "nothing_in_it": [],
        "http.request.method": "GET", "session.id": "s-1", "user.id": "u-1",
    });
    let mut exception = json!({"exception.type": sdk.error_type, "exception.message": "no value"});
    let mut link = json!({"trace_id": format!("{:032x}", 10), "span_id": format!("{:016x}", 11),
        "attributes": {"why": "it", "count": 2}, "flags": sdk.link_flags});
    if let Some(escaped) = sdk.escaped {
        exception["exception.escaped"] = escaped.into();
    }
    if let Some(state) = sdk.link_state {
        link["trace_state"] = state.into();
    }
    let parent = json!({
        "trace_id": told["trace_id"], "span_id": told["parent"], "service": "shop", "operation": "parent",
        "span_type": "http", "kind": "server", "status": "failed", "started_at": at(1), "completed_at": at(1_000_003),
        "duration_ms": 1.000_002, "otel_status": "error", "status_message": "it failed", "error_type": sdk.error_type,
        "error_message": "no value", "session_id": "s-1", "user_id": "u-1", "flags": sdk.flags,
        "attributes": merged(common, &sdk.attributes),
        "events": [
            {"timestamp": at(600_000), "name": "cache miss", "attributes": {"key": "k", "tries": 3, "sizes": [1, 2]}},
            {"timestamp": at(700_000), "name": "exception", "attributes": exception},
        ],
        "links": [link],
        "resource": resource,
    });
    let child = json!({
        "trace_id": told["trace_id"], "span_id": told["child"], "parent_span_id": told["parent"], "service": "shop",
        "operation": "child", "kind": "client", "status": "completed", "started_at": at(2_000),
        "completed_at": at(502_000), "duration_ms": 0.5, "flags": sdk.flags, "resource": resource,
    });
    [parent, child]
}

/// Takes out what only the sender knows: its stack, its process, its version.
fn comparable(mut span: Value) -> Value {
    if let Some(stack) = span.as_object_mut().unwrap().remove("error_stack") {
        let attributes = &mut span["events"][1]["attributes"];
        assert_eq!(attributes.as_object_mut().unwrap().remove("exception.stacktrace"), Some(stack.clone()));
        assert!(stack.as_str().unwrap().contains("Error: no value"), "{stack}");
    }
    let resource = span["resource"]["attributes"].as_object_mut().unwrap();
    resource.retain(|key, _| ["service.name", "telemetry.sdk.name", "telemetry.sdk.language"].contains(&&**key));
    span
}

async fn check(server: &TestServer, sdk: &Sdk, mut command: Command) {
    let (told, _) = run(&mut command);
    let read = spans(server, &told["trace_id"], 2).await;
    for (read, expected) in read.into_iter().zip(expected(sdk, &told)) {
        let read = comparable(read);
        let (read_fields, expected_fields) = (read.as_object().unwrap(), expected.as_object().unwrap());
        for (field, value) in expected_fields {
            assert_eq!(read_fields.get(field), Some(value), "{command:?}: {field}");
        }
        let more: Vec<_> = read_fields.keys().filter(|field| !expected_fields.contains_key(*field)).collect();
        assert_eq!(more, [""; 0], "{command:?}: more than was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_sdk_is_read_back_field_by_field_over_http_and_grpc() {
    let Some(installed) = installed() else { return };
    let server = guarded().await;
    for (exporter, protocol) in [("http", "http/protobuf"), ("grpc", "grpc")] {
        let mut command = python(&installed, &["trace.py", exporter]);
        configured(&mut command, &server, protocol);
        check(&server, &python_sdk(), command).await;
    }
    for compression in ["gzip", "deflate"] {
        let mut command = python(&installed, &["trace.py", "http"]);
        configured(&mut command, &server, "http/protobuf").env("OTEL_EXPORTER_OTLP_COMPRESSION", compression);
        check(&server, &python_sdk(), command).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_sdk_is_read_back_field_by_field_as_json_protobuf_and_grpc() {
    let Some(installed) = installed() else { return };
    let server = guarded().await;
    for protocol in ["http/json", "http/protobuf", "grpc"] {
        let mut command = node(&installed, server.folder.path(), "trace.mjs");
        configured(&mut command, &server, protocol).env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        check(&server, &node_sdk(), command).await;
    }
    server.stop().await;
}

/// What the documents promise of a first minute. The ports are those that everybody knows, and may be taken.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_service_name_and_nothing_else_the_spans_arrive() {
    let Some(installed) = installed() else { return };
    if let Some(taken) =
        [4317, 4318].into_iter().find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_err())
    {
        return eprintln!("skipped: clients without any configuration. Port {taken} is taken");
    }
    let server = TestServer::with(|settings| (settings.server.port, settings.server.grpc_port) = (4318, 4317)).await;
    check(&server, &python_sdk(), python(&installed, &["trace.py", "http"])).await;
    check(&server, &python_sdk(), python(&installed, &["trace.py", "grpc"])).await;
    check(&server, &node_sdk(), node(&installed, server.folder.path(), "trace.mjs")).await;
    // By service a trace is found once it is settled.
    server
        .read_until("/v1/traces?service=shop", |list| list["traces"].as_array().is_some_and(|list| list.len() == 3))
        .await;
    let drawn = server.draw("/v1/traces?service=shop").await;
    assert!(drawn.contains("parent"), "{drawn}");
    server.stop().await;
}
