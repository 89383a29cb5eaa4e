//! OTLP and Zipkin on the wire: what each status promises, in the words that their clients understand, and real clients.

mod clients;
mod grpc;
mod http;
mod recorded;
mod sdk;
mod zipkin;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::Value;

use crate::support::TestServer;

pub const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PROTOBUF: &str = "application/x-protobuf";

/// A request of one service with one span for each name; an empty name makes a span without an id.
pub fn request(names: &[&str]) -> ExportTraceServiceRequest {
    let span = |(index, name): (usize, &&str)| Span {
        trace_id: u128::from_str_radix(TRACE, 16).unwrap().to_be_bytes().to_vec(),
        span_id: if name.is_empty() { Vec::new() } else { (index as u64 + 1).to_be_bytes().to_vec() },
        name: (*name).to_owned(),
        start_time_unix_nano: 1_767_607_200_000_000_000,
        end_time_unix_nano: 1_767_607_200_005_000_000,
        ..Span::default()
    };
    let value = Some(AnyValue { value: Some(Any::StringValue("shop".into())) });
    let service = KeyValue { key: "service.name".into(), value, ..KeyValue::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: vec![service], ..Resource::default() }),
            scope_spans: vec![ScopeSpans {
                spans: names.iter().enumerate().map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn encoded(names: &[&str]) -> Vec<u8> {
    request(names).encode_to_vec()
}

/// The operations of the trace, once so many are readable.
async fn operations(server: &TestServer, count: usize) -> Vec<String> {
    let of = |trace: &Value| -> Vec<String> {
        let spans = trace["spans"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> =
            spans.iter().filter_map(|span| span["operation"].as_str()).map(str::to_owned).collect();
        names.sort();
        names
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let response = server.get(&format!("/v1/traces/{TRACE}")).send().await.unwrap();
        let found = of(&response.json().await.unwrap());
        if found.len() >= count || std::time::Instant::now() > deadline {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
