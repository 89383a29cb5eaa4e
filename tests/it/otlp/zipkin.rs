//! `POST /api/v2/spans`.

use serde_json::Value;

use crate::support::{TestServer, problem};

const SPANS: &str = r#"[{"traceId":"a1b2","id":"1","name":"get","kind":"CLIENT","timestamp":1767607200000000,"duration":900,
    "localEndpoint":{"serviceName":"web"},"tags":{"http.method":"GET"}},
    {"traceId":"a1b2","id":"1","name":"get","kind":"SERVER","shared":true,"timestamp":1767607200000100,"duration":500,
    "localEndpoint":{"serviceName":"api"}}]"#;

#[tokio::test]
async fn spans_are_taken_and_both_halves_kept() {
    let server = TestServer::start().await;
    let answer = server.post("/api/v2/spans", SPANS).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.text().await.unwrap(), "");
    let path = "/v1/traces/000000000000a1b2/waterfall";
    let enough = |waterfall: &Value| waterfall["rows"].as_array().is_some_and(|rows| rows.len() == 2);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let waterfall = loop {
        let waterfall: Value = server.get(path).send().await.unwrap().json().await.unwrap();
        if enough(&waterfall) || std::time::Instant::now() > deadline {
            break waterfall;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let rows = waterfall["rows"].as_array().unwrap();
    assert_eq!((&rows[0]["service"], &rows[1]["service"]), (&"web".into(), &"api".into()));
    assert_eq!((&rows[0]["depth"], &rows[1]["depth"]), (&0.into(), &1.into()));
    // Without a Content-Type, and empty.
    for body in ["[]", ""] {
        let answer = server.client.post(server.url("/api/v2/spans")).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_bad_span_refuses_all_and_is_named() {
    let server = TestServer::start().await;
    let answer = server.post("/api/v2/spans", SPANS.replace("\"SERVER\"", "\"LOCAL\"")).send().await.unwrap();
    let told = problem(answer, 400).await;
    assert!(told["detail"].as_str().unwrap().starts_with("span 1: kind is \"LOCAL\""), "{told}");
    let protobuf = server.client.post(server.url("/api/v2/spans")).header("content-type", "application/x-protobuf");
    assert_eq!(protobuf.body(vec![10, 0]).send().await.unwrap().status(), 415);
    let list = server.read("/v1/traces").await;
    assert_eq!(list["traces"], serde_json::json!([]));
    server.stop().await;
}
