//! The whole path into PostgreSQL: JSON over HTTP into committed rows, beside raw binary COPY of the same rows,
//! encoded beforehand, into the same partitioned tables over two connections, and beside one INSERT a span. Interleaved
//! rounds on one machine; CPU is that of the writing process and of every process of the server together.
//!
//! `scripts/bench postgres` starts a private server and runs it. `INGEST_SPANS` and `INGEST_ROUNDS` change its size;
//! `INGEST_STORED=0,1000000,10000000` measures beside COPY with so many spans stored instead, and `NEIGHBOUR_SECS=20`
//! another program beside us, for so long a phase.

mod load;
mod neighbour;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use load::{CONNECTIONS, Measured, OPERATIONS, Row, Rows, SPANS_PER_REQUEST, Server, Traffic, cpu_of, median, number};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
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
    find_postmaster(&server).await;
    let spans = number("INGEST_SPANS", 200_000);
    let rounds = number("INGEST_ROUNDS", 5);
    let growth = std::env::var("INGEST_STORED").ok();
    if std::env::var_os("NEIGHBOUR_SECS").is_some() {
        let phase = Duration::from_secs(number("NEIGHBOUR_SECS", 20) as u64);
        return in_database(&server, async |url| neighbour::run(url, rounds, phase).await).await;
    }
    println!("{spans} spans a round, {SPANS_PER_REQUEST} a request, {CONNECTIONS} connections, {rounds} rounds");
    let Some(growth) = growth else {
        rates(&server, spans, rounds).await;
        return traffics(&server, spans, rounds).await;
    };
    for stored in growth.split(',').filter_map(|number| number.trim().parse().ok()) {
        grown(&server, spans, rounds, stored).await;
    }
}

/// The whole path beside COPY and single INSERTs, all into empty tables.
async fn rates(server: &str, spans: usize, rounds: usize) {
    load::heading("COPY");
    let (mut walls, mut cpus, mut rates, mut naive) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let rows = Rows::new(spans, round as u64);
        let bare = in_database(server, async |url| raw_copy(&rows, url).await).await;
        let service = in_database(server, async |url| whole_path(&rows, Traffic::Plain, url).await).await;
        let (wall, cpu) = load::compare(round, &bare, &service);
        walls.push(wall);
        cpus.push(cpu);
        rates.push(service.rate());
        let inserts = in_database(server, async |url| insert_each(&rows, url).await).await;
        println!("       one INSERT a span: {:.0} rows/s ({})", inserts.rate(), inserts.shares());
        naive.push(service.rate() / inserts.rate());
    }
    let rate = median(&mut rates);
    println!(
        "median: wall {:.2}, CPU {:.2}, {rate:.0} spans/s, {:.1} times one INSERT a span",
        median(&mut walls),
        median(&mut cpus),
        median(&mut naive)
    );
    in_database(server, async |url| load::print_acknowledgements(Some(url), rate).await).await;
}

/// Pairs and duplicates beside plain spans; the bytes that they leave, and what it costs to settle them.
async fn traffics(server: &str, spans: usize, rounds: usize) {
    println!("CPU a span, service+PostgreSQL in µs, and the ratio to plain spans:");
    let (mut pairs, mut duplicates) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let rows = Rows::new(spans, round as u64);
        let mut told = Vec::new();
        for traffic in [Traffic::Plain, Traffic::Pairs, Traffic::Duplicates] {
            let (measured, bytes) = in_database(server, async |url| {
                let measured = whole_path(&rows, traffic, url).await;
                (measured, bytes_of(url).await)
            })
            .await;
            println!("{round:>5}  {traffic:?}: {} ({:.0} spans/s); {bytes}", measured.shares(), measured.rate());
            told.push(measured.cpu_us());
        }
        pairs.push(told[1] / told[0]);
        duplicates.push(told[2] / told[0]);
    }
    println!("median: pairs {:.2} (two records each), duplicates {:.2}", median(&mut pairs), median(&mut duplicates));
    let rows = Rows::new(spans, 0);
    let settled = in_database(server, async |url| settled(&rows, url).await).await;
    println!("plain spans, measured until every trace is settled: {} µs", settled.shares());
}

/// The rate beside that of COPY once so many spans are stored, an equal part in each of the days up to today.
async fn grown(server: &str, spans: usize, rounds: usize, stored: usize) {
    const DAYS: u32 = 10;
    in_database(server, async |url| {
        let folder = tempfile::tempdir().unwrap();
        let service = Server::start(folder.path(), Some(url), load::AS_IT_COMES);
        let begun = Instant::now();
        let each = stored / (DAYS as usize);
        for days_ago in 0..DAYS {
            for part in 0..each.div_ceil(PART) {
                let rows = Rows::of_day(PART.min(each - part * PART), u64::from(days_ago), days_ago);
                service.take(rows.bodies(Traffic::Plain), rows.0.len(), CONNECTIONS, cpu_of_server).await;
            }
        }
        wait_until_settled(url).await;
        println!("with {stored} spans stored (in {:.0} s); {}", begun.elapsed().as_secs_f64(), bytes_of(url).await);
        load::heading("COPY");
        let (mut walls, mut cpus) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let rows = Rows::new(spans, 1_000 + round as u64);
            let bare = raw_copy(&rows, url).await;
            let rows = Rows::new(spans, 2_000 + round as u64);
            let measured = service.take(rows.bodies(Traffic::Plain), spans, CONNECTIONS, cpu_of_server).await;
            let (wall, cpu) = load::compare(round, &bare, &measured);
            walls.push(wall);
            cpus.push(cpu);
        }
        println!("median: wall {:.2}, CPU {:.2}", median(&mut walls), median(&mut cpus));
    })
    .await;
}

/// Spans in memory at a time while a store is filled.
const PART: usize = 250_000;

async fn whole_path(rows: &Rows, traffic: Traffic, url: &str) -> Measured {
    load::whole_path(rows, traffic, Some(url), cpu_of_server).await
}

/// The whole path, and then as long as it takes until all roll-ups are there.
async fn settled(rows: &Rows, url: &str) -> Measured {
    let folder = tempfile::tempdir().unwrap();
    let service = Server::start(folder.path(), Some(url), load::AS_IT_COMES);
    let process = service.child.id().to_string();
    let (cpu, of_store, begun) = (cpu_of(&process), cpu_of_server(), Instant::now());
    service.take(rows.bodies(Traffic::Plain), rows.0.len(), CONNECTIONS, cpu_of_server).await;
    wait_until_settled(url).await;
    let (wall, cpu, store_cpu) = (begun.elapsed(), cpu_of(&process) - cpu, cpu_of_server() - of_store);
    Measured { spans: rows.0.len(), wall, cpu, store_cpu }
}

async fn wait_until_settled(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql =
        "SELECT count(*) FROM tracefall.traces WHERE unsettled AND trace_id < 'ffffffff-ffff-ff00-0000-000000000000'";
    while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Bytes a span, of what is stored.
async fn bytes_of(url: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let sql = "SELECT count(*), (SELECT sum(pg_table_size(c.oid)) FROM pg_class c JOIN pg_inherits ON inhrelid = c.oid \
               WHERE inhparent = 'tracefall.spans'::regclass)::bigint, \
               (SELECT sum(pg_indexes_size(c.oid)) FROM pg_class c JOIN pg_inherits ON inhrelid = c.oid \
               WHERE inhparent = 'tracefall.spans'::regclass)::bigint, \
               pg_total_relation_size('tracefall.traces') FROM tracefall.spans";
    let (spans, table, indexes, traces): (i64, i64, i64, i64) =
        sqlx::query_as(sql).fetch_one(&mut connection).await.unwrap();
    let each = |bytes: i64| bytes as f64 / spans as f64;
    format!("bytes a span: {:.0} table, {:.0} indexes, {:.0} traces", each(table), each(indexes), each(traces))
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

/// The yardstick: nothing but COPY, of rows that are bytes already, in the order in which they come, each COPY sorted as
/// the service sorts a batch. (Sorted as a whole, the rows would fill the index from one end to the other, which no
/// traffic does.)
async fn raw_copy(rows: &Rows, url: &str) -> Measured {
    let copies: Vec<Vec<u8>> = rows
        .0
        .chunks(COPY_ROWS)
        .map(|rows| {
            let mut sorted: Vec<&Row> = rows.iter().collect();
            sorted.sort_by_key(|row| (row.trace_id, row.span_id));
            encode(&sorted)
        })
        .collect();
    let mut connections = Vec::new();
    for _ in 0..COPY_CONNECTIONS {
        connections.push(PgConnection::connect(url).await.unwrap());
    }
    // As the service has it: no yardstick should wait for Nagle.
    store::send_at_once(url.parse::<PgConnectOptions>().unwrap().get_port());
    let sql = format!("COPY tracefall.spans ({}) FROM STDIN (FORMAT binary)", COLUMNS.join(","));
    let (cpu, of_store) = (cpu_of("self"), cpu_of_server());
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
    let (cpu, store_cpu) = (cpu_of("self") - cpu, cpu_of_server() - of_store);
    drop(connections);
    Measured { spans: rows.0.len(), wall, cpu, store_cpu }
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
    store::send_at_once(url.parse::<PgConnectOptions>().unwrap().get_port());
    let rows = &rows.0[..rows.0.len().min(INSERT_SPANS)];
    let (cpu, of_store) = (cpu_of("self"), cpu_of_server());
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
    let wall = begun.elapsed();
    Measured { spans: rows.len(), wall, cpu: cpu_of("self") - cpu, store_cpu: cpu_of_server() - of_store }
}

/// The server's first process, the parent of all others.
static POSTMASTER: OnceLock<u32> = OnceLock::new();

async fn find_postmaster(server: &str) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
    POSTMASTER.set(parent_of(&backend.to_string()).unwrap()).unwrap();
}

/// What the server's processes have used, those that ended included.
fn cpu_of_server() -> Duration {
    let postmaster = *POSTMASTER.get().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let children = ids.filter(|id| parent_of(id) == Some(postmaster));
    // Fields 14 to 17: its own time, and that of children that have ended.
    let own = load::stat(&postmaster.to_string()).unwrap();
    children.map(|id| cpu_of(&id)).sum::<Duration>() + load::ticks(&own[11..15])
}

fn parent_of(process: &str) -> Option<u32> {
    load::stat(process)?.get(1)?.parse().ok()
}
