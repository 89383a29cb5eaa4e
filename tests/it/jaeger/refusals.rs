//! What cannot be answered, in the words of each interface.

use serde_json::{Value, json};
use tracefall::settings::Secret;

use super::*;
use crate::support::{json as answer_of, problem};

fn legacy(code: u16, msg: &str) -> Value {
    json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": [{"code": code, "msg": msg}]})
}

fn v3(code: u16, message: &str) -> Value {
    json!({"error": {"httpCode": code, "message": message}})
}

#[tokio::test]
async fn every_refusal_has_the_envelope_of_its_interface() {
    let server = TestServer::start().await;
    let id = "1".repeat(32);
    for (path, expected) in [
        (format!("/api/traces/{id}"), legacy(404, "trace not found")),
        ("/api/traces".into(), legacy(400, "parameter 'service' is required")),
        ("/api/traces?service=".into(), legacy(400, "parameter 'service' is required")),
        ("/api/traces?service=a&start=x".into(), legacy(400, "unable to parse param 'start': \"x\" is no integer")),
        (
            "/api/traces?service=a&minDuration=5".into(),
            legacy(400, "unable to parse param 'minDuration': time: missing unit in duration \"5\""),
        ),
        (
            "/api/traces?service=a&minDuration=2s&maxDuration=1s".into(),
            legacy(400, "'maxDuration' should be greater than 'minDuration'"),
        ),
        (
            "/api/traces?service=a&tag=b".into(),
            legacy(400, "malformed 'tag' parameter, expecting key:value, received: \"b\""),
        ),
        ("/api/operations".into(), legacy(400, "parameter 'service' is required")),
        ("/api/dependencies?endTs=now".into(), legacy(400, "unable to parse param 'endTs': \"now\" is no integer")),
        ("/api/metrics/latencies?service=a".into(), legacy(501, "/api/metrics/latencies is not served here")),
        ("/api/services/a".into(), legacy(404, "there is only /api/services/{service}/operations")),
        ("/api/nothing".into(), legacy(404, "there is nothing at /api/nothing; /openapi.json lists what there is")),
        (format!("/api/v3/traces/{id}"), v3(404, "No traces found")),
        (format!("/api/v3/traces?{DAY_V3}"), v3(404, "No traces found")),
        ("/api/v3/traces".into(), v3(400, "malformed parameter query.startTimeMin is required")),
        (
            "/api/v3/trace-summaries?query.start_time_min=2026-01-05T00:00:00Z".into(),
            v3(400, "malformed parameter query.startTimeMax is required"),
        ),
        ("/api/v3/nothing".into(), v3(404, "there is nothing at /api/v3/nothing; /openapi.json lists what there is")),
    ] {
        let response = server.get(&path).send().await.unwrap();
        let code = expected["errors"][0]["code"].as_u64().or(expected["error"]["httpCode"].as_u64()).unwrap();
        assert_eq!(u64::from(response.status().as_u16()), code, "{path}");
        assert_eq!(response.headers()["content-type"], "application/json", "{path}");
        assert_eq!(response.json::<Value>().await.unwrap(), expected, "{path}");
    }
    let empty = server.read(&format!("/api/v3/trace-summaries?{DAY_V3}")).await;
    assert_eq!(empty, json!({"summaries": []}));
    for path in ["/api/transform", "/api/archive/1"] {
        let (status, answer) = answer_of(server.post(path, "{}")).await;
        assert_eq!((status.as_u16(), answer), (501, legacy(501, &format!("{path} is not served here"))));
    }
    let (status, answer) = answer_of(server.post("/api/services", "{}")).await;
    assert_eq!((status.as_u16(), &answer["errors"][0]["code"]), (405, &json!(405)));
    // Zipkin's path is nobody else's.
    problem(server.get("/api/v2/spans").send().await.unwrap(), 405).await;
    server.stop().await;
}

#[tokio::test]
async fn hostile_ids_are_refused_and_never_a_failure_of_ours() {
    on_each_store(async |server| {
        let long = "a".repeat(5_000);
        for id in [
            "0",
            "00000000000000000000000000000000",
            "zz",
            "..%2F..%2Fetc%2Fpasswd",
            "%00",
            "%FF%FE",
            "gr%C3%BC%C3%9Fe",
            &long,
        ] {
            for path in
                [format!("/api/traces/{id}"), format!("/api/v3/traces/{id}"), format!("/api/traces?traceID={id}")]
            {
                let (status, answer) = answer_of(server.get(&path)).await;
                assert_eq!(status.as_u16(), 400, "{path}: {answer}");
                assert!(answer.to_string().len() < 400, "{answer}");
            }
        }
        for parameters in ["start=-1&end=-9", "start=99999999999999999&end=9223372036854775807", "limit=1500"] {
            assert_eq!(server.read(&format!("/api/traces?service=%00&{parameters}")).await["data"], json!([]));
        }
    })
    .await;
}

#[tokio::test]
async fn reading_needs_a_key_that_may_read() {
    let server = TestServer::with(|settings| {
        settings.access.read_key = Some(Secret::new("reader-key-of-enough-length"));
        settings.access.ingest_key = Some(Secret::new("ingest-key-of-enough-length"));
    })
    .await;
    for (path, at) in [("/api/services", "/errors/0/code"), ("/api/v3/services", "/error/httpCode")] {
        let asked = |key: Option<&str>| match key {
            Some(key) => server.get(path).bearer_auth(key),
            None => server.get(path),
        };
        for (key, code) in [(None, 401), (Some("wrong"), 401), (Some("ingest-key-of-enough-length"), 403)] {
            let (status, answer) = answer_of(asked(key)).await;
            assert_eq!((status.as_u16(), answer.pointer(at)), (code, Some(&json!(code))), "{path}: {answer}");
        }
        let (status, _) = answer_of(asked(Some("reader-key-of-enough-length"))).await;
        assert_eq!(status.as_u16(), 200);
    }
    server.stop().await;
}
