//! What the views cost where much is stored: a trace is read by its own rows, and the totals by few pages.

use serde_json::Value;

use crate::store_suite::Home;
use crate::support::postgres::Database;
use crate::support::psql::psql;

/// A day a partition.
const DAYS: u64 = 12;
/// Each of 8 spans; two of them share an execution.
const SPANS_A_TRACE: u64 = 8;

/// Fills partitions and roll-ups on the server; the newest trace is unsettled.
fn fill(url: &str, traces: u64) {
    psql(
        url,
        &format!(
            "DO $$ BEGIN FOR day IN 0..{DAYS} LOOP EXECUTE format(
                'CREATE TABLE IF NOT EXISTS tracefall.spans_%s PARTITION OF tracefall.spans FOR VALUES FROM (%L) TO (%L)',
                to_char(date '2026-02-01' + day, 'YYYYMMDD'), (date '2026-02-01' + day)::text || ' 00:00:00+00',
                (date '2026-02-02' + day)::text || ' 00:00:00+00'); END LOOP; END $$;
            CREATE TABLE public.made AS SELECT number, md5('trace ' || number)::uuid AS trace_id, (number / 2)::text AS execution_id,
                timestamptz '2026-02-01 00:00+00' + number::float8 / {traces} * interval '{DAYS} days' AS started_at
                FROM generate_series(0, {traces} - 1) AS number;
            INSERT INTO tracefall.spans (trace_id, started_at, created_at, duration_ns, started_ns, created_ns, span_id,
                parent_span_id, tenant, status, service, operation, execution_id, attributes)
            SELECT trace_id, started_at + span * interval '10 ms', started_at + interval '2 s', (1000 - span * 50) * 1000000,
                0, 0, decode(lpad(to_hex(span + 1), 16, '0'), 'hex'),
                CASE WHEN span > 0 THEN decode(lpad(to_hex((span + 1) / 2), 16, '0'), 'hex') END,
                'default', 'completed', 'service ' || span % 5, 'operation ' || span, execution_id,
                json_build_object('text', repeat('x', 200))
            FROM public.made, generate_series(0, {SPANS_A_TRACE} - 1) AS span;
            INSERT INTO tracefall.traces (trace_id, started_at, created_at, touched, settled, unsettled, span_count, first_day,
                last_day, started_ns, has_open, tenant, status, execution_id)
            SELECT trace_id, started_at, started_at, 1, CASE WHEN is_last THEN 0 ELSE 1 END, is_last, {SPANS_A_TRACE},
                (started_at AT TIME ZONE 'UTC')::date, (started_at AT TIME ZONE 'UTC')::date, 0, false, 'default', 'completed',
                CASE WHEN NOT is_last THEN execution_id END
            FROM (SELECT *, number = {traces} - 1 AS is_last FROM public.made) AS made;
            DROP TABLE public.made;
            VACUUM ANALYZE tracefall.spans;
            VACUUM ANALYZE tracefall.traces;"
        ),
    );
}

/// A question's plan as it ran, with the tables that were looked into by then, functions included: in one session, whose
/// counters begin at nothing with its transaction.
fn run(url: &str, question: &str) -> (Value, Vec<(String, u64, u64)>) {
    let looked_into = "SELECT relname || ' ' || seq_tup_read || ' ' || seq_tup_read + coalesce(idx_tup_fetch, 0) \
         FROM pg_stat_xact_user_tables WHERE schemaname = 'tracefall' AND seq_scan + coalesce(idx_scan, 0) > 0";
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {question}");
    // The first run fills the caches of the catalogues.
    let answer =
        psql(url, &format!("SET search_path = tracefall; {question}; BEGIN; {explain}; {looked_into}; COMMIT"));
    let begin = answer.find("[\n").unwrap();
    let (plan, tables) = answer[begin..].split_once("\n]\n").unwrap();
    let plan: Value = serde_json::from_str(&format!("{plan}\n]")).unwrap();
    let tables = tables.lines().map(|line| {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap();
        (next().to_owned(), next().parse().unwrap(), next().parse().unwrap())
    });
    (plan[0].clone(), tables.collect())
}

fn buffers(plan: &Value) -> u64 {
    let count = |name: &str| plan["Plan"][name].as_u64().unwrap();
    count("Shared Hit Blocks") + count("Shared Read Blocks")
}

/// What a question about one trace, or about one execution of two traces, may cost.
fn check_traces(url: &str, traces: u64) {
    let middle = traces / 2;
    let last = traces - 1;
    let by_trace =
        |number: u64| format!("SELECT count(*) FROM trace_waterfall WHERE trace_id = md5('trace {number}')::uuid");
    let by_execution =
        |number: u64| format!("SELECT count(*) FROM trace_waterfall WHERE execution_id = '{}'", number / 2);
    for (question, is_unsettled, traces_read) in [
        (by_trace(middle), false, 1),
        (by_trace(last), true, 1),
        (by_execution(middle), false, 2),
        (by_execution(last), true, 2),
    ] {
        let (plan, tables) = run(url, &question);
        let spans = tables.iter().filter(|(name, ..)| name.starts_with("spans_20"));
        let rows: u64 = spans.clone().map(|(.., rows)| rows).sum();
        let with_rows = spans.clone().filter(|(.., rows)| *rows > 0).count();
        assert!(
            tables.iter().all(|(name, sequential, _)| name == "open_spans" || *sequential == 0),
            "{question}: {tables:?}"
        );
        assert!(with_rows <= 1, "{question}: {tables:?}");
        // An unsettled one's spans are read a second time, to learn their execution.
        assert!(rows <= 4 * traces_read * SPANS_A_TRACE, "{question}: {rows} rows of spans");
        let by_id = question.contains("trace_id =");
        assert!(!by_id || is_unsettled || spans.count() == 1, "{question}: {tables:?}");
        let most = if by_id && !is_unsettled { 60 } else { 250 };
        assert!(buffers(&plan) <= most, "{question}: {} buffers\n{plan:#}", buffers(&plan));
    }
}

fn check_health(url: &str, traces: u64) {
    let (plan, _) = run(url, "SELECT * FROM trace_spans_health");
    assert!(buffers(&plan) < 10_000, "{} buffers", buffers(&plan));
    let told: Vec<f64> = psql(
        url,
        "SELECT total_spans || '\n' || unique_traces || '\n' || avg_duration_ms FROM tracefall.trace_spans_health",
    )
    .lines()
    .map(|number| number.parse().unwrap())
    .collect();
    for (told, truth) in told.iter().zip([(traces * SPANS_A_TRACE) as f64, traces as f64, 825.0]) {
        assert!((told - truth).abs() <= truth * 0.03, "{told} is not {truth}");
    }
}

async fn check(traces: u64) {
    let Some(database) = Database::new() else { return };
    database.ready().await;
    fill(&database.url(), traces);
    check_traces(&database.url(), traces);
    check_health(&database.url(), traces);
}

#[tokio::test]
async fn a_trace_costs_its_own_rows_among_a_hundred_thousand_spans() {
    check(12_500).await;
}

#[tokio::test]
async fn a_trace_costs_its_own_rows_among_a_million_spans() {
    if std::env::var_os("TRACEFALL_TEST_LONG").is_none() {
        eprintln!("skipped: the plans at a million spans; scripts/test --long runs them");
        return;
    }
    check(125_000).await;
}
