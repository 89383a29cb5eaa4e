//! What the ingest benchmarks share: the spans of a round, the service as a process, and the load on it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use tracefall::clock::Clock;
use tracefall::model::time::UnixNanos;

pub const SPANS_PER_REQUEST: usize = 100;
/// The journal as it comes.
pub const AS_IT_COMES: &[(&str, &str)] = &[];
pub const SPANS_PER_TRACE: usize = 8;
pub const CONNECTIONS: usize = 8;

pub struct Measured {
    pub spans: usize,
    pub wall: Duration,
    /// Of the process that writes.
    pub cpu: Duration,
    /// Of the store's own processes, where it has any.
    pub store_cpu: Duration,
}

impl Measured {
    pub fn rate(&self) -> f64 {
        self.spans as f64 / self.wall.as_secs_f64()
    }

    /// Of all processes, in µs a span.
    pub fn cpu_us(&self) -> f64 {
        (self.cpu + self.store_cpu).as_secs_f64() * 1e6 / self.spans as f64
    }

    /// The shares of writer and store.
    pub fn shares(&self) -> String {
        let us = |cpu: Duration| cpu.as_secs_f64() * 1e6 / self.spans as f64;
        format!("{:.1}+{:.1}", us(self.cpu), us(self.store_cpu))
    }
}

/// The spans of a round: the shape that docs/benchmarks.md describes, fresh ids each.
pub struct Rows(pub Vec<Row>);

pub struct Row {
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub started_at: u64,
    pub duration_ns: u64,
    pub operation: usize,
    pub execution_id: Option<String>,
    pub model: bool,
    pub failed: bool,
    pub attributes: String,
}

pub const OPERATIONS: [&str; 5] =
    ["execute_question", "hybrid_router_call", "router.inference_request", "router.modal_call", "modal.inference"];

/// How the spans of a round are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Each once, ended.
    Plain,
    /// Each twice: announced, and completed some thousand spans later.
    Pairs,
    /// Every tenth a second time, some thousand spans later.
    Duplicates,
}

/// Spans between the two times that one is sent.
const LATER: usize = 5_000;

impl Rows {
    pub fn new(spans: usize, seed: u64) -> Self {
        Self::of_day(spans, seed, 0)
    }

    /// Rows of a day in the past.
    pub fn of_day(spans: usize, seed: u64, days_ago: u32) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ Clock::system().now().as_u64();
        let mut next = move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let day = Clock::system().now().day() - days_ago;
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

    pub fn bodies(&self, traffic: Traffic) -> Vec<String> {
        self.bodies_of(traffic, SPANS_PER_REQUEST)
    }

    pub fn bodies_of(&self, traffic: Traffic, spans_per_request: usize) -> Vec<String> {
        let bodies = |spans: &mut dyn Iterator<Item = String>| bodies(spans, spans_per_request);
        match traffic {
            Traffic::Plain => bodies(&mut self.0.iter().map(Row::ended)),
            Traffic::Pairs => {
                let starts = (0..self.0.len() + LATER).map(|index| self.0.get(index).map(Row::started));
                bodies(&mut starts.enumerate().flat_map(|(index, start)| {
                    let ended = index.checked_sub(LATER).map(|earlier| self.0[earlier].ended());
                    start.into_iter().chain(ended)
                }))
            }
            Traffic::Duplicates => bodies(&mut (0..self.0.len() + LATER).flat_map(|index| {
                let again = index.checked_sub(LATER).filter(|earlier| earlier % 10 == 0);
                self.0.get(index).into_iter().chain(again.map(|earlier| &self.0[earlier])).map(Row::ended)
            })),
        }
    }
}

fn bodies(spans: &mut dyn Iterator<Item = String>, spans_per_request: usize) -> Vec<String> {
    let mut spans = spans.peekable();
    std::iter::from_fn(|| {
        spans.peek()?;
        Some(format!("[{}]", spans.by_ref().take(spans_per_request).collect::<Vec<_>>().join(",")))
    })
    .collect()
}

/// Prints what a round's service did beside its yardstick, and gives the ratios of wall clock and CPU.
pub fn compare(round: usize, bare: &Measured, service: &Measured) -> (f64, f64) {
    let (wall, cpu) = (service.rate() / bare.rate(), service.cpu_us() / bare.cpu_us());
    println!(
        "{round:>5}  {:>16.0} ({:>8})  {:>16.0} ({:>8})  {wall:>6.2}  {cpu:>6.2}",
        bare.rate(),
        bare.shares(),
        service.rate(),
        service.shares()
    );
    (wall, cpu)
}

/// The line above those of [`compare`].
pub fn heading(yardstick: &str) {
    println!(
        "{:>5}  {:>27}  {:>27}  {:>6}  {:>6}",
        "round",
        format!("{yardstick} rows/s (CPU us)"),
        "service rows/s (CPU us)",
        "wall",
        "CPU"
    );
}

/// Prints how long requests waited for their answer at half of a rate.
pub async fn print_acknowledgements(store: Option<&str>, rate: f64) {
    print_acknowledgements_at(store, rate, 0.5, AS_IT_COMES).await;
}

/// The same at a share of a rate, with settings of the service.
pub async fn print_acknowledgements_at(store: Option<&str>, rate: f64, share: f64, settings: &[(&str, &str)]) {
    let rate = rate * share;
    let latencies = acknowledgements(&Rows::new((rate * 10.0) as usize, 999), store, rate, settings).await;
    println!("ack at {:.0} % load ({rate:.0} spans/s): {}", share * 100.0, quantiles(latencies));
}

pub fn quantiles(mut latencies: Vec<Duration>) -> String {
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (p50, p90, p99, most) = (at(0.5), at(0.9), at(0.99), at(1.0));
    format!("p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, max {most:.2} ms ({} requests)", latencies.len())
}

pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

impl Row {
    /// As it begins: what its caller knows then.
    fn started(&self) -> String {
        let start = UnixNanos::new(self.started_at);
        let mut body = format!(
            r#"{{"trace_id":"{}","span_id":"{}","service":"{}","operation":"{}","kind":"client","started_at":"{start}","status":"running","region":"us-east""#,
            hex(&self.trace_id),
            hex(&self.span_id),
            self.service(),
            OPERATIONS[self.operation]
        );
        self.origin(&mut body);
        body.push('}');
        body
    }

    fn origin(&self, body: &mut String) {
        if let Some(parent) = &self.parent {
            write!(body, r#","parent_span_id":"{}""#, hex(parent)).unwrap();
        }
        if let Some(execution_id) = &self.execution_id {
            write!(body, r#","execution_id":"{execution_id}""#).unwrap();
        }
    }

    fn ended(&self) -> String {
        let (start, end) = (UnixNanos::new(self.started_at), UnixNanos::new(self.started_at + self.duration_ns));
        let mut body = String::with_capacity(1_024);
        write!(
            body,
            r#"{{"trace_id":"{}","span_id":"{}","service":"{}","operation":"{}","kind":"client","started_at":"{start}","completed_at":"{end}","status":"{}","region":"us-east""#,
            hex(&self.trace_id), hex(&self.span_id), self.service(), OPERATIONS[self.operation], self.status()
        ).unwrap();
        self.origin(&mut body);
        if self.model {
            body.push_str(r#","model_id":"llama-3.2-1b","tokens":{"input":812,"output":97}"#);
        }
        if self.failed {
            body.push_str(r#","error_type":"Timeout","error_message":"the call did not return within 300 s""#);
        }
        write!(body, r#","metadata":{}}}"#, self.attributes).unwrap();
        body
    }

    pub fn service(&self) -> &'static str {
        ["runner", "router", "router", "router", "modal"][self.operation]
    }

    pub fn status(&self) -> &'static str {
        if self.failed { "failed" } else { "completed" }
    }
}

/// The service as its users run it: a process of its own, posted to over eight connections; done when all is committed.
/// `store_cpu` tells the CPU that the store's own processes have used.
pub async fn whole_path(rows: &Rows, traffic: Traffic, store: Option<&str>, store_cpu: fn() -> Duration) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let bodies = rows.bodies(traffic);
    let server = Server::start(folder.path(), store, AS_IT_COMES);
    server.take(bodies, rows.0.len(), CONNECTIONS, store_cpu).await
}

/// Latencies of the acknowledgements at a fixed rate: requests are due at fixed times, and a late one counts as late.
pub async fn acknowledgements(
    rows: &Rows,
    store: Option<&str>,
    spans_per_second: f64,
    settings: &[(&str, &str)],
) -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), store, settings);
    let every = Duration::from_secs_f64(SPANS_PER_REQUEST as f64 / spans_per_second);
    post_all(server.address, Arc::new(rows.bodies(Traffic::Plain)), Some(every), CONNECTIONS).await
}

pub async fn post_all(
    address: SocketAddr,
    bodies: Arc<Vec<String>>,
    every: Option<Duration>,
    connections: usize,
) -> Vec<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let workers: Vec<_> = (0..connections)
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

pub fn client() -> Client {
    // Installed once; every later call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().pool_max_idle_per_host(1).build().unwrap()
}

pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(folder: &Path, store: Option<&str>, settings: &[(&str, &str)]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_tracefall"))
            .args(["--port", &port.to_string()])
            .current_dir(folder)
            .env("RUST_LOG", "warn")
            .envs(store.map(|url| ("DATABASE_URL", url)))
            .envs(settings.iter().copied())
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

    /// Posts the bodies, which hold so many different spans, and returns when all are committed.
    pub async fn take(
        &self,
        bodies: Vec<String>,
        spans: usize,
        connections: usize,
        store_cpu: fn() -> Duration,
    ) -> Measured {
        let bodies = Arc::new(bodies);
        let process = self.child.id().to_string();
        let (cpu, of_store) = (cpu_of(&process), store_cpu());
        let begun = Instant::now();
        post_all(self.address, bodies, None, connections).await;
        // First in, first out in each lane: when these are stored, so are all before them.
        let last: Vec<String> =
            (1..=64).map(|n| format!(r#"{{"trace_id":"ffffffffffffff{n:02x}","span_id":"1"}}"#)).collect();
        let post = client().post(format!("http://{}/v1/spans?wait=stored", self.address));
        let post = post.header("content-type", "application/json").body(format!("[{}]", last.join(",")));
        assert_eq!(post.send().await.unwrap().status(), 200);
        let wall = begun.elapsed();
        Measured { spans, wall, cpu: cpu_of(&process) - cpu, store_cpu: store_cpu() - of_store }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system time that a process has used, 0 once it has ended.
pub fn cpu_of(process: &str) -> Duration {
    let stat = stat(process).unwrap_or_default();
    ticks(stat.get(11..13).unwrap_or_default())
}

/// The fields of proc(5) behind the name: the third and those that follow.
pub fn stat(process: &str) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit(") ").next()?.split(' ').map(str::to_owned).collect())
}

/// Ticks of 10 ms.
pub fn ticks(fields: &[String]) -> Duration {
    Duration::from_millis(fields.iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>() * 10)
}
