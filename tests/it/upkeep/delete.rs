//! Deleting on request: all of it goes, also what was still under way, and nothing else.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tracefall::settings::Secret;

use super::{Site, quick, span};
use crate::support::binary::Server;
use crate::support::{TestServer, client, json as answer, problem};

/// The tables that hold something of a trace.
const TABLES: [&str; 6] = ["spans", "spans_kept", "open_spans", "traces", "pins", "dead_letters"];

impl Site {
    async fn delete(&self, path: &str) -> (StatusCode, Value) {
        answer(self.server.client.request(Method::DELETE, self.server.url(path))).await
    }

    /// Rows in all the tables.
    fn rows(&self) -> i64 {
        let spans = if self.database.is_some() {
            &TABLES[..]
        } else {
            &["spans", "open_spans", "traces", "pins", "dead_letters"]
        };
        spans.iter().map(|table| self.count(&format!("SELECT count(*) FROM @{table}"))).sum()
    }
}

fn running(trace: u32, id: u32) -> Value {
    let mut span = span(trace, id, "work");
    span.as_object_mut().unwrap().remove("duration_ms");
    span
}

fn old(trace: u32, id: u32) -> Value {
    let mut span = span(trace, id, "work");
    span["started_at"] = json!("1999-01-05T10:00:00Z");
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_trace_is_gone_by_any_spelling_of_its_id_and_a_later_span_of_it_is_new() {
    for site in Site::each("delete").await {
        site.server.store(&json!([span(1, 1, "other"), running(1, 2)])).await;
        let before = site.rows();
        for (trace, spelling) in [
            (0xa2, "00000000-0000-0000-0000-0000000000A2"),
            (0xa3, "00000000000000a3"),
            (0xa4, &format!("{:032x}", 0xa4)),
        ] {
            site.server.store(&json!([span(trace, 1, "root"), running(trace, 2), old(trace, 3)])).await;
            let pin = format!("/v1/traces/{trace:032x}/pin");
            assert_eq!(answer(site.server.client.put(site.server.url(&pin))).await.0, 200);
            let path = format!("/v1/traces/{spelling}");
            let all = json!({"traces": 1, "spans": 3, "pins": 1, "dead_letters": 0, "dry_run": true, "complete": true});
            assert_eq!(site.delete(&format!("{path}?dry_run=true")).await, (StatusCode::OK, all.clone()));
            assert_eq!(site.rows(), before + 5);
            let mut gone = all;
            gone["dry_run"] = json!(false);
            assert_eq!(site.delete(&path).await, (StatusCode::OK, gone));
            assert_eq!(site.rows(), before);
            assert_eq!(site.delete(&path).await.0, StatusCode::NOT_FOUND, "there is nothing left to delete");
            assert_eq!(answer(site.server.get(&path)).await.0, StatusCode::NOT_FOUND);

            site.server.store(&json!([span(trace, 1, "anew")])).await;
            let listed = |list: &Value| {
                let mut traces = list["traces"].as_array().unwrap().iter();
                traces.any(|one| one["trace_id"] == format!("{trace:032x}") && one["span_count"] == 1)
            };
            site.server.read_until("/v1/traces", listed).await;
            site.delete(&path).await;
        }
        assert_eq!(site.delete("/v1/traces/no-id").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(site.rows(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_queue_when_its_trace_is_deleted_is_dropped() {
    let server = TestServer::with(|settings| {
        quick(settings);
        settings.pipeline.linger_ms = 1_500;
    })
    .await;
    server.read_until("/readyz", |ready| ready["store"] == "ok").await;
    let site = Site { server, database: None };
    let body = json!([span(1, 1, "a"), running(1, 2), span(2, 1, "b")]).to_string();
    assert_eq!(answer(site.server.post("/v1/spans", body)).await.0, StatusCode::ACCEPTED);
    let (status, told) = site.delete(&format!("/v1/traces/{:032x}", 1)).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "nothing of it was stored: {told}");
    site.server.read_until("/readyz", |ready| ready["queued_spans"] == 0).await;
    assert_eq!(site.rows(), 2, "the other trace and its span");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_replayed_after_a_crash_does_not_bring_a_deleted_trace_back() {
    let folder = tempfile::tempdir().unwrap();
    let client = client();
    let post = async |server: &Server, spans: Value, wait: &str| {
        let url = server.url(&format!("/v1/spans{wait}"));
        let request = client.post(url).header("content-type", "application/json").body(spans.to_string());
        answer(request).await.0
    };
    let delete = async |server: &Server, trace: u32| {
        answer(client.delete(server.url(&format!("/v1/traces/{trace:032x}")))).await.0
    };
    let ready = async |server: &Server| {
        for _ in 0..1_000 {
            let (_, ready) = answer(client.get(server.url("/readyz"))).await;
            if ready["store"] == "ok" && ready["queued_spans"] == 0 && ready["journal"]["unstored_records"] == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it does not get ready");
    };
    let first = Server::start(folder.path(), |_| {});
    ready(&first).await;
    assert_eq!(post(&first, json!([span(1, 1, "stored")]), "?wait=stored").await, 200);
    assert_eq!(delete(&first, 1).await, 200);
    first.kill();
    // Here nothing is stored before the process ends.
    let slow = |command: &mut std::process::Command| {
        command.env("TRACEFALL__PIPELINE__LINGER_MS", "10000");
    };
    let second = Server::start(folder.path(), slow);
    for _ in 0..1_000 {
        if answer(client.get(second.url("/readyz"))).await.1["store"] == "ok" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(post(&second, json!([span(2, 1, "journalled"), span(3, 1, "other")]), "").await, 202);
    assert_eq!(delete(&second, 2).await, 404);
    second.kill();
    let third = Server::start(folder.path(), |_| {});
    ready(&third).await;
    for (trace, status) in [(1, 404), (2, 404), (3, 200)] {
        let (got, told) = answer(client.get(third.url(&format!("/v1/traces/{trace:032x}")))).await;
        assert_eq!(got, status, "trace {trace}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_traces_of_a_user_or_a_workspace_go_and_those_of_others_stay() {
    for site in Site::each("delete_of").await {
        let of = |mut span: Value, member: &str, id: &str| {
            span[member] = json!(id);
            span
        };
        // More than are removed at a time, in traces and, in one of them, in spans.
        let mut spans: Vec<Value> = (0..250).map(|n| of(span(0x100 + n, 1, "root"), "user_id", "ann/1 ä")).collect();
        spans.extend((2..6_000).map(|n| span(0x100, n, "child")));
        // Only one of the spans says whose it is.
        spans.extend([span(0x900, 1, "root"), of(running(0x900, 2), "user_id", "ann/1 ä")]);
        spans.extend([of(span(0xa00, 1, "root"), "user_id", "bob"), of(old(0xb00, 1), "workspace_id", "w1")]);
        site.server.store(&json!(spans)).await;
        // Still under way when the request comes.
        let late = json!([of(span(0xc00, 1, "root"), "user_id", "ann/1 ä")]).to_string();
        assert_eq!(answer(site.server.post("/v1/spans", late)).await.0, StatusCode::ACCEPTED);

        let counted = site.answer(&["delete", "user", "ann/1 ä", "--json"]).await;
        let all =
            json!({"traces": 252, "spans": 6251, "pins": 0, "dead_letters": 0, "dry_run": true, "complete": true});
        assert_eq!(counted, all);
        let (ok, told) = site.command(&["delete", "user", "ann/1 ä"]).await;
        assert!(ok && told.contains("252 traces with 6251 spans") && told.contains("--yes"), "{told}");
        let gone = site.answer(&["delete", "user", "ann/1 ä", "--yes", "--json"]).await;
        assert_eq!((&gone["traces"], &gone["spans"]), (&json!(252), &json!(6251)));
        assert_eq!(site.count("SELECT count(*) FROM @spans") + site.count("SELECT count(*) FROM @open_spans"), 2);
        let (status, none) = site.delete("/v1/users/ann%2F1%20%C3%A4/traces").await;
        assert_eq!((status, &none["traces"]), (StatusCode::OK, &json!(0)), "{none}");

        assert_eq!(site.answer(&["delete", "workspace", "w1", "--yes", "--json"]).await["traces"], 1);
        let (ok, told) = site.command(&["delete", "trace", &format!("{:032x}", 0xa00), "--yes"]).await;
        assert!(ok && told.contains("1 traces with 1 spans") && told.contains("deleted"), "{told}");
        let (ok, told) = site.command(&["delete", "trace", &format!("{:032x}", 0xa00), "--yes"]).await;
        assert!(!ok && told.contains("nothing of trace"), "{told}");
        assert_eq!(site.rows(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_administrator_deletes() {
    let server = TestServer::with(|settings| {
        settings.access.read_key = Some(Secret::new("tf_a-key-that-may-only-read"));
    })
    .await;
    for path in ["/v1/traces/1111111111111111", "/v1/users/ann/traces", "/v1/workspaces/w/traces"] {
        let request = server.client.delete(server.url(path)).bearer_auth("tf_a-key-that-may-only-read");
        problem(request.send().await.unwrap(), 403).await;
    }
}
