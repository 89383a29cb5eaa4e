//! OpenTelemetry's own SDK for Rust, as it comes, over each of its transports.

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Array, Context, KeyValue, Value as Any};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::{Value, json};

use crate::support::TestServer;

/// A parent with every type of attribute, an exception and a link, and its child.
fn trace(exporter: SpanExporter, service: &str) {
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service.to_owned()).build())
        .build();
    let tracer = provider.tracer("the-library");
    let linked = SpanContext::new(TraceId::from(7), SpanId::from(8), TraceFlags::SAMPLED, true, TraceState::default());
    let mut parent = tracer
        .span_builder("parent")
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("text", "a \"quoted\" text\u{7}"),
            KeyValue::new("whole", i64::MAX),
            KeyValue::new("part", 1.0),
            KeyValue::new("yes", true),
            KeyValue::new("list", Any::Array(Array::I64(vec![1, 2]))),
            KeyValue::new("http.request.method", "GET"),
        ])
        .with_links(vec![Link::new(linked, vec![KeyValue::new("why", "it")], 0)])
        .start(&tracer);
    parent.add_event(
        "exception",
        vec![KeyValue::new("exception.type", "ValueError"), KeyValue::new("exception.message", "no value")],
    );
    parent.set_status(Status::error("it failed"));
    let context = Context::current_with_span(parent);
    tracer.start_with_context("child", &context).end();
    context.span().end();
    provider.shutdown().unwrap();
}

async fn read_back(server: &TestServer, service: &str) {
    let list =
        server.read_until(&format!("/v1/traces?service={service}"), |list| list["traces"][0]["span_count"] == 2).await;
    let id = list["traces"][0]["trace_id"].as_str().unwrap();
    let trace = server.read(&format!("/v1/traces/{id}")).await;
    let named = |name: &str| -> Value {
        let spans = trace["spans"].as_array().unwrap();
        spans.iter().find(|span| span["operation"] == name).unwrap().clone()
    };
    let (parent, child) = (named("parent"), named("child"));
    assert_eq!(child["parent_span_id"], parent["span_id"]);
    assert_eq!(child["status"], "completed");
    let told = |field: &str| parent[field].clone();
    for (field, value) in [
        ("service", json!(service)),
        ("kind", json!("server")),
        ("status", json!("failed")),
        ("status_message", json!("it failed")),
        ("error_type", json!("ValueError")),
        ("error_message", json!("no value")),
        ("span_type", json!("http")),
    ] {
        assert_eq!(told(field), value, "{field}");
    }
    let attributes = &parent["attributes"];
    assert_eq!(attributes["text"], "a \"quoted\" text\u{7}");
    assert_eq!(attributes["whole"], i64::MAX);
    assert_eq!((&attributes["yes"], &attributes["list"]), (&json!(true), &json!([1, 2])));
    assert_eq!(attributes["part"].to_string(), "1.0");
    assert_eq!(parent["events"][0]["name"], "exception");
    assert_eq!(parent["links"][0]["trace_id"], "00000000000000000000000000000007");
    assert_eq!(parent["links"][0]["attributes"]["why"], "it");
    assert_eq!(parent["resource"]["attributes"]["service.name"], service);
    assert_eq!(parent["resource"]["scope"]["name"], "the-library");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_with_protobuf_and_with_json() {
    let server = TestServer::start().await;
    for (protocol, service) in [(Protocol::HttpBinary, "by-protobuf"), (Protocol::HttpJson, "by-json")] {
        let url = server.url("/v1/traces");
        let sending = move || {
            let exporter = SpanExporter::builder().with_http().with_protocol(protocol).with_endpoint(url).build();
            trace(exporter.unwrap(), service);
        };
        tokio::task::spawn_blocking(sending).await.unwrap();
        read_back(&server, service).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc() {
    let server = TestServer::start().await;
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", server.grpc_address()))
        .build()
        .unwrap();
    tokio::task::spawn_blocking(move || trace(exporter, "by-grpc")).await.unwrap();
    read_back(&server, "by-grpc").await;
    server.stop().await;
}
