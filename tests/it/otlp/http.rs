//! `POST /v1/traces`.

use std::io::Write;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tracefall::settings::Secret;

use super::{PROTOBUF, encoded, operations, request};
use crate::support::TestServer;

fn post(server: &TestServer, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    server.client.post(server.url("/v1/traces")).header("content-type", content_type).body(body)
}

fn content_type(response: &Response) -> &str {
    response.headers()["content-type"].to_str().unwrap()
}

/// `google.rpc.Status`, as far as it is looked at.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[tokio::test]
async fn both_encodings_are_taken_and_answered_in_kind() {
    let server = TestServer::start().await;
    let answer = post(&server, PROTOBUF, encoded(&["a"])).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), content_type(&answer)), (200, PROTOBUF));
    assert!(answer.bytes().await.unwrap().is_empty(), "full success is the empty message");
    let text = serde_json::to_string(&request(&["a", "b"])).unwrap();
    let answer = post(&server, "Application/JSON; charset=utf-8", text).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), content_type(&answer)), (200, "application/json"));
    assert_eq!(answer.text().await.unwrap(), "{}");
    assert_eq!(operations(&server, 2).await, ["a", "b"]);
    server.stop().await;
}

#[tokio::test]
async fn what_came_in_goes_out_and_can_be_posted_again() {
    let server = TestServer::start().await;
    post(&server, PROTOBUF, encoded(&["a", "b"])).send().await.unwrap();
    assert_eq!(operations(&server, 2).await, ["a", "b"]);
    let path = format!("/v1/traces/{}?format=otlp", super::TRACE);
    let text = server.get(&path).send().await.unwrap().text().await.unwrap();
    let back: opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest =
        serde_json::from_str(&text).unwrap();
    assert_eq!(back.resource_spans[0].scope_spans[0].spans.len(), 2);
    assert_eq!(back.resource_spans[0].resource, request(&["a"]).resource_spans[0].resource);
    assert_eq!(post(&server, "application/json", text.clone()).send().await.unwrap().text().await.unwrap(), "{}");
    assert_eq!(server.get(&path).send().await.unwrap().text().await.unwrap(), text);
    let wrong = server.get(&path.replace("otlp", "xml")).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn every_compression_is_read() {
    let server = TestServer::start().await;
    let gzip = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = |body: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let names = ["a", "b", "c"];
    let bodies = [
        ("gzip", gzip(&encoded(&names[..1]))),
        ("deflate", zlib(&encoded(&names[..2]))),
        ("zstd", zstd::encode_all(&encoded(&names)[..], 1).unwrap()),
    ];
    for (encoding, body) in bodies {
        let answer = post(&server, PROTOBUF, body).header("content-encoding", encoding).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{encoding}");
    }
    assert_eq!(operations(&server, 3).await, names);
    let cut = gzip(&encoded(&names));
    for body in [encoded(&names), cut[..cut.len() - 5].to_vec()] {
        let answer = post(&server, PROTOBUF, body).header("content-encoding", "gzip").send().await.unwrap();
        assert_eq!((answer.status().as_u16(), content_type(&answer)), (400, PROTOBUF));
    }
    server.stop().await;
}

#[tokio::test]
async fn spans_that_cannot_be_taken_are_told_beside_success() {
    let server = TestServer::start().await;
    let answer = post(&server, PROTOBUF, encoded(&["a", "", "c", ""])).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let partial = ExportTraceServiceResponse::decode(answer.bytes().await.unwrap()).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 2);
    assert_eq!(partial.error_message, "span 1: span_id has 0 bytes; accepted are 8 (and 1 more)");
    let text = serde_json::to_string(&request(&["", ""])).unwrap();
    let answer: Value = post(&server, "application/json", text).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "2");
    assert_eq!(operations(&server, 2).await, ["a", "c"]);
    server.stop().await;
}

#[tokio::test]
async fn empty_requests_are_successes() {
    let server = TestServer::start().await;
    assert_eq!(post(&server, PROTOBUF, "").send().await.unwrap().status(), 200);
    for body in ["{}", r#"{"resourceSpans":[]}"#, r#"{"resourceSpans":[{"scopeSpans":[]}]}"#] {
        assert_eq!(post(&server, "application/json", body).send().await.unwrap().status(), 200, "{body}");
    }
    assert_eq!(post(&server, "application/json", "").send().await.unwrap().status(), 400);
    server.stop().await;
}

#[tokio::test]
async fn refusals_are_statuses_in_the_encoding_of_the_request() {
    let server = TestServer::with(|settings| settings.ingest.limits.max_otlp_wire_bytes = 2_048).await;
    for (content_type_sent, body, http, code, what) in [
        ("application/json", "[".to_owned(), 400, 3, "not valid JSON"),
        (PROTOBUF, "{}".to_owned(), 400, 3, "no protobuf message"),
        ("text/plain", "x".to_owned(), 415, 3, "application/x-protobuf"),
        ("application/json", " ".repeat(3_000), 413, 8, "max_otlp_wire_bytes"),
        (PROTOBUF, " ".repeat(3_000), 413, 8, "max_otlp_wire_bytes"),
    ] {
        let answer = post(&server, content_type_sent, body).send().await.unwrap();
        assert_eq!(answer.status(), http, "{what}");
        let is_protobuf = content_type_sent == PROTOBUF;
        assert_eq!(content_type(&answer), if is_protobuf { PROTOBUF } else { "application/json" });
        let body = answer.bytes().await.unwrap();
        let status = match is_protobuf {
            true => Status::decode(body).unwrap(),
            false => {
                let status: Value = serde_json::from_slice(&body).unwrap();
                Status {
                    code: status["code"].as_i64().unwrap() as i32,
                    message: status["message"].as_str().unwrap().into(),
                }
            }
        };
        assert_eq!(status.code, code, "{what}");
        assert!(status.message.contains(what), "{}", status.message);
    }
    for path in ["/v1/logs", "/v1/metrics"] {
        let answer = server.post(path, "{}").send().await.unwrap();
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], 12);
    }
    let answer = server.client.put(server.url("/v1/traces")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), content_type(&answer)), (405, "application/json"));
    let unknown = server.post("/v1/traces", "{}").header("content-encoding", "br").send().await.unwrap();
    assert_eq!((unknown.status().as_u16(), content_type(&unknown)), (415, "application/json"));
    // What is not OTLP's is told as before.
    let answer = server.post("/v1/spans", "[").send().await.unwrap();
    assert_eq!(content_type(&answer), "application/problem+json");
    server.stop().await;
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let key = "ingest-".repeat(4);
    let server = TestServer::with(|settings| settings.access.ingest_key = Some(Secret::new(key.clone()))).await;
    let answer = post(&server, PROTOBUF, encoded(&["a"])).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(Status::decode(answer.bytes().await.unwrap()).unwrap().code, 16);
    let answer = post(&server, PROTOBUF, encoded(&["a"])).bearer_auth(&key).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_page_of_a_configured_origin_may_post_and_not_read() {
    let server =
        TestServer::with(|settings| settings.server.cors_origins = vec!["https://app.example.com".into()]).await;
    let ask = |origin: &'static str| {
        server
            .client
            .request(reqwest::Method::OPTIONS, server.url("/v1/traces"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
    };
    let answer = ask("https://app.example.com").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://app.example.com");
    let foreign = ask("https://evil.example.com").send().await.unwrap();
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    let posted =
        post(&server, "application/json", "{}").header("origin", "https://app.example.com").send().await.unwrap();
    assert_eq!(posted.headers()["access-control-allow-origin"], "https://app.example.com");
    let read = server.get("/v1/traces").header("origin", "https://app.example.com").send().await.unwrap();
    assert!(!read.headers().contains_key("access-control-allow-origin"));
    server.stop().await;
}

#[tokio::test]
async fn switched_off_it_is_a_success_that_keeps_nothing() {
    let server = TestServer::with(|settings| settings.ingest.enabled = false).await;
    let answer = post(&server, PROTOBUF, encoded(&["a"])).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap().is_empty());
    let answer = post(&server, "application/json", "what").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "{}"));
    assert_eq!(server.read("/v1/traces").await["traces"], json!([]));
    server.stop().await;
}
