//! Searches end, and say where.

use serde_json::{Value, json};

use super::*;
use crate::support::json as answer_of;

/// More than are looked at.
const TRACES: usize = 5_050;

/// Traces of one span, a second apart; the newest and the oldest are the only ones of their kind.
async fn many(server: &TestServer) {
    let operation = |index: usize| match index {
        0 => "oldest",
        _ if index == TRACES - 1 => "newest",
        _ => "usual",
    };
    let span = |index: usize| {
        json!({"trace_id": format!("{:032x}", index + 1), "span_id": "1", "service": "busy", "operation": operation(index),
            "start_time_unix_nano": 1_767_607_200_000_000_000 + index as u64 * 1_000_000_000, "duration_ms": 1})
    };
    let spans: Vec<Value> = (0..TRACES).map(span).collect();
    for part in spans.chunks(1_000) {
        server.store(&part.iter().cloned().collect()).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_of_all_traces_says_so_and_an_empty_one_is_none() {
    let server = TestServer::start().await;
    many(&server).await;
    let search = |operation: &str| format!("/api/traces?service=busy&operation={operation}&{DAY}");
    let found = server.get(&search("newest")).send().await.unwrap();
    let header = found.headers()["x-tracefall-truncated"].to_str().unwrap().to_owned();
    let found: Value = found.json().await.unwrap();
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    assert_eq!((&found["errors"][0]["code"], &found["errors"][0]["msg"]), (&json!(206), &json!(header)));
    assert!(
        header.starts_with("only the newest ") && header.contains("those that began after 2026-01-05T"),
        "{header}"
    );

    let v3 = |kind: &str, operation: &str| format!("/api/v3/{kind}?query.operationName={operation}&{DAY_V3}");
    for path in [search("oldest"), v3("trace-summaries", "oldest")] {
        let (status, answer) = answer_of(server.get(&path)).await;
        assert_eq!(status.as_u16(), 503, "{path}: {answer}");
        assert!(answer.to_string().contains("nothing was found so far: only the newest"), "{answer}");
    }
    let answer = server.get(&v3("traces", "newest")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("x-tracefall-truncated")), (200, true));
    // Asking for less finds it.
    let narrow = search("oldest").replace("end=1767657600000000", &format!("end={}", T0 + 1));
    assert_eq!(server.read(&narrow).await["data"].as_array().unwrap().len(), 1);
    // As many as were asked for is no bound of ours.
    let usual = server.read(&format!("{}&limit=3", search("usual"))).await;
    assert_eq!((usual["data"].as_array().unwrap().len(), &usual["errors"]), (3, &Value::Null));
    // A menu looks less far.
    let names = server.read("/api/services/busy/operations").await;
    assert_eq!(names["data"], json!(["newest", "usual"]));
    assert!(names["errors"][0]["msg"].as_str().unwrap().starts_with("only the newest 500 traces"), "{names}");
    server.stop().await;
}
