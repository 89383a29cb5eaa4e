//! How the shape of requests and the journal's policy matter: requests of 1 to 1 000 spans over 1 to 64 connections, the
//! time to the acknowledgement at half and at nine tenths of the rate, and from there to being readable. Embedded store.

use std::time::{Duration, Instant};

use crate::load::{self, AS_IT_COMES, CONNECTIONS, Rows, SPANS_PER_REQUEST, Server, Traffic};

/// Spans of a measurement: fewer where each is a request.
const SPANS: usize = 100_000;
const REQUESTS: usize = 20_000;
const POLICIES: [(&str, &[(&str, &str)]); 4] = [
    ("no journal", &[("TRACEFALL__JOURNAL__ENABLED", "false")]),
    ("fsync off", &[("TRACEFALL__JOURNAL__FSYNC", "off")]),
    ("fsync interval", AS_IT_COMES),
    ("fsync always", &[("TRACEFALL__JOURNAL__FSYNC", "always")]),
];

pub async fn run() {
    println!("spans/s (CPU µs a span, of the service)");
    for size in [1, 10, 100, 1_000] {
        let rows = Rows::new(SPANS.min(size * REQUESTS), size as u64);
        for connections in [1, 8, 64] {
            let measured = take(&rows, size, connections, AS_IT_COMES).await;
            println!(
                "{size:>5} spans a request, {connections:>2} connections: {:>7.0} ({:.1})",
                measured.rate(),
                measured.cpu_us()
            );
        }
    }
    for (name, settings) in POLICIES {
        let measured = take(&Rows::new(SPANS, 1), SPANS_PER_REQUEST, CONNECTIONS, settings).await;
        println!("{name}: {:.0} ({:.1})", measured.rate(), measured.cpu_us());
        for share in [0.5, 0.9] {
            load::print_acknowledgements_at(None, measured.rate(), share, settings).await;
        }
    }
    println!("from the acknowledgement to being read, one request at a time: {}", load::quantiles(visible().await));
}

async fn take(rows: &Rows, size: usize, connections: usize, settings: &[(&str, &str)]) -> load::Measured {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), None, settings);
    server.take(rows.bodies_of(Traffic::Plain, size), rows.0.len(), connections, || Duration::ZERO).await
}

/// Times from a trace's 202 to the first read that finds it.
async fn visible() -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), None, AS_IT_COMES);
    let client = load::client();
    let mut times = Vec::new();
    for trace in 1..=300 {
        let id = format!("{trace:032x}");
        let body = format!(
            r#"{{"trace_id":"{id}","span_id":"1","operation":"o","started_at":"{}","duration_ms":1}}"#,
            tracefall::clock::Clock::system().now()
        );
        let post =
            client.post(format!("http://{}/v1/spans", server.address)).header("content-type", "application/json");
        assert_eq!(post.body(body).send().await.unwrap().status(), 202);
        let begun = Instant::now();
        let url = format!("http://{}/v1/traces/{id}", server.address);
        while client.get(&url).send().await.unwrap().status() != 200 {}
        times.push(begun.elapsed());
    }
    times
}
