//! The whole path against the bare store: JSON over HTTP into committed rows of the embedded store, beside rusqlite
//! writing the same rows into the same tables. Interleaved rounds on one machine; ratios are what to quote.
//!
//! `scripts/bench` runs it. `INGEST_SPANS` (spans a round) and `INGEST_ROUNDS` change its size.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use rusqlite::{Connection, params};
use tracefall::clock::Clock;
use tracefall::model::time::UnixNanos;
use tracefall::settings::Settings;
use tracefall::store;

const SPANS_PER_REQUEST: usize = 100;
const SPANS_PER_TRACE: usize = 8;
const CONNECTIONS: usize = 8;
/// Rows of one transaction of the reference, as many as the service's batches hold at most.
const REFERENCE_BATCH: usize = 10_000;

#[tokio::main]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let spans = number("INGEST_SPANS", 200_000);
    let rounds = number("INGEST_ROUNDS", 5);
    println!("{spans} spans a round, {SPANS_PER_REQUEST} a request, {CONNECTIONS} connections, {rounds} rounds");
    println!(
        "{:>5}  {:>22}  {:>28}  {:>7}  {:>7}",
        "round", "rusqlite rows/s (CPU us)", "service spans/s (CPU us)", "wall", "CPU"
    );
    let mut walls = Vec::new();
    let mut cpus = Vec::new();
    let mut rates = Vec::new();
    for round in 0..rounds {
        let rows = Rows::new(spans, round as u64);
        let bare = reference(&rows).await;
        let service = whole_path(&rows).await;
        let (wall, cpu) = (service.rate() / bare.rate(), service.cpu_us() / bare.cpu_us());
        println!(
            "{round:>5}  {:>14.0} ({:>5.1})  {:>20.0} ({:>5.1})  {wall:>7.2}  {cpu:>7.2}",
            bare.rate(),
            bare.cpu_us(),
            service.rate(),
            service.cpu_us()
        );
        walls.push(wall);
        cpus.push(cpu);
        rates.push(service.rate());
    }
    println!("median: wall {:.2}, CPU {:.2}, {:.0} spans/s", median(&mut walls), median(&mut cpus), median(&mut rates));
    let rate = median(&mut rates) / 2.0;
    let mut latencies = acknowledgements(&Rows::new((rate * 10.0) as usize, 999), rate).await;
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "ack at half load ({rate:.0} spans/s, {} requests): p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
        latencies.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Measured {
    spans: usize,
    wall: Duration,
    cpu: Duration,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.spans as f64 / self.wall.as_secs_f64()
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.spans as f64
    }
}

/// The spans of a round: the shape that docs/benchmarks.md describes, fresh ids each.
struct Rows(Vec<Row>);

struct Row {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent: Option<[u8; 8]>,
    started_at: u64,
    duration_ns: u64,
    operation: usize,
    execution_id: Option<String>,
    model: bool,
    failed: bool,
    attributes: String,
}

const OPERATIONS: [&str; 5] =
    ["execute_question", "hybrid_router_call", "router.inference_request", "router.modal_call", "modal.inference"];

impl Rows {
    fn new(spans: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ Clock::system().now().as_u64();
        let mut next = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let day = Clock::system().now().day();
        let midnight = u64::from(day) * 86_400_000_000_000;
        let mut rows: Vec<Row> = Vec::with_capacity(spans);
        let mut trace_id = [0; 16];
        for index in 0..spans {
            if index % SPANS_PER_TRACE == 0 {
                trace_id[..8].copy_from_slice(&next().to_be_bytes());
                trace_id[8..].copy_from_slice(&next().to_be_bytes());
            }
            let trace_number = index / SPANS_PER_TRACE;
            let mut attributes =
                format!("{{\"http.route\":\"/v1/infer\",\"question_id\":\"q{}\",\"pad\":\"", next() % 500);
            let pad = 240 + (next() % 160) as usize;
            attributes.extend((0..pad).map(|_| char::from(b'a' + (next() % 26) as u8)));
            attributes.push_str("\"}");
            rows.push(Row {
                trace_id,
                span_id: (next() | 1).to_be_bytes(),
                parent: (index % SPANS_PER_TRACE > 0).then(|| rows[index - 1].span_id),
                started_at: midnight + 1_000_000 * index as u64 + next() % 1_000_000,
                duration_ns: next() % 2_000_000_000,
                operation: index % OPERATIONS.len(),
                execution_id: (trace_number % 10 < 7).then(|| format!("run-{seed}-{trace_number}")),
                model: next() % 4 == 0,
                failed: next() % 33 == 0,
                attributes,
            });
        }
        Self(rows)
    }

    fn bodies(&self) -> Vec<String> {
        self.0
            .chunks(SPANS_PER_REQUEST)
            .map(|rows| {
                let mut body = String::from("[");
                for row in rows {
                    if body.len() > 1 {
                        body.push(',');
                    }
                    row.json(&mut body);
                }
                body.push(']');
                body
            })
            .collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

impl Row {
    fn json(&self, body: &mut String) {
        let (start, end) = (UnixNanos::new(self.started_at), UnixNanos::new(self.started_at + self.duration_ns));
        write!(
            body,
            r#"{{"trace_id":"{}","span_id":"{}","service":"{}","operation":"{}","kind":"client","started_at":"{start}","completed_at":"{end}","status":"{}","region":"us-east""#,
            hex(&self.trace_id), hex(&self.span_id), self.service(), OPERATIONS[self.operation], self.status()
        ).unwrap();
        if let Some(parent) = &self.parent {
            write!(body, r#","parent_span_id":"{}""#, hex(parent)).unwrap();
        }
        if let Some(execution_id) = &self.execution_id {
            write!(body, r#","execution_id":"{execution_id}""#).unwrap();
        }
        if self.model {
            body.push_str(r#","model_id":"llama-3.2-1b","tokens":{"input":812,"output":97}"#);
        }
        if self.failed {
            body.push_str(r#","error_type":"Timeout","error_message":"the call did not return within 300 s""#);
        }
        write!(body, r#","metadata":{}}}"#, self.attributes).unwrap();
    }

    fn service(&self) -> &'static str {
        ["runner", "router", "router", "router", "modal"][self.operation]
    }

    fn status(&self) -> &'static str {
        if self.failed { "failed" } else { "completed" }
    }
}

/// rusqlite: one connection, one prepared statement, the rows of the round in key order within each transaction.
async fn reference(rows: &Rows) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.store.data_dir = folder.path().to_owned();
    let store = store::open(&settings.store).await.unwrap();
    store.maintenance.migrate_up().await.unwrap();
    store.maintenance.prepare_days(Clock::system().now()).await.unwrap();
    store.maintenance.close().await;

    let connection = Connection::open(folder.path().join("tracefall.db")).unwrap();
    connection
        .execute_batch("PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=10000; PRAGMA cache_size=-65536;")
        .unwrap();
    let date = Clock::system().now().to_string()[..10].replace('-', "");
    let sql = format!(
        "INSERT INTO spans_{date} (trace_id, span_id, tenant, parent_span_id, started_at, duration_ns, status, revision, \
         created_at, service, operation, kind, region, execution_id, model, input_tokens, output_tokens, error_type, \
         error_message, question_id, attributes) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING"
    );
    let status = |row: &Row| row.status();
    let now = Clock::system().now().as_u64() as i64;
    let cpu = cpu_of("self");
    let begun = Instant::now();
    for batch in rows.0.chunks(REFERENCE_BATCH) {
        let mut batch: Vec<&Row> = batch.iter().collect();
        batch.sort_by_key(|row| (row.trace_id, row.span_id));
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut insert = connection.prepare_cached(&sql).unwrap();
        for row in batch {
            insert
                .execute(params![
                    row.trace_id,
                    row.span_id,
                    "default",
                    row.parent.as_ref().map(|id| &id[..]),
                    row.started_at as i64,
                    row.duration_ns as i64,
                    status(row),
                    0,
                    now,
                    row.service(),
                    OPERATIONS[row.operation],
                    3,
                    "us-east",
                    row.execution_id,
                    row.model.then_some("llama-3.2-1b"),
                    row.model.then_some(812),
                    row.model.then_some(97),
                    row.failed.then_some("Timeout"),
                    row.failed.then_some("the call did not return within 300 s"),
                    "q1",
                    row.attributes
                ])
                .unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    Measured { spans: rows.0.len(), wall: begun.elapsed(), cpu: cpu_of("self") - cpu }
}

/// The service as its users run it: a process of its own, posted to over eight connections; done when all is committed.
async fn whole_path(rows: &Rows) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let bodies: Arc<Vec<String>> = Arc::new(rows.bodies());
    let cpu = cpu_of(&server.child.id().to_string());
    let begun = Instant::now();
    post_all(server.address, bodies, None).await;
    // First in, first out: when this one is stored, so are all before it.
    let last = client().post(format!("http://{}/v1/spans?wait=stored", server.address));
    let last = last.header("content-type", "application/json").body(r#"{"trace_id":"ffffffffffffffff","span_id":"1"}"#);
    assert_eq!(last.send().await.unwrap().status(), 200);
    let wall = begun.elapsed();
    Measured { spans: rows.0.len(), wall, cpu: cpu_of(&server.child.id().to_string()) - cpu }
}

/// Latencies of the acknowledgements at a fixed rate: requests are due at fixed times, and a late one counts as late.
async fn acknowledgements(rows: &Rows, spans_per_second: f64) -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let every = Duration::from_secs_f64(SPANS_PER_REQUEST as f64 / spans_per_second);
    post_all(server.address, Arc::new(rows.bodies()), Some(every)).await
}

async fn post_all(address: SocketAddr, bodies: Arc<Vec<String>>, every: Option<Duration>) -> Vec<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let workers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (bodies, next) = (bodies.clone(), next.clone());
            tokio::spawn(async move {
                let client = client();
                let url = format!("http://{address}/v1/spans");
                let mut latencies = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(body) = bodies.get(index) else { return latencies };
                    // A request that finds its connection busy is late by the service's doing, one that the timer wakes late
                    // is not.
                    let due = every.map(|every| begun + every * index as u32);
                    let sent = match due {
                        Some(due) if Instant::now() < due => {
                            tokio::time::sleep_until(due.into()).await;
                            Instant::now()
                        }
                        Some(due) => due,
                        None => Instant::now(),
                    };
                    loop {
                        let request = client.post(&url).header("content-type", "application/json").body(body.clone());
                        let status = request.send().await.unwrap().status();
                        if status == 202 {
                            break;
                        }
                        assert!(matches!(status.as_u16(), 429 | 503), "{status}");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    latencies.push(sent.elapsed());
                }
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.await.unwrap());
    }
    latencies
}

fn client() -> Client {
    // Installed once; every later call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().pool_max_idle_per_host(1).build().unwrap()
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_tracefall"))
            .args(["--port", &port.to_string()])
            .current_dir(folder)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the service does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time that a process has used, in ticks of 10 ms (proc(5), fields 14 and 15).
fn cpu_of(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
