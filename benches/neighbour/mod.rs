//! Another program in the same database, which writes its own rows through a pool of its own: how long its INSERTs take
//! while the service stores nothing, and while it stores the spans of such a program.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::load::{self, Rows, Server, Traffic};

/// The neighbour's pool and its INSERTs a second, each its own transaction.
const POOL: u32 = 25;
const INSERTS_A_SECOND: f64 = 250.0;
/// Spans of a program that asks 22 500 a day, and how many come in one request.
const SPANS_A_DAY: f64 = 22_500.0;
const SPANS_A_REQUEST: usize = 4;
/// How many times that is stored in the phases of a round; the last is no promise, only told.
const TIMES: [f64; 4] = [0.0, 1.0, 100.0, 10_000.0];

/// Rounds of a phase each, in turn; prints the quantiles of each, and the ratio to the phase without spans.
pub async fn run(url: &str, rounds: usize, phase: Duration) {
    println!(
        "{POOL} connections, {INSERTS_A_SECOND} INSERTs a second, {rounds} rounds of {} s a phase; ms",
        phase.as_secs()
    );
    let folder = tempfile::tempdir().unwrap();
    let service = Server::start(folder.path(), Some(url), &[]);
    let pool = PgPoolOptions::new().max_connections(POOL).min_connections(POOL).connect(url).await.unwrap();
    let table = "CREATE TABLE public.job_results (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id text NOT NULL, \
                 model text NOT NULL, region text NOT NULL, response json NOT NULL, created_at timestamptz DEFAULT now()); \
                 CREATE INDEX ON public.job_results (job_id)";
    sqlx::raw_sql(table).execute(&pool).await.unwrap();
    // Not counted: connections, caches and the service's own first partitions.
    tokio::join!(beside(&service, 100.0, phase / 4, 0), inserts(&pool, phase / 4));
    let mut all: Vec<Vec<Duration>> = vec![Vec::new(); TIMES.len()];
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); TIMES.len()];
    for round in 0..rounds {
        let mut alone = None;
        for (at, times) in TIMES.into_iter().enumerate() {
            let stored = beside(&service, times, phase, 1 + round as u64);
            let (mut latencies, ()) = tokio::join!(inserts(&pool, phase), stored);
            latencies.sort();
            let p95 = quantile(&latencies, 0.95);
            ratios[at].push(p95 / *alone.get_or_insert(p95));
            all[at].append(&mut latencies);
        }
    }
    println!(
        "{:>8}  {:>8}  {:>6}  {:>6}  {:>6}  {:>22}",
        "spans", "a second", "p50", "p95", "p99", "p95 to none (median)"
    );
    for (at, times) in TIMES.into_iter().enumerate() {
        all[at].sort();
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| quantile(&all[at], share));
        println!(
            "{:>7}x  {:>8.1}  {p50:>6.2}  {p95:>6.2}  {p99:>6.2}  {:>22.3}",
            times,
            times * SPANS_A_DAY / 86_400.0,
            load::median(&mut ratios[at])
        );
    }
}

/// The neighbour's INSERTs, each due at its time: one that had to wait for its turn took that long too.
async fn inserts(pool: &PgPool, phase: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let count = (phase.as_secs_f64() * INSERTS_A_SECOND) as u32;
    let each = (0..count).map(|index| async move {
        let due = begun + Duration::from_secs_f64(f64::from(index) / INSERTS_A_SECOND);
        tokio::time::sleep_until(due.into()).await;
        let sent = Instant::now();
        sqlx::query("INSERT INTO public.job_results (job_id, model, region, response) VALUES ($1, $2, $3, $4::json)")
            .bind(format!("job-{}", index % 100))
            .bind("llama-3.2-1b")
            .bind("us-east")
            .bind(format!("{{\"text\": \"{}\"}}", "x".repeat(400)))
            .execute(pool)
            .await
            .unwrap();
        sent.elapsed()
    });
    futures_util::future::join_all(each).await
}

/// Posts spans at so many times the daily rate.
async fn beside(service: &Server, times: f64, phase: Duration, seed: u64) {
    let requests = phase.as_secs_f64() * times * SPANS_A_DAY / 86_400.0 / SPANS_A_REQUEST as f64;
    let every = phase.as_secs_f64() / requests.max(1.0);
    if times == 0.0 {
        return;
    }
    let (client, begun) = (load::client(), Instant::now());
    for request in 0..requests.ceil() as u32 {
        let body = Rows::new(SPANS_A_REQUEST, seed << 32 | u64::from(request)).bodies(Traffic::Plain).remove(0);
        tokio::time::sleep_until((begun + Duration::from_secs_f64(every * f64::from(request))).into()).await;
        let url = format!("http://{}/v1/spans", service.address);
        let posted = client.post(url).header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(posted.status(), 202);
    }
}

/// In milliseconds, of sorted ones.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
}
