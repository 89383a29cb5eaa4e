//! Bad bodies over the wire: each gets its status and a text that says what is wrong, and the service goes on.
//! What a single span can have wrong is tested beside the decoder (`src/wire`).

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{TestServer, json, problem};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

async fn refused(server: &TestServer, headers: &[(&str, &str)], body: Vec<u8>, status: u16, part: &str) {
    let mut request = server.client.post(server.url("/v1/spans")).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let problem = problem(request.send().await.unwrap(), status).await;
    assert!(problem.to_string().contains(part), "{part:?} is missing in {problem}");
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn undecodable_bodies_are_refused_with_the_reason() {
    let server = TestServer::start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, part) in [
        (&b""[..], "empty"),
        (b"   ", "empty"),
        (b"{", "EOF"),
        (b"[{}", "EOF"),
        (b"\"text\"", "array"),
        (b"[] []", "ndjson"),
        (b"[{\"trace_id\": NaN}]", "expected"),
        (b"[{\"trace_id\": \"\xff\"}]", "UTF-8"),
        (deep.as_bytes(), ""),
    ] {
        refused(&server, &[JSON], body.to_vec(), 400, part).await;
    }
    assert_eq!(json(server.post("/v1/spans", "[]")).await.0, StatusCode::ACCEPTED, "no spans are no error");
}

#[tokio::test]
async fn media_types_and_encodings_that_are_not_known_are_named() {
    let server = TestServer::start().await;
    let body = || b"[]".to_vec();
    for media in ["text/csv", "application/x-protobuf", "application/json; charset=utf-16"] {
        refused(&server, &[("content-type", media)], body(), 415, "").await;
    }
    refused(&server, &[JSON, ("content-encoding", "br")], body(), 415, "gzip").await;
    refused(&server, &[JSON, ("content-encoding", "gzip")], body(), 400, "gzip").await;
    let whole = gzip(b"[{\"trace_id\":\"1111111111111111\"}]");
    let truncated = whole[..whole.len() - 4].to_vec();
    refused(&server, &[JSON, ("content-encoding", "gzip")], truncated, 400, "too early").await;
    for media in ["application/json; charset=UTF-8", "application/json;charset=us-ascii", "application/x-ndjson"] {
        let request = server.client.post(server.url("/v1/spans")).header("content-type", media).body("[]");
        let status = json(request).await.0;
        assert!(status == StatusCode::ACCEPTED || media.contains("ndjson"), "{media}: {status}");
    }
}

#[tokio::test]
async fn bombs_are_stopped_at_the_limits() {
    let server = TestServer::start().await;
    let spaces = gzip(&vec![b' '; 80 << 20]);
    assert!(spaces.len() < 100 << 10);
    refused(&server, &[JSON, ("content-encoding", "gzip")], spaces, 413, "max_inflated_bytes").await;

    let mut empty_spans = String::from("[");
    empty_spans.push_str(&"{},".repeat(4_000_000));
    empty_spans.push_str("{}]");
    let empty_spans = gzip(empty_spans.as_bytes());
    assert!(empty_spans.len() < 16 << 10, "{} bytes", empty_spans.len());
    refused(&server, &[JSON, ("content-encoding", "gzip")], empty_spans, 413, "max_spans").await;

    let mut window = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    window.window_log(27).unwrap();
    window.include_contentsize(false).unwrap();
    window.write_all(b"[]").unwrap();
    let window = window.finish().unwrap();
    refused(&server, &[JSON, ("content-encoding", "zstd")], window, 400, "memory").await;

    let mut one_too_many = String::from("[");
    for id in 1..=50_001 {
        let comma = if id == 1 { "" } else { "," };
        write!(one_too_many, "{comma}{{\"trace_id\":\"1111111111111111\",\"span_id\":\"{id:x}\"}}").unwrap();
    }
    one_too_many.push(']');
    refused(&server, &[JSON], one_too_many.into_bytes(), 413, "50000").await;

    let too_long = vec![b' '; (16 << 20) + 1];
    refused(&server, &[JSON], too_long, 413, "max_wire_bytes").await;
    assert_eq!(server.read("/readyz").await["status"], "ready");
    assert_eq!(server.read("/v1/traces").await["traces"], json!([]));
}

#[tokio::test]
async fn when_no_memory_is_free_it_says_so_and_recovers() {
    let server = TestServer::with(|settings| settings.server.in_flight_bytes = 64 << 10).await;
    let long = json!([{"trace_id": "1111111111111111", "span_id": "1", "note": "x".repeat(100_000)}]).to_string();
    let response = server.post("/v1/spans", long).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    problem(response, 503).await;
    let short = json!([{"trace_id": "1111111111111111", "span_id": "1", "note": "x".repeat(30_000)}]).to_string();
    for _ in 0..10 {
        assert_eq!(json(server.post("/v1/spans", short.clone())).await.0, StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn strange_graphs_are_drawn_to_their_end() {
    let server = TestServer::start().await;
    let span = |trace: &str, id: usize, parent: usize| {
        json!({"trace_id": trace, "span_id": format!("{id:x}"), "parent_span_id": format!("{parent:x}"),
            "service": "s", "operation": format!("op {id}"), "started_at": "2026-01-05T10:00:00Z", "duration_ms": 5})
    };
    let root = |trace: &str, id: usize| {
        json!({"trace_id": trace, "span_id": format!("{id:x}"), "service": "s", "operation": "root",
            "started_at": "2026-01-05T10:00:00Z", "duration_ms": 5})
    };
    let ids = ["1", "2", "3", "4", "5"].map(|digit| digit.repeat(32));
    let [own, cycle, chain, wide, absurd] = &ids;
    server.store(&json!([span(own, 7, 7)])).await;
    server.store(&json!([span(cycle, 1, 3), span(cycle, 2, 1), span(cycle, 3, 2)])).await;
    let deep: Vec<Value> =
        (1..=10_000).map(|id| if id == 1 { root(chain, 1) } else { span(chain, id, id - 1) }).collect();
    server.store(&json!(deep)).await;
    let siblings: Vec<Value> = (1..=5_000).map(|id| if id == 1 { root(wide, 1) } else { span(wide, id, 1) }).collect();
    server.store(&json!(siblings)).await;
    server
        .store(&json!([
            {"trace_id": absurd, "span_id": "1", "operation": "epoch", "start_time_unix_nano": 0, "end_time_unix_nano": 0},
            {"trace_id": absurd, "span_id": "2", "operation": "far", "start_time_unix_nano": "18446744073709551615"},
            {"trace_id": absurd, "span_id": "3", "operation": "backwards",
             "started_at": "2026-01-05T10:00:01Z", "completed_at": "2026-01-05T10:00:00Z"},
        ]))
        .await;
    for (trace, spans) in [(own, 1), (cycle, 3), (chain, 10_000), (wide, 5_000), (absurd, 3)] {
        let waterfall = server.read(&format!("/v1/traces/{trace}/waterfall")).await;
        assert_eq!(waterfall["span_count"], spans, "{trace}");
        let drawing = server.draw(&format!("/v1/traces/{trace}/waterfall?width=80&max_rows=50")).await;
        assert!(!drawing.is_empty());
    }
    let cyclic = server.read(&format!("/v1/traces/{cycle}/waterfall")).await;
    assert!(cyclic["notes"].to_string().contains("cycle"), "{}", cyclic["notes"]);
    let clocks = server.read(&format!("/v1/traces/{absurd}/waterfall")).await;
    assert!(clocks["rows"].to_string().contains("clock_suspect"));
    let exact = server.read(&format!("/v1/traces/{absurd}")).await.to_string();
    assert!(exact.contains("2554-07-21T23:34:33.709551615Z"), "{exact}");
}

#[tokio::test]
async fn two_records_of_one_span_in_one_request_are_one_span() {
    let server = TestServer::start().await;
    let trace = "6".repeat(32);
    server
        .store(&json!([
            {"trace_id": trace, "span_id": "1", "operation": "o", "started_at": "2026-01-05T10:00:00Z", "status": "started"},
            {"trace_id": trace, "span_id": "1", "completed_at": "2026-01-05T10:00:01Z", "status": "success"},
        ]))
        .await;
    let spans = server.read(&format!("/v1/traces/{trace}")).await["spans"].clone();
    assert_eq!(spans.as_array().unwrap().len(), 1);
    assert_eq!((&spans[0]["status"], &spans[0]["operation"]), (&json!("completed"), &json!("o")));
}

#[tokio::test]
async fn a_body_that_never_comes_ends_the_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = TestServer::with(|settings| settings.server.request_timeout_secs = 1).await;
    let mut stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let head =
        "POST /v1/spans HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n[";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}
