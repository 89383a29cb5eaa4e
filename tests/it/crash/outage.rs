//! A long outage of the database at 20 000 spans a second: what memory and disk that takes, and how long catching up. In
//! the long form only. Figures are worth something with a release binary, which TRACEFALL_TEST_BINARY names;
//! TRACEFALL_TEST_OUTAGE_SECS makes it longer or shorter than 150 s.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use super::ledger::{span_id, trace_id};
use super::{Site, is_long, readyz};
use crate::faults::address;
use crate::support::binary::Server;
use crate::support::client;
use crate::support::proxy::{Proxy, Way};
use crate::support::psql::Database;

const SPANS_A_SECOND: u64 = 20_000;
const SPANS: u64 = 100;
const CONNECTIONS: u64 = 8;
const OUTAGE_SECS: u64 = 150;
/// What the process may take at most.
const MEMORY_MB: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_takes_disk_and_not_memory() {
    if !is_long() {
        return;
    }
    let Some(database) = Database::new("outage") else { return };
    let proxy = Proxy::start(address(&database), Way::Open).await;
    let site = Site::at(database.url().replace(&address(&database).to_string(), &proxy.address.to_string()));
    // As it is by default.
    let server = site.start_with(|command| {
        command
            .env_remove("TRACEFALL__JOURNAL__SEGMENT_BYTES")
            .env_remove("TRACEFALL__JOURNAL__COMPRESS_AFTER_SEGMENTS");
    });
    let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<JoinHandle<u64>> = (0..CONNECTIONS)
        .map(|number| tokio::spawn(send(server.address, number, stop.clone(), accepted.clone())))
        .collect();
    let mut most = 0;
    let begun = Instant::now();
    let mut show = |phase: &str, ready: &Value| {
        let memory = memory_mb(&server);
        most = most.max(memory);
        let (seconds, spans) = (begun.elapsed().as_secs(), accepted.load(Ordering::Relaxed));
        let (journal, waiting) = (&ready["journal"]["bytes"], &ready["journal"]["waiting_records"]);
        eprintln!(
            "{seconds} s {phase}: {memory} MB of memory, {spans} spans accepted, journal {journal} bytes, {waiting} waiting"
        );
    };
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        show("all well", &readyz(&server).await);
    }
    proxy.set(Way::Refused);
    let refused = Instant::now();
    let told = std::env::var("TRACEFALL_TEST_OUTAGE_SECS").ok().and_then(|secs| secs.parse().ok());
    let outage = Duration::from_secs(told.unwrap_or(OUTAGE_SECS));
    while refused.elapsed() < outage {
        tokio::time::sleep(Duration::from_secs(10)).await;
        show("away", &readyz(&server).await);
    }
    proxy.set(Way::Open);
    let back = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ready = readyz(&server).await;
        show("back", &ready);
        if ready["journal"]["waiting_records"] == 0 {
            break;
        }
    }
    eprintln!("caught up {} s after the database was back, under the same load", back.elapsed().as_secs());
    stop.store(true, Ordering::Relaxed);
    let mut slowest = 0;
    for client in clients {
        slowest = slowest.max(client.await.unwrap());
    }
    super::until_stored(&server).await;
    let stored = database.sql("SELECT count(*), count(DISTINCT (trace_id, span_id)) FROM tracefall.spans");
    let accepted = accepted.load(Ordering::Relaxed);
    eprintln!("{accepted} spans accepted and stored, at most {most} MB of memory, slowest answer {slowest} ms");
    assert_eq!(stored.trim(), format!("{accepted}|{accepted}"));
    assert!(most <= MEMORY_MB, "{most} MB");
}

/// Sends its part of the load; every request must be accepted. Gives the slowest answer, in milliseconds.
async fn send(to: std::net::SocketAddr, number: u64, stop: Arc<AtomicBool>, accepted: Arc<AtomicU64>) -> u64 {
    let client = client();
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 * CONNECTIONS * SPANS / SPANS_A_SECOND));
    let (mut trace, mut slowest) = (number << 32, 0);
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let mut spans = Vec::with_capacity(SPANS as usize);
        for span in 0..SPANS {
            trace += u64::from(span % 10 == 0);
            spans.push(json(trace, span % 10 + 1));
        }
        let body = format!("[{}]", spans.join(","));
        let request = client.post(format!("http://{to}/v1/spans")).header("content-type", "application/json");
        let begun = Instant::now();
        let response = request.body(body).send().await.unwrap();
        slowest = slowest.max(begun.elapsed().as_millis() as u64);
        assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
        accepted.fetch_add(SPANS, Ordering::Relaxed);
    }
    slowest
}

/// A span of about 700 bytes.
fn json(trace: u64, span: u64) -> String {
    let noise = |of: u64| (trace ^ (span << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15 + 2 * of);
    let attributes: Vec<String> =
        (0..8).map(|at| format!(r#""attribute.{at}":"{:016x}{:016x}""#, noise(at), trace)).collect();
    format!(
        r#"{{"trace_id":"{}","span_id":"{}","parent_span_id":"{}","service":"router","operation":"router.modal_call",
        "started_at_unix_ms":{},"duration_ms":{}.5,"status":"completed","region":"us-east","execution_id":"{trace}",
        "model":"llama-3.2-1b","attributes":{{{}}}}}"#,
        trace_id(trace),
        span_id(span),
        span_id(1 + 99 * u64::from(span == 1)),
        tracefall::clock::Clock::system().now().as_u64() / 1_000_000,
        span * 3,
        attributes.join(",")
    )
}

fn memory_mb(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1_024
}
