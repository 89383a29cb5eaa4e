//! Who may do what, over the wire.

use reqwest::StatusCode;
use serde_json::json;
use tracefall::settings::access::KeySettings;

use crate::support::binary::{run, tracefall};
use crate::support::{TestServer, json, problem};

const INGEST: &str = "tf_an-ingest-key-for-the-tests";
const READ: &str = "tf_a-read-key-for-the-tests-too";

async fn guarded() -> TestServer {
    TestServer::with(|settings| {
        let key = |name: &str, key: &str, scope: &str| -> KeySettings {
            serde_json::from_value(json!({"name": name, "key": key, "scopes": [scope]})).unwrap()
        };
        settings.access.keys = vec![key("writer", INGEST, "ingest"), key("reader", READ, "read")];
    })
    .await
}

#[tokio::test]
async fn with_keys_every_path_wants_its_scope() {
    let server = guarded().await;
    let span = json!({"trace_id": "1111111111111111", "span_id": "1", "operation": "o"}).to_string();
    let denied = server.post("/v1/spans", span.clone()).send().await.unwrap();
    assert_eq!(denied.headers()["www-authenticate"], "Bearer");
    problem(denied, 401).await;
    let wrong = server.post("/v1/spans", span.clone()).bearer_auth("tf_guessed").send().await.unwrap();
    problem(wrong, 401).await;
    let reader = server.post("/v1/spans", span.clone()).bearer_auth(READ).send().await.unwrap();
    let refused = problem(reader, 403).await;
    assert_eq!(refused["detail"], "the scope ingest is needed");
    let writer = server.post("/v1/spans?wait=stored", span).header("authorization", format!("bearer  {INGEST}"));
    assert_eq!(json(writer).await.0, StatusCode::OK);

    for path in ["/v1/traces", "/v1/traces/1111111111111111/waterfall", "/metrics", "/openapi.json"] {
        problem(server.get(path).send().await.unwrap(), 401).await;
        problem(server.get(path).bearer_auth(INGEST).send().await.unwrap(), 403).await;
        assert_eq!(server.get(path).bearer_auth(READ).send().await.unwrap().status(), StatusCode::OK, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).send().await.unwrap().status(), StatusCode::OK, "{path} is open");
    }
}

#[tokio::test]
async fn on_loopback_a_request_must_name_the_loopback() {
    let server = TestServer::start().await;
    let port = server.address().port();
    for host in [format!("localhost:{port}"), "127.0.0.1".to_owned(), format!("[::1]:{port}")] {
        let response = server.get("/healthz").header("host", &host).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:4318"] {
        let response = server.get("/v1/traces").header("host", host).send().await.unwrap();
        problem(response, 403).await;
    }
}

#[tokio::test]
async fn cors_is_off_unless_an_origin_is_configured_and_then_only_for_ingest() {
    let origin = "https://app.example.com";
    let plain = TestServer::start().await;
    let response = plain.post("/v1/spans", "[]").header("origin", origin).send().await.unwrap();
    assert!(!response.headers().contains_key("access-control-allow-origin"));

    let server = TestServer::with(|settings| settings.server.cors_origins = vec![origin.to_owned()]).await;
    let preflight = server
        .client
        .request(reqwest::Method::OPTIONS, server.url("/v1/spans"))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.status(), StatusCode::OK);
    assert_eq!(preflight.headers()["access-control-allow-origin"], origin);
    let other = server.post("/v1/spans", "[]").header("origin", "https://evil.example").send().await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    let read = server.get("/v1/traces").header("origin", origin).send().await.unwrap();
    assert!(!read.headers().contains_key("access-control-allow-origin"));
}

#[test]
fn beyond_loopback_it_wants_a_key_or_the_operators_word() {
    let folder = tempfile::tempdir().unwrap();
    let refused = run(tracefall().current_dir(folder.path()).args(["--host", "0.0.0.0", "--port", "0"]));
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("access.open") && text.contains("127.0.0.1"), "{text}");
    assert!(!folder.path().join("tracefall-data").exists(), "nothing is made before the settings are good");
}
