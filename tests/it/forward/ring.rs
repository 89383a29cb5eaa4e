//! Services that forward to each other, or to themselves.

use super::*;

/// A service on this address that forwards to that.
fn between(folder: &tempfile::TempDir, here: SocketAddr, there: SocketAddr) -> Server {
    Server::start_on(here.port(), folder.path(), |command| target(command, "OTHER", &format!("http://{there}")))
}

const RETURNED: &str = "tracefall_forward_returned_requests_total";
const ACCEPTED: &str = "tracefall_spans_accepted_total";

#[tokio::test(flavor = "multi_thread")]
async fn two_services_that_forward_to_each_other_have_everything_once() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = [free_address(), free_address()];
    let servers = [between(&folders[0], a, b), between(&folders[1], b, a)];
    let mut traces = Vec::new();
    for number in 1..=10 {
        traces.push(post(&servers[number as usize % 2], number).await);
    }
    for server in &servers {
        // Each sends what it got from its clients, and what the other sent it, which the other knows again.
        let deadline = Instant::now() + PATIENCE;
        while metric(server, ACCEPTED).await < 20.0 || metric(server, RETURNED).await < 1.0 {
            assert!(Instant::now() < deadline, "{}", metric(server, ACCEPTED).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for trace in &traces {
            let answer = json(client().get(server.url(&format!("/v1/traces/{trace}")))).await.1;
            assert_eq!(answer["spans"].as_array().map(Vec::len), Some(2), "{answer}");
        }
    }
    for server in &servers {
        until_forwarded(server).await;
    }
    for server in &servers {
        until_forwarded(server).await;
        assert_eq!(metric(server, ACCEPTED).await, 20.0, "each span once");
        assert_eq!(metric(server, "tracefall_forward_spans_sent_total{target=\"other\"}").await, 20.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_forwards_to_itself_knows_its_own_again() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let server = between(&folder, address, address);
    post(&server, 1).await;
    until_forwarded(&server).await;
    assert_eq!((metric(&server, ACCEPTED).await, metric(&server, RETURNED).await), (2.0, 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_forwarded_is_told_on_and_too_many_are_the_end() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), |command| target(command, "OTHER", &fake.url()));
    let forwarded = |trace: u64, header: &str| {
        let span = json!({"trace_id": format!("{trace:032x}"), "span_id": "1", "operation": "o",
            "started_at": "2026-01-05T10:00:00Z", "duration_ms": 1});
        let request = client().post(server.url("/v1/spans")).header("content-type", "application/json");
        json(request.header("x-tracefall-forwarded", header).body(span.to_string()))
    };
    assert_eq!(forwarded(1, "aaaa,bbbb").await.0, StatusCode::ACCEPTED);
    assert_eq!(forwarded(2, "1,2,3,4,5,6,7,8").await.0, StatusCode::ACCEPTED);
    until_forwarded(&server).await;
    let got = fake.got();
    assert_eq!(fake.taken().1, 1);
    let header = got[0].headers["x-tracefall-forwarded"].to_str().unwrap().to_owned();
    assert!(header.starts_with("aaaa,bbbb,") && header.len() == 10 + 16, "{header}");
    assert_eq!(metric(&server, "tracefall_forward_spans_dropped_total{target=\"other\",reason=\"hops\"}").await, 1.0);
    assert_eq!(json(client().get(server.url(&format!("/v1/traces/{:032x}", 2)))).await.0, StatusCode::OK, "it is kept");
}
