//! The promises of the HTTP interface that hold for good input.

use std::io::Write;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::postgres::Database;
use crate::support::{TestServer, json, problem};

const TRACE: &str = "7f3c0a1b2c3d4e5f60718293a4b5c6d7";

/// A runner -> router -> Modal execution, each hop in its own spelling of the ids.
fn execution() -> Value {
    json!([
        {"trace_id": "7f3c0a1b-2c3d-4e5f-6071-8293a4b5c6d7", "span_id": "11111111-2222-3333-4444-555555555555",
         "service": "runner", "operation": "execute_question", "execution_id": 123, "job_id": "job-7",
         "started_at": "2026-01-05T10:00:00Z", "completed_at": "2026-01-05T10:00:02Z", "status": "completed",
         "metadata": {"question_id": "q1"}},
        {"trace_id": TRACE, "span_id": "00000000000000b2", "parent_span_id": "11111111-2222-3333-4444-555555555555",
         "service": "router", "name": "hybrid_router_call",
         "start_time": "2026-01-05T10:00:00.100Z", "duration_ms": 1800.5, "status": "ok"},
        {"trace_id": TRACE.to_uppercase(), "span_id": "C3", "parent_span_id": "b2",
         "service": "modal", "operation": "modal.inference", "region": "us-east", "model_id": "llama-3.2-1b",
         "started_at": "2026-01-05T10:00:00.900123456Z", "completed_at": "2026-01-05T10:00:01.850Z",
         "status": "error", "error": {"message": "CUDA out of memory", "type": "OutOfMemoryError"}},
    ])
}

#[tokio::test]
async fn spans_posted_are_read_as_one_waterfall_by_every_spelling_and_by_execution() {
    let server = TestServer::start().await;
    server.store(&execution()).await;
    let by_trace = server.read(&format!("/v1/traces/{TRACE}/waterfall")).await;
    let by_uuid = server.read("/v1/traces/7F3C0A1B-2C3D-4E5F-6071-8293A4B5C6D7/waterfall").await;
    let by_execution = server.read("/v1/executions/123/waterfall").await;
    assert_eq!(by_trace, by_uuid);
    assert_eq!(by_trace, by_execution);
    let rows = by_trace["rows"].as_array().unwrap();
    let operations: Vec<&str> = rows.iter().map(|row| row["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["execute_question", "hybrid_router_call", "modal.inference"]);
    assert_eq!(rows.iter().map(|row| row["depth"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(rows[1]["duration_ns"], 1_800_500_000);
    assert_eq!(rows[2]["offset_ns"], 900_123_456);
    assert_eq!(rows[2]["status"], "failed");
    assert_eq!(by_trace["duration_ns"], 2_000_000_000);

    let drawing = server.draw("/v1/executions/123/waterfall?width=100").await;
    for part in ["execute_question", "modal.inference", "CUDA out of memory", "completed in 2 s"] {
        assert!(drawing.contains(part), "{part} is missing in\n{drawing}");
    }
}

/// What a person does in the first two minutes reads the same, byte for byte, whichever store is behind it.
#[tokio::test]
async fn both_stores_give_the_same_answers_byte_for_byte() {
    let Some(database) = Database::new() else { return };
    database.empty().await;
    let servers =
        [TestServer::start().await, TestServer::with(|settings| settings.store.url = database.settings().url).await];
    let mut answers: [Vec<String>; 2] = Default::default();
    for (server, answers) in servers.into_iter().zip(&mut answers) {
        server.store(&execution()).await;
        let open = json!({"trace_id": TRACE, "span_id": "d4", "parent_span_id": "b2", "service": "modal",
            "operation": "modal.warm_up", "started_at": "2026-01-05T10:00:00.2Z", "status": "started",
            "inputs": {"prompt": "grüße"}, "events": [{"name": "queued", "timestamp": "2026-01-05T10:00:00.300000001Z"}],
            "links": [{"trace_id": "1".repeat(32), "span_id": "2"}], "resource": {"service.version": "1.0"}, "cost": "0.0042",
            "tokens": {"input": 812, "output": 97}, "metadata": {"b": 1.50, "a": [1, {"x": null}]}});
        server.store(&open).await;
        server.store(&json!({"trace_id": TRACE, "span_id": "d4", "completed_at": "2026-01-05T10:00:00.9Z"})).await;
        server.read_until("/v1/traces", |list| list["traces"][0]["span_count"] == 4).await;
        for path in [
            "/v1/traces".to_owned(),
            "/v1/traces?service=modal&status=completed&execution_id=123&job_id=job-7".to_owned(),
            format!("/v1/traces/{TRACE}"),
            format!("/v1/traces/{TRACE}/waterfall"),
            "/v1/executions/123".to_owned(),
            "/v1/executions/123/waterfall".to_owned(),
        ] {
            let response = server.get(&path).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            answers.push(response.text().await.unwrap());
        }
        let server = server.restart().await;
        answers.push(server.draw("/v1/executions/123/waterfall?width=100").await);
    }
    let [sqlite, postgres] = answers;
    assert_eq!(sqlite, postgres);
    assert!(sqlite[2].contains("grüße") && sqlite[2].contains("300000001"), "{}", sqlite[2]);
}

#[tokio::test]
async fn every_body_shape_and_encoding_is_taken() {
    let server = TestServer::start().await;
    let span = |id: u32| {
        json!({"trace_id": TRACE, "span_id": format!("{id:x}"), "operation": "o",
        "started_at": "2026-01-05T10:00:00Z", "duration_ms": 1})
    };
    let lines = format!("{}\n\n{}\n", span(5), span(6));
    let gzip = |body: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zlib = |body: &str| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let json_type = "application/json; charset=utf-8";
    let bodies: [(&str, Option<&str>, Vec<u8>, u64); 7] = [
        (json_type, None, json!([span(1), span(2)]).to_string().into(), 2),
        (json_type, None, json!({"spans": [span(3)]}).to_string().into(), 1),
        ("Application/JSON", None, span(4).to_string().into(), 1),
        ("application/x-ndjson", None, lines.into(), 2),
        (json_type, Some("gzip"), gzip(&json!([span(7)]).to_string()), 1),
        (json_type, Some("deflate"), zlib(&json!([span(8)]).to_string()), 1),
        ("application/x-ndjson", Some("zstd"), zstd::encode_all(span(9).to_string().as_bytes(), 3).unwrap(), 1),
    ];
    for (media, encoding, body, accepted) in bodies {
        let mut request = server.client.post(server.url("/v1/spans?wait=stored")).header("content-type", media);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let (status, answer) = json(request.body(body)).await;
        assert_eq!((status, &answer["accepted"]), (StatusCode::OK, &json!(accepted)), "{media} {encoding:?}: {answer}");
    }
    let trace = server.read(&format!("/v1/traces/{TRACE}")).await;
    assert_eq!(trace["spans"].as_array().unwrap().len(), 9);
}

#[tokio::test]
async fn good_spans_are_kept_beside_bad_ones_unless_atomic_is_asked_for() {
    let server = TestServer::start().await;
    let body = json!([
        {"trace_id": TRACE, "span_id": "1", "operation": "good", "started_at": "2026-01-05T10:00:00Z"},
        {"trace_id": "short", "span_id": "2", "operation": "bad"},
        {"trace_id": TRACE, "span_id": "3", "status": "finished?"},
    ]);
    let response = server.post("/v1/spans?atomic=true", body.to_string()).send().await.unwrap();
    let refused = problem(response, 400).await;
    assert_eq!(refused["rejected"].as_array().unwrap().len(), 2);
    let unknown = server.get(&format!("/v1/traces/{TRACE}")).send().await.unwrap();
    problem(unknown, 404).await;

    let (status, answer) = json(server.post("/v1/spans?wait=stored", body.to_string())).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["accepted"], 1);
    let rejected = answer["rejected"].as_array().unwrap();
    assert_eq!((&rejected[0]["index"], &rejected[0]["field"]), (&json!(1), &json!("trace_id")));
    assert_eq!((&rejected[1]["index"], &rejected[1]["span_id"]), (&json!(2), &json!("3")));
    assert_eq!(rejected[1]["field"], "status");
    assert_eq!(server.read(&format!("/v1/traces/{TRACE}")).await["spans"].as_array().unwrap().len(), 1);

    let all_bad = server.post("/v1/spans", json!([{"span_id": "1"}]).to_string()).send().await.unwrap();
    assert_eq!(problem(all_bad, 400).await["rejected"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn headers_fill_only_what_is_absent() {
    let server = TestServer::start().await;
    let body = json!([
        {"span_id": "a1", "operation": "from the header", "started_at": "2026-01-05T10:00:00Z"},
        {"trace_id": "11111111111111111111111111111111", "span_id": "a2", "operation": "its own",
         "started_at": "2026-01-05T10:00:00Z"},
    ]);
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request = server.post("/v1/spans?wait=stored", body.to_string()).header("traceparent", traceparent);
    assert_eq!(json(request.header("x-request-id", "req-9")).await.0, StatusCode::OK);
    let carried = &server.read(&format!("/v1/traces/{TRACE}")).await["spans"][0];
    assert_eq!(carried["parent_span_id"], "00f067aa0ba902b7");
    assert_eq!(carried["attributes"]["request_id"], "req-9");
    let own = &server.read("/v1/traces/11111111111111111111111111111111").await["spans"][0];
    assert!(own.get("parent_span_id").is_none_or(Value::is_null), "{own}");

    let malformed = server.post("/v1/spans", body.to_string()).header("traceparent", "00-junk").header("b3", "0");
    assert_eq!(json(malformed).await.0, StatusCode::ACCEPTED, "a malformed header is never an error");
}

#[tokio::test]
async fn the_kill_switch_takes_everything_and_keeps_nothing() {
    let server = TestServer::with(|settings| settings.ingest.enabled = false).await;
    for body in [execution().to_string(), "not even json".to_owned()] {
        let (status, answer) = json(server.post("/v1/spans", body)).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        assert_eq!(answer, json!({"accepted": 0, "rejected": [], "disabled": true}));
    }
    assert_eq!(server.read("/v1/traces").await["traces"], json!([]));
    assert_eq!(server.read("/readyz").await["ingest"], "disabled");
}

#[tokio::test]
async fn lists_are_filtered_paged_and_drawn() {
    let server = TestServer::start().await;
    let traces: Vec<Value> = (1..=5)
        .map(|n| {
            json!({"trace_id": format!("{n:032x}"), "span_id": "1", "service": if n % 2 == 0 { "even" } else { "odd" },
                "operation": "work", "execution_id": format!("run-{n}"), "job_id": "nightly",
                "started_at": format!("2026-01-05T10:00:0{n}Z"), "duration_ms": 5,
                "status": if n == 4 { "failed" } else { "completed" }})
        })
        .collect();
    server.store(&json!(traces)).await;
    let settled = |list: &Value| {
        let traces = list["traces"].as_array().unwrap();
        traces.len() == 5 && traces.iter().all(|trace| trace["span_count"] == 1)
    };
    let all = server.read_until("/v1/traces", settled).await;
    let ids = |list: &Value| -> Vec<u64> {
        let id = |trace: &Value| u64::from_str_radix(&trace["trace_id"].as_str().unwrap()[24..], 16).unwrap();
        list["traces"].as_array().unwrap().iter().map(id).collect()
    };
    assert_eq!(ids(&all), [5, 4, 3, 2, 1], "newest first");
    for (query, expected) in [
        ("service=even", vec![4, 2]),
        ("status=failed", vec![4]),
        ("execution_id=run-2", vec![2]),
        ("job_id=nightly&service=odd", vec![5, 3, 1]),
        ("from=2026-01-05T10:00:02Z&to=2026-01-05T10:00:04Z", vec![3, 2]),
        ("service=nobody", vec![]),
    ] {
        assert_eq!(ids(&server.read(&format!("/v1/traces?{query}")).await), expected, "{query}");
    }
    let first = server.read("/v1/traces?limit=2").await;
    let second = server.read(&format!("/v1/traces?limit=2&cursor={}", first["next"].as_str().unwrap())).await;
    let third = server.read(&format!("/v1/traces?limit=2&cursor={}", second["next"].as_str().unwrap())).await;
    assert_eq!((ids(&first), ids(&second), ids(&third)), (vec![5, 4], vec![3, 2], vec![1]));
    assert!(third.get("next").is_none());
    assert!(server.draw("/v1/traces?width=120").await.contains("run-4"));
}

#[tokio::test]
async fn an_execution_lists_its_attempts_and_shows_the_newest() {
    let server = TestServer::start().await;
    let attempt = |trace: u32, second: u32, status: &str| {
        json!({"trace_id": format!("{trace:032x}"), "span_id": "1", "service": "runner", "operation": "execute_question",
            "execution_id": "run-1", "started_at": format!("2026-01-05T10:00:{second:02}Z"), "duration_ms": 900,
            "status": status})
    };
    server.store(&json!([attempt(1, 0, "failed"), attempt(2, 1, "completed")])).await;
    let execution = server.read("/v1/executions/run-1").await;
    assert_eq!(execution["status"], "completed");
    let traces = execution["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 2);
    assert_eq!(traces[0]["trace_id"], format!("{:032x}", 2));
    let newest = server.read("/v1/executions/run-1/waterfall").await;
    assert_eq!(newest["trace_id"], format!("{:032x}", 2));
    let other = server.get("/v1/executions/run-1/waterfall?trace=1111111111111111").send().await.unwrap();
    assert!(problem(other, 404).await["detail"].as_str().unwrap().contains("has no trace"));
    let first = server.read(&format!("/v1/executions/run-1/waterfall?trace={:032x}", 1)).await;
    assert_eq!(first["status"], "failed");
}

#[tokio::test]
async fn a_running_trace_is_listed_within_two_seconds_and_completes_later() {
    let server = TestServer::start().await;
    let begun = std::time::Instant::now();
    let start = json!({"trace_id": TRACE, "span_id": "1", "service": "runner", "operation": "execute_question",
        "execution_id": "run-9", "started_at": "2026-01-05T10:00:00Z", "status": "started"});
    let (status, _) = json(server.post("/v1/spans", start.to_string())).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let listed = |list: &Value| list["traces"][0]["status"] == "running";
    server.read_until("/v1/traces", listed).await;
    assert!(begun.elapsed().as_secs() < 10);
    let open = server.read("/v1/executions/run-9/waterfall").await;
    assert_eq!(open["rows"][0]["status"], "running");
    assert_eq!(open["rows"][0]["duration_ns"], Value::Null);

    let server = server.restart().await;
    server.store(&json!({"trace_id": TRACE, "span_id": "1", "completed_at": "2026-01-05T10:00:03Z"})).await;
    let done = server.read("/v1/executions/run-9/waterfall").await;
    assert_eq!(done["rows"].as_array().unwrap().len(), 1);
    assert_eq!(done["rows"][0]["duration_ns"], 3_000_000_000_u64);
    assert_eq!(done["rows"][0]["operation"], "execute_question");
    server.read_until("/v1/traces", |list| list["traces"][0]["status"] == "completed").await;
}

#[tokio::test]
async fn operations_pages_answer() {
    let server = TestServer::start().await;
    server.store(&execution()).await;
    assert_eq!(server.draw("/healthz").await, "ok\n");
    let ready = server.read("/readyz").await;
    assert_eq!((&ready["status"], &ready["store"]), (&json!("ready"), &json!("ok")));
    let metrics = server.draw("/metrics").await;
    for name in ["tracefall_spans_accepted_total", "tracefall_http_requests_total", "tracefall_batch_spans"] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    let openapi = server.read("/openapi.json").await;
    for path in ["/v1/spans", "/v1/traces", "/v1/traces/{trace_id}/waterfall", "/v1/executions/{execution_id}"] {
        assert!(openapi["paths"].get(path).is_some(), "{path} is missing");
    }
    assert!(server.draw("/").await.contains("/v1/spans"));
}

#[tokio::test]
async fn requests_are_named_and_what_is_not_there_is_said() {
    let server = TestServer::start().await;
    let response = server.get("/healthz").header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let response = server.get("/healthz").header("x-request-id", "not ours: \u{e9}").send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 32);
    let missing = problem(server.get("/v1/nothing").send().await.unwrap(), 404).await;
    assert!(missing["detail"].as_str().unwrap().contains("/openapi.json"));
    let method = server.get("/v1/spans").send().await.unwrap();
    assert_eq!(method.headers()["allow"], "POST");
    problem(method, 405).await;
    for (path, part) in [
        ("/v1/traces/xyz", "3 characters"),
        ("/v1/traces?limit=0", "limit: 0"),
        ("/v1/traces?status=broken", "is none of"),
        ("/v1/traces?from=yesterday", "from: \"yesterday\""),
        ("/v1/traces?cursor=x", "cursor"),
        ("/v1/traces?colour=red", "unknown field `colour`"),
    ] {
        let refused = problem(server.get(path).send().await.unwrap(), 400).await;
        assert!(refused["detail"].as_str().unwrap().contains(part), "{path}: {refused}");
    }
}
