//! The native spans of the benchmark as OTLP and as Zipkin send them: the same ids, times and attributes.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use serde_json::{Map, Value, json};
use tracefall::model::time::UnixNanos;

/// What is not an attribute.
const STRUCTURE: [&str; 9] = [
    "trace_id",
    "span_id",
    "parent_span_id",
    "service",
    "operation",
    "started_at",
    "completed_at",
    "status",
    "metadata",
];

fn parse(span: &str) -> Value {
    serde_json::from_str(span).unwrap()
}

fn attributes(span: &Value) -> Map<String, Value> {
    let mut all = span["metadata"].as_object().unwrap().clone();
    let members = span.as_object().unwrap().iter().filter(|(key, _)| !STRUCTURE.contains(&key.as_str()));
    all.extend(members.map(|(key, value)| (key.clone(), value.clone())));
    all
}

fn nanos(time: &Value) -> u64 {
    UnixNanos::parse_rfc3339(time.as_str().unwrap()).unwrap().as_u64()
}

/// All in one resource and one scope, as an SDK sends them.
pub fn otlp(spans: &[String]) -> ExportTraceServiceRequest {
    let service = key_value("service.name", &json!("router"));
    let spans = spans.iter().map(|span| otlp_span(&parse(span))).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: vec![service], ..Resource::default() }),
            scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

fn otlp_span(span: &Value) -> Span {
    let trace = u128::from_str_radix(span["trace_id"].as_str().unwrap(), 16).unwrap();
    let id = |name: &str| u64::from_str_radix(span[name].as_str().unwrap(), 16).unwrap().to_be_bytes().to_vec();
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id("span_id"),
        parent_span_id: id("parent_span_id"),
        name: span["operation"].as_str().unwrap().to_owned(),
        kind: 1,
        start_time_unix_nano: nanos(&span["started_at"]),
        end_time_unix_nano: nanos(&span["completed_at"]),
        attributes: attributes(span).iter().map(|(key, value)| key_value(key, value)).collect(),
        ..Span::default()
    }
}

fn key_value(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::String(text) => Any::StringValue(text.clone()),
        Value::Bool(yes) => Any::BoolValue(*yes),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Any::DoubleValue(number.as_f64().unwrap()), Any::IntValue)
        }
        Value::Object(members) => {
            let values = members.iter().map(|(key, value)| key_value(key, value)).collect();
            Any::KvlistValue(KeyValueList { values })
        }
        other => unreachable!("the spans have no {other}"),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Tags are texts.
pub fn zipkin(spans: &[String]) -> String {
    let spans: Vec<Value> = spans
        .iter()
        .map(|span| {
            let span = parse(span);
            let [start, end] = ["started_at", "completed_at"].map(|name| nanos(&span[name]) / 1_000);
            let tags = attributes(&span).into_iter().map(|(key, value)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                (key, Value::String(text))
            });
            json!({
                "traceId": span["trace_id"], "id": span["span_id"], "parentId": span["parent_span_id"],
                "name": span["operation"], "timestamp": start, "duration": end - start,
                "localEndpoint": {"serviceName": span["service"]}, "tags": tags.collect::<Map<_, _>>(),
            })
        })
        .collect();
    Value::Array(spans).to_string()
}

pub fn spans_of(request: ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// The plainest way from prost's attributes to the text that is stored.
pub fn json_text(attributes: &[KeyValue]) -> String {
    Value::Object(attributes.iter().map(|pair| (pair.key.clone(), json_of(pair.value.as_ref()))).collect()).to_string()
}

fn json_of(value: Option<&AnyValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.as_str().into(),
        Some(Any::BoolValue(yes)) => (*yes).into(),
        Some(Any::IntValue(number)) => (*number).into(),
        Some(Any::DoubleValue(number)) => (*number).into(),
        Some(Any::ArrayValue(array)) => array.values.iter().map(|value| json_of(Some(value))).collect(),
        Some(Any::KvlistValue(map)) => {
            map.values.iter().map(|pair| (pair.key.clone(), json_of(pair.value.as_ref()))).collect()
        }
        _ => Value::Null,
    }
}
