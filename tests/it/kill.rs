//! What each answer promises, tried on the real binary by ending it: neither SIGTERM nor SIGKILL loses what was
//! accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::binary::Server;
use crate::support::{client, json};

const SPANS_PER_REQUEST: u64 = 20;

/// Posts requests of twenty spans, one trace each, until the service answers no more. Returns how many traces were
/// acknowledged by `status`; their ids are 1 to that number, in order.
async fn load(server: &Server, path: &str, status: StatusCode, acknowledged: &AtomicU64, stop: &AtomicBool) {
    let client = client();
    while !stop.load(Ordering::Relaxed) {
        let trace = acknowledged.load(Ordering::Relaxed) + 1;
        let spans: Vec<Value> = (1..=SPANS_PER_REQUEST)
            .map(|span| {
                json!({"trace_id": format!("{trace:032x}"), "span_id": format!("{span:x}"), "service": "s",
                    "operation": "o", "started_at": "2026-01-05T10:00:00Z", "duration_ms": 1, "execution_id": "under load"})
            })
            .collect();
        let request = client.post(server.url(path)).header("content-type", "application/json");
        match request.body(json!(spans).to_string()).send().await {
            Ok(response) if response.status() == status => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) | Err(_) => return,
        }
    }
}

/// Runs a load against the binary, ends it with `signal`, starts it again, and gives (acknowledged, whole) traces.
async fn end_under_load(path: &'static str, status: StatusCode, signal: &str) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let server = Arc::new(Server::start(folder.path(), |_| {}));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let loading = {
        let (server, acknowledged, stop) = (server.clone(), acknowledged.clone(), stop.clone());
        tokio::spawn(async move { load(&server, path, status, &acknowledged, &stop).await })
    };
    while acknowledged.load(Ordering::Relaxed) < 100 {
        tokio::task::yield_now().await;
    }
    server.signal(signal);
    loading.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut server = Arc::into_inner(server).unwrap();
    let ended = server.wait();
    if signal == "TERM" {
        assert_eq!(ended.code(), Some(0), "a drained service ends well");
    }

    let server = Server::start(folder.path(), |_| {});
    until_all_is_stored(&server).await;
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    let mut whole = 0;
    for trace in 1..=acknowledged {
        let (found, answer) = json(client().get(server.url(&format!("/v1/traces/{trace:032x}")))).await;
        if found == StatusCode::OK {
            assert_eq!(answer["spans"].as_array().unwrap().len() as u64, SPANS_PER_REQUEST, "a request is kept whole");
            whole += 1;
        }
    }
    (acknowledged, whole)
}

/// Waits until what the journal held is in the store.
async fn until_all_is_stored(server: &Server) {
    loop {
        let ready = json(client().get(server.url("/readyz"))).await.1;
        if ready["status"] == "ready" && ready["journal"]["unstored_records"] == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_that_was_accepted() {
    let (acknowledged, whole) = end_under_load("/v1/spans", StatusCode::ACCEPTED, "TERM").await;
    assert_eq!(whole, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_loses_nothing_that_was_answered_as_stored() {
    let (acknowledged, whole) = end_under_load("/v1/spans?wait=stored", StatusCode::OK, "KILL").await;
    assert_eq!(whole, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_loses_nothing_that_was_accepted() {
    let (acknowledged, whole) = end_under_load("/v1/spans", StatusCode::ACCEPTED, "KILL").await;
    assert_eq!(whole, acknowledged);
}
