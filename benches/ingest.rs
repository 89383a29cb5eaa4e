//! The whole path against the bare store: JSON over HTTP into committed rows of the embedded store, beside rusqlite
//! writing the same rows into the same tables. Interleaved rounds on one machine; ratios are what to quote.
//!
//! `scripts/bench` runs it. `INGEST_SPANS` (spans a round) and `INGEST_ROUNDS` change its size; with `INGEST_REQUESTS` the
//! shapes of requests are measured instead.

mod load;
mod requests;

use std::time::{Duration, Instant};

use load::{CONNECTIONS, Measured, OPERATIONS, Row, Rows, SPANS_PER_REQUEST, Traffic, cpu_of, median, number};
use rusqlite::{Connection, params};
use tracefall::clock::Clock;
use tracefall::settings::Settings;
use tracefall::store;

/// Rows of one transaction of the reference, as many as the service's batches hold at most.
const REFERENCE_BATCH: usize = 10_000;

#[tokio::main]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if std::env::var_os("INGEST_REQUESTS").is_some() {
        return requests::run().await;
    }
    let spans = number("INGEST_SPANS", 200_000);
    let rounds = number("INGEST_ROUNDS", 5);
    println!("{spans} spans a round, {SPANS_PER_REQUEST} a request, {CONNECTIONS} connections, {rounds} rounds");
    load::heading("rusqlite");
    let (mut walls, mut cpus, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let rows = Rows::new(spans, round as u64);
        let bare = reference(&rows).await;
        let service = load::whole_path(&rows, Traffic::Plain, None, || Duration::ZERO).await;
        let (wall, cpu) = load::compare(round, &bare, &service);
        walls.push(wall);
        cpus.push(cpu);
        rates.push(service.rate());
    }
    let rate = median(&mut rates);
    println!("median: wall {:.2}, CPU {:.2}, {rate:.0} spans/s", median(&mut walls), median(&mut cpus));
    load::print_acknowledgements(None, rate).await;
    println!("CPU a span in µs, and the ratio to plain spans:");
    let (mut pairs, mut duplicates) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let rows = Rows::new(spans, round as u64);
        let mut told = Vec::new();
        for traffic in [Traffic::Plain, Traffic::Pairs, Traffic::Duplicates] {
            let measured = load::whole_path(&rows, traffic, None, || Duration::ZERO).await;
            println!("{round:>5}  {traffic:?}: {:.1} ({:.0} spans/s)", measured.cpu_us(), measured.rate());
            told.push(measured.cpu_us());
        }
        pairs.push(told[1] / told[0]);
        duplicates.push(told[2] / told[0]);
    }
    println!("median: pairs {:.2} (two records each), duplicates {:.2}", median(&mut pairs), median(&mut duplicates));
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
    Measured { spans: rows.0.len(), wall: begun.elapsed(), cpu: cpu_of("self") - cpu, store_cpu: Duration::ZERO }
}
