//! The whole path into PostgreSQL: JSON over HTTP into committed rows, beside raw binary COPY of the same rows,
//! encoded beforehand, into the same partitioned tables over two connections, and beside one INSERT a span. Interleaved
//! rounds on one machine; CPU is that of the writing process and of every process of the server together.
//!
//! `scripts/bench postgres` starts a private server and runs it. `INGEST_SPANS` and `INGEST_ROUNDS` change its size.

mod load;

use std::time::{Duration, Instant};

use load::{CONNECTIONS, Measured, OPERATIONS, Row, Rows, SPANS_PER_REQUEST, cpu_of, median, number};
use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor};
use tracefall::clock::Clock;
use tracefall::settings::{DatabaseUrl, Settings};
use tracefall::store;

const VARIABLE: &str = "TRACEFALL_BENCH_POSTGRES";
/// Rows of one COPY of the yardstick, and the connections that copy at a time.
const COPY_ROWS: usize = 5_000;
const COPY_CONNECTIONS: usize = 2;
/// Connections of the naive way, and the spans it is given: it takes its time.
const INSERT_CONNECTIONS: u32 = 8;
const INSERT_SPANS: usize = 20_000;

const COLUMNS: [&str; 23] = [
    "trace_id",
    "started_at",
    "created_at",
    "duration_ns",
    "kind",
    "input_tokens",
    "output_tokens",
    "started_ns",
    "created_ns",
    "span_id",
    "parent_span_id",
    "tenant",
    "status",
    "service",
    "operation",
    "error_type",
    "error_message",
    "execution_id",
    "question_id",
    "region",
    "model",
    "attributes",
    "revision",
];

#[tokio::main]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Ok(server) = std::env::var(VARIABLE) else {
        println!("{VARIABLE} names no server; scripts/bench postgres starts one");
        return;
    };
    let spans = number("INGEST_SPANS", 200_000);
    let rounds = number("INGEST_ROUNDS", 5);
    println!("{spans} spans a round, {SPANS_PER_REQUEST} a request, {CONNECTIONS} connections, {rounds} rounds");
    load::heading("COPY");
    let (mut walls, mut cpus, mut rates, mut naive) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let rows = Rows::new(spans, round as u64);
        let bare = in_database(&server, async |url| raw_copy(&rows, url).await).await;
        let service = in_database(&server, async |url| load::whole_path(&rows, Some(url), cpu_of_server).await).await;
        let (wall, cpu) = load::compare(round, &bare, &service);
        walls.push(wall);
        cpus.push(cpu);
        rates.push(service.rate());
        let inserts = in_database(&server, async |url| insert_each(&rows, url).await).await;
        println!("       one INSERT a span: {:.0} rows/s ({:.1})", inserts.rate(), inserts.cpu_us());
        naive.push(service.rate() / inserts.rate());
    }
    let rate = median(&mut rates);
    println!(
        "median: wall {:.2}, CPU {:.2}, {rate:.0} spans/s, {:.1} times one INSERT a span",
        median(&mut walls),
        median(&mut cpus),
        median(&mut naive)
    );
    in_database(&server, async |url| load::print_acknowledgements(Some(url), rate).await).await;
}

/// Runs in a database of its own with the schema and today's partitions in it.
async fn in_database<T>(server: &str, run: impl AsyncFnOnce(&str) -> T) -> T {
    let name = format!("tracefall_bench_{}", tracefall::clock::random_hex_128());
    let place = server.rsplit_once('/').map_or(server, |(place, _)| place);
    let url = format!("{place}/{name}");
    let mut connection = PgConnection::connect(server).await.unwrap();
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"))).await.unwrap();
    let mut settings = Settings::default();
    settings.store.url = Some(DatabaseUrl::new(url.clone()));
    let store = store::open(&settings.store).await.unwrap();
    store.maintenance.migrate_up().await.unwrap();
    store.maintenance.prepare_days(Clock::system().now()).await.unwrap();
    store.maintenance.close().await;
    connection.execute("CHECKPOINT").await.unwrap();
    let result = run(&url).await;
    connection.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
    result
}

/// The yardstick: nothing but COPY, of rows that are bytes already, sorted as the service sorts them.
async fn raw_copy(rows: &Rows, url: &str) -> Measured {
    let mut sorted: Vec<&Row> = rows.0.iter().collect();
    sorted.sort_by_key(|row| (row.trace_id, row.span_id));
    let copies: Vec<Vec<u8>> = sorted.chunks(COPY_ROWS).map(encode).collect();
    let mut connections = Vec::new();
    for _ in 0..COPY_CONNECTIONS {
        connections.push(PgConnection::connect(url).await.unwrap());
    }
    let sql = format!("COPY tracefall.spans ({}) FROM STDIN (FORMAT binary)", COLUMNS.join(","));
    let cpu = cpu_of("self") + cpu_of_server();
    let begun = Instant::now();
    let (copies, sql) = (&copies, &sql);
    let writers = connections.into_iter().enumerate().map(|(writer, mut connection)| async move {
        for copy in copies.iter().skip(writer).step_by(COPY_CONNECTIONS) {
            let mut into = connection.copy_in_raw(sql).await.unwrap();
            for chunk in copy.chunks(128 << 10) {
                into.send(chunk).await.unwrap();
            }
            into.finish().await.unwrap();
        }
        connection
    });
    // Open until they are measured: a process that ended tells no CPU.
    let connections = futures_util::future::join_all(writers).await;
    let wall = begun.elapsed();
    let cpu = cpu_of("self") + cpu_of_server() - cpu;
    drop(connections);
    Measured { spans: rows.0.len(), wall, cpu }
}

fn encode(rows: &[&Row]) -> Vec<u8> {
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    let now = Clock::system().now().as_u64();
    for row in rows {
        bytes.extend_from_slice(&(COLUMNS.len() as i16).to_be_bytes());
        let mut cell = |value: Option<&[u8]>| match value {
            Some(value) => {
                bytes.extend_from_slice(&(value.len() as i32).to_be_bytes());
                bytes.extend_from_slice(value);
            }
            None => bytes.extend_from_slice(&(-1_i32).to_be_bytes()),
        };
        let text = |text: &'static str| Some(text.as_bytes());
        cell(Some(&row.trace_id));
        cell(Some(&micros(row.started_at)));
        cell(Some(&micros(now)));
        cell(Some(&(row.duration_ns as i64).to_be_bytes()));
        cell(Some(&3_i64.to_be_bytes()));
        cell(row.model.then_some(&812_i64.to_be_bytes()));
        cell(row.model.then_some(&97_i64.to_be_bytes()));
        cell(Some(&((row.started_at % 1_000) as i16).to_be_bytes()));
        cell(Some(&((now % 1_000) as i16).to_be_bytes()));
        cell(Some(&row.span_id));
        cell(row.parent.as_ref().map(|id| &id[..]));
        cell(text("default"));
        cell(text(row.status()));
        cell(text(row.service()));
        cell(text(OPERATIONS[row.operation]));
        cell(row.failed.then_some("Timeout".as_bytes()));
        cell(row.failed.then_some("the call did not return within 300 s".as_bytes()));
        cell(row.execution_id.as_ref().map(|id| id.as_bytes()));
        cell(text("q1"));
        cell(text("us-east"));
        cell(row.model.then_some("llama-3.2-1b".as_bytes()));
        cell(Some(row.attributes.as_bytes()));
        cell(None);
    }
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    bytes
}

/// Microseconds since 2000-01-01, PostgreSQL's epoch.
fn micros(nanos: u64) -> [u8; 8] {
    ((nanos / 1_000) as i64 - 946_684_800_000_000).to_be_bytes()
}

/// What the service replaces: each span its own INSERT and its own commit, over a pool.
async fn insert_each(rows: &Rows, url: &str) -> Measured {
    let pool = PgPoolOptions::new().max_connections(INSERT_CONNECTIONS).connect(url).await.unwrap();
    let rows = &rows.0[..rows.0.len().min(INSERT_SPANS)];
    let cpu = cpu_of("self") + cpu_of_server();
    let begun = Instant::now();
    let pool = &pool;
    let writers = (0..INSERT_CONNECTIONS as usize).map(|writer| async move {
        for row in rows.iter().skip(writer).step_by(INSERT_CONNECTIONS as usize) {
            sqlx::query(
                "INSERT INTO tracefall.spans (trace_id, started_at, created_at, duration_ns, kind, started_ns, created_ns, \
                 span_id, parent_span_id, tenant, status, service, operation, execution_id, region, attributes) VALUES \
                 (encode($1, 'hex')::uuid, to_timestamp($2::float8 / 1e9), now(), $3, 3, $4, 0, $5, $6, 'default', $7, $8, \
                 $9, $10, 'us-east', $11::json) ON CONFLICT DO NOTHING",
            )
            .bind(&row.trace_id[..])
            .bind(row.started_at as i64)
            .bind(row.duration_ns as i64)
            .bind((row.started_at % 1_000) as i16)
            .bind(&row.span_id[..])
            .bind(row.parent.as_ref().map(|id| &id[..]))
            .bind(row.status())
            .bind(row.service())
            .bind(OPERATIONS[row.operation])
            .bind(row.execution_id.as_deref())
            .bind(row.attributes.as_str())
            .execute(pool)
            .await
            .unwrap();
        }
    });
    futures_util::future::join_all(writers).await;
    Measured { spans: rows.len(), wall: begun.elapsed(), cpu: cpu_of("self") + cpu_of_server() - cpu }
}

/// What all processes named `postgres` have used. Those that ended are not counted: connections stay open meanwhile.
fn cpu_of_server() -> Duration {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().into_string().ok()?.parse::<u32>().ok());
    let is_server =
        |id: &u32| std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "postgres");
    ids.filter(is_server).map(|id| cpu_of(&id.to_string())).sum()
}
